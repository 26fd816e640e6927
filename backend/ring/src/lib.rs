//! This crate has the kernels over RNS polynomials: transforms, base conversion, automorphisms.
//!
//! The ring is `Z_q[X]/(X^N + 1)` for a chain of primes `q = 1 mod 2N`, `q < 2^50`; `N = 2^log_n`. A *limb* is a
//! slice of `N` canonical residues modulo one prime; [`RnsPoly`] holds several in one aligned buffer.
//!
//! - [`Ring::new`] builds the tables of a chain for one instruction set ([`Isa`]); the portable, AVX2 and
//!   AVX-512-IFMA kernels give the same bits.
//! - [`Ring::limb`] gives the kernels of one prime: transforms, pointwise arithmetic, lazy inner products.
//! - [`Ring::automorphism`] gives the permutations of `X -> X^g`, in both forms.
//! - [`BaseConverter`] moves residues between sets of primes; [`ModDown`] divides by primes and rounds;
//!   [`KeySwitcher`] does the whole hybrid key switch.
//! - [`Scratch`] lends temporary buffers, so that nothing is allocated once warm.
//!
//! Evaluation form is bit-reversed: position `p` holds the value at `psi^e`, `e = 2 brv(p) + 1`
//! ([`Ring::exponent`]), `psi` a fixed primitive `2N`-th root of unity of the prime.
//!
//! Work over several limbs runs on the `rayon` pool the caller is in; results do not depend on its size.

mod automorphism;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod convert;
mod error;
mod isa;
mod keyswitch;
mod limb;
mod moddown;
mod modulus;
mod ntt;
mod parallel;
mod pointwise;
mod primes;
mod recycle;
mod ring;
mod sample;
mod scratch;

pub use automorphism::Automorphism;
pub use buffer::{Buffer, RnsPoly, bound_recycled};
pub use convert::{BaseConverter, Lift};
pub use error::RingError;
pub use isa::Isa;
pub use keyswitch::{Digits, KeyHalves, KeySwitcher};
pub use limb::Limb;
pub use moddown::ModDown;
pub use modulus::Modulus;
pub use primes::{is_prime, nearest_ntt_prime, ntt_primes};
pub use recycle::RECYCLED_BYTES;
pub use ring::Ring;
pub use scratch::{Lease, Scratch};
