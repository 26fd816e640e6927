//! The table of `nn` ops.

use fhec_functions::{Expression, Function};

use crate::attr::F64;
use crate::attr_enum;
use crate::define_ops;
use crate::entity::ConstId;

attr_enum! {
    /// Element-wise functions of one variable. `alpha` and `beta` are the parameters of those that have them.
    pub enum Activation {
        /// max(x, 0)
        Relu = "relu",
        /// x for x ≥ 0, else alpha·x
        LeakyRelu = "leaky_relu",
        /// min(max(x, alpha), beta)
        Clip = "clip",
        /// 1 / (1 + exp(-x))
        Sigmoid = "sigmoid",
        /// tanh(x)
        Tanh = "tanh",
        /// ln(1 + exp(x))
        Softplus = "softplus",
        /// erf(x)
        Erf = "erf",
        /// x·Φ(x)
        Gelu = "gelu",
        /// The tanh form of GELU
        GeluTanh = "gelu_tanh",
        /// x·sigmoid(x)
        Silu = "silu",
        /// x·clip(x/6 + 1/2, 0, 1)
        HardSwish = "hard_swish",
        /// clip(alpha·x + beta, 0, 1)
        HardSigmoid = "hard_sigmoid",
        /// x for x ≥ 0, else alpha·(exp(x) - 1)
        Elu = "elu",
        /// beta·(x for x > 0, else alpha·(exp(x) - 1))
        Selu = "selu",
        /// x·tanh(softplus(x))
        Mish = "mish",
        /// exp(x)
        Exp = "exp",
        /// ln(x)
        Log = "log",
        /// sqrt(x)
        Sqrt = "sqrt",
        /// 1/x
        Reciprocal = "reciprocal",
        /// |x|
        Abs = "abs",
        /// x^alpha
        Pow = "pow",
        /// x / (1 + |x|)
        Softsign = "softsign",
        /// x for x > alpha, else 0
        ThresholdedRelu = "thresholded_relu",
        /// 1 for x > 0, else 0
        Step = "step",
        /// sin(x)
        Sin = "sin",
        /// cos(x)
        Cos = "cos",
    }
}

attr_enum! {
    /// The basis of a polynomial's coefficients.
    pub enum Basis {
        /// Chebyshev polynomials of the first kind on `[lo, hi]` mapped to `[-1, 1]`.
        Chebyshev = "chebyshev",
        /// Powers of x; `lo` and `hi` state where the polynomial holds.
        Monomial = "monomial",
    }
}

attr_enum! {
    /// What padding holds.
    pub enum PadMode {
        /// One value.
        Constant = "constant",
        /// Mirrored without the edge.
        Reflect = "reflect",
        /// The edge repeated.
        Edge = "edge",
        /// The other end.
        Wrap = "wrap",
    }
}

define_ops! {
    /// Operations on real tensors. Batch is dimension 0, channels dimension 1.
    pub enum NnOp {
        /// A constant.
        Const = "const" (0..=0) { value: ConstId },
        /// Convolution of x [N,C,d..] with w [M,C/groups,k..] and optional bias `[M]`; `pads` lists all begins, then all ends.
        Conv = "conv" (2..=3) { strides: Vec<i64>, pads: Vec<i64>, dilations: Vec<i64>, groups: i64 },
        /// Matrix product with numpy semantics (batched over leading dimensions).
        MatMul = "matmul" (2..=2) {},
        /// Batch normalisation of x [N,C,..] with scale, bias, mean, variance `[C]`.
        BatchNorm = "batch_norm" (5..=5) { epsilon: F64 },
        /// Normalisation over dimensions `axis..` with optional scale and bias.
        LayerNorm = "layer_norm" (1..=3) { axis: i64, epsilon: F64 },
        /// Softmax over one dimension.
        Softmax = "softmax" (1..=1) { axis: i64 },
        /// The logarithm of the softmax over one dimension.
        LogSoftmax = "log_softmax" (1..=1) { axis: i64 },
        /// The index of the largest element along one dimension, of equal ones the first.
        ArgMax = "arg_max" (1..=1) { axis: i64, keepdims: bool },
        /// An element-wise function.
        Activation = "activation" (1..=1) { function: Activation, alpha: Option<F64>, beta: Option<F64> },
        /// An element-wise function made of others.
        Composed = "composed" (1..=1) { function: Expression },
        /// x for x ≥ 0, else slope·x; the slope broadcasts.
        PRelu = "prelu" (2..=2) {},
        /// A polynomial per element: `rows` = 1 shares it, `rows` = C gives one per channel (dimension 1); `coeffs` is row-major [rows, degree+1], lowest first.
        Polynomial = "polynomial" (1..=1) { basis: Basis, lo: F64, hi: F64, rows: i64, coeffs: Vec<F64> },
        /// Sum; operands broadcast.
        Add = "add" (2..=2) {},
        /// Difference; operands broadcast.
        Sub = "sub" (2..=2) {},
        /// Product; operands broadcast.
        Mul = "mul" (2..=2) {},
        /// Quotient; operands broadcast.
        Div = "div" (2..=2) {},
        /// Power; operands broadcast.
        Pow = "pow" (2..=2) {},
        /// Negation.
        Neg = "neg" (1..=1) {},
        /// Average over windows.
        AvgPool = "avg_pool" (1..=1) { kernel: Vec<i64>, strides: Vec<i64>, pads: Vec<i64>, dilations: Vec<i64>, count_include_pad: bool, ceil: bool },
        /// Maximum over windows.
        MaxPool = "max_pool" (1..=1) { kernel: Vec<i64>, strides: Vec<i64>, pads: Vec<i64>, dilations: Vec<i64>, ceil: bool },
        /// Mean over dimensions.
        ReduceMean = "reduce_mean" (1..=1) { axes: Vec<i64>, keepdims: bool },
        /// Sum over dimensions.
        ReduceSum = "reduce_sum" (1..=1) { axes: Vec<i64>, keepdims: bool },
        /// The same elements in another shape.
        Reshape = "reshape" (1..=1) { shape: Vec<i64> },
        /// Dimensions permuted: result dimension i is operand dimension perm\[i\].
        Transpose = "transpose" (1..=1) { perm: Vec<i64> },
        /// Every dimension: `sizes` elements from `starts` by `steps` (steps may be negative).
        Slice = "slice" (1..=1) { starts: Vec<i64>, sizes: Vec<i64>, steps: Vec<i64> },
        /// Padding; `pads` lists all begins, then all ends (negative ones crop).
        Pad = "pad" (1..=1) { pads: Vec<i64>, mode: PadMode, value: F64 },
        /// Concatenation along one dimension.
        Concat = "concat" (1..=usize::MAX) { axis: i64 },
        /// The elements `indices` (of shape `shape`) along one dimension.
        Gather = "gather" (1..=1) { axis: i64, indices: Vec<i64>, shape: Vec<i64> },
        /// The operand repeated to a larger shape by broadcasting.
        Expand = "expand" (1..=1) { shape: Vec<i64> },
    }
}

impl NnOp {
    /// Whether it is a function of one variable on every element, other than a polynomial.
    pub fn is_function(&self) -> bool {
        matches!(self, Self::Activation { .. } | Self::Composed { .. })
    }

    /// That function.
    pub fn function(&self) -> Option<Function> {
        match self {
            Self::Activation { function, alpha, beta } => {
                Some(function.function(alpha.map(|a| a.0), beta.map(|b| b.0)))
            }
            Self::Composed { function } => Some(Function::Composed(function.clone())),
            _ => None,
        }
    }
}
