//! A bootstrap distorts its message in a way that is no noise, because EvalMod takes a sine for the identity. This
//! module computes that error.

use crate::encode::Fft;
use fhec_parameters::ParamSpec;
use std::f64::consts::TAU;

/// The map from the slots of a message to those that a bootstrap without noise would return.
///
/// EvalMod maps every coefficient `c` of the message, in units of the scale, to the truncated arcsine of `sin(2 pi r c)`, over
/// `2 pi r`, `r` the share of `q_0` that a message of size one takes. Without an arcsine that is `c` less about
/// `(2 pi r c)^2 / 6` of itself. In slots the difference is largest for constant vectors: with
/// `c_0^2 + 2 sum c_j^2 <= 1` for slots in [-1, 1], `c_0^3 + 2 sum c_j^3 <= 1` is all that can add up.
#[derive(Debug)]
pub struct Distortion {
    fft: Fft,
    slots: usize,
    /// `2 pi r`.
    rate: f64,
    arcsine_degree: u32,
}

impl Distortion {
    /// The distortion of bootstraps of `slots` slots (a power of two); `None` without bootstrapping.
    pub fn new(spec: &ParamSpec, slots: usize) -> Option<Self> {
        let circuit = &spec.bootstrap.as_ref()?.circuit;
        let bits = f64::from(spec.first_bits) - f64::from(spec.scale_bits);
        let factor = super::message_factor(circuit.ratio_bits, bits.exp2());
        let rate = TAU * factor / bits.exp2();
        Some(Self { fft: Fft::new(slots), slots, rate, arcsine_degree: circuit.arcsine_degree })
    }

    /// The largest difference in a slot, for messages of slots in [-1, 1].
    pub fn largest(&self) -> f64 {
        (1.0 - self.coefficient(1.0)).abs()
    }

    /// Replaces real slots by those that come back.
    ///
    /// # Panics
    /// When there are not as many as this is for.
    pub fn apply(&self, slots: &mut [f64]) {
        assert_eq!(slots.len(), self.slots);
        let mut imaginary = vec![0.0; slots.len()];
        self.fft.slots_to_coefficients(slots, &mut imaginary);
        let scale = 1.0 / slots.len() as f64;
        for c in slots.iter_mut().chain(&mut imaginary) {
            *c = self.coefficient(*c * scale);
        }
        self.fft.coefficients_to_slots(slots, &mut imaginary);
    }

    /// What becomes of one coefficient.
    fn coefficient(&self, c: f64) -> f64 {
        super::evalmod::arcsine((self.rate * c).sin(), self.arcsine_degree) / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;
    use fhec_parameters::Circuit;

    fn distortion(circuit: Circuit, slots: usize) -> Distortion {
        Distortion::new(Params::with_bootstrap(3, 42, circuit).unwrap().spec(), slots).unwrap()
    }

    #[test]
    fn constant_vectors_are_distorted_most_and_the_mean_alone_counts_there() {
        let compact = distortion(Circuit::compact(42), 256);
        let expected = (TAU / 256.0).powi(2) / 6.0;
        assert!((compact.largest() / expected - 1.0).abs() < 1e-3, "{} {expected}", compact.largest());
        for value in [1.0, -1.0, 0.5] {
            let mut slots = vec![value; 256];
            compact.apply(&mut slots);
            let least = expected * f64::powi(value, 3);
            assert!(slots.iter().all(|s| ((value - s) / least - 1.0).abs() < 1e-3), "{value}: {:?}", &slots[..2]);
        }
        // Vectors of every kind in [-1, 1] stay below.
        let kinds: [&dyn Fn(usize) -> f64; 4] = [
            &|j| (j as f64 * 0.7).sin(),
            &|j| f64::from(u8::from(j % 2 == 0)),
            &|j| if j == 7 { 1.0 } else { 0.0 },
            &|j| if j < 128 { 1.0 } else { -1.0 },
        ];
        for kind in kinds {
            let before: Vec<f64> = (0..256).map(kind).collect();
            let mut after = before.clone();
            compact.apply(&mut after);
            let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst > 0.0 && worst <= compact.largest(), "{worst}");
        }
    }

    #[test]
    fn the_arcsine_takes_it_away() {
        assert!(distortion(Circuit::standard(42), 64).largest() < 1e-7);
        assert!(
            Distortion::new(&ParamSpec { bootstrap: None, ..Params::bootstrapping(3, 42).unwrap().spec().clone() }, 64)
                .is_none()
        );
    }
}
