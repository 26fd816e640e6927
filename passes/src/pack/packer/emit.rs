//! Putting an affine value into slots: choice of the layout, transforms, bias.

use super::*;

/// A term's plan beside what it maps.
struct Term {
    source: usize,
    map: Rc<Sparse>,
    plan: transform::Plan,
    /// The factor, when every slot is multiplied by one number.
    uniform: Option<f64>,
}

impl Packer<'_> {
    /// Puts `a` into slots, in the layout `like` or else in the cheapest of the candidates; returns its source number.
    pub(super) fn materialise(&mut self, a: &Affine, like: Option<&Placement>, loc: &Loc) -> Result<usize> {
        if let Some((1.0, source)) = a.as_scaled_source()
            && like.is_none_or(|p| *p == self.sources[source].placement)
        {
            return Ok(source);
        }
        let candidates = match like {
            Some(p) => vec![p.clone()],
            None => self.candidates(a),
        };
        let mut best: Option<(f64, Placement, Vec<Term>)> = None;
        for to in candidates {
            let terms = self.plan(a, &to);
            let cost = terms.iter().map(|t| if t.uniform.is_some() { 0.0 } else { t.plan.cost }).sum::<f64>();
            // A candidate that spans more ciphertexts makes everything after it dearer, too.
            let cost = cost + (to.ciphertexts - 1) as f64 * self.cost.level;
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, to, terms));
            }
        }
        let (_, placement, terms) = best.ok_or_else(|| {
            let reason = format!("a tensor of shape {} has no layout in slots", a.shape);
            Issue::new(loc, "pack", reason, "report this as a bug")
        })?;
        let values = self.emit(a, &placement, &terms, loc)?;
        self.sources.push(Source { values, placement, fill: 0.0 });
        Ok(self.sources.len() - 1)
    }

    /// Layouts worth trying, the likeliest first.
    fn candidates(&self, a: &Affine) -> Vec<Placement> {
        let len = a.shape.len();
        let mut out: Vec<Placement> = Vec::new();
        let mut add = |p: Placement| {
            if !out.contains(&p) {
                out.push(p);
            }
        };
        // Sources that are read in place: nothing to rotate if the value stays where they are.
        for (source, map) in &a.terms {
            if self.sources[*source].placement.addresses.len() == len && map.is_diagonal() {
                add(self.sources[*source].placement.clone());
            }
        }
        let digits = a.hints.iter().cloned().chain([layout::row_major(len)]);
        for p in digits.filter_map(|d| Placement::new(d, len, self.slots)) {
            let whole = p.with_period(self.slots);
            add(p);
            add(whole);
        }
        out
    }

    fn plan(&self, a: &Affine, to: &Placement) -> Vec<Term> {
        a.terms
            .iter()
            .map(|(source, map)| {
                let from = &self.sources[*source].placement;
                let plan = transform::plan(map, from, to, self.cost);
                let uniform = if from == to { map.uniform_diagonal() } else { None };
                Term { source: *source, map: map.clone(), plan, uniform }
            })
            .collect()
    }

    fn emit(&mut self, a: &Affine, to: &Placement, terms: &[Term], loc: &Loc) -> Result<Vec<Value>> {
        (0..to.ciphertexts)
            .map(|ct| {
                let sum = self.emit_sum(to, terms, ct, loc)?;
                self.emit_bias(a, to, terms, ct, sum, loc)
            })
            .collect()
    }

    /// Σ map · source for ciphertext `ct` of the result.
    fn emit_sum(&mut self, to: &Placement, terms: &[Term], ct: usize, loc: &Loc) -> Result<Value> {
        let mut sum: Option<Value> = None;
        // Partial sums by operand period and modulus: they share their rotate-and-add steps.
        let mut shares: Vec<((usize, usize), Value)> = Vec::new();
        for term in terms {
            let from = self.sources[term.source].placement.clone();
            if let Some(c) = term.uniform {
                let x = self.sources[term.source].values[ct];
                let x = if c == 1.0 { x } else { self.push(SlotOp::MulScalar { value: F64(c) }, [x], loc)? };
                sum = Some(self.add(sum, x, loc)?);
                continue;
            }
            for block in term.plan.blocks.iter().filter(|b| b.to == ct) {
                let x = self.sources[term.source].values[block.from];
                let d = term.plan.diagonals(block, &term.map, &from, to);
                let y = if term.plan.is_slotwise(&from) {
                    let value = self.out.consts.insert(&hint(loc, "mask"), Tensor::new([self.slots], d.rows));
                    self.push(SlotOp::MulPlain { value }, [x], loc)?
                } else {
                    let shape = [d.rotations.len(), self.slots];
                    let diagonals = self.out.consts.insert(&hint(loc, "diag"), Tensor::new(shape, d.rows));
                    self.push(SlotOp::Linear { rotations: d.rotations, giants: d.giants, diagonals }, [x], loc)?
                };
                let key = (from.period, term.plan.modulus);
                if key.0 == key.1 {
                    sum = Some(self.add(sum, y, loc)?);
                } else if let Some(k) = shares.iter().position(|(other, _)| *other == key) {
                    shares[k].1 = self.push(SlotOp::Add {}, [shares[k].1, y], loc)?;
                } else {
                    shares.push((key, y));
                }
            }
        }
        for ((period, modulus), mut share) in shares {
            let mut by = period / 2;
            while by >= modulus {
                let turned = self.push(SlotOp::Rotate { by: by as i64 }, [share], loc)?;
                share = self.push(SlotOp::Add {}, [share, turned], loc)?;
                by /= 2;
            }
            sum = Some(self.add(sum, share, loc)?);
        }
        match (sum, terms.first()) {
            (Some(sum), _) => Ok(sum),
            // All weights are zero: the ciphertext must still exist.
            (None, Some(term)) => {
                let x = self.sources[term.source].values[0];
                self.push(SlotOp::MulScalar { value: F64(0.0) }, [x], loc)
            }
            (None, None) => Err(Issue::new(
                loc,
                "constant",
                "a value computed on ciphertexts does not depend on the input",
                "fold constants before packing",
            )),
        }
    }

    fn add(&mut self, sum: Option<Value>, x: Value, loc: &Loc) -> Result<Value> {
        match sum {
            Some(sum) => self.push(SlotOp::Add {}, [sum, x], loc),
            None => Ok(x),
        }
    }

    /// Adds the bias, and takes out what in-place terms left in slots without an element.
    fn emit_bias(
        &mut self,
        a: &Affine,
        to: &Placement,
        terms: &[Term],
        ct: usize,
        sum: Value,
        loc: &Loc,
    ) -> Result<Value> {
        let n = self.slots;
        let left: f64 = terms.iter().filter_map(|t| t.uniform.map(|c| c * self.sources[t.source].fill)).sum();
        let mut vector = vec![-left as f32; n];
        for (e, &address) in to.addresses.iter().enumerate() {
            let address = address as usize;
            if address / n == ct {
                for s in (address % n..n).step_by(to.period) {
                    vector[s] = a.bias[e] as f32;
                }
            }
        }
        if vector.iter().all(|&v| v == 0.0) {
            return Ok(sum);
        }
        if vector.iter().all(|&v| v == vector[0]) {
            return self.push(SlotOp::AddScalar { value: F64(f64::from(vector[0])) }, [sum], loc);
        }
        let value = self.out.consts.insert(&hint(loc, "bias"), Tensor::new([n], vector));
        self.push(SlotOp::AddPlain { value }, [sum], loc)
    }
}
