//! A network quantised with a given number of values per tensor, and how it does on calibration data.

use std::collections::HashMap;
use std::rc::Rc;

use fhec_integer::{Input, Layer, Output, Program, Quantiser, Sums};
use fhec_ir::{F64, Port, Tensor, ValueRange};

use super::network::{Affine, Network};
use super::statistics::{Moments, covariances_with};
use super::tables::{self, Reading};
use super::weights::{Bounds, Rounded, rounded};
use super::{Capacity, QuantiseError, QuantisedLayer, Room};

/// Calibration inputs that are used.
const MOST_SAMPLES: usize = 1024;
/// Observations from which covariances are estimated.
const OBSERVATIONS: usize = 4096;
/// Rows that share their weights, of which observations are taken.
const ROWS: usize = 16;

/// What the network itself computes on calibration data.
pub(super) struct Observed {
    /// Inputs of each sample.
    inputs: Vec<Vec<Vec<f64>>>,
    /// Arguments of the functions, then results: by set of sums, by sample.
    sums: Vec<Vec<Vec<f32>>>,
    /// Samples that are fitted to; the rest is held back.
    fitted: usize,
}

impl Observed {
    /// Runs the network on `samples`.
    ///
    /// # Errors
    /// Inputs of other shapes, and values that are not finite.
    pub(super) fn of(network: &Network, samples: &[Vec<Tensor>]) -> Result<Self, QuantiseError> {
        let samples = &samples[..samples.len().min(MOST_SAMPLES)];
        let mut out = Self {
            inputs: Vec::with_capacity(samples.len()),
            sums: vec![Vec::with_capacity(samples.len()); network.functions.len() + network.results.len()],
            fitted: samples.len() - samples.len() / 4,
        };
        for sample in samples {
            check_shapes(network, sample)?;
            let inputs = sample.iter().map(|t| t.data().iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            let mut values: Vec<Vec<f64>> = inputs.collect();
            out.inputs.push(values.clone());
            for (at, function) in network.functions.iter().enumerate() {
                let sums = finite(&function.argument, function.argument.apply(&values))?;
                values.push(finite(&function.argument, function.values(&sums, &network.consts)?)?);
                out.sums[at].push(sums.iter().map(|&x| x as f32).collect());
            }
            for (at, result) in network.results.iter().enumerate() {
                let sums = finite(result, result.apply(&values))?;
                out.sums[network.functions.len() + at].push(sums.iter().map(|&x| x as f32).collect());
            }
        }
        Ok(out)
    }
    pub(super) fn held_back(&self) -> usize {
        self.inputs.len() - self.fitted
    }
    /// The output ports with the ranges that the program's results have.
    pub(super) fn result_ranges(&self, trial: &Trial, ports: Vec<Port>) -> Vec<Port> {
        let ranged = |(port, values): (Port, &Vec<f64>)| Port { range: ValueRange::of(values.iter().copied()), ..port };
        ports.into_iter().zip(&trial.results).map(ranged).collect()
    }
}

fn check_shapes(network: &Network, sample: &[Tensor]) -> Result<(), QuantiseError> {
    use fhec_ir::nn::eval::EvalError;
    if sample.len() != network.inputs.len() {
        return Err(EvalError::InputCount { expected: network.inputs.len(), found: sample.len() }.into());
    }
    for (index, (port, tensor)) in network.inputs.iter().zip(sample).enumerate() {
        if *tensor.shape() != port.shape {
            let (name, expected, found) = (port.name.clone(), port.shape.clone(), tensor.shape().clone());
            return Err(EvalError::InputShape { index, name, expected, found }.into());
        }
    }
    Ok(())
}

fn finite(of: &Affine, values: Vec<f64>) -> Result<Vec<f64>, QuantiseError> {
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(values),
        false => Err(QuantiseError::NotFinite { node: of.node.clone() }),
    }
}

/// A tensor of the program: its integers on every sample, and what they stand for.
struct Quantised {
    integers: Vec<Vec<u32>>,
    quantisers: Vec<Quantiser>,
}

/// A quantised network and how it does.
pub(super) struct Trial {
    pub(super) program: Program,
    pub(super) layers: Vec<QuantisedLayer>,
    /// Share of held-back samples whose first largest result is where the network's is.
    pub(super) agreement: f64,
    /// Square error of the results over their variance, on held-back samples.
    pub(super) error: f64,
    /// All results of every output.
    results: Vec<Vec<f64>>,
}

impl Trial {
    /// Quantises `network` so that the largest integer of tensor `t` is `tops[t]`.
    ///
    /// # Errors
    /// When an element-wise op cannot be evaluated.
    pub(super) fn of(
        network: &Network,
        observed: &Observed,
        capacity: &Capacity,
        tops: &[u32],
    ) -> Result<Self, QuantiseError> {
        let mut program = Program::default();
        let mut tensors = Vec::with_capacity(tops.len());
        for (at, port) in network.inputs.iter().enumerate() {
            let (input, tensor) = input(observed, at, port, tops[at]);
            program.inputs.push(input);
            tensors.push(tensor);
        }
        let mut layers = Vec::new();
        for (at, function) in network.functions.iter().enumerate() {
            let target = &observed.sums[at];
            let fresh = function.argument.terms.iter().all(|(t, _)| *t < network.inputs.len());
            let room = if fresh { capacity.first } else { capacity.lookups };
            let read = summed(&function.argument, &tensors, target, observed.fitted, room);
            let top = tops[network.inputs.len() + at];
            layers.push(read.described(&function.argument.node, target, observed.fitted, Some(top + 1)));
            let values = read.values();
            let activated =
                values.iter().map(|x| function.values(x, &network.consts)).collect::<Result<Vec<_>, _>>()?;
            let quantisers = ranges(&activated[..observed.fitted], &tables::channels(&function.argument.shape), top);
            let Summed { sums, readings, integers, tops, .. } = read;
            let tables = tables::tables(function, &network.consts, &sums, &tops, &readings, &quantisers)?;
            let look_up = |sums: &Vec<i64>| -> Vec<u32> {
                let at = |(&sum, &of): (&i64, &u32)| tables.tables[of as usize].at(sum).unwrap_or_default();
                sums.iter().zip(&tables.of).map(at).collect()
            };
            tensors.push(Quantised { integers: integers.iter().map(look_up).collect(), quantisers });
            program.layers.push(Layer { node: function.argument.node.clone(), sums, tables });
        }
        let (mut results, mut error, mut agreement) = (Vec::new(), 0.0, 1.0);
        for (at, result) in network.results.iter().enumerate() {
            let target = &observed.sums[network.functions.len() + at];
            let read = best_room(result, &tensors, target, observed.fitted, &capacity.results);
            let described = read.described(&result.node, target, observed.fitted, None);
            error += described.error;
            let values = read.values();
            if at == 0 {
                agreement = agreed(&values[observed.fitted..], &target[observed.fitted..]);
            }
            layers.push(described);
            results.push(values.into_iter().flatten().collect());
            let (scale, shift) = read.readings.iter().map(|of| (of.scale, of.shift)).unzip();
            let port = network.ports[at].clone();
            program.outputs.push(Output { port, node: result.node.clone(), sums: read.sums, scale, shift });
        }
        Ok(Self { program, layers, agreement, error, results })
    }

    /// Whether it agrees more with the network, or as much with a smaller error.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        (self.agreement, -self.error) > (other.agreement, -other.error)
    }
}

fn input(observed: &Observed, at: usize, port: &Port, top: u32) -> (Input, Quantised) {
    let all = || observed.inputs.iter().flat_map(|sample| sample[at].iter().copied());
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    let width = if high > low { high - low } else { 1.0 };
    let quantiser = Quantiser { zero: F64(low), step: F64(width / f64::from(top)), top };
    let integers = |sample: &Vec<Vec<f64>>| sample[at].iter().map(|&x| quantiser.quantise(x)).collect();
    let tensor = Quantised {
        integers: observed.inputs.iter().map(integers).collect(),
        quantisers: vec![quantiser; port.shape.len()],
    };
    (Input { port: Port { range: ValueRange::of(all()), ..port.clone() }, quantiser }, tensor)
}

/// The quantiser of every element, one per channel.
fn ranges(values: &[Vec<f64>], channels: &[usize], top: u32) -> Vec<Quantiser> {
    let count = channels.iter().max().map_or(0, |&c| c + 1);
    let mut seen: Vec<Vec<f64>> = vec![Vec::new(); count];
    let elements = channels.len().div_ceil(count.max(1));
    // So many samples that each channel has enough values.
    let every = (values.len() * elements / OBSERVATIONS).max(1);
    for sample in values.iter().step_by(every) {
        sample.iter().zip(channels).for_each(|(&x, &c)| seen[c].push(x));
    }
    let quantisers: Vec<Quantiser> = seen.iter().map(|values| tables::quantiser(values, top)).collect();
    channels.iter().map(|&c| quantisers[c]).collect()
}

/// Sums of integers in place of real ones.
struct Summed {
    sums: Sums,
    readings: Vec<Reading>,
    /// The sums on every sample.
    integers: Vec<Vec<i64>>,
    /// The largest integer of each column.
    tops: Vec<u32>,
    /// Most products of one sum, those with a weight of zero among them.
    products: usize,
}

impl Summed {
    /// What the sums stand for, on every sample.
    fn values(&self) -> Vec<Vec<f64>> {
        let value = |(&sum, of): (&i64, &Reading)| of.scale * sum as f64 + of.shift;
        self.integers.iter().map(|sums| sums.iter().zip(&self.readings).map(value).collect()).collect()
    }
    fn described(&self, node: &str, target: &[Vec<f32>], fitted: usize, values: Option<u32>) -> QuantisedLayer {
        let rows = 0..self.sums.rows();
        let width = |r| self.sums.bounds(r, |c| self.tops[c]).map_or(0, |(low, high)| high.abs_diff(low));
        let widest = rows.clone().map(width).max().unwrap_or(0);
        QuantisedLayer {
            node: node.into(),
            sums: self.sums.rows(),
            products: self.products,
            kept: rows.map(|r| self.sums.row(r).count()).max().unwrap_or(0),
            sum_bits: u64::BITS - widest.leading_zeros(),
            largest_weight: self.sums.weights.iter().map(|w| w.unsigned_abs()).max().unwrap_or(0),
            values,
            error: relative_error(&self.values()[fitted..], &target[fitted..]),
        }
    }
}

/// The mean square error over the variance, over all elements together.
fn relative_error(values: &[Vec<f64>], target: &[Vec<f32>]) -> f64 {
    let (mut error, mut square, mut sum, mut count) = (0.0, 0.0, 0.0, 0.0);
    for (&x, &t) in values.iter().flatten().zip(target.iter().flatten()) {
        let t = f64::from(t);
        error += (x - t).powi(2);
        (square, sum, count) = (square + t * t, sum + t, count + 1.0);
    }
    let variance: f64 = square - sum * sum / f64::max(count, 1.0);
    if variance > 0.0 { error / variance } else { 0.0 }
}

fn agreed(values: &[Vec<f64>], target: &[Vec<f32>]) -> f64 {
    let largest = |x: &mut dyn Iterator<Item = f64>| {
        x.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(at, _)| at)
    };
    let same = values
        .iter()
        .zip(target)
        .filter(|(x, t)| largest(&mut x.iter().copied()) == largest(&mut t.iter().map(|&t| f64::from(t))));
    same.count() as f64 / values.len().max(1) as f64
}

/// The sums that lose least among those that fit one of `rooms`.
fn best_room(of: &Affine, tensors: &[Quantised], target: &[Vec<f32>], fitted: usize, rooms: &[Room]) -> Summed {
    let tried = rooms.iter().map(|&room| summed(of, tensors, target, fitted, room));
    let error = |s: &Summed| relative_error(&s.values()[..fitted], &target[..fitted]);
    let best = tried.map(|s| (error(&s), s)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, s)| s).unwrap_or_else(|| summed(of, tensors, target, fitted, Room { bits: 1, norm: 1.0 }))
}

/// A row in real numbers over the integers of its operands.
struct RealRow {
    columns: Vec<usize>,
    weights: Vec<f64>,
    shift: f64,
}

/// The columns of `of`, and where each is found.
struct Columns<'a> {
    tensors: Vec<&'a Quantised>,
    starts: Vec<usize>,
}

impl Columns<'_> {
    fn at(&self, column: usize) -> (&Quantised, usize) {
        let which = self.starts.partition_point(|&start| start <= column) - 1;
        (self.tensors[which], column - self.starts[which])
    }
}

/// The sums of `of` with integer weights, within `room`.
fn summed(of: &Affine, tensors: &[Quantised], target: &[Vec<f32>], fitted: usize, room: Room) -> Summed {
    let operands: Vec<&Quantised> = of.terms.iter().map(|(t, _)| &tensors[*t]).collect();
    let starts = operands.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + t.quantisers.len()))).collect();
    let columns = Columns { tensors: operands, starts };
    let tops: Vec<u32> = columns.tensors.iter().flat_map(|t| t.quantisers.iter().map(|q| q.top)).collect();
    let rows: Vec<RealRow> = (0..of.rows()).map(|r| real_row(of, &columns, r)).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<Vec<u64>, usize> = HashMap::new();
    for (r, row) in rows.iter().enumerate() {
        let key = row.weights.iter().map(|w| w.to_bits()).collect();
        let group = *known.entry(key).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(r);
    }
    let mut integer: Vec<Vec<i32>> = vec![Vec::new(); rows.len()];
    let mut readings = vec![Reading { scale: 1.0, shift: 0.0 }; rows.len()];
    let mut moments = HashMap::new();
    for group in &groups {
        let fit = fit_group(&rows, group, &columns, target, fitted, room, &mut moments);
        for &r in group {
            readings[r] = Reading { scale: fit.rounded.scale, shift: rows[r].shift + fit.shift };
            integer[r].clone_from(&fit.rounded.weights);
        }
    }
    let mut sums = Sums::over(of.terms.iter().map(|(t, _)| *t).collect());
    for (row, weights) in rows.iter().zip(&integer) {
        sums.push(row.columns.iter().copied().zip(weights.iter().copied()));
    }
    let samples = target.len();
    let on_sample = |sample: usize| {
        let x: Vec<i64> =
            columns.tensors.iter().flat_map(|t| t.integers[sample].iter().map(|&x| i64::from(x))).collect();
        (0..sums.rows()).map(|r| sums.row(r).map(|(c, w)| i64::from(w) * x[c]).sum()).collect()
    };
    let integers = (0..samples).map(on_sample).collect();
    let products = rows.iter().map(|row| row.columns.len()).max().unwrap_or(0);
    Summed { sums, readings, integers, tops, products }
}

fn real_row(of: &Affine, columns: &Columns<'_>, r: usize) -> RealRow {
    let mut row = RealRow { columns: Vec::new(), weights: Vec::new(), shift: of.bias[r] };
    for ((_, map), &start) in of.terms.iter().zip(&columns.starts) {
        for (c, w) in map.row(r) {
            let (tensor, element) = columns.at(start + c);
            let quantiser = tensor.quantisers[element];
            row.columns.push(start + c);
            row.weights.push(w * quantiser.step.0);
            row.shift += w * quantiser.zero.0;
        }
    }
    row
}

struct Fit {
    rounded: Rounded,
    /// What is added to the shift of each row: the mean of what it should be, less that of what it is.
    shift: f64,
}

/// Covariances by the columns that were observed.
type KnownMoments = HashMap<Vec<usize>, Rc<(Vec<f64>, Moments)>>;

fn fit_group(
    rows: &[RealRow],
    group: &[usize],
    columns: &Columns<'_>,
    target: &[Vec<f32>],
    fitted: usize,
    room: Room,
    known: &mut KnownMoments,
) -> Fit {
    let operands = rows[group[0]].columns.len();
    let taken: Vec<usize> = group.iter().copied().step_by(group.len().div_ceil(ROWS)).collect();
    let every = (taken.len() * fitted / OBSERVATIONS).max(1);
    let key: Vec<usize> = taken.iter().flat_map(|&r| rows[r].columns.iter().copied()).collect();
    let observe = || {
        let samples = (0..fitted).step_by(every);
        let read = |sample: usize, r: usize| {
            rows[r].columns.iter().map(move |&c| {
                let (tensor, element) = columns.at(c);
                f64::from(tensor.integers[sample][element])
            })
        };
        let observations: Vec<f64> = samples.flat_map(|s| taken.iter().flat_map(move |&r| read(s, r))).collect();
        let moments = Moments::of(&observations, operands);
        Rc::new((observations, moments))
    };
    let observed = known.entry(key).or_insert_with(observe).clone();
    let (observations, moments) = &*observed;
    let samples = (0..fitted).step_by(every);
    // What the sums should be, without the constant that each row has.
    let wanted: Vec<f64> =
        samples.flat_map(|s| taken.iter().map(move |&r| f64::from(target[s][r]) - rows[r].shift)).collect();
    let weights = &rows[group[0]].weights;
    let missing: Vec<f64> = match operands {
        0 => wanted.clone(),
        _ => observations
            .chunks_exact(operands)
            .zip(&wanted)
            .map(|(x, w)| w - super::statistics::dot(x, weights))
            .collect(),
    };
    let mut towards = moments.times(weights);
    towards.iter_mut().zip(covariances_with(observations, operands, &missing)).for_each(|(t, c)| *t += c);
    let tops: Vec<u32> = rows[group[0]]
        .columns
        .iter()
        .map(|&c| {
            let (tensor, element) = columns.at(c);
            tensor.quantisers[element].top
        })
        .collect();
    let rounded = rounded(weights, &towards, moments, &Bounds { tops: &tops, room });
    let integer: Vec<f64> = rounded.weights.iter().map(|&q| f64::from(q) * rounded.scale).collect();
    let mean = |x: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = x.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
        sum / f64::max(count, 1.0)
    };
    let got = match operands {
        0 => 0.0,
        _ => mean(&mut observations.chunks_exact(operands).map(|x| super::statistics::dot(x, &integer))),
    };
    Fit { shift: mean(&mut wanted.iter().copied()) - got, rounded }
}
