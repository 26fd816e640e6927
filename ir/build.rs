//! Generates the parser of the text form.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/text/grammar.lalrpop");
    lalrpop::process_src()
}
