//! Decodes constants. What a tensor declares is compared with the data it has before anything is allocated.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use fhec_ir::{Shape, Tensor};

use crate::error::{Refusal, Result};
use crate::known::{IntType, Ints, Known};
use crate::proto::{self, data_type as ty};

/// [`proto::Tensor::data_location`] of elements in another file.
const EXTERNAL: i32 = 1;

/// The value of a constant; `external` is the folder of the model file, for elements kept outside it.
pub(crate) fn decode(tensor: &proto::Tensor, external: Option<&Path>) -> Result<Known> {
    let shape = shape(&tensor.dims)?;
    let n = shape.len();
    let kind = tensor.data_type;
    let file;
    let raw = if tensor.data_location == EXTERNAL {
        file = read_external(tensor, n, external)?;
        Some(file.as_slice())
    } else {
        tensor.raw_data.as_deref()
    };
    let elements = match raw {
        Some(raw) => from_raw(kind, raw, n)?,
        None => from_fields(tensor)?,
    };
    let found = match &elements {
        Elements::Floats(data) => data.len(),
        Elements::Ints(data) => data.len(),
    };
    if found != n {
        return Err(Refusal::invalid(format!("{found} elements of data for shape {shape}")));
    }
    Ok(match elements {
        Elements::Floats(data) => Known::Floats(Tensor::new(shape, data)),
        Elements::Ints(data) => {
            let ty = IntType::of(kind).ok_or_else(|| unsupported(kind))?;
            Known::Ints(Ints { shape, data: data.into(), ty })
        }
    })
}

/// A shape from declared extents: none negative, and all together within bounds.
pub(crate) fn shape(dims: &[i64]) -> Result<Shape> {
    let shape: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    match shape.map(Shape) {
        Some(shape) if shape.is_bounded() => Ok(shape),
        _ => Err(Refusal::invalid(format!("a tensor of extents {dims:?}"))),
    }
}

enum Elements {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

/// Bytes of `n` elements.
fn bytes(kind: i32, n: usize) -> Result<usize> {
    let width = match kind {
        ty::UINT4 | ty::INT4 => return Ok(n.div_ceil(2)),
        ty::BOOL | ty::UINT8 | ty::INT8 => 1,
        ty::FLOAT16 | ty::BFLOAT16 | ty::UINT16 | ty::INT16 => 2,
        ty::FLOAT | ty::INT32 | ty::UINT32 => 4,
        ty::DOUBLE | ty::INT64 | ty::UINT64 => 8,
        _ => return Err(unsupported(kind)),
    };
    Ok(n * width)
}

fn unsupported(kind: i32) -> Refusal {
    Refusal::new(
        format!("a constant of type {}", ty::name(kind)),
        "export the model in float32 (weights) and int64 (shapes and indices)",
    )
}

fn from_raw(kind: i32, raw: &[u8], n: usize) -> Result<Elements> {
    if raw.len() != bytes(kind, n)? {
        return Err(Refusal::invalid(format!("{} bytes of data for {n} elements of {}", raw.len(), ty::name(kind))));
    }
    fn map<const W: usize, T>(raw: &[u8], f: impl Fn([u8; W]) -> T) -> Vec<T> {
        raw.as_chunks::<W>().0.iter().map(|&bytes| f(bytes)).collect()
    }
    Ok(match kind {
        ty::FLOAT => Elements::Floats(map(raw, f32::from_le_bytes)),
        ty::DOUBLE => Elements::Floats(map(raw, |b| f64::from_le_bytes(b) as f32)),
        ty::FLOAT16 => Elements::Floats(map(raw, |b| half(u16::from_le_bytes(b)))),
        ty::BFLOAT16 => Elements::Floats(map(raw, |b| bfloat(u16::from_le_bytes(b)))),
        ty::BOOL => Elements::Ints(map(raw, |[b]: [u8; 1]| i64::from(b != 0))),
        ty::UINT8 => Elements::Ints(map(raw, |[b]: [u8; 1]| i64::from(b))),
        ty::INT8 => Elements::Ints(map(raw, |b| i64::from(i8::from_le_bytes(b)))),
        ty::UINT16 => Elements::Ints(map(raw, |b| i64::from(u16::from_le_bytes(b)))),
        ty::INT16 => Elements::Ints(map(raw, |b| i64::from(i16::from_le_bytes(b)))),
        ty::UINT32 => Elements::Ints(map(raw, |b| i64::from(u32::from_le_bytes(b)))),
        ty::INT32 => Elements::Ints(map(raw, |b| i64::from(i32::from_le_bytes(b)))),
        ty::INT64 => Elements::Ints(map(raw, i64::from_le_bytes)),
        ty::UINT64 => Elements::Ints(unsigned(map(raw, u64::from_le_bytes))?),
        ty::UINT4 | ty::INT4 => Elements::Ints(nibbles(kind, raw.iter().copied(), n)),
        _ => return Err(unsupported(kind)),
    })
}

fn from_fields(t: &proto::Tensor) -> Result<Elements> {
    let bits = |i: &i32| *i as u16;
    Ok(match t.data_type {
        ty::FLOAT => Elements::Floats(t.float_data.clone()),
        ty::DOUBLE => Elements::Floats(t.double_data.iter().map(|&x| x as f32).collect()),
        ty::FLOAT16 => Elements::Floats(t.int32_data.iter().map(|i| half(bits(i))).collect()),
        ty::BFLOAT16 => Elements::Floats(t.int32_data.iter().map(|i| bfloat(bits(i))).collect()),
        ty::BOOL => Elements::Ints(t.int32_data.iter().map(|&i| i64::from(i != 0)).collect()),
        ty::UINT8 | ty::INT8 | ty::UINT16 | ty::INT16 | ty::INT32 => {
            Elements::Ints(t.int32_data.iter().map(|&i| i64::from(i)).collect())
        }
        ty::UINT4 | ty::INT4 => {
            let n = t.dims.iter().product::<i64>() as usize;
            Elements::Ints(nibbles(t.data_type, t.int32_data.iter().map(|&i| i as u8), n))
        }
        ty::INT64 => Elements::Ints(t.int64_data.clone()),
        ty::UINT32 | ty::UINT64 => Elements::Ints(unsigned(t.uint64_data.clone())?),
        kind => return Err(unsupported(kind)),
    })
}

/// At most `n` integers of four bits, two to a byte.
fn nibbles(kind: i32, bytes: impl Iterator<Item = u8>, n: usize) -> Vec<i64> {
    let ty = IntType::of(kind).unwrap_or(IntType::I64);
    bytes.flat_map(|b| [b & 15, b >> 4]).take(n).map(|b| ty.wrap(i64::from(b))).collect()
}

fn unsigned(data: Vec<u64>) -> Result<Vec<i64>> {
    let signed: Option<Vec<i64>> = data.into_iter().map(|i| i64::try_from(i).ok()).collect();
    signed.ok_or_else(|| Refusal::new("a 64-bit integer beyond the signed range", "use int64 constants"))
}

/// The value of an IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * (-24f32).exp2(),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * ((exponent - 25) as f32).exp2(),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// The value of a bfloat16: the upper half of an `f32`.
fn bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bytes of a tensor of `n` elements from the file it names, which must lie inside `folder`.
fn read_external(tensor: &proto::Tensor, n: usize, folder: Option<&Path>) -> Result<Vec<u8>> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        let text = entry(key);
        text.map(|s| s.parse::<u64>().map_err(|_| Refusal::invalid(format!("external data: {key} is `{s}`"))))
            .transpose()
    };
    let location = entry("location").ok_or_else(|| Refusal::invalid("external data without a location"))?;
    let folder = folder.ok_or_else(|| {
        Refusal::new(
            format!("its data is in the file `{location}`, and no folder for external data is given"),
            "import the model from its file, or state the folder of its external data",
        )
    })?;
    let inside = Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let escape = || {
        Refusal::new(
            format!("its data is in `{location}`, outside the folder of the model"),
            "place the data file in the folder of the model and name it by a relative path",
        )
    };
    if !inside {
        return Err(escape());
    }
    let unreadable = |e: std::io::Error| {
        Refusal::new(format!("its data file `{location}` cannot be read: {e}"), "place the data file beside the model")
    };
    // Links are resolved before the check, so none leads outside.
    let root = folder.canonicalize().map_err(unreadable)?;
    let path = folder.join(location).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&root) {
        return Err(escape());
    }
    let offset = number("offset")?.unwrap_or(0);
    let needed = bytes(tensor.data_type, n)? as u64;
    if let Some(length) = number("length")?.filter(|&length| length != needed) {
        return Err(Refusal::invalid(format!("external data of {length} bytes where {needed} are needed")));
    }
    let metadata = path.metadata().map_err(unreadable)?;
    let available = if metadata.is_file() { metadata.len() } else { 0 };
    if offset.checked_add(needed).is_none_or(|end| end > available) {
        return Err(Refusal::new(
            format!("its data file `{location}` has {available} bytes; {needed} from {offset} are needed"),
            "the data file is truncated or belongs to another model: export the model again",
        ));
    }
    let mut file = File::open(&path).map_err(unreadable)?;
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut bytes = vec![0; needed as usize];
    file.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(bfloat(0x3f80), 1.0);
    }
}
