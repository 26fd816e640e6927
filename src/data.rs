//! Tensors are read from NumPy files: `.npy` for models with one input, `.npz` with one array per input otherwise.
//!
//! ```
//! use fhec::data;
//! use fhec::ir::{Port, Shape, Tensor};
//!
//! let folder = tempfile::tempdir().expect("a temporary folder");
//! let path = folder.path().join("x.npy");
//! let port = Port { name: "x".into(), shape: Shape(vec![1, 2]), ..Default::default() };
//! let images = vec![vec![Tensor::new([1, 2], vec![0.0, 0.5])], vec![Tensor::new([1, 2], vec![1.0, 0.25])]];
//! data::write_samples(path.as_path(), &[port.clone()], &images)?;
//! let read = data::read_samples(&path, &[port])?;
//! assert_eq!(read[1][0].data(), images[1][0].data());
//! # Ok::<(), fhec::data::DataError>(())
//! ```

mod labels;
mod npy;
mod write;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use fhec_ir::{Port, Shape, Tensor};
use miette::Diagnostic;
use thiserror::Error;
use zeroize::Zeroizing;
use zip::ZipArchive;

pub use labels::{argmax, class, count_right, labels_from_bytes, read_labels};
pub use write::{check_samples, write_samples};

/// Why a NumPy file cannot be used.
#[derive(Debug, Error, Diagnostic)]
#[error("{file}: {reason}")]
pub struct DataError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    #[help]
    pub repair: String,
}

impl DataError {
    fn new(path: &Path, reason: impl ToString, repair: impl ToString) -> Self {
        Self { file: path.display().to_string(), reason: reason.to_string(), repair: repair.to_string() }
    }
}

impl From<fhec_files::OutputError> for DataError {
    fn from(e: fhec_files::OutputError) -> Self {
        let (reason, repair) = (e.problem.to_string(), e.problem.repair().to_string());
        Self { file: e.file, reason, repair }
    }
}

const NOT_NUMPY: &str = "write the file with numpy.save or numpy.savez";

/// One set of input tensors per image, from a file whose arrays have any number of images in the leading dimension.
/// `ports` are the inputs of a model: the shape of one image is known from there.
///
/// # Errors
/// When the file cannot be read, has no images, or an array does not fit its input.
pub fn read_samples(path: &Path, ports: &[Port]) -> Result<Vec<Vec<Tensor>>, DataError> {
    samples(path, arrays_at(path)?, ports)
}

/// [`read_samples`] from the bytes of a file; `name` stands for them in errors.
///
/// # Errors
/// As [`read_samples`].
pub fn samples_from_bytes(name: &str, bytes: &[u8], ports: &[Port]) -> Result<Vec<Vec<Tensor>>, DataError> {
    let path = Path::new(name);
    samples(path, read_arrays(path, Cursor::new(bytes))?, ports)
}

/// [`read_samples`] from arrays in memory; `name` stands for them in errors.
///
/// # Errors
/// As [`read_samples`].
pub fn samples_from_arrays(
    name: &str,
    arrays: &[ArrayView<'_>],
    ports: &[Port],
) -> Result<Vec<Vec<Tensor>>, DataError> {
    let path = Path::new(name);
    if let Some(array) = arrays.iter().find(|a| a.shape.checked_len() != Some(a.data.len())) {
        let reason = format!("{} elements for shape {}", array.data.len(), array.shape);
        return Err(DataError::new(path, reason, "give as many elements as the shape has"));
    }
    samples_of(path, arrays, ports)
}

fn samples(path: &Path, arrays: Arrays, ports: &[Port]) -> Result<Vec<Vec<Tensor>>, DataError> {
    let views = arrays.iter().map(|(name, array)| ArrayView {
        name: name.clone(),
        shape: array.shape.clone(),
        data: &array.data,
    });
    samples_of(path, &views.collect::<Vec<_>>(), ports)
}

fn samples_of(path: &Path, arrays: &[ArrayView<'_>], ports: &[Port]) -> Result<Vec<Vec<Tensor>>, DataError> {
    let mut columns = Vec::with_capacity(ports.len());
    for port in ports {
        let named = arrays.iter().find(|array| array.name.as_deref() == Some(&port.name));
        let array = match (named, arrays, ports) {
            (Some(array), _, _) | (None, [array], [_]) => array,
            _ => {
                let have: Vec<&str> = arrays.iter().map(|a| a.name.as_deref().unwrap_or("(unnamed)")).collect();
                return Err(DataError::new(
                    path,
                    format!("no array for input `{}` among: {}", port.name, have.join(", ")),
                    "give an .npz file with one array per input, named like the input",
                ));
            }
        };
        columns.push(split(path, port, array)?);
    }
    let images = columns.first().map_or(0, Vec::len);
    if let Some(i) = columns.iter().position(|c| c.len() != images) {
        return Err(DataError::new(
            path,
            format!("input `{}` has {} images, `{}` has {images}", ports[i].name, columns[i].len(), ports[0].name),
            "give as many images for every input",
        ));
    }
    if images == 0 {
        return Err(DataError::new(path, "there are no images", "give at least one, in the leading dimension"));
    }
    Ok((0..images).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect())
}

/// The images of one array, each of the port's shape.
fn split(path: &Path, port: &Port, array: &ArrayView<'_>) -> Result<Vec<Tensor>, DataError> {
    let core = |dims: &[usize]| dims.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
    let (image, dims) = (core(&port.shape.0), &array.shape.0);
    // The images may lie in sets of the size that one run takes.
    let count = (0..=dims.len()).find(|&k| core(&dims[k..]) == image).map(|k| dims[..k].iter().product());
    // Images without elements could be any number.
    let Some(count) = count.filter(|&count: &usize| count <= array.data.len().max(1)) else {
        let dims: Vec<String> = port.shape.0.iter().map(usize::to_string).collect();
        return Err(DataError::new(
            path,
            format!("the array is {}, input `{}` takes {} per image", array.shape, port.name, port.shape),
            format!("give an array of shape ({}), or that shape with the number of images in front", dims.join(", ")),
        ));
    };
    let len = port.shape.len();
    if let Some(i) = array.data.iter().position(|x| !x.is_finite()) {
        let (image, x) = (i / len.max(1), array.data[i]);
        return Err(DataError::new(
            path,
            format!("image {image} contains {x}"),
            "remove it or check the preprocessing",
        ));
    }
    Ok((0..count).map(|i| Tensor::private(port.shape.clone(), array.data[i * len..(i + 1) * len].to_vec())).collect())
}

/// An array in memory whose elements are in row-major order: the images of one input, in the leading dimension.
#[derive(Clone, Debug)]
pub struct ArrayView<'a> {
    /// Name of the input; absent where there is one.
    pub name: Option<String>,
    /// Extents.
    pub shape: Shape,
    /// Elements.
    pub data: &'a [f32],
}

struct Array {
    shape: Shape,
    data: Zeroizing<Vec<f32>>,
}

type Arrays = Vec<(Option<String>, Array)>;

/// The arrays of a file, or of what comes through a pipe.
fn arrays_at(path: &Path) -> Result<Arrays, DataError> {
    let unreadable = |e: std::io::Error| DataError::new(path, e, "check the path and that the file may be read");
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_file() {
        return read_arrays(path, BufReader::new(file));
    }
    // Reading goes back and forth in it.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    read_arrays(path, Cursor::new(bytes))
}

fn read_arrays(path: &Path, mut file: impl Read + Seek) -> Result<Arrays, DataError> {
    let broken = |e: std::io::Error| DataError::new(path, format!("the file is damaged: {e}"), NOT_NUMPY);
    let mut start = [0; 4];
    let read = file.read(&mut start).map_err(broken)?;
    file.rewind().map_err(broken)?;
    if start[..read] == *b"PK\x03\x04" {
        let mut archive = ZipArchive::new(file).map_err(|e| broken(e.into()))?;
        let names: Result<Vec<String>, _> = archive.file_names().map(|name| name.map(String::from)).collect();
        let mut names = names.map_err(|e| broken(e.into()))?;
        names.sort();
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            // What is no array is not looked at, as in numpy.load.
            let Some(array) = name.strip_suffix(".npy") else { continue };
            let entry = archive.by_name(&name).map_err(|e| broken(e.into()))?;
            out.push((Some(array.to_string()), read_array(path, entry)?));
        }
        Ok(out)
    } else if start[..read] == npy::MAGIC[..4] {
        Ok(vec![(None, read_array(path, file)?)])
    } else {
        Err(DataError::new(path, "neither an .npy nor an .npz file", NOT_NUMPY))
    }
}

fn read_array(path: &Path, mut file: impl Read) -> Result<Array, DataError> {
    let broken = |e: std::io::Error| DataError::new(path, format!("the file is damaged: {e}"), NOT_NUMPY);
    let header = npy::header(&mut file).map_err(broken)?;
    let shape: Option<Vec<usize>> = header.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sized = shape.map(Shape).and_then(|shape| shape.checked_len().map(|len| (shape, len)));
    let (shape, len) = sized.ok_or_else(|| DataError::new(path, "the array is too large to address", NOT_NUMPY))?;
    if header.column_major && shape.rank() > 1 {
        return Err(DataError::new(path, "the array is in column-major order", "save numpy.ascontiguousarray(x)"));
    }
    let Some(element) = npy::Element::of(&header.descr) else {
        let reason = format!("elements of type '{}' are not read", header.descr);
        return Err(DataError::new(path, reason, "save x.astype(numpy.float32)"));
    };
    Ok(Array { shape, data: element.read(file, len).map_err(broken)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, shape: &[usize]) -> Port {
        Port { name: name.into(), shape: Shape(shape.to_vec()), ..Default::default() }
    }

    fn images(count: usize) -> Vec<Vec<Tensor>> {
        (0..count)
            .map(|i| vec![Tensor::new([1, 2, 3], (0..6).map(|k| (10 * i + k) as f32).collect::<Vec<_>>())])
            .collect()
    }

    #[test]
    fn batches_are_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        let port = [port("x", &[1, 2, 3])];
        write_samples(&path, &port, &images(4)).unwrap();
        assert_eq!(read_samples(&path, &port).unwrap(), images(4));
        write_samples(&path, &port, &images(1)).unwrap();
        assert_eq!(read_samples(&path, &port).unwrap(), images(1));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no partial file is left");
    }

    #[test]
    fn several_arrays_go_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("y.npz");
        let ports = [port("a", &[1, 6]), port("b", &[1, 2])];
        let sample = |i: usize| vec![Tensor::full([1, 6], i as f32), Tensor::full([1, 2], -(i as f32))];
        let all: Vec<_> = (0..3).map(sample).collect();
        write_samples(&path, &ports, &all).unwrap();
        assert_eq!(read_samples(&path, &ports).unwrap(), all);
        let swapped = [ports[1].clone(), ports[0].clone()];
        assert_eq!(read_samples(&path, &swapped).unwrap()[2][0], Tensor::full([1, 2], -2.0));
        let error = read_samples(&path, &[port("c", &[1, 6])]).unwrap_err();
        assert!(error.reason.contains("no array for input `c` among: a, b"), "{error}");
    }

    #[test]
    fn arrays_in_memory_are_taken_as_files_are() {
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let array = |name: Option<&str>, shape: &[usize]| ArrayView {
            name: name.map(str::to_string),
            shape: Shape(shape.to_vec()),
            data: &data,
        };
        let read = samples_from_arrays("x", &[array(None, &[2, 2, 3])], &[port("x", &[1, 2, 3])]).unwrap();
        assert_eq!((read.len(), read[1][0].data()), (2, &data[6..]));
        let ports = [port("a", &[1, 6]), port("b", &[1, 3])];
        let other = samples_from_arrays("x", &[array(Some("a"), &[2, 6]), array(Some("b"), &[4, 3])], &ports);
        assert!(other.unwrap_err().reason.contains("input `b` has 4 images, `a` has 2"));
        let short = samples_from_arrays("x", &[array(None, &[3, 6])], &[port("x", &[1, 6])]).unwrap_err();
        assert_eq!(short.reason, "12 elements for shape 3x6");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        write_samples(&path, &[port("x", &[1, 2, 3])], &images(2)).unwrap();
        let error = read_samples(&path, &[port("x", &[1, 7])]).unwrap_err();
        assert!(error.reason.contains("the array is 2x2x3, input `x` takes 1x7 per image"), "{error}");
        let whole = std::fs::read(&path).unwrap();
        for len in [0, 3, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(read_samples(&path, &[port("x", &[1, 2, 3])]).is_err(), "{len} bytes");
        }
        std::fs::write(&path, "not numpy").unwrap();
        let error = read_samples(&path, &[port("x", &[1])]).unwrap_err();
        assert_eq!(error.reason, "neither an .npy nor an .npz file");
        write_samples(&path, &[port("x", &[1, 1])], &[vec![Tensor::full([1, 1], f32::NAN)]]).unwrap();
        assert!(read_samples(&path, &[port("x", &[1, 1])]).unwrap_err().reason.contains("image 0 contains NaN"));
    }

    #[test]
    fn half_precision_is_read() {
        let mut file = b"\x93NUMPY\x01\0".to_vec();
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 3), }";
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend([0x3c00u16, 0xc100, 0x0001].iter().flat_map(|bits| bits.to_le_bytes()));
        let read = samples_from_bytes("x", &file, &[port("x", &[1, 3])]).unwrap();
        assert_eq!(read[0][0].data(), [1.0, -2.5, 5.960_464_5e-8]);
    }

    #[test]
    fn files_of_numpy_itself_are_read() {
        for file in ["digits.npy", "digits_labels.npy", "calibration.npz"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file);
            assert!(!arrays_at(&path).unwrap().is_empty(), "{file}");
        }
    }

    /// An `.npy` file of format version 1 or 2 with this header, and a few zeros.
    fn with_header(version: u8, claimed: usize, header: &str) -> Vec<u8> {
        let len = &(claimed as u32).to_le_bytes()[..if version == 1 { 2 } else { 4 }];
        [b"\x93NUMPY", &[version, 0][..], len, header.as_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn hostile_headers_are_refused_at_once() {
        let read = |bytes: &[u8]| samples_from_bytes("x", bytes, &[port("x", &[1, 4])]).map_err(|e| e.reason);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }";
        assert_eq!(read(&with_header(1, header.len(), header)).unwrap().len(), 1);
        assert_eq!(read(&with_header(2, header.len(), header)).unwrap().len(), 1);
        let longer = read(&with_header(2, u32::MAX as usize, header)).unwrap_err();
        assert!(longer.contains("too long"), "{longer}");
        // Without the check: exponential time; an overflow; another; a structured type.
        let nested = format!("{{'descr': {}'<f4'{}}}", "(".repeat(200), ")".repeat(200));
        let huge = header.replace("(1, 4)", "(9223372036854775808, 4)");
        let flat = header.replace("(1, 4)", "(1099511627776, 1099511627776, 0)");
        let structured = header.replace("'<f4'", "[('a', '<f4')]");
        for hostile in [nested, "[".repeat(200), "{".repeat(200), huge, flat, structured] {
            assert!(read(&with_header(1, hostile.len(), &hostile)).is_err(), "{hostile}");
        }
        let empty = header.replace("(1, 4)", "(1099511627776, 0)");
        let error = samples_from_bytes("x", &with_header(1, empty.len(), &empty), &[port("x", &[1, 0])]).unwrap_err();
        assert!(error.reason.contains("the array is 1099511627776x0"), "{error}");
    }
}
