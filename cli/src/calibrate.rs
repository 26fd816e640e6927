//! The command `fhec calibrate` measures what the engine's work costs on this machine.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::Error;
use fhec::calibrate::{CalibrateOptions, Calibration, calibrate};
use serde::Serialize;

use super::files::{self, Files, Overwrite};
use super::{output, progress};

/// Measure what the engine's work costs on this machine: the profile that times are predicted from
#[derive(Args)]
pub struct Calibrate {
    /// log2 of the ring degree N
    #[arg(long, default_value_t = 16)]
    log_n: u32,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = super::values::threads)]
    threads: usize,
    /// Where the profile goes
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the profile and its errors as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CalibrateReport<'a> {
    #[serde(flatten)]
    calibration: &'a Calibration,
    seconds: f64,
    /// None: what is measured keeps nothing secret, so that the same chains serve at every ring degree.
    security_bits: u32,
}

pub fn run(c: &Calibrate) -> Result<(), Error> {
    let mut files = Files::new(c.overwrite, c.json);
    let to = c.output.as_ref().map(|path| files.writes("--output", path)).transpose()?;
    let started = Instant::now();
    let bar = progress::bar("calibrate", 0);
    let calibration = calibrate(CalibrateOptions { log_n: c.log_n, threads: c.threads }, |p| {
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
        bar.set_message(format!("{} limbs", p.limbs));
    })?;
    bar.finish_and_clear();
    if let Some(to) = &to {
        to.write(calibration.profile.to_json().as_bytes())?;
    }
    if c.json {
        let seconds = started.elapsed().as_secs_f64();
        return output::json(&CalibrateReport { calibration: &calibration, seconds, security_bits: 0 });
    }
    say!(
        "{}, {}: {} operations at N = 2^{} in {}",
        calibration.profile.name,
        calibration.profile.isa,
        calibration.operations.len(),
        c.log_n,
        output::seconds(started.elapsed().as_secs_f64())
    );
    say!("the profile gives their times within {:.1} % (rms)", 100.0 * calibration.rms_error);
    if let Some(worst) = calibration.worst() {
        let (name, limbs, special) = (&worst.name, worst.limbs, worst.special);
        say!("worst: {:+.1} % for {name} of {limbs} limbs with {special} special primes", 100.0 * worst.error());
    }
    match &c.output {
        Some(path) => say!("written to {}", path.display()),
        None => say!("{}", calibration.profile.to_json()),
    }
    Ok(())
}
