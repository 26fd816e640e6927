//! Activations become polynomials on the intervals of their calibration data, and say what they err by.

use super::*;
use crate::approx::{Family, Polynomial, Site};
use fhec_ir::io::Port;
use fhec_ir::nn::{Activation, Basis, NnOp, TensorTy};
use fhec_ir::{F64, Loc, Shape, largest_magnitude};

fn one_activation(function: Activation) -> Module<Nn> {
    let mut m = Module::<Nn>::new("main");
    let shape = Shape::from([1, 4]);
    let x = m.func.add_param(TensorTy(shape.clone()), Loc::onnx("x"));
    m.inputs.push(Port { name: "x".into(), shape: shape.clone(), ..Default::default() });
    let y = m.push(NnOp::Activation { function, alpha: None, beta: None }, [x], Loc::onnx("act")).unwrap();
    m.func.set_results([y]);
    m.outputs.push(Port { name: "y".into(), shape, ..Default::default() });
    m
}

fn samples(from: f32, to: f32) -> Vec<Vec<Tensor>> {
    (0..64)
        .map(|i| {
            let at = |k: usize| from + (to - from) * ((i * 4 + k) as f32 / 255.0);
            vec![Tensor::new([1, 4], (0..4).map(at).collect::<Vec<_>>())]
        })
        .collect()
}

/// Intervals 1.3 times as long as the hull of what is seen.
fn stretched() -> ApproximateOptions {
    ApproximateOptions { margin: 1.3.into(), ..ApproximateOptions::default() }
}

#[test]
fn an_interval_goes_as_far_as_single_inputs_let_expect() {
    let module = one_activation(Activation::Relu);
    // Of 200 inputs one in `seldom` is ten times as large as the others.
    let inputs = |seldom: usize| -> Vec<Vec<Tensor>> {
        let largest =
            |i: usize| 1.0 + 0.1 * ((i * 37 % 200) as f32 / 200.0) * if i.is_multiple_of(seldom) { 10.0 } else { 1.0 };
        (0..200).map(|i| vec![Tensor::new([1, 4], vec![-1.0, 0.0, 0.5, largest(i)])]).collect()
    };
    let of = |samples: &[Vec<Tensor>]| {
        let options = ApproximateOptions::default();
        ApproximateActivations::calibrated(&module, samples, options).unwrap().activations[0].interval
    };
    let (steady, heavy) = (of(&inputs(usize::MAX)), of(&inputs(20)));
    // Below, all inputs are alike; the polynomial itself shifts nothing in front of it.
    assert!((steady.0 + 1.0).abs() < 1e-6 && (heavy.0 + 1.0).abs() < 1e-6, "{steady:?} {heavy:?}");
    assert!(steady.1 > 1.1 && steady.1 < 1.3, "{steady:?}");
    assert!(heavy.1 > 2.5, "{heavy:?}");
}

#[test]
fn relu_becomes_a_polynomial_close_to_it() {
    let module = one_activation(Activation::Relu);
    let options = ApproximateOptions { default: Choice::least_squares(15), ..stretched() };
    let Approximated { module: out, activations: report, .. } =
        ApproximateActivations::calibrated(&module, &samples(-3.0, 2.0), options).unwrap();
    let [r] = report.as_slice() else { panic!("one activation") };
    assert_eq!((r.node.as_str(), r.function.as_str(), r.degree), ("act", "relu", 15));
    assert_eq!(r.seen, (-3.0, 2.0));
    // [-3, 2] stretched by 1.3 about -0.5.
    assert!((r.interval.0 + 3.75).abs() < 1e-9 && (r.interval.1 - 2.75).abs() < 1e-9);
    assert!(r.rms_error > 1e-4 && r.rms_error < 0.1 && r.max_error < 0.25, "{r:?}");
    let x = Tensor::new([1, 4], vec![-2.5, -1.0, 0.5, 1.9]);
    let y = eval::eval(&out, std::slice::from_ref(&x)).unwrap();
    for (x, y) in x.data().iter().zip(y[0].data()) {
        assert!((x.max(0.0) - y).abs() < 0.12, "relu({x}) came out as {y}");
    }
}

#[test]
fn a_composite_is_three_polynomials_and_a_product() {
    let composite = CompositeSign::of_degrees(&[15, 15, 27]).unwrap();
    let options = stretched().with_composite(composite.clone());
    let x = Tensor::new([1, 4], vec![-2.5, -0.004, 0.5, 1.9]);
    for (function, slope) in [(Activation::Relu, 0.0), (Activation::LeakyRelu, 0.01), (Activation::Abs, -1.0)] {
        let module = one_activation(function);
        let Approximated { module: out, activations: report, .. } =
            ApproximateActivations::calibrated(&module, &samples(-3.0, 2.0), options.clone()).unwrap();
        let ops: Vec<&NnOp> = out.func.iter().skip(1).map(|(_, n)| &n.op).collect();
        assert!(matches!(
            ops[..],
            [NnOp::Polynomial { .. }, NnOp::Polynomial { .. }, NnOp::Polynomial { .. }, NnOp::Mul {}]
        ));
        let r = &report[0];
        assert_eq!((&r.stages[..], r.degree), (&[15, 15, 27][..], 15 * 15 * 27 + 1));
        assert!((r.interval.1 - 3.9).abs() < 1e-9 && r.rms_error < r.max_error && r.max_error < 2e-3, "{r:?}");
        let y = eval::eval(&out, std::slice::from_ref(&x)).unwrap();
        for (&x, &y) in x.data().iter().zip(y[0].data()) {
            let want = f64::from(x) * if x < 0.0 { slope } else { 1.0 };
            assert!((want - f64::from(y)).abs() < r.max_error, "{function:?}({x}) came out as {y}");
        }
    }
}

#[test]
fn a_choice_of_its_own_comes_before_the_composite() {
    let module = one_activation(Activation::Relu);
    let options = ApproximateOptions::default().with_composite(CompositeSign::published(6).unwrap().clone());
    let choices = Choices::from([(module.func.results()[0], Choice::least_squares(3))]);
    let Approximated { activations: report, .. } =
        ApproximateActivations::calibrated_with(&module, &samples(-3.0, 2.0), options, &choices).unwrap();
    assert_eq!((report[0].degree, report[0].stages.len()), (3, 0));
}

#[test]
fn what_is_not_made_of_a_sign_has_no_composite() {
    let options = ApproximateOptions::default().with_composite(CompositeSign::published(6).unwrap().clone());
    let error = ApproximateActivations::calibrated(&one_activation(Activation::Gelu), &samples(-3.0, 2.0), options)
        .unwrap_err();
    let ApproximateError::Pass(PassError { issues, .. }) = error else { panic!("{error}") };
    assert!(issues[0].reason.contains("not made of a sign"), "{}", issues[0].reason);
}

#[test]
fn every_form_stands_in_the_class_of_its_activation_and_can_be_extracted() {
    let mut module = one_activation(Activation::Relu);
    let (x, relu) = (module.func.params()[0], module.func.results()[0]);
    let gelu = NnOp::Activation { function: Activation::Gelu, alpha: None, beta: None };
    let gelu = module.push(gelu, [x], Loc::onnx("gelu")).unwrap();
    let sum = module.push(NnOp::Add {}, [relu, gelu], Loc::onnx("sum")).unwrap();
    module.func.set_results([sum]);
    let calibration = Calibration::measure(&module, &samples(-3.0, 2.0)).unwrap();
    let options = ApproximateOptions::default();
    let forms = FormGraph::offered(&module, &calibration, &options).unwrap();
    let degrees = [15, 3, 5, 7, 11, 23, 31];
    for (pick, degree) in degrees.into_iter().enumerate() {
        let out = forms.extract(|v| if v == relu { pick } else { 1 }).unwrap();
        let terms = |v: Value| match &out.module.func.node(v).op {
            NnOp::Polynomial { coeffs, .. } => coeffs.len(),
            op => panic!("{op:?} is left"),
        };
        assert_eq!(out.module.func.len(), 4);
        let (of_relu, of_gelu) = (&out.polynomials[&relu], &out.polynomials[&gelu]);
        assert_eq!((of_relu.len(), of_gelu.len()), (1, 1));
        assert_eq!((terms(of_relu[0]), terms(of_gelu[0])), (degree + 1, degrees[1] + 1));
        assert_eq!(out.module.func.node(of_relu[0]).loc.name(), "act");
    }
    assert!(forms.extract(|_| degrees.len()).is_err());
    let text = forms.to_string();
    assert!(text.starts_with("class of `act`: 7 forms\n  least-squares: f(x) ≈ p(x), "), "{text}");
}

#[test]
fn families_from_elsewhere_are_offered_and_named() {
    let module = one_activation(Activation::Relu);
    let relu = module.func.results()[0];
    let calibration = Calibration::measure(&module, &samples(-3.0, 2.0)).unwrap();
    let families = Families::standard().with(Arc::new(Square));
    let options = ApproximateOptions { families, ..ApproximateOptions::default() };
    let forms = FormGraph::offered(&module, &calibration, &options).unwrap();
    let last = forms.forms()[&relu].last().unwrap();
    assert_eq!((&*last.approximation.family, last.approximation.levels), ("square", 1));
    assert!(forms.to_string().contains("square: f(x) ≈ x²; degrees 2"));
    let default = Choice { family: "square".into(), degree: 2 };
    let options = ApproximateOptions { default: default.clone(), ..options };
    let out = ApproximateActivations::calibrated(&module, &samples(-3.0, 2.0), options).unwrap().module;
    let y = eval::eval(&out, &[Tensor::new([1, 4], vec![-2.0, -1.0, 0.5, 1.0])]).unwrap();
    let want = [4.0, 1.0, 0.25, 1.0];
    assert!(y[0].data().iter().zip(want).all(|(y, want)| (y - want).abs() < 1e-5), "{y:?}");
    // Without the family the choice is refused by name.
    let options = ApproximateOptions { default, ..ApproximateOptions::default() };
    let error = ApproximateActivations::calibrated(&module, &samples(-3.0, 2.0), options).unwrap_err();
    let ApproximateError::Pass(PassError { issues, .. }) = error else { panic!("{error}") };
    assert!(issues[0].reason.contains("no family of approximations `square`"), "{}", issues[0].reason);
}

/// x² for every function, as a researcher outside this crate would add it.
#[derive(Debug)]
struct Square;

impl Family for Square {
    fn name(&self) -> &str {
        "square"
    }
    fn equation(&self) -> &str {
        "f(x) ≈ x²"
    }
    fn offers(&self, _: &Site) -> Vec<usize> {
        vec![2]
    }
    fn approximate(&self, site: &Site, _: usize) -> Result<Approximation, ApproxError> {
        let interval = site.interval()?;
        Ok(site.shared(self, Polynomial::from_monomial(interval, &[0.0, 0.0, 1.0])?))
    }
}

#[test]
fn lower_degrees_err_more() {
    let module = one_activation(Activation::Gelu);
    let rms = |degree| {
        let options = ApproximateOptions { default: Choice::least_squares(degree), ..stretched() };
        ApproximateActivations::calibrated(&module, &samples(-4.0, 4.0), options).unwrap().activations[0].rms_error
    };
    assert!(rms(2) > rms(4) && rms(4) > 4.0 * rms(8), "{} {} {}", rms(2), rms(4), rms(8));
}

#[test]
fn poles_move_the_interval_or_are_reported() {
    let module = one_activation(Activation::Reciprocal);
    let options = ApproximateOptions { margin: 1.1.into(), ..ApproximateOptions::default() };
    let Approximated { activations: report, .. } =
        ApproximateActivations::calibrated(&module, &samples(1.0, 3.0), options.clone()).unwrap();
    assert!(report[0].interval.0 > 0.0);
    let error = ApproximateActivations::calibrated(&module, &samples(-1.0, 3.0), options).unwrap_err();
    assert!(error.to_string().contains("not finite") || error.to_string().contains("cannot be compiled"), "{error}");
}

#[test]
fn an_activation_without_data_is_named() {
    let module = one_activation(Activation::Relu);
    let pass = ApproximateActivations::new(Calibration::default(), ApproximateOptions::default());
    let error = pass.run(&module).unwrap_err();
    assert_eq!(error.issues[0].node.as_ref().unwrap().name, "act");
    assert!(ApproximateActivations::calibrated(&module, &[], ApproximateOptions::default()).is_err());
}

/// Two channels of very different range behind one activation.
fn two_channels(function: Activation) -> (Module<Nn>, Vec<Vec<Tensor>>) {
    let mut m = Module::<Nn>::new("main");
    let shape = Shape::from([1, 2, 2, 2]);
    let x = m.func.add_param(TensorTy(shape.clone()), Loc::onnx("x"));
    m.inputs.push(Port { name: "x".into(), shape: shape.clone(), ..Default::default() });
    let y = m.push(NnOp::Activation { function, alpha: None, beta: None }, [x], Loc::onnx("act")).unwrap();
    m.func.set_results([y]);
    m.outputs.push(Port { name: "y".into(), shape, ..Default::default() });
    let sample = |i: usize| {
        let at = |k: usize| if k < 4 { 4.0 } else { 1.0 } * ((i * 4 + k % 4) as f32 / 127.5 - 1.0);
        vec![Tensor::new([1, 2, 2, 2], (0..8).map(at).collect::<Vec<_>>())]
    };
    (m, (0..64).map(sample).collect())
}

#[test]
fn a_choice_gives_each_channel_its_own_polynomial() {
    let (module, samples) = two_channels(Activation::Relu);
    let act = module.func.results()[0];
    let with = |choice: Choice| {
        let choices = Choices::from([(act, choice)]);
        ApproximateActivations::calibrated_with(&module, &samples, stretched(), &choices).unwrap()
    };
    let Approximated { module: shared, activations: shared_report, .. } = with(Choice::least_squares(4));
    let Approximated { module: own, activations: own_report, .. } = with(Choice::least_squares_per_channel(4));
    assert_eq!((shared_report[0].degree, shared_report[0].channels), (4, 1));
    assert_eq!((own_report[0].degree, own_report[0].channels), (4, 2));
    assert_eq!(shared_report[0].interval, own_report[0].interval);
    // The narrow channel gains; both hold on the common interval of the op.
    let error = |m: &Module<Nn>, channel: usize| -> f32 {
        let all = samples.iter().map(|s| (eval::eval(m, s).unwrap(), s[0].clone()));
        all.flat_map(|(y, x)| {
            (0..4).map(move |k| (y[0].data()[4 * channel + k] - x.data()[4 * channel + k].max(0.0)).powi(2))
        })
        .sum()
    };
    assert!(error(&own, 1) < 0.25 * error(&shared, 1), "{} {}", error(&own, 1), error(&shared, 1));
    assert!((error(&own, 0) - error(&shared, 0)).abs() < 0.2 * error(&shared, 0));
    let NnOp::Polynomial { basis: Basis::Chebyshev, lo, hi, rows: 2, coeffs } =
        &own.func.node(own.func.results()[0]).op
    else {
        panic!("two rows")
    };
    assert_eq!((lo.0, hi.0), own_report[0].interval);
    let largest = coeffs.iter().fold(0.0f64, |m, F64(c)| m.max(c.abs()));
    assert!(largest < 4096.0, "coefficients of narrow channels stay within what packed constants hold: {largest}");
}

#[test]
fn every_candidate_is_what_its_polynomials_do() {
    let (module, samples) = two_channels(Activation::Relu);
    let act = module.func.results()[0];
    let options = stretched();
    let calibration = Calibration::measure(&module, &samples).unwrap();
    let pairs = (2..=31).flat_map(|d| [Choice::least_squares(d), Choice::least_squares_per_channel(d)]);
    let asked: Vec<Choice> = pairs.filter(|c| [2, 3, 5, 15, 31].contains(&c.degree)).collect();
    let forms = FormGraph::new(&module, &calibration, &options, |_, _| asked.clone()).unwrap();
    for (form, choice) in forms.forms()[&act].iter().zip(&asked) {
        let row = &form.approximation;
        let (degree, per_channel) = (row.degree, row.is_per_channel());
        assert_eq!((&*row.family, degree), (&*choice.family, choice.degree));
        // Both channels curve upwards: the quadratic is a completed square.
        let depth = if degree == 2 { 1 } else { usize::BITS - degree.leading_zeros() };
        assert_eq!((row.levels, row.channels()), (depth, if per_channel { 2 } else { 1 }), "{row:?}");
        let pass = ApproximateActivations::new(calibration.clone(), options.clone());
        let out = pass.with_choices(Choices::from([(act, choice.clone())])).replace(&module).unwrap().module;
        let square = |s: &Vec<Tensor>| -> f64 {
            let y = eval::eval(&out, s).unwrap();
            y[0].data().iter().zip(s[0].data()).map(|(y, x)| f64::from(y - x.max(0.0)).powi(2)).sum()
        };
        let mean = samples.iter().map(square).sum::<f64>() / (8 * samples.len()) as f64;
        assert!((row.rms_error.powi(2) - mean).abs() < 0.02 * mean, "{row:?}: {mean:.4e} on the samples");
        // The interval of [-4, 4] with the margin 1.3; [-1, 1] has its own, unless coefficients would grow by 10 bits.
        let narrow = if per_channel { f64::max(1.3, 5.2 * (-10.0 / degree as f64).exp2()) } else { 5.2 };
        let largest = |reach: f64| -> f64 {
            let miss = |k: i32| {
                let x = (reach * f64::from(k) / 1000.0) as f32;
                let of = |c: usize| if per_channel && reach < 5.2 { c >= 4 } else { c < 4 };
                let y = eval::eval(&out, &[Tensor::full([1, 2, 2, 2], x)]).unwrap();
                let errors = y[0].data().iter().enumerate().filter(|(c, _)| of(*c)).map(|(_, y)| y - x.max(0.0));
                largest_magnitude(errors.map(f64::from))
            };
            largest_magnitude((-1000..=1000).map(miss))
        };
        let worst = largest(5.2).max(largest(narrow));
        assert!((row.max_error - worst).abs() < 0.02 * worst, "{row:?}: {worst:.4e} on the interval");
    }
}

#[test]
fn candidates_without_calibration_are_refused_by_name() {
    let module = one_activation(Activation::Relu);
    let options = ApproximateOptions::default();
    let found = FormGraph::offered(&module, &Calibration::default(), &options);
    let error = found.err().expect("nothing is known of its inputs");
    assert_eq!(error.issues[0].node.as_ref().unwrap().name, "act");
}

#[test]
fn activations_in_sequence_are_counted_along_the_longest_way() {
    let mut m = Module::<Nn>::new("main");
    let shape = Shape::from([1, 4]);
    let x = m.func.add_param(TensorTy(shape.clone()), Loc::onnx("x"));
    m.inputs.push(Port { name: "x".into(), shape: shape.clone(), ..Default::default() });
    let mut relu = |x| {
        let op = NnOp::Activation { function: Activation::Relu, alpha: None, beta: None };
        m.push(op, [x], Loc::onnx("act")).unwrap()
    };
    let first = relu(x);
    let long = relu(first);
    let long = relu(long);
    // Nothing reads it.
    let dead = relu(long);
    relu(dead);
    let short = relu(first);
    let y = m.push(NnOp::Add {}, [long, short], Loc::onnx("sum")).unwrap();
    m.func.set_results([y]);
    m.outputs.push(Port { name: "y".into(), shape, ..Default::default() });
    let counts = in_sequence(&m);
    assert_eq!([x, first, long, short, y].map(|v| counts[v.index()]), [3, 3, 3, 2, 3]);
}
