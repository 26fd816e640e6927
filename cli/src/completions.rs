//! The command `fhec completions` prints the completions of a shell.

use clap::Args;
use clap_complete::Shell;
use fhec::Error;

/// Print the completions of a shell
#[derive(Args)]
#[command(
    after_help = "Install them as the shell has it, such as:\n  fhec completions bash > ~/.local/share/bash-completion/completions/fhec\n  fhec completions zsh > ~/.zfunc/_fhec\n  fhec completions fish > ~/.config/fish/completions/fhec.fish"
)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(c: &Completions) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(c.shell, &mut super::command(), "fhec", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
