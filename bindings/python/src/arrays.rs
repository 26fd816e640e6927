//! NumPy arrays become tensors and back.

use fhec::data::{self, ArrayView};
use fhec::ir::{Port, Shape};
use fhec::{Error, Tensor};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::exception;

/// Arrays of single-precision numbers in row-major order, by the name of the input; without one where there is one input.
pub type Arrays<'py> = Vec<(Option<String>, PyReadonlyArrayDyn<'py, f32>)>;

/// One set of tensors per image. Arrays are read where they are; every image is copied once, into memory that is wiped.
pub fn images(py: Python<'_>, what: &str, arrays: &Arrays<'_>, ports: &[Port]) -> PyResult<Vec<Vec<Tensor>>> {
    let mut views = Vec::with_capacity(arrays.len());
    for (name, array) in arrays {
        views.push(ArrayView { name: name.clone(), shape: Shape(array.shape().to_vec()), data: array.as_slice()? });
    }
    data::samples_from_arrays(what, &views, ports).map_err(|e| exception(py, &Error::from(e)))
}

/// A dictionary of one array per port, with the number of images in front.
pub fn dictionary<'py>(py: Python<'py>, ports: &[Port], images: &[Vec<Tensor>]) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (at, port) in ports.iter().enumerate() {
        // One image per entry of the leading dimension, whether or not the model has a batch dimension of one.
        let image = port.shape.0.strip_prefix(&[1]).unwrap_or(&port.shape.0);
        let shape: Vec<usize> = std::iter::once(images.len()).chain(image.iter().copied()).collect();
        let mut elements = Vec::with_capacity(shape.iter().product());
        images
            .iter()
            .filter_map(|tensors| tensors.get(at))
            .for_each(|tensor| elements.extend_from_slice(tensor.data()));
        let array: Bound<'py, PyArrayDyn<f32>> = PyArray1::from_vec(py, elements).reshape(shape)?;
        out.set_item(&port.name, array)?;
    }
    Ok(out)
}

/// Name, shape of one image, and what is left to the client, of every port.
pub fn described(ports: &[Port]) -> Vec<(String, Vec<usize>, Vec<String>)> {
    let one = |port: &Port| {
        let heads = port.heads.iter().map(ToString::to_string).collect();
        (port.name.clone(), port.shape.0.clone(), heads)
    };
    ports.iter().map(one).collect()
}
