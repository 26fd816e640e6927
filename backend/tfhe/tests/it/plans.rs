//! What fits, and what is said where something does not.

use fhec_tfhe::{Plan, SETS, TfheError};

use crate::programs::small;

fn refused(bits: u32, damage: impl Fn(&mut fhec_integer::Program)) -> TfheError {
    let mut program = small();
    damage(&mut program);
    Plan::new("small", program, bits).expect_err("it does not fit")
}

#[test]
fn a_layer_that_is_too_wide_is_named() {
    Plan::new("small", small(), 4).unwrap();
    let TfheError::DoesNotFit { layer, reason, .. } = refused(2, |_| ()) else { panic!("another error") };
    assert_eq!(layer, "relu1");
    assert!(reason.contains("4 bits"), "{reason}");
}

#[test]
fn a_layer_that_is_too_noisy_is_named() {
    // Narrow sums of large weights: both tables have all entries, but the noise is too large.
    let wide = |p: &mut fhec_integer::Program| {
        p.layers[0].tables.tables.iter_mut().for_each(|t| t.entries.fill(0));
        p.layers[1].tables.tables.iter_mut().for_each(|t| *t = fhec_integer::Table { least: 0, entries: vec![0] });
        p.layers[1].sums.weights.iter_mut().for_each(|w| *w = 4);
    };
    let TfheError::DoesNotFit { layer, reason, .. } = refused(4, wide) else { panic!("another error") };
    assert_eq!(layer, "relu2");
    assert!(reason.contains("norm"), "{reason}");
    let loud = |p: &mut fhec_integer::Program| p.outputs[0].sums.weights.iter_mut().for_each(|w| *w *= 7);
    let TfheError::DoesNotFit { layer, .. } = refused(4, loud) else { panic!("another error") };
    assert_eq!(layer, "fc");
}

#[test]
fn only_standard_sets_are_taken() {
    assert!(matches!(refused(5, |_| ()), TfheError::NoParameters(5)));
    for set in SETS {
        // A result may have as many bits as a table, with weights of the norm that a table stands.
        assert!(set.result_bits().max().unwrap() >= set.bits);
    }
}
