//! The parts of the ONNX file format that are read and written, as protobuf messages.
//!
//! Field numbers are those of the ONNX IR specification (onnx.ai, "Open Neural Network Exchange Intermediate
//! Representation"); fields that inference does not need are left out, and the decoder skips them. The exporter
//! writes these structs, and tests build models from them.

use prost::Message;

/// Element types of [`Tensor::data_type`] and [`TensorType::elem_type`].
pub mod data_type {
    /// 32-bit float.
    pub const FLOAT: i32 = 1;
    /// Unsigned 8-bit integer.
    pub const UINT8: i32 = 2;
    /// Signed 8-bit integer.
    pub const INT8: i32 = 3;
    /// Unsigned 16-bit integer.
    pub const UINT16: i32 = 4;
    /// Signed 16-bit integer.
    pub const INT16: i32 = 5;
    /// Signed 32-bit integer.
    pub const INT32: i32 = 6;
    /// Signed 64-bit integer.
    pub const INT64: i32 = 7;
    /// Text.
    pub const STRING: i32 = 8;
    /// Truth value, one byte.
    pub const BOOL: i32 = 9;
    /// IEEE 16-bit float.
    pub const FLOAT16: i32 = 10;
    /// 64-bit float.
    pub const DOUBLE: i32 = 11;
    /// Unsigned 32-bit integer.
    pub const UINT32: i32 = 12;
    /// Unsigned 64-bit integer.
    pub const UINT64: i32 = 13;
    /// The upper half of a 32-bit float.
    pub const BFLOAT16: i32 = 16;
    /// Unsigned 4-bit integer, two to a byte, the first in the lower half.
    pub const UINT4: i32 = 21;
    /// Signed 4-bit integer, packed likewise.
    pub const INT4: i32 = 22;

    /// Name of an element type, for messages.
    pub fn name(code: i32) -> String {
        let name = match code {
            FLOAT => "float32",
            UINT8 => "uint8",
            INT8 => "int8",
            UINT16 => "uint16",
            INT16 => "int16",
            INT32 => "int32",
            INT64 => "int64",
            STRING => "string",
            BOOL => "bool",
            FLOAT16 => "float16",
            DOUBLE => "float64",
            UINT32 => "uint32",
            UINT64 => "uint64",
            BFLOAT16 => "bfloat16",
            UINT4 => "uint4",
            INT4 => "int4",
            _ => return format!("element type {code}"),
        };
        name.to_string()
    }
}

/// Values of [`Attribute::kind`].
pub mod attribute_kind {
    /// `f`
    pub const FLOAT: i32 = 1;
    /// `i`
    pub const INT: i32 = 2;
    /// `s`
    pub const STRING: i32 = 3;
    /// `t`
    pub const TENSOR: i32 = 4;
    /// A graph: control flow.
    pub const GRAPH: i32 = 5;
    /// `floats`
    pub const FLOATS: i32 = 6;
    /// `ints`
    pub const INTS: i32 = 7;
}

/// A file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// The program that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// Versions of the operator sets in use.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    /// Model-local functions.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<Function>,
}

/// The version of one operator set.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    /// Empty for the standard operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A model-local function.
#[derive(Clone, PartialEq, Message)]
pub struct Function {
    /// Name, the `op_type` of calls.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Names of its parameters.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of its results.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Nodes.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<Node>,
    /// Versions of the operator sets that its nodes use.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSet>,
    /// Domain of calls.
    #[prost(string, tag = "10")]
    pub domain: String,
    /// Attributes that calls may leave out, with the values they then have.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<Attribute>,
    /// Tells functions of one name apart.
    #[prost(string, tag = "13")]
    pub overload: String,
}

/// A graph.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// Nodes in topological order.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// Inputs; before format version 4 the initialisers are listed too.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
    /// Types of intermediate values, where the exporter knew them.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfo>,
    /// Sparse constants: only their presence is read.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensor>,
}

/// An operation.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of the operands; empty for an omitted one.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the results; empty for one that nobody uses.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name, possibly empty.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Attributes.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// Operator set; empty for the standard operators.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Which of the functions of one name it calls.
    #[prost(string, tag = "8")]
    pub overload: String,
}

/// A named parameter of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Text.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    /// A graph.
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<Graph>>,
    /// Numbers.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the fields holds the value, see [`attribute_kind`]; 0 in files of early versions.
    #[prost(int32, tag = "20")]
    pub kind: i32,
    /// In a function: the attribute of the call that holds the value.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Extents.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Element type, see [`data_type`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Elements of type float32.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements of integer types of up to 32 bits, truth values, and the bits of 16-bit floats.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements of type int64.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements of any fixed-size type, little endian.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
    /// Elements of type float64.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Elements of types uint32 and uint64.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Where the elements lie when they are in another file: `location`, `offset`, `length`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringEntry>,
    /// 1 when the elements are in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// A sparse constant, of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensor {}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringEntry {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A named value and its type.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub ty: Option<Type>,
}

/// A type; only tensors are read, so anything else (sequences, maps) decodes as `None`.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// A tensor type.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

/// The type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Element type, see [`data_type`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Shape; absent when even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShape {
    /// Extents.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// An extent: a number, a symbol, or neither.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// A known extent.
    #[prost(int64, optional, tag = "1")]
    pub value: Option<i64>,
    /// The name of an unknown one.
    #[prost(string, optional, tag = "2")]
    pub symbol: Option<String>,
}

impl Attribute {
    /// An integer attribute.
    pub fn int(name: &str, i: i64) -> Self {
        Self { name: name.into(), i: Some(i), kind: attribute_kind::INT, ..Self::default() }
    }
    /// A number attribute.
    pub fn float(name: &str, f: f32) -> Self {
        Self { name: name.into(), f: Some(f), kind: attribute_kind::FLOAT, ..Self::default() }
    }
    /// An attribute of integers.
    pub fn ints(name: &str, ints: &[i64]) -> Self {
        Self { name: name.into(), ints: ints.to_vec(), kind: attribute_kind::INTS, ..Self::default() }
    }
    /// An attribute of numbers.
    pub fn floats(name: &str, floats: &[f32]) -> Self {
        Self { name: name.into(), floats: floats.to_vec(), kind: attribute_kind::FLOATS, ..Self::default() }
    }
    /// A text attribute.
    pub fn text(name: &str, s: &str) -> Self {
        Self { name: name.into(), s: Some(s.into()), kind: attribute_kind::STRING, ..Self::default() }
    }
    /// A tensor attribute.
    pub fn tensor(name: &str, t: Tensor) -> Self {
        Self { name: name.into(), t: Some(t), kind: attribute_kind::TENSOR, ..Self::default() }
    }
}

impl Node {
    /// A node of the standard operators.
    pub fn new(op_type: &str, name: &str, input: &[&str], output: &[&str], attribute: Vec<Attribute>) -> Self {
        let list = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
        Self {
            op_type: op_type.into(),
            name: name.into(),
            input: list(input),
            output: list(output),
            attribute,
            ..Self::default()
        }
    }
}

impl Tensor {
    /// A float32 constant.
    pub fn floats(name: &str, dims: &[i64], data: &[f32]) -> Self {
        let (dims, float_data) = (dims.to_vec(), data.to_vec());
        Self { name: name.into(), dims, data_type: data_type::FLOAT, float_data, ..Self::default() }
    }
    /// An int64 constant.
    pub fn ints(name: &str, dims: &[i64], data: &[i64]) -> Self {
        let (dims, int64_data) = (dims.to_vec(), data.to_vec());
        Self { name: name.into(), dims, data_type: data_type::INT64, int64_data, ..Self::default() }
    }
}

impl ValueInfo {
    /// A float32 tensor; an extent of -1 stands for the symbol `batch`.
    pub fn floats(name: &str, dims: &[i64]) -> Self {
        let extent = |&d: &i64| match d {
            -1 => Dimension { value: None, symbol: Some("batch".into()) },
            _ => Dimension { value: Some(d), symbol: None },
        };
        let shape = Some(TensorShape { dim: dims.iter().map(extent).collect() });
        let tensor = Some(TensorType { elem_type: data_type::FLOAT, shape });
        Self { name: name.into(), ty: Some(Type { tensor }) }
    }
}

impl Model {
    /// A model of the standard operators at version `opset`.
    pub fn new(opset: i64, graph: Graph) -> Self {
        Self {
            ir_version: 8,
            producer_name: "fhec".into(),
            graph: Some(graph),
            opset_import: vec![OperatorSet { domain: String::new(), version: opset }],
            functions: Vec::new(),
        }
    }
}
