//! Writes the outputs of many images as NumPy arrays.

use std::io::{Seek, Write};
use std::path::Path;

use fhec_files::Destination;
use fhec_ir::{Port, Tensor};
use npyz::WriterBuilder;

use super::DataError;

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
    let mut archive = npyz::npz::NpzWriter::new(out);
    for (i, port) in ports.iter().enumerate() {
        let mut bytes = Vec::new();
        write_array(&mut bytes, port, images.iter().filter_map(|outputs| outputs.get(i)))?;
        let zip = archive.zip_writer();
        zip.start_file(npyz::npz::file_name_from_array_name(&port.name), Default::default())?;
        zip.write_all(&bytes)?;
    }
    archive.zip_writer().finish()?;
    Ok(())
}

fn write_array<'a>(out: impl Write, port: &Port, images: impl Iterator<Item = &'a Tensor>) -> std::io::Result<()> {
    let images: Vec<&Tensor> = images.collect();
    // One image per entry of the leading dimension, whether or not the model has a batch dimension of one.
    let image = port.shape.0.strip_prefix(&[1]).unwrap_or(&port.shape.0);
    let shape: Vec<u64> = std::iter::once(images.len()).chain(image.iter().copied()).map(|d| d as u64).collect();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
    for image in images {
        writer.extend(image.data())?;
    }
    writer.finish()
}
