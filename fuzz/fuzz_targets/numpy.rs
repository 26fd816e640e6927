//! NumPy files of samples and labels.
#![no_main]

use fhec::data::{labels_from_bytes, samples_from_bytes};
use fhec_ir::{Port, Shape};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let port =
        |name: &str, dims: &[usize]| Port { name: name.into(), shape: Shape(dims.to_vec()), ..Default::default() };
    let image = port("image", &[1, 1, 4, 4]);
    let _ = samples_from_bytes("x", data, std::slice::from_ref(&image));
    let _ = samples_from_bytes("x", data, &[image, port("scalar", &[]), port("empty", &[1, 0])]);
    let _ = labels_from_bytes("x", data, 3, &[port("y", &[1, 10])]);
});
