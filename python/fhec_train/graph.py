"""An ONNX graph as a torch module, some of whose activations and weights are replaced by what is trained."""

from __future__ import annotations

import pathlib
from collections.abc import Collection

import blake3
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from .errors import TrainError
from .operators import OPERATORS, Node

# The operands that are weights, by operator; what stands elsewhere is a constant of the network and stays as it is.
_WEIGHTS = {
    "Conv": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
_STATISTICS = {"BatchNormalization": (3, 4)}


class Graph(nn.Module):
    """The graph of an ONNX model that has one input; of several outputs the first is trained.

    Weights are parameters, the statistics of batch normalisations are buffers, both under the names of the file.
    """

    def __init__(self, model: onnx.ModelProto, name: str):
        super().__init__()
        self.model, self.file = model, name
        graph = model.graph
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes: list[Node] = []
        for proto in graph.node:
            node = Node(proto)
            if node.kind == "Constant":
                constants[node.outputs[0]] = _constant(node)
                continue
            if node.kind not in OPERATORS:
                known = "students that `fhec prepare` writes, and common convolutional teachers, need no other"
                raise TrainError(f"{name}: {node.error('this operator is not known here').args[0]}; {known}")
            self.nodes.append(node)
        inputs = [port.name for port in graph.input if port.name not in constants]
        if len(inputs) != 1:
            raise TrainError(f"{name}: networks of one input can be trained; this one has {len(inputs)}")
        self.input, self.output = inputs[0], graph.output[0].name
        self.producer = {output: node for node in self.nodes for output in node.outputs if output}
        self._slots: dict[str, str] = {}
        for index, (key, array) in enumerate(sorted(constants.items())):
            self._add(key, array, index)
        # What takes the place of tensors: of weights by name, of activations by the name of their result.
        self.kernels = nn.ModuleDict()
        self.activations = nn.ModuleDict()
        self._kernel_of: dict[str, str] = {}
        self._activation_of: dict[str, tuple[str, str]] = {}

    @classmethod
    def load(cls, path) -> Graph:
        """The graph in the ONNX file at `path`. Raises `TrainError` for what cannot be read or run here."""
        path = pathlib.Path(path)
        try:
            model = onnx.load(path)
        except Exception as error:  # protobuf raises its own kinds, which depend on its implementation
            raise TrainError(f"{path}: {error}") from error
        return cls(model, str(path))

    def _add(self, name: str, array: np.ndarray, index: int) -> None:
        slot = f"t{index}"
        self._slots[name] = slot
        tensor = torch.from_numpy(np.array(array))
        if self._is_used(name, _WEIGHTS) and array.dtype == np.float32 and array.ndim > 0:
            self.register_parameter(slot, nn.Parameter(tensor))
        else:
            self.register_buffer(slot, tensor)

    def _is_used(self, name: str, places: dict[str, tuple[int, ...]]) -> bool:
        """Whether some node has the tensor `name` in one of `places`."""
        return any(
            i < len(node.inputs) and node.inputs[i] == name for node in self.nodes for i in places.get(node.kind, ())
        )

    def tensor(self, name: str) -> Tensor:
        """An initialiser as it is now. Raises `TrainError` where the graph has none of that name."""
        if name in self._kernel_of:
            return self.kernels[self._kernel_of[name]]()
        if name not in self._slots:
            raise TrainError(f"{self.file}: the tensor {name!r} is made by no node before it is read")
        return getattr(self, self._slots[name])

    def trained(self) -> dict[str, np.ndarray]:
        """The initialisers that training changes, as arrays."""
        names = [
            name
            for name, slot in self._slots.items()
            if name in self._kernel_of or slot in self._parameters or self._is_used(name, _STATISTICS)
        ]
        with torch.no_grad():
            return {name: self.tensor(name).detach().cpu().numpy() for name in names}

    def digest(self) -> str:
        """blake3 of the model, in hexadecimal."""
        return blake3.blake3(self.model.SerializeToString(deterministic=True)).hexdigest()

    @torch.no_grad()
    def take(self, other: Graph) -> None:
        """Takes what training changes from `other`. Raises `TrainError` where it lacks some, or has it in another shape."""
        for name, mine in self.trained().items():
            theirs = other.tensor(name)
            if theirs.shape != mine.shape:
                raise TrainError(f"{other.file}: the weights {name!r} have another shape than in {self.file}")
            self.tensor(name).copy_(theirs)

    def replace_weight(self, name: str, kernel: nn.Module) -> None:
        """Puts what `kernel` returns in the place of the initialiser `name`."""
        shape, slot = self.tensor(name).shape, self._slots[name]
        self._parameters.pop(slot, None)
        self._buffers.pop(slot, None)
        with torch.no_grad():
            if kernel().shape != shape:
                raise TrainError(f"{self.file}: the weights {name!r} have another shape than the recipe says")
        self.kernels[slot] = kernel
        self._kernel_of[name] = slot

    def replace_activation(self, operand: str, result: str, activation: nn.Module) -> None:
        """Puts `activation`, a module of two tensors, in the place of `result`: of `operand` and what the graph makes of it."""
        if result not in self.producer:
            raise TrainError(f"{self.file}: no node makes the tensor {result!r} that the recipe names")
        slot = f"a{len(self.activations)}"
        self.activations[slot] = activation
        self._activation_of[result] = (operand, slot)

    def activation(self, result: str) -> nn.Module:
        """What stands in place of the activation whose result is `result`."""
        return self.activations[self._activation_of[result][1]]

    def needed(self, names: Collection[str]) -> list[Node]:
        """The nodes that `names` need, in order. Of an activation of several nodes that gave way to its polynomial, the
        last one is left, which stands for the polynomial."""
        wanted, live = set(names), []
        for node in reversed(self.nodes):
            if not wanted.intersection(node.outputs):
                continue
            live.append(node)
            operand, slot = self._activation_of.get(node.outputs[0], (None, None))
            if slot is not None:
                wanted.add(operand)
            if slot is None or self.activations[slot].reads_function():
                wanted.update(node.inputs)
        return live[::-1]

    def forward(self, x: Tensor, captured: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The first output on a batch of inputs, and the tensors `captured`."""
        values = {self.input: x}

        def read(name: str):
            if not name:
                return None
            return values[name] if name in values else self.tensor(name)

        for node in self.needed({self.output, *captured}):
            result = node.outputs[0]
            operand, slot = self._activation_of.get(result, (None, None))
            if slot is None or self.activations[slot].reads_function():
                try:
                    y = OPERATORS[node.kind](node, [read(name) for name in node.inputs], self)
                except (RuntimeError, TypeError, ValueError) as error:
                    raise TrainError(f"{self.file}: {node.error(str(error)).args[0]}") from error
            else:
                y = None
            values[result] = y if slot is None else self.activations[slot](read(operand), y)
        return read(self.output), {name: read(name) for name in captured}


def _constant(node: Node) -> np.ndarray:
    """The tensor of a node `Constant`."""
    (name, value), *_ = node.attributes.items()
    if name == "value":
        return numpy_helper.to_array(value)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if name not in kinds:
        raise node.error(f"a constant given by {name!r} is not known here")
    return np.asarray(value, kinds[name])
