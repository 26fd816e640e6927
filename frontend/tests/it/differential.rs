//! The importer's own message structs read what the crate `onnx-protobuf` reads, generated from the schema of the ONNX
//! project, in every model that the tests have.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use fhec_frontend::proto::{
    Attribute, Dimension, Function, Graph, Model, Node, OperatorSet, StringEntry, Tensor, TensorShape, TensorType,
    Type, ValueInfo,
};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use prost::Message;

use crate::material::{cases, material, untar};

/// Walks two decoded models together and collects where they differ.
///
/// Every struct of ours is taken apart by name, so that a field that is added must be compared here.
#[derive(Default)]
struct Comparison {
    place: Vec<String>,
    differences: Vec<String>,
    nodes: usize,
    tensors: usize,
}

impl Comparison {
    fn same<T: PartialEq + Debug>(&mut self, field: &str, ours: T, theirs: T) {
        if ours != theirs {
            self.differences.push(format!("{}: {field}: {ours:.80?} where {theirs:.80?}", self.place.join(" / ")));
        }
    }

    fn each<A, B>(&mut self, field: &str, ours: &[A], theirs: &[B], compare: fn(&mut Self, &A, &B)) {
        self.same(&format!("number of {field}"), ours.len(), theirs.len());
        for (i, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            self.inside(format!("{field} {i}"), ours, theirs, compare);
        }
    }

    fn maybe<A, B>(&mut self, field: &str, ours: Option<&A>, theirs: Option<&B>, compare: fn(&mut Self, &A, &B)) {
        self.same(&format!("presence of {field}"), ours.is_some(), theirs.is_some());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            self.inside(field.into(), ours, theirs, compare);
        }
    }

    fn inside<A, B>(&mut self, place: String, ours: &A, theirs: &B, compare: fn(&mut Self, &A, &B)) {
        self.place.push(place);
        compare(self, ours, theirs);
        self.place.pop();
    }

    fn model(&mut self, ours: &Model, theirs: &ModelProto) {
        let Model { ir_version, producer_name, graph, opset_import, functions } = ours;
        self.same("IR version", ir_version, &theirs.ir_version);
        self.same("producer", producer_name, &theirs.producer_name);
        self.maybe("graph", graph.as_ref(), theirs.graph.as_ref(), Self::graph);
        self.each("operator sets", opset_import, &theirs.opset_import, Self::operator_set);
        self.each("functions", functions, &theirs.functions, Self::function);
    }

    fn operator_set(&mut self, ours: &OperatorSet, theirs: &OperatorSetIdProto) {
        let OperatorSet { domain, version } = ours;
        self.same("domain", domain, &theirs.domain);
        self.same("version", version, &theirs.version);
    }

    fn function(&mut self, ours: &Function, theirs: &FunctionProto) {
        let Function { name, input, output, node, opset_import, domain, attribute_proto, overload } = ours;
        self.same("name", name, &theirs.name);
        self.same("inputs", input, &theirs.input);
        self.same("outputs", output, &theirs.output);
        self.each("nodes", node, &theirs.node, Self::node);
        self.each("operator sets", opset_import, &theirs.opset_import, Self::operator_set);
        self.same("domain", domain, &theirs.domain);
        self.each("attributes", attribute_proto, &theirs.attribute_proto, Self::attribute);
        self.same("overload", overload, &theirs.overload);
    }

    fn graph(&mut self, ours: &Graph, theirs: &GraphProto) {
        let Graph { node, name, initializer, input, output, value_info, sparse_initializer } = ours;
        self.each("nodes", node, &theirs.node, Self::node);
        self.same("name", name, &theirs.name);
        self.each("initialisers", initializer, &theirs.initializer, Self::tensor);
        self.each("inputs", input, &theirs.input, Self::value_info);
        self.each("outputs", output, &theirs.output, Self::value_info);
        self.each("values", value_info, &theirs.value_info, Self::value_info);
        self.same("number of sparse initialisers", sparse_initializer.len(), theirs.sparse_initializer.len());
    }

    fn node(&mut self, ours: &Node, theirs: &NodeProto) {
        let Node { input, output, name, op_type, attribute, domain, overload } = ours;
        self.nodes += 1;
        self.same("inputs", input, &theirs.input);
        self.same("outputs", output, &theirs.output);
        self.same("name", name, &theirs.name);
        self.same("operator", op_type, &theirs.op_type);
        self.each("attributes", attribute, &theirs.attribute, Self::attribute);
        self.same("domain", domain, &theirs.domain);
        self.same("overload", overload, &theirs.overload);
    }

    /// Their structs do not tell a field that is absent from one that is zero or empty.
    fn attribute(&mut self, ours: &Attribute, theirs: &AttributeProto) {
        let Attribute { name, f, i, s, t, g, floats, ints, kind, ref_attr_name } = ours;
        self.same("name", name, &theirs.name);
        self.same("number", f.unwrap_or_default().to_bits(), theirs.f.to_bits());
        self.same("integer", i.unwrap_or_default(), theirs.i);
        self.same("text", s.as_deref().unwrap_or_default(), &theirs.s[..]);
        self.maybe("tensor", t.as_ref(), theirs.t.as_ref(), Self::tensor);
        self.maybe("subgraph", g.as_deref(), theirs.g.as_ref(), Self::graph);
        self.same("numbers", float_bits(floats), float_bits(&theirs.floats));
        self.same("integers", ints, &theirs.ints);
        self.same("kind", *kind, theirs.type_.value());
        self.same("attribute of the call", ref_attr_name, &theirs.ref_attr_name);
    }

    fn tensor(&mut self, ours: &Tensor, theirs: &TensorProto) {
        let Tensor { dims, data_type, float_data, int32_data, int64_data, name, raw_data, .. } = ours;
        let Tensor { double_data, uint64_data, external_data, data_location, .. } = ours;
        self.tensors += 1;
        self.same("extents", dims, &theirs.dims);
        self.same("element type", data_type, &theirs.data_type);
        self.same("float32 elements", float_bits(float_data), float_bits(&theirs.float_data));
        self.same("int32 elements", int32_data, &theirs.int32_data);
        self.same("int64 elements", int64_data, &theirs.int64_data);
        self.same("name", name, &theirs.name);
        self.same("bytes", raw_data.as_deref().unwrap_or_default(), &theirs.raw_data[..]);
        let bits = |list: &[f64]| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        self.same("float64 elements", bits(double_data), bits(&theirs.double_data));
        self.same("uint64 elements", uint64_data, &theirs.uint64_data);
        self.each("keys of external data", external_data, &theirs.external_data, Self::entry);
        self.same("data location", *data_location, theirs.data_location.value());
    }

    fn entry(&mut self, ours: &StringEntry, theirs: &StringStringEntryProto) {
        let StringEntry { key, value } = ours;
        self.same("key", key, &theirs.key);
        self.same("value", value, &theirs.value);
    }

    fn value_info(&mut self, ours: &ValueInfo, theirs: &ValueInfoProto) {
        let ValueInfo { name, ty } = ours;
        self.same("name", name, &theirs.name);
        self.maybe("type", ty.as_ref(), theirs.type_.as_ref(), Self::ty);
    }

    fn ty(&mut self, ours: &Type, theirs: &TypeProto) {
        let Type { tensor } = ours;
        let theirs = match &theirs.value {
            Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
            _ => None,
        };
        self.maybe("tensor", tensor.as_ref(), theirs, Self::tensor_type);
    }

    fn tensor_type(&mut self, ours: &TensorType, theirs: &type_proto::Tensor) {
        let TensorType { elem_type, shape } = ours;
        self.same("element type", elem_type, &theirs.elem_type);
        self.maybe("shape", shape.as_ref(), theirs.shape.as_ref(), Self::shape);
    }

    fn shape(&mut self, ours: &TensorShape, theirs: &TensorShapeProto) {
        let TensorShape { dim } = ours;
        self.each("extents", dim, &theirs.dim, Self::dimension);
    }

    fn dimension(&mut self, ours: &Dimension, theirs: &tensor_shape_proto::Dimension) {
        use tensor_shape_proto::dimension::Value;
        let Dimension { value, symbol } = ours;
        let (number, name) = match &theirs.value {
            Some(Value::DimValue(number)) => (Some(*number), None),
            Some(Value::DimParam(name)) => (None, Some(name)),
            _ => (None, None),
        };
        self.same("number", *value, number);
        self.same("symbol", symbol.as_ref(), name);
    }

    fn file(&mut self, path: &Path) {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let ours = Model::decode(bytes.as_slice());
        let theirs = <ModelProto as onnx_protobuf::Message>::parse_from_bytes(&bytes);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => self.inside(path.display().to_string(), ours, theirs, Self::model),
            _ => self.differences.push(format!("{}: {:?} and {:?}", path.display(), ours.err(), theirs.err())),
        }
    }
}

/// NaN equals NaN where the bits do.
fn float_bits(list: &[f32]) -> Vec<u32> {
    list.iter().map(|x| x.to_bits()).collect()
}

/// All ONNX files under a folder.
fn models_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(models_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Compares all files under a folder, of which there must be at least `least`.
fn compare(folder: &Path, least: usize) {
    let files = models_under(folder);
    let mut comparison = Comparison::default();
    for file in &files {
        comparison.file(file);
    }
    let Comparison { differences, nodes, tensors, .. } = comparison;
    println!("{}: {} files, {nodes} nodes, {tensors} tensors", folder.display(), files.len());
    assert!(files.len() >= least, "{} files where {least} were", files.len());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn models_of_this_repository_decode_alike() {
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"), 4);
}

#[test]
fn real_models_decode_alike() {
    let Some(dir) = material("decoding real models as onnx-protobuf does") else { return };
    compare(&dir.join("models"), 6);
}

#[test]
fn small_cases_decode_alike() {
    let Some(dir) = cases("decoding small cases as onnx-protobuf does") else { return };
    compare(&dir, 94);
}

#[test]
fn node_vectors_decode_alike() {
    let Some(dir) = material("decoding the ONNX node vectors as onnx-protobuf does") else { return };
    let folder = tempfile::tempdir().unwrap();
    untar(&dir.join("data/onnx_backend.tar.xz"), folder.path());
    compare(folder.path(), 745);
}

/// Makes a graph differ in one field.
type Change = fn(&mut Graph);

/// The comparison sees a change in any of what it walks through.
#[test]
fn differences_are_seen() {
    let node = Node::new("Conv", "c", &["x", "w"], &["y"], vec![Attribute::ints("strides", &[1, 2])]);
    let graph = Graph {
        node: vec![node],
        initializer: vec![Tensor::floats("w", &[1, 1, 1, 1], &[0.5])],
        input: vec![ValueInfo::floats("x", &[-1, 1, 4, 4])],
        output: vec![ValueInfo::floats("y", &[])],
        ..Graph::default()
    };
    let changes: [(&str, Change); 7] = [
        ("operator", |g| g.node[0].op_type = "Gemm".into()),
        ("inputs", |g| g.node[0].input.swap(0, 1)),
        ("integers", |g| g.node[0].attribute[0].ints[1] = 1),
        ("number of attributes", |g| g.node[0].attribute.clear()),
        ("float32 elements", |g| g.initializer[0].float_data[0] = -0.5),
        ("symbol", |g| g.input[0] = ValueInfo::floats("x", &[1, 1, 4, 4])),
        ("number of outputs", |g| g.output.clear()),
    ];
    let theirs =
        <ModelProto as onnx_protobuf::Message>::parse_from_bytes(&Model::new(17, graph.clone()).encode_to_vec());
    let theirs = theirs.unwrap();
    let differences = |graph: &Graph| {
        let mut comparison = Comparison::default();
        comparison.model(&Model::new(17, graph.clone()), &theirs);
        comparison.differences
    };
    assert_eq!(differences(&graph), Vec::<String>::new());
    for (field, change) in changes {
        let mut changed = graph.clone();
        change(&mut changed);
        let found = differences(&changed);
        assert!(found.iter().any(|d| d.contains(&format!(": {field}: "))), "{field}: {found:?}");
    }
}
