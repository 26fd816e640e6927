//! A module of whichever level, for programs that read their level from a file.

use super::blob::Blobs;
use super::print::{print_module, print_with_blobs};
use crate::ckks::Ckks;
use crate::dialect::Dialect;
use crate::func::Module;
use crate::nn::Nn;
use crate::slot::Slot;
use crate::verify::{Verify, VerifyError, verify};

/// A module of whichever level.
#[derive(Clone, Debug)]
pub enum AnyModule {
    /// Of the `nn` level.
    Nn(Module<Nn>),
    /// Of the `slot` level.
    Slot(Module<Slot>),
    /// Of the `ckks` level.
    Ckks(Module<Ckks>),
}

/// A level whose modules an [`AnyModule`] can hold.
pub trait Level: Verify {
    /// The module, if it is of this level.
    fn of(module: &AnyModule) -> Option<&Module<Self>>;
    /// The module without its level in the type.
    fn any(module: Module<Self>) -> AnyModule;
}

macro_rules! level {
    ($($level:ident),*) => {
        $(impl Level for $level {
            fn of(module: &AnyModule) -> Option<&Module<Self>> {
                match module {
                    AnyModule::$level(module) => Some(module),
                    _ => None,
                }
            }
            fn any(module: Module<Self>) -> AnyModule {
                AnyModule::$level(module)
            }
        })*

        impl AnyModule {
            /// Name of its level: `nn`, `slot` or `ckks`.
            pub fn level(&self) -> &'static str {
                match self { $(Self::$level(_) => $level::NAME),* }
            }
            /// Checks the rules of its level.
            ///
            /// # Errors
            /// All violations.
            pub fn verify(&self) -> Result<(), VerifyError> {
                match self { $(Self::$level(module) => verify(module)),* }
            }
            /// Its text; large constants appear by digest only.
            pub fn text(&self) -> String {
                match self { $(Self::$level(module) => print_module(module)),* }
            }
            /// Its text, and the constants that the text names by digest.
            pub fn text_with_blobs(&self) -> (String, Blobs) {
                match self { $(Self::$level(module) => print_with_blobs(module)),* }
            }
        }
    };
}
level!(Nn, Slot, Ckks);
