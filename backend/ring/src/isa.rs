//! The instruction set that the kernels use is decided at run time.

/// The instruction set of a ring's kernels. All of them give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Scalar code for any machine.
    Portable,
    /// 256-bit vectors with fused multiply-add: products in double precision.
    Avx2,
    /// 512-bit vectors with the 52-bit integer multiplier.
    Avx512Ifma,
}

impl Isa {
    /// The best set of this machine, lowered (never raised) by the environment variable `FHEC_ISA`
    /// (`portable`, `avx2` or `avx512ifma`).
    pub fn detect() -> Self {
        let best = Self::best();
        match std::env::var("FHEC_ISA").ok().as_deref().and_then(Self::from_name) {
            Some(wanted) => wanted.min(best),
            None => best,
        }
    }

    /// Every set this machine can run, from [`Portable`](Self::Portable) up.
    pub fn available() -> Vec<Self> {
        let best = Self::best();
        [Self::Portable, Self::Avx2, Self::Avx512Ifma].into_iter().filter(|i| *i <= best).collect()
    }

    /// The set named as in `FHEC_ISA`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "portable" => Some(Self::Portable),
            "avx2" => Some(Self::Avx2),
            "avx512ifma" => Some(Self::Avx512Ifma),
            _ => None,
        }
    }

    /// The name used by `FHEC_ISA`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512Ifma => "avx512ifma",
        }
    }

    /// The highest set not above `self` that this machine has.
    pub(crate) fn supported(self) -> Self {
        self.min(Self::best())
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        let avx2 =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma");
        match (avx2, avx512) {
            (true, true) => Self::Avx512Ifma,
            (true, false) => Self::Avx2,
            _ => Self::Portable,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Portable
    }
}
