//! The evaluator's key switching.

use super::Evaluator;
use super::counters::count;
use crate::error::Result;
use crate::keys::PreparedKey;
use fhec_ring::{Automorphism, Digits, KeySwitcher, RnsPoly};

impl Evaluator {
    /// `(d0, d1)` over the limbs of `level` that encrypts `permutation(x) s'` for a key of `s'`.
    pub(crate) fn switch(
        &self,
        x: &RnsPoly,
        level: usize,
        key: &PreparedKey,
        permutation: Option<&Automorphism>,
    ) -> Result<[RnsPoly; 2]> {
        let switcher = self.ctx.switcher(level, key.alpha())?;
        let mut out = [0, 1].map(|_| RnsPoly::unspecified(self.ctx.params().n(), switcher.qp_limbs()));
        let [o0, o1] = &mut out;
        switcher.switch(self.ctx.ring(), x, &key.rows(), permutation, [o0, o1], self.ctx.scratch());
        self.count_decompose(&switcher);
        count(&self.counters.key_switches, 1);
        count(&self.counters.transforms, 2 * switcher.qp_limbs());
        Ok(out)
    }

    /// `(add0, add1)` plus the switch of `x`, divided by `q_level`: over the limbs of `level - 1`, with one rounding.
    pub(crate) fn switch_rescale(
        &self,
        x: &RnsPoly,
        level: usize,
        key: &PreparedKey,
        add: [&RnsPoly; 2],
    ) -> Result<[RnsPoly; 2]> {
        let switcher = self.ctx.switcher(level, key.alpha())?;
        let mut out = [0, 1].map(|_| RnsPoly::unspecified(self.ctx.params().n(), level));
        let [o0, o1] = &mut out;
        switcher.switch_rescale(self.ctx.ring(), x, &key.rows(), add, [o0, o1], self.ctx.scratch())?;
        self.count_decompose(&switcher);
        count(&self.counters.key_switches, 1);
        count(&self.counters.rescales, 2);
        count(&self.counters.transforms, 2 * switcher.qp_limbs());
        Ok(out)
    }

    /// Cuts `x` into digits.
    pub(crate) fn decompose(&self, x: &RnsPoly, switcher: &KeySwitcher) -> Digits {
        let mut digits = self.ctx.take_digits();
        switcher.decompose(self.ctx.ring(), x, &mut digits, self.ctx.scratch());
        self.count_decompose(switcher);
        digits
    }

    fn count_decompose(&self, switcher: &KeySwitcher) {
        // Every limb back to coefficients, every digit forward to the limbs it lacks.
        count(&self.counters.transforms, switcher.digits().len() * switcher.qp_limbs());
    }
}
