//! The header of an `.npy` file is checked before the general reader of Python literals sees it, because that reader
//! takes time exponential in the depth of nested brackets, and memory by the length that the file claims.

use std::io::{self, Cursor, Read};

/// Most bytes of a header. NumPy itself writes and reads fewer, save for long structured types.
const MAX_LEN: usize = 1 << 16;
/// log2 of the most elements of an array, well above what fits in memory.
const MAX_LOG_ELEMENTS: u32 = 48;

/// The file with its header read ahead, if that is one `numpy.save` writes for an array of numbers.
///
/// # Errors
/// When it cannot be read, or is another header.
pub(super) fn checked<R: Read>(mut file: R) -> io::Result<impl Read> {
    let mut start = vec![0; 8];
    file.read_exact(&mut start)?;
    // From version 2 on the length has four bytes.
    let len_bytes = if start[6] >= 2 { 4 } else { 2 };
    start.resize(8 + len_bytes, 0);
    file.read_exact(&mut start[8..])?;
    let len = start[8..].iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    if len > MAX_LEN {
        return Err(invalid("its header is too long"));
    }
    let at = start.len();
    start.resize(at + len, 0);
    file.read_exact(&mut start[at..])?;
    dictionary(std::str::from_utf8(&start[at..]).map_err(|_| invalid("its header is not text"))?)?;
    Ok(Cursor::new(start).chain(file))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`
fn dictionary(text: &str) -> io::Result<()> {
    let malformed = || invalid("its header does not describe an array of numbers");
    let text = text.trim();
    let mut rest = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?.trim();
    while !rest.is_empty() {
        let (key, value) = quoted(rest).ok_or_else(malformed)?;
        let value = value.trim_start().strip_prefix(':').ok_or_else(malformed)?.trim_start();
        rest = match key {
            "descr" if value.starts_with(['[', '(']) => return Err(invalid("the array has a structured type")),
            "descr" => quoted(value).ok_or_else(malformed)?.1,
            "fortran_order" => {
                value.strip_prefix("False").or_else(|| value.strip_prefix("True")).ok_or_else(malformed)?
            }
            "shape" => {
                let (dims, rest) = value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(malformed)?;
                shape(dims).ok_or_else(malformed)?;
                rest
            }
            _ => return Err(malformed()),
        }
        .trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => (),
            None => return Err(malformed()),
        }
    }
    Ok(())
}

/// The string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split_once(quote).filter(|(string, _)| !string.contains('\\'))
}

/// Refuses all but decimal numbers whose product, zeros aside, can be computed with.
fn shape(dims: &str) -> Option<()> {
    let mut elements = 1u64;
    for dim in dims.split(',').map(str::trim).filter(|dim| !dim.is_empty()) {
        if !dim.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        elements = elements.checked_mul(dim.parse::<u64>().ok()?.max(1)).filter(|n| n >> MAX_LOG_ELEMENTS == 0)?;
    }
    Some(())
}
