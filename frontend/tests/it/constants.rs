//! Constants are read in every encoding, inside the file and beside it.

use std::path::Path;

use fhec_frontend::proto::{Model, Node, StringEntry, Tensor, data_type as ty};
use fhec_frontend::{ImportOptions, import_file, import_model};
use prost::Message;

use crate::{import, model, refuse};

/// A model that outputs the constant `w`, cast to float.
fn showing(tensor: Tensor) -> Model {
    let cast = Node::new(
        "Cast",
        "cast",
        &["w"],
        &["f"],
        vec![fhec_frontend::proto::Attribute::int("to", i64::from(ty::FLOAT))],
    );
    let add = Node::new("Add", "add", &["x", "f"], &["y"], vec![]);
    model(17, &[1], vec![Tensor { name: "w".into(), ..tensor }], vec![cast, add])
}

#[track_caller]
fn elements(tensor: Tensor) -> Vec<f32> {
    let module = import(&showing(tensor));
    module.consts.iter().next().unwrap().1.tensor.data().to_vec()
}

#[test]
fn every_type_raw_and_typed() {
    let raw = |data_type, dims: i64, bytes: Vec<u8>| Tensor {
        dims: vec![dims],
        data_type,
        raw_data: Some(bytes),
        ..Tensor::default()
    };
    let bytes =
        |n: usize, values: &[i64]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()[..n].to_vec()).collect() };
    let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(elements(raw(ty::FLOAT, 2, floats)), [1.5, -2.0]);
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(elements(raw(ty::DOUBLE, 2, doubles)), [1.5, -2.0]);
    assert_eq!(elements(raw(ty::FLOAT16, 2, bytes(2, &[0x3e00, 0xc000]))), [1.5, -2.0]);
    assert_eq!(elements(raw(ty::BFLOAT16, 2, bytes(2, &[0x3fc0, 0xc000]))), [1.5, -2.0]);
    assert_eq!(elements(raw(ty::BOOL, 3, vec![0, 1, 2])), [0.0, 1.0, 1.0]);
    assert_eq!(elements(raw(ty::UINT8, 2, vec![3, 255])), [3.0, 255.0]);
    for (kind, width) in [(ty::INT8, 1), (ty::INT16, 2), (ty::INT32, 4), (ty::INT64, 8)] {
        assert_eq!(elements(raw(kind, 2, bytes(width, &[5, -7]))), [5.0, -7.0], "{}", ty::name(kind));
    }
    for (kind, width) in [(ty::UINT16, 2), (ty::UINT32, 4), (ty::UINT64, 8)] {
        assert_eq!(elements(raw(kind, 2, bytes(width, &[5, 65535]))), [5.0, 65535.0], "{}", ty::name(kind));
    }
    let typed = |data_type| Tensor { dims: vec![2], data_type, ..Tensor::default() };
    assert_eq!(elements(Tensor { float_data: vec![1.5, -2.0], ..typed(ty::FLOAT) }), [1.5, -2.0]);
    assert_eq!(elements(Tensor { double_data: vec![1.5, -2.0], ..typed(ty::DOUBLE) }), [1.5, -2.0]);
    assert_eq!(elements(Tensor { int32_data: vec![0x3e00, 0xc000], ..typed(ty::FLOAT16) }), [1.5, -2.0]);
    assert_eq!(elements(Tensor { int32_data: vec![0x3fc0, 0xc000], ..typed(ty::BFLOAT16) }), [1.5, -2.0]);
    assert_eq!(elements(Tensor { int32_data: vec![0, 3], ..typed(ty::BOOL) }), [0.0, 1.0]);
    assert_eq!(elements(Tensor { int32_data: vec![5, -7], ..typed(ty::INT32) }), [5.0, -7.0]);
    assert_eq!(elements(Tensor { int64_data: vec![5, -7], ..typed(ty::INT64) }), [5.0, -7.0]);
    assert_eq!(elements(Tensor { uint64_data: vec![5, 7], ..typed(ty::UINT64) }), [5.0, 7.0]);
}

#[test]
fn data_must_be_what_is_declared() {
    let reason = |tensor: Tensor| refuse(&showing(tensor)).issues()[0].reason.clone();
    let base = Tensor { dims: vec![3], data_type: ty::FLOAT, ..Tensor::default() };
    assert_eq!(reason(base.clone()), "0 elements of data for shape 3");
    assert_eq!(
        reason(Tensor { raw_data: Some(vec![0; 11]), ..base.clone() }),
        "11 bytes of data for 3 elements of float32"
    );
    // A declared size far beyond the data is refused before anything is allocated.
    assert_eq!(
        reason(Tensor { dims: vec![1 << 29], raw_data: Some(vec![0; 4]), ..base.clone() }),
        "4 bytes of data for 536870912 elements of float32"
    );
    for dims in [vec![-1], vec![1 << 40], vec![0, 1 << 40], vec![i64::MAX, i64::MAX]] {
        assert_eq!(reason(Tensor { dims: dims.clone(), ..base.clone() }), format!("a tensor of extents {dims:?}"));
    }
    assert_eq!(reason(Tensor { data_type: ty::STRING, ..base.clone() }), "a constant of type string");
    assert_eq!(reason(Tensor { data_type: 77, ..base }), "a constant of type element type 77");
}

fn external(entries: &[(&str, &str)]) -> Tensor {
    let entry = |(key, value): &(&str, &str)| StringEntry { key: key.to_string(), value: value.to_string() };
    Tensor {
        name: "w".into(),
        dims: vec![2],
        data_type: ty::FLOAT,
        data_location: 1,
        external_data: entries.iter().map(entry).collect(),
        ..Tensor::default()
    }
}

#[test]
fn external_data_beside_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let data: Vec<u8> = [0.0f32, 1.5, -2.0, 9.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(dir.path().join("weights.bin"), data).unwrap();
    let m = showing(external(&[("location", "weights.bin"), ("offset", "4"), ("length", "8")]));
    let path = dir.path().join("net.onnx");
    std::fs::write(&path, m.encode_to_vec()).unwrap();
    let module = import_file(&path).unwrap();
    assert_eq!(module.func.name, "net");
    assert_eq!(module.consts.iter().next().unwrap().1.tensor.data(), [1.5, -2.0]);
    assert!(refuse(&m).issues()[0].reason.contains("no folder for external data is given"));
}

#[test]
fn external_data_never_leaves_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.bin");
    std::fs::write(&secret, [0; 8]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("short.bin"), [0; 4]).unwrap();
    let reason = |entries: &[(&str, &str)]| {
        let options = ImportOptions { name: None, external_data: Some(dir.path().to_path_buf()) };
        let error = import_model(&showing(external(entries)), &options).unwrap_err();
        error.issues()[0].reason.clone()
    };
    let absolute = secret.to_str().unwrap();
    let outside_name = Path::new("..").join(outside.path().file_name().unwrap()).join("secret.bin");
    for location in [absolute, outside_name.to_str().unwrap(), "sub/../../x", "../x"] {
        let found = reason(&[("location", location)]);
        assert!(found.ends_with("outside the folder of the model"), "{location}: {found}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, dir.path().join("link.bin")).unwrap();
        assert!(reason(&[("location", "link.bin")]).ends_with("outside the folder of the model"));
    }
    assert!(reason(&[("location", "missing.bin")]).contains("cannot be read"));
    assert!(reason(&[("location", "sub")]).contains("has 0 bytes"));
    assert_eq!(reason(&[("location", "short.bin")]), "its data file `short.bin` has 4 bytes; 8 from 0 are needed");
    assert!(reason(&[("location", "short.bin"), ("offset", "18446744073709551615")]).contains("has 4 bytes"));
    assert!(reason(&[("location", "short.bin"), ("length", "4")]).contains("4 bytes where 8 are needed"));
    assert!(reason(&[("location", "short.bin"), ("offset", "many")]).contains("offset is `many`"));
    assert!(reason(&[]).contains("without a location"));
}
