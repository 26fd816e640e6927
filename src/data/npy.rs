//! Arrays in NumPy's format `.npy` (`numpy.lib.format`): a header in the form of a Python dictionary, then the elements.

use std::io::{self, Read, Write};

use half::f16;
use zeroize::Zeroizing;

/// The first bytes of every file.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Most bytes of a header. NumPy itself writes and reads fewer, save for long structured types.
const MAX_LEN: usize = 1 << 16;
/// log2 of the most elements of an array, well above what fits in memory.
const MAX_LOG_ELEMENTS: u32 = 48;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 13;
/// A header and what stands before it take a multiple of so many bytes.
const ALIGNMENT: usize = 64;

/// What a file says of its array. Nothing is reserved by it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the elements as NumPy writes it, such as `<f4`.
    pub(super) descr: String,
    /// Whether the first index is the fastest.
    pub(super) column_major: bool,
    pub(super) shape: Vec<u64>,
}

/// How the elements are stored.
#[derive(Clone, Copy)]
pub(super) struct Element {
    size: usize,
    big_endian: bool,
    /// One element from its bytes, the lowest first.
    convert: fn(&[u8]) -> f32,
}

/// A converter of elements of a type that has `from_le_bytes`.
macro_rules! from {
    ($ty:ty, $into:expr) => {
        |bytes| bytes.try_into().map_or(f32::NAN, |bytes| $into(<$ty>::from_le_bytes(bytes)))
    };
}

impl Element {
    /// The elements of this type, if they are numbers that are read.
    pub(super) fn of(descr: &str) -> Option<Self> {
        let order = descr.chars().next().filter(|c| "<>|=".contains(*c))?;
        let kind = &descr[1..];
        let (size, convert): (usize, fn(&[u8]) -> f32) = match kind {
            "f2" => (2, from!(f16, f16::to_f32)),
            "f4" => (4, from!(f32, |x| x)),
            "f8" => (8, from!(f64, |x| x as f32)),
            "u1" => (1, from!(u8, f32::from)),
            "i1" => (1, from!(i8, f32::from)),
            "i4" => (4, from!(i32, |x| x as f32)),
            "i8" => (8, from!(i64, |x| x as f32)),
            _ => return None,
        };
        let big_endian = order == '>' || (order == '=' && cfg!(target_endian = "big"));
        Some(Self { size, big_endian, convert })
    }

    /// `count` elements. Memory grows with what the file has, whatever its header claims.
    ///
    /// # Errors
    /// When the file cannot be read or ends before.
    pub(super) fn read(self, mut file: impl Read, count: usize) -> io::Result<Zeroizing<Vec<f32>>> {
        let mut out = Zeroizing::new(Vec::new());
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        let mut left = count;
        while left > 0 {
            let elements = left.min(CHUNK / self.size);
            let bytes = &mut chunk[..elements * self.size];
            file.read_exact(bytes)?;
            if out.capacity() - out.len() < elements {
                // A vector that grows by itself leaves its elements behind.
                let mut larger = Zeroizing::new(Vec::with_capacity(count.min(2 * (out.len() + elements))));
                larger.extend_from_slice(&out);
                out = larger;
            }
            for element in bytes.chunks_exact_mut(self.size) {
                if self.big_endian {
                    element.reverse();
                }
                out.push((self.convert)(element));
            }
            left -= elements;
        }
        Ok(out)
    }
}

/// The header of a file, which is read up to its elements.
///
/// # Errors
/// When it cannot be read, or is none that `numpy.save` writes for an array of numbers.
pub(super) fn header(file: &mut impl Read) -> io::Result<Header> {
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    if start[..6] != *MAGIC || !(1..=3).contains(&start[6]) {
        return Err(invalid("it does not begin as an .npy file of a known version"));
    }
    // From version 2 on the length has four bytes.
    let mut len = [0; 4];
    let len_bytes = if start[6] >= 2 { 4 } else { 2 };
    file.read_exact(&mut len[..len_bytes])?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > MAX_LEN {
        return Err(invalid("its header is too long"));
    }
    let mut text = vec![0; len];
    file.read_exact(&mut text)?;
    dictionary(std::str::from_utf8(&text).map_err(|_| invalid("its header is not text"))?)
}

/// Writes an array of float32 in row-major order, as `numpy.save` does.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write<'a>(mut out: impl Write, shape: &[usize], data: impl Iterator<Item = &'a [f32]>) -> io::Result<()> {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // With the magic, the version, the length and a newline.
    let len = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.push_str(&" ".repeat(len - MAGIC.len() - 4 - header.len() - 1));
    header.push('\n');
    let bytes = u16::try_from(header.len()).map_err(|_| invalid("the array has too many dimensions"))?;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&bytes.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK));
    for elements in data.flat_map(|part| part.chunks(CHUNK / 4)) {
        chunk.clear();
        elements.iter().for_each(|x| chunk.extend_from_slice(&x.to_le_bytes()));
        out.write_all(&chunk)?;
    }
    Ok(())
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`
fn dictionary(text: &str) -> io::Result<Header> {
    let malformed = || invalid("its header does not describe an array of numbers");
    let text = text.trim();
    let mut rest = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?.trim();
    let mut out = Header::default();
    let mut shaped = false;
    while !rest.is_empty() {
        let (key, value) = quoted(rest).ok_or_else(malformed)?;
        let value = value.trim_start().strip_prefix(':').ok_or_else(malformed)?.trim_start();
        rest = match key {
            "descr" if value.starts_with(['[', '(']) => return Err(invalid("the array has a structured type")),
            "descr" => {
                let (descr, rest) = quoted(value).ok_or_else(malformed)?;
                out.descr = descr.into();
                rest
            }
            "fortran_order" => {
                out.column_major = value.starts_with("True");
                value.strip_prefix("False").or_else(|| value.strip_prefix("True")).ok_or_else(malformed)?
            }
            "shape" => {
                let (dims, rest) = value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(malformed)?;
                out.shape = shape(dims).ok_or_else(malformed)?;
                shaped = true;
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
    if shaped && !out.descr.is_empty() { Ok(out) } else { Err(malformed()) }
}

/// The string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split_once(quote).filter(|(string, _)| !string.contains('\\'))
}

/// The extents of an array. Refuses all but decimal numbers whose product, zeros aside, can be computed with.
fn shape(dims: &str) -> Option<Vec<u64>> {
    let mut elements = 1u64;
    let mut out = Vec::new();
    for dim in dims.split(',').map(str::trim).filter(|dim| !dim.is_empty()) {
        if !dim.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let dim = dim.parse::<u64>().ok()?;
        elements = elements.checked_mul(dim.max(1)).filter(|n| n >> MAX_LOG_ELEMENTS == 0)?;
        out.push(dim);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0]);
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.bytes());
        out.extend(data);
        out
    }

    #[test]
    fn what_is_written_an_independent_reader_reads() {
        let data: Vec<f32> = (0..6000).map(|i| i as f32 / 7.0).collect();
        for shape in [&[6000][..], &[2, 3000], &[3, 1, 2000]] {
            let mut written = Vec::new();
            write(&mut written, shape, data.chunks(2500)).unwrap();
            assert_eq!((written.len() - 4 * data.len()) % ALIGNMENT, 0);
            let read = npyz::NpyFile::new(&written[..]).unwrap();
            assert_eq!(read.shape(), shape.iter().map(|&d| d as u64).collect::<Vec<_>>());
            assert_eq!(read.into_vec::<f32>().unwrap(), data);
        }
    }

    #[test]
    fn what_an_independent_writer_writes_is_read() {
        use npyz::WriterBuilder;
        let mut written = Vec::new();
        let big = npyz::DType::Plain(">i4".parse().unwrap());
        let mut writer = npyz::WriteOptions::new().dtype(big).shape(&[2, 2]).writer(&mut written).begin_nd().unwrap();
        writer.extend([1, -2, 3, 70_000]).unwrap();
        writer.finish().unwrap();
        let mut rest = &written[..];
        let header = header(&mut rest).unwrap();
        assert_eq!((header.descr.as_str(), &header.shape[..]), (">i4", &[2, 2][..]));
        let elements = Element::of(&header.descr).unwrap();
        assert_eq!(**elements.read(rest, 4).unwrap(), [1.0, -2.0, 3.0, 70_000.0]);
        assert!(elements.read(rest, 5).is_err(), "an element more than there are");
    }

    #[test]
    fn every_type_of_number_is_read() {
        let cases: [(&str, &[u8], f32); 9] = [
            ("<f2", &[0, 0x3e], 1.5),
            (">f2", &[0x3e, 0], 1.5),
            ("<f4", &[0, 0, 0xc0, 0x3f], 1.5),
            ("=f4", &1.5f32.to_ne_bytes(), 1.5),
            ("<f8", &1.5f64.to_le_bytes(), 1.5),
            ("|u1", &[200], 200.0),
            ("|i1", &[200], -56.0),
            (">i4", &[0, 0, 1, 2], 258.0),
            ("<i8", &[2, 1, 0, 0, 0, 0, 0, 0], 258.0),
        ];
        for (descr, bytes, expected) in cases {
            assert_eq!(**Element::of(descr).unwrap().read(bytes, 1).unwrap(), [expected], "{descr}");
        }
        assert!(["", "f4", "<f3", "<c8", "<U1", "|b1", "€f4"].iter().all(|descr| Element::of(descr).is_none()));
    }

    #[test]
    fn headers_that_numpy_does_not_write_are_refused() {
        let wrong = |header: &str| super::header(&mut &file(header, &[])[..]).is_err();
        assert!(!wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': False, }"));
        assert!(wrong("{'fortran_order': False, 'shape': (2, 3), }"));
        assert!(wrong("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (16777216, 16777217), }"));
        assert!(wrong("['descr']"));
        let mut of_version_nine = file("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", &[]);
        of_version_nine[6] = 9;
        assert!(super::header(&mut &of_version_nine[..]).is_err());
    }
}
