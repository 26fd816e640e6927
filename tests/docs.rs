//! The documentation agrees with itself and with the program: links lead somewhere, and the page of options is what `--help` says.

mod links;
#[cfg(all(feature = "client", feature = "compiler"))]
mod options;
