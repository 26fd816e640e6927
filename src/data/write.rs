//! Writes the outputs of many images as NumPy arrays.

use std::io::{Seek, Write};
use std::path::Path;

use fhec_files::Destination;
use fhec_ir::{Port, Tensor};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{DataError, npy};

/// How the outputs of images are laid out in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// One array.
    Npy,
    /// An archive with one array per output.
    Npz,
}

impl Layout {
    /// What the name of a file asks for. Without one of the two endings it is the simplest that holds all outputs.
    fn of(path: &Path, ports: &[Port]) -> Result<Self, DataError> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match (ending.as_deref(), ports) {
            (Some("npz"), _) => Ok(Self::Npz),
            (_, [_]) => Ok(Self::Npy),
            (Some("npy"), _) => {
                let reason = format!("an .npy file holds one array, the model has {} outputs", ports.len());
                Err(DataError::new(path, reason, "give the file a name that ends in .npz"))
            }
            _ => Ok(Self::Npz),
        }
    }
}

/// Refuses now what [`write_samples`] would refuse: for programs that compute long before they write.
///
/// # Errors
/// A name that does not go with the outputs, or a file that cannot be written.
pub fn check_samples(to: &Destination, ports: &[Port]) -> Result<(), DataError> {
    Layout::of(to.path(), ports)?;
    Ok(to.check()?)
}

/// Writes the outputs of many images: an `.npz` file with one array per output if the file's name ends so or there are several,
/// else an `.npy` file. The leading dimension counts images.
///
/// # Errors
/// When the file cannot be written, or its name ends in `.npy` and there are several outputs.
pub fn write_samples(to: impl Into<Destination>, ports: &[Port], images: &[Vec<Tensor>]) -> Result<(), DataError> {
    let to = to.into();
    let layout = Layout::of(to.path(), ports)?;
    let mut output = to.create()?;
    let written = match (layout, ports) {
        (Layout::Npy, [port]) => write_array(&mut output, port, images.iter().filter_map(|outputs| outputs.first())),
        _ => write_archive(&mut output, ports, images),
    };
    written.map_err(|e| DataError::new(to.path(), e, "check the path, the permission and the free space"))?;
    Ok(output.commit()?)
}

fn write_archive(out: impl Write + Seek, ports: &[Port], images: &[Vec<Tensor>]) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(out);
    for (i, port) in ports.iter().enumerate() {
        // Entries of 4 GiB and more need to be announced.
        archive.start_file(format!("{}.npy", port.name), SimpleFileOptions::default().large_file(true))?;
        write_array(&mut archive, port, images.iter().filter_map(|outputs| outputs.get(i)))?;
    }
    archive.finish()?;
    Ok(())
}

fn write_array<'a>(out: impl Write, port: &Port, images: impl Iterator<Item = &'a Tensor>) -> std::io::Result<()> {
    let images: Vec<&Tensor> = images.collect();
    // One image per entry of the leading dimension, whether or not the model has a batch dimension of one.
    let image = port.shape.0.strip_prefix(&[1]).unwrap_or(&port.shape.0);
    let shape: Vec<usize> = std::iter::once(images.len()).chain(image.iter().copied()).collect();
    npy::write(out, &shape, images.iter().map(|image| image.data()))
}
