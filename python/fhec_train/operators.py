"""ONNX operators as torch functions: those of students, and those of common convolutional teachers.

An operator is a function of the node, its operands and the graph that runs it, registered under the name of its ONNX
operator. Operands that are left out are `None`; integer tensors such as shapes are torch tensors as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from onnx import NodeProto, helper

from .errors import TrainError

OPERATORS: dict[str, Callable] = {}


class Node:
    """A node of a graph, its attributes read once."""

    def __init__(self, proto: NodeProto):
        self.name = proto.name or (proto.output[0] if proto.output else proto.op_type)
        self.kind = proto.op_type
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def get(self, name: str, default=None):
        """An attribute; text comes as `str`."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def error(self, reason: str) -> TrainError:
        return TrainError(f"node {self.name!r} ({self.kind}): {reason}")


def operator(*names: str):
    """Registers a function for the ONNX operators `names`."""

    def register(function):
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def _elementwise(name: str, function) -> None:
    OPERATORS[name] = lambda node, operands, graph: function(*operands)


for _name, _function in {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Identity": lambda x: x,
    "Dropout": lambda x, *_: x,
    "MatMul": torch.matmul,
}.items():
    _elementwise(_name, _function)


@operator("Div")
def _div(node, operands, graph):
    a, b = operands
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("LeakyRelu")
def _leaky_relu(node, operands, graph):
    return F.leaky_relu(operands[0], node.get("alpha", 0.01))


@operator("Elu")
def _elu(node, operands, graph):
    return F.elu(operands[0], node.get("alpha", 1.0))


@operator("Selu")
def _selu(node, operands, graph):
    x, alpha = operands[0], node.get("alpha", 1.6732632423543772)
    return node.get("gamma", 1.0507009873554805) * F.elu(x, alpha)


@operator("ThresholdedRelu")
def _thresholded_relu(node, operands, graph):
    x = operands[0]
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("HardSigmoid")
def _hard_sigmoid(node, operands, graph):
    return (operands[0] * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0.0, 1.0)


@operator("Gelu")
def _gelu(node, operands, graph):
    return F.gelu(operands[0], approximate=node.get("approximate", "none"))


@operator("PRelu")
def _prelu(node, operands, graph):
    x, slope = operands
    return torch.where(x >= 0, x, slope * x)


@operator("Clip")
def _clip(node, operands, graph):
    bounds = [*operands[1:], None, None][:2]
    lo, hi = (given if given is not None else node.get(name) for given, name in zip(bounds, ("min", "max")))
    x = operands[0]
    x = x if lo is None else torch.maximum(x, torch.as_tensor(lo, dtype=x.dtype))
    return x if hi is None else torch.minimum(x, torch.as_tensor(hi, dtype=x.dtype))


def _pads(node, x, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Explicit padding, beginnings and then ends, whichever way the node states it."""
    rank = len(kernel)
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(node.get("pads", [0] * 2 * rank))
    if auto == "VALID":
        return [0] * 2 * rank
    begins, ends = [], []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations):
        extent = (k - 1) * dilation + 1
        total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if auto == "SAME_UPPER" else large)
        ends.append(large if auto == "SAME_UPPER" else small)
    return begins + ends


def _pad_by(x, pads: list[int], value: float = 0.0):
    """`x` with its trailing dimensions padded; `pads` are ONNX's."""
    if not any(pads):
        return x
    rank = len(pads) // 2
    flat = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    return F.pad(x, flat, value=value)


@operator("Conv")
def _conv(node, operands, graph):
    x, weight, bias = [*operands, None][:3]
    rank = weight.dim() - 2
    strides, dilations = list(node.get("strides", [1] * rank)), list(node.get("dilations", [1] * rank))
    pads = _pads(node, x, list(weight.shape[2:]), strides, dilations)
    convolution = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}.get(rank)
    if convolution is None:
        raise node.error(f"convolutions over {rank} dimensions are not known here")
    groups = node.get("group", 1)
    if pads[:rank] == pads[rank:]:
        return convolution(x, weight, bias, strides, pads[:rank], dilations, groups)
    return convolution(_pad_by(x, pads), weight, bias, strides, 0, dilations, groups)


@operator("BatchNormalization")
def _batch_norm(node, operands, graph):
    x, scale, bias, mean, variance = operands
    # ONNX keeps `momentum` of the old statistics, torch that share of the new ones.
    share = 1.0 - node.get("momentum", 0.9)
    return F.batch_norm(x, mean, variance, scale, bias, graph.training, share, node.get("epsilon", 1e-5))


@operator("Gemm")
def _gemm(node, operands, graph):
    a, b, c = [*operands, None][:3]
    a = a.transpose(0, 1) if node.get("transA", 0) else a
    b = b.transpose(0, 1) if node.get("transB", 0) else b
    y = node.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + node.get("beta", 1.0) * c


@operator("AveragePool", "MaxPool")
def _pool(node, operands, graph):
    x, kernel = operands[0], list(node.get("kernel_shape"))
    rank = len(kernel)
    strides, dilations = list(node.get("strides", [1] * rank)), list(node.get("dilations", [1] * rank))
    pads = _pads(node, x, kernel, strides, dilations)
    if node.get("ceil_mode", 0):
        raise node.error("pooling with ceil_mode is not known here; export the model with explicit padding")
    if rank not in (1, 2):
        raise node.error(f"pooling over {rank} dimensions is not known here")
    if node.kind == "MaxPool":
        pool = F.max_pool1d if rank == 1 else F.max_pool2d
        return pool(_pad_by(x, pads, -math.inf), kernel, strides, 0, dilations)
    if any(d != 1 for d in dilations):
        raise node.error("dilated average pooling is not known here")
    pool = F.avg_pool1d if rank == 1 else F.avg_pool2d
    y = pool(_pad_by(x, pads), kernel, strides)
    if any(pads) and not node.get("count_include_pad", 0):
        y = y / pool(_pad_by(torch.ones_like(x[:1, :1]), pads), kernel, strides)
    return y


@operator("GlobalAveragePool")
def _global_average_pool(node, operands, graph):
    x = operands[0]
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(node, operands, graph):
    x = operands[0]
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


@operator("ReduceMean", "ReduceSum")
def _reduce(node, operands, graph):
    x, axes = [*operands, None][:2]
    axes = node.get("axes") if axes is None else axes.tolist()
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return x
        axes = range(x.dim())
    reduction = torch.mean if node.kind == "ReduceMean" else torch.sum
    return reduction(x, dim=tuple(axes), keepdim=bool(node.get("keepdims", 1)))


@operator("LayerNormalization")
def _layer_norm(node, operands, graph):
    x, scale, bias = [*operands, None][:3]
    axis = node.get("axis", -1) % x.dim()
    y = F.layer_norm(x, x.shape[axis:], eps=node.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


@operator("Softmax", "LogSoftmax")
def _softmax(node, operands, graph):
    function = torch.softmax if node.kind == "Softmax" else torch.log_softmax
    return function(operands[0], node.get("axis", -1))


@operator("Flatten")
def _flatten(node, operands, graph):
    x = operands[0]
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Reshape")
def _reshape(node, operands, graph):
    x, shape = operands[0], operands[1].tolist()
    if not node.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


@operator("Transpose")
def _transpose(node, operands, graph):
    return operands[0].permute(node.get("perm") or list(reversed(range(operands[0].dim()))))


@operator("Squeeze", "Unsqueeze")
def _squeeze(node, operands, graph):
    x, axes = [*operands, None][:2]
    axes = node.get("axes") if axes is None else axes.tolist()
    if node.kind == "Squeeze":
        return x.squeeze() if axes is None else x.squeeze(tuple(axes))
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def _concat(node, operands, graph):
    return torch.cat(operands, dim=node.get("axis"))


@operator("Gather")
def _gather(node, operands, graph):
    x, at = operands
    axis = node.get("axis", 0) % x.dim()
    y = x.index_select(axis, at.reshape(-1) % x.shape[axis])
    return y.reshape(x.shape[:axis] + at.shape + x.shape[axis + 1 :])


@operator("Expand")
def _expand(node, operands, graph):
    x, shape = operands
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


@operator("Shape")
def _shape(node, operands, graph):
    return torch.tensor(operands[0].shape[slice(node.get("start", 0), node.get("end"))], dtype=torch.int64)


@operator("Slice")
def _slice(node, operands, graph):
    x, starts, ends, axes, steps = [*operands, None, None][:5]
    starts, ends = starts.tolist(), ends.tolist()
    axes = list(range(len(starts))) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts, ends, axes, steps):
        at = torch.tensor(range(x.shape[axis])[start:end:step], dtype=torch.int64)
        x = x.index_select(axis, at)
    return x


@operator("Pad")
def _pad(node, operands, graph):
    x, pads, value, axes = [*operands, None, None][:4]
    pads, mode = pads.tolist(), node.get("mode", "constant")
    axes = list(range(x.dim())) if axes is None else [a % x.dim() for a in axes.tolist()]
    full = [0] * 2 * x.dim()
    for i, axis in enumerate(axes):
        full[axis], full[axis + x.dim()] = pads[i], pads[i + len(axes)]
    if mode == "constant":
        return _pad_by(x, full, 0.0 if value is None else float(value))
    names = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    rank = x.dim() - 2
    if any(full[:2]) or any(full[x.dim() : x.dim() + 2]) or mode not in names:
        raise node.error(f"padding of mode {mode!r} over images or channels is not known here")
    flat = [p for axis in reversed(range(2, 2 + rank)) for p in (full[axis], full[axis + x.dim()])]
    return F.pad(x, flat, mode=names[mode])


@operator("Cast")
def _cast(node, operands, graph):
    kind = helper.tensor_dtype_to_np_dtype(node.get("to")).name
    return operands[0].to(getattr(torch, kind))


@operator("Greater")
def _greater(node, operands, graph):
    return operands[0] > operands[1]
