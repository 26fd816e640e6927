//! Resizing by constants: along each dimension a selection of elements, or a product with a constant matrix.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, axis, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new(
        "Resize",
        resize,
        "nearest, linear and cubic, with antialias; all coordinate modes but tf_crop_and_resize; constant scales or sizes",
    ),
    Operator::new("Upsample", upsample, "nearest and linear; constant scales"),
];

/// Where a result lies among the elements of the operand.
#[derive(Clone, Copy, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
}

/// Which element is nearest.
#[derive(Clone, Copy)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How elements are mixed.
#[derive(Clone, Copy)]
enum ResizeMode {
    Nearest(Nearest),
    Linear,
    /// With the coefficient of the kernel.
    Cubic(f64),
}

struct Sampling {
    coordinates: Coordinates,
    mode: ResizeMode,
    exclude_outside: bool,
    antialias: bool,
}

/// The new extent and the scale of every dimension.
type Scales = Vec<(usize, f64)>;

fn resize(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    if node.opset < 11 {
        return upsample(cx, node);
    }
    let coordinates = match node.text("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => {
            return Err(Refusal::new(
                "it crops by a region of interest (tf_crop_and_resize)",
                "crop with Slice, then resize with half_pixel coordinates",
            ));
        }
        other => return Err(Refusal::invalid(format!("coordinate_transformation_mode is `{other}`"))),
    };
    let nearest = match node.text("nearest_mode")?.unwrap_or("round_prefer_floor") {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(Refusal::invalid(format!("nearest_mode is `{other}`"))),
    };
    let mode = match node.text("mode")?.unwrap_or("nearest") {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic(f64::from(node.float("cubic_coeff_a")?.unwrap_or(-0.75))),
        other => return Err(Refusal::invalid(format!("mode is `{other}`"))),
    };
    let sampling = Sampling {
        coordinates,
        mode,
        exclude_outside: node.flag("exclude_outside", false)?,
        antialias: node.flag("antialias", false)?,
    };
    let extents = node.input_shape(cx, 0)?.0;
    let scales = scales(node, &extents)?;
    sampled(cx, node.input(0)?, &scales, &sampling).map(|y| vec![y])
}

/// New extents and scales from the operands `scales` or `sizes`.
fn scales(node: &NodeView<'_>, extents: &[usize]) -> Result<Scales> {
    let rank = extents.len();
    let along = match node.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let mut out: Scales = extents.iter().map(|&n| (n, 1.0)).collect();
    let missing = || Refusal::invalid(format!("its scales or sizes do not fit {} dimensions", along.len()));
    if let Some(t) = node.floats_input(2, "scales")?.filter(|t| !t.data().is_empty()) {
        if t.data().len() != along.len() {
            return Err(missing());
        }
        for (&d, &scale) in along.iter().zip(t.data()) {
            out[d] = scaled(extents[d], f64::from(scale))?;
        }
        return Ok(out);
    }
    let sizes = node.ints_input(3, "sizes")?.filter(|t| t.data.len() == along.len()).ok_or_else(missing)?;
    let ratio = |(&d, &size): (&usize, &i64)| size as f64 / extents[d] as f64;
    let ratios = along.iter().zip(sizes.data.iter()).map(ratio);
    let common = match node.text("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
        "stretch" => None,
        "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.fold(0.0, f64::max)),
        other => return Err(Refusal::invalid(format!("keep_aspect_ratio_policy is `{other}`"))),
    };
    for (&d, &size) in along.iter().zip(sizes.data.iter()) {
        let size = common.map_or(size as f64, |scale| (scale * extents[d] as f64 + 0.5).floor());
        let scale = common.unwrap_or(size / extents[d] as f64);
        out[d] = (extent(size)?, scale);
    }
    Ok(out)
}

/// The extent that `n` elements have times `scale`.
fn scaled(n: usize, scale: f64) -> Result<(usize, f64)> {
    // Scales are single precision: 49 · (64/49) is 64.
    let to = n as f64 * scale;
    let to = if (to - to.round()).abs() < 1e-5 * to { to.round() } else { to.floor() };
    if scale > 0.0 { Ok((extent(to)?, scale)) } else { Err(Refusal::invalid(format!("a scale of {scale}"))) }
}

fn extent(size: f64) -> Result<usize> {
    if (1.0..f64::from(1 << 24)).contains(&size) {
        Ok(size as usize)
    } else {
        Err(Refusal::invalid(format!("a new extent of {size}")))
    }
}

fn upsample(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let scales: Vec<f32> = if node.opset < 9 && node.proto.op_type == "Upsample" {
        node.floats("scales")?.map(<[f32]>::to_vec).unwrap_or_default()
    } else {
        node.floats_input(1, "scales")?.map(|t| t.data().to_vec()).unwrap_or_default()
    };
    let extents = node.input_shape(cx, 0)?.0;
    if scales.len() != extents.len() {
        return Err(Refusal::invalid(format!("{} scales for {} dimensions", scales.len(), extents.len())));
    }
    let scales = extents.iter().zip(scales).map(|(&n, s)| scaled(n, f64::from(s))).collect::<Result<Scales>>()?;
    let mode = match node.text("mode")?.unwrap_or("nearest") {
        "nearest" => ResizeMode::Nearest(Nearest::Floor),
        "linear" | "bilinear" => ResizeMode::Linear,
        other => return Err(Refusal::invalid(format!("mode is `{other}`"))),
    };
    let sampling = Sampling { coordinates: Coordinates::Asymmetric, mode, exclude_outside: false, antialias: false };
    sampled(cx, node.input(0)?, &scales, &sampling).map(|y| vec![y])
}

fn sampled(cx: &mut Context, x: &Operand, scales: &Scales, sampling: &Sampling) -> Result<Operand> {
    let rank = scales.len();
    let mut x = x.clone();
    for (d, &(to, scale)) in scales.iter().enumerate() {
        let from = cx.shape(&x).0[d];
        if from == 0 {
            return Err(Refusal::invalid("an operand without elements"));
        }
        if from == to && scale == 1.0 {
            continue;
        }
        let at = |i: usize| sampling.coordinates.at(i, from, to, scale);
        // Before anything is allocated: a matrix, or indices of two words each.
        cx.take_elements(&vec![if matches!(sampling.mode, ResizeMode::Nearest(_)) { 2 } else { from }, to].into())?;
        if let ResizeMode::Nearest(nearest) = sampling.mode {
            let indices: Vec<i64> = (0..to).map(|i| nearest.of(at(i)).clamp(0.0, from as f64 - 1.0) as i64).collect();
            x = cx.moved(NnOp::Gather { axis: d as i64, indices, shape: vec![to as i64] }, &[&x])?;
            continue;
        }
        // Row i of the matrix mixes the elements around the place of result i.
        let mut weights = vec![0.0f32; from * to];
        for i in 0..to {
            for (j, w) in sampling.weights(at(i), from, scale) {
                weights[j * to + i] += w as f32;
            }
        }
        let matrix = cx.constant([from, to], weights)?;
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(d, rank - 1);
        let turn = NnOp::Transpose { perm: signed(&perm) };
        let turned = if d + 1 == rank { x } else { cx.push(turn.clone(), &[&x])? };
        let y = cx.push(NnOp::MatMul {}, &[&turned, &matrix])?;
        x = if d + 1 == rank { y } else { cx.push(turn, &[&y])? };
    }
    Ok(x)
}

impl Coordinates {
    /// The place of result `i` of `to` among `from` elements (ONNX, Resize, `coordinate_transformation_mode`).
    fn at(self, i: usize, from: usize, to: usize, scale: f64) -> f64 {
        let half = (i as f64 + 0.5) / scale - 0.5;
        match self {
            Self::HalfPixel => half,
            Self::HalfPixelSymmetric => {
                let adjustment = to as f64 / (scale * from as f64);
                from as f64 / 2.0 * (1.0 - adjustment) + half
            }
            Self::PytorchHalfPixel => {
                if to > 1 {
                    half
                } else {
                    0.0
                }
            }
            Self::AlignCorners if to == 1 => 0.0,
            Self::AlignCorners => i as f64 * (from as f64 - 1.0) / (to as f64 - 1.0),
            Self::Asymmetric => i as f64 / scale,
            Self::TfHalfPixelForNn => (i as f64 + 0.5) / scale,
        }
    }
}

impl Nearest {
    fn of(self, x: f64) -> f64 {
        // Places are quotients: one that is a whole number up to rounding is that.
        let x = if (x - x.round()).abs() < 1e-9 { x.round() } else { x };
        match self {
            Self::RoundPreferFloor => (x - 0.5).ceil(),
            Self::RoundPreferCeil => (x + 0.5).floor(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
        }
    }
}

impl Sampling {
    /// What the elements weigh in a result at place `x`. Beyond the ends the last ones are repeated, or left out.
    fn weights(&self, x: f64, from: usize, scale: f64) -> Vec<(usize, f64)> {
        // Where results are fewer, antialiasing widens the kernel.
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let reach = match self.mode {
            ResizeMode::Cubic(_) => 2.0,
            _ => 1.0,
        } / stretch;
        let kernel = |distance: f64| {
            let d = (distance * stretch).abs();
            match self.mode {
                ResizeMode::Cubic(a) if d < 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                ResizeMode::Cubic(a) if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
                ResizeMode::Cubic(_) => 0.0,
                _ => (1.0 - d).max(0.0),
            }
        };
        let (first, last) = ((x - reach).floor() as i64, (x + reach).ceil() as i64);
        let inside = |j: &i64| (0..from as i64).contains(j);
        let all: Vec<(i64, f64)> =
            (first..=last).filter(|j| !self.exclude_outside || inside(j)).map(|j| (j, kernel(x - j as f64))).collect();
        let sum: f64 = all.iter().map(|(_, w)| w).sum();
        all.iter().map(|&(j, w)| (j.clamp(0, from as i64 - 1) as usize, w / sum)).filter(|(_, w)| *w != 0.0).collect()
    }
}
