//! What a plan records of the engine that it is made for: its evaluation keys, the size of its primes, how often its
//! bootstraps fail.

use fhec_ckks::{MAX_FAILURE, Params};
use fhec_ir::{Ckks, Module, ParamSpec};

use crate::error::RuntimeError;
use crate::keys::KeyList;
use crate::plan::{Plan, Security};

/// What the engine says of a program.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub keys: KeyList,
    pub security: Security,
    /// log2 of a bound on the probability that one of its bootstraps fails; `None` where there are none.
    pub bootstrap_failure: Option<f64>,
}

impl Recorded {
    /// What the engine says of a program on vectors of `slots` slots with so many bootstraps; `file` is where it is from.
    ///
    /// # Errors
    /// Parameters that the engine refuses, and bootstraps that fail too often.
    pub fn of(
        file: &str,
        module: &Module<Ckks>,
        spec: &ParamSpec,
        slots: usize,
        bootstraps: u64,
    ) -> Result<Self, RuntimeError> {
        let params = Params::new(spec.clone())?;
        let keys = KeyList::of(module, &params, slots)?;
        let bootstrap_failure = params.bootstrap_failure(bootstraps, slots).filter(|_| bootstraps > 0);
        if let Some(log2) = bootstrap_failure.filter(|&log2| log2 > MAX_FAILURE) {
            return Err(RuntimeError::Failure { file: file.into(), bootstraps, slots, log2, limit: MAX_FAILURE });
        }
        Ok(Self { keys, security: Security::of(&params), bootstrap_failure })
    }
}

/// The primes that the engine of this project chooses for a plan. The same plan gives the same primes.
pub fn params(plan: &Plan) -> Params {
    Params::new(plan.spec().clone()).expect("a plan is made of parameters that the engine admits")
}

impl Security {
    /// What these parameters promise.
    pub fn of(params: &Params) -> Self {
        Self {
            bits: if params.is_insecure() { 0 } else { 128 },
            log_qp: params.log_qp(),
            max_log_qp: params.spec().max_log_qp(),
        }
    }
}
