//! The scalar kernels are compiled here for AVX2 and BMI2: the compiler vectorises additions and has a better wide
//! product.
//!
//! Every function needs AVX2, FMA and BMI2; that is the whole safety contract of each.

use super::portable;
use crate::modulus::Modulus;

/// One wrapper per kernel.
macro_rules! compiled {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// See the module.
        #[target_feature(enable = "avx2,fma,bmi2")]
        #[allow(clippy::too_many_arguments)]
        pub(crate) unsafe fn $name(m: &Modulus, $($arg: $type),*) {
            portable::$name(m, $($arg),*);
        }
    )*};
}

compiled! {
    add_assign(a: &mut [u64], b: &[u64]);
    add(a: &[u64], b: &[u64], out: &mut [u64]);
    sub_assign(a: &mut [u64], b: &[u64]);
    sub(a: &[u64], b: &[u64], out: &mut [u64]);
    neg_assign(a: &mut [u64]);
    mul_assign(a: &mut [u64], b: &[u64]);
    mul(a: &[u64], b: &[u64], out: &mut [u64]);
    mul_add(acc: &mut [u64], a: &[u64], b: &[u64]);
    tensor(a: [&[u64]; 2], b: [&[u64]; 2], out: [&mut [u64]; 3]);
    mul_scalar_assign(a: &mut [u64], w: u64);
    mul_scalar_add(acc: &mut [u64], a: &[u64], w: u64);
    add_scalar_assign(a: &mut [u64], w: u64);
    sub_mul_assign(a: &mut [u64], b: &[u64], w: u64);
    split_conjugates(re: &mut [u64], im: &mut [u64], half: u64, half_i: u64);
    reduce_signed(values: &[i64], out: &mut [u64]);
    inner_product(
        d: &[&[u64]],
        x0: &[&[u64]],
        x1: &[&[u64]],
        source: Option<&[u32]>,
        accumulate: bool,
        out0: &mut [u64],
        out1: &mut [u64]
    );
    inner_product_of_runs(
        d: &[&[u64]],
        run: usize,
        x0: &[&[u64]],
        x1: &[&[u64]],
        accumulate: bool,
        out0: &mut [u64],
        out1: &mut [u64]
    );
}
