"""The trained network as ONNX: the student's file with trained weights, and sums and products for polynomials."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import Graph
from .polynomial import PolynomialActivation
from .recipe import Activation, Recipe


def export(student: Graph, recipe: Recipe, path: pathlib.Path) -> None:
    """Writes the network of polynomials to `path`; `fhec` reads each as one polynomial, a quadratic as one level."""
    model = onnx.ModelProto()
    model.CopyFrom(student.model)
    graph = model.graph
    trained = student.trained()
    for tensor in graph.initializer:
        if tensor.name in trained:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(trained[tensor.name], np.float32), tensor.name))
    polynomials = {a.output: (a, student.activation(a.output)) for a in recipe.activations}
    ranks = _ranks(graph)
    nodes = []
    for node in graph.node:
        activation, polynomial = polynomials.get(node.output[0], (None, None))
        if activation is None:
            nodes.append(node)
            continue
        made, constants = _polynomial(activation, polynomial, ranks.get(activation.input))
        nodes.extend(made)
        graph.initializer.extend(constants)
    del graph.node[:]
    graph.node.extend(_live(nodes, {port.name for port in graph.output}))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model.producer_name = "fhec-train"
    onnx.checker.check_model(model, full_check=True)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def coefficients(network: Graph, activation: Activation) -> np.ndarray:
    """The monomial coefficients that `export` wrote of an activation, lowest first, one row per channel or one for all. Raises
    `TrainError` where `network` has none."""
    powers = [_key(activation, power) for power in range(activation.polynomial.degree + 1)]
    return np.stack([network.tensor(key).detach().cpu().double().numpy().ravel() for key in powers], axis=1)


def _key(activation: Activation, power: int) -> str:
    """The name of the constant of a power."""
    return f"{activation.output}.c{power}"


def _ranks(graph: onnx.GraphProto) -> dict[str, int]:
    """How many dimensions each tensor has, where shapes can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph)).graph
    ports = [*inferred.value_info, *inferred.input, *inferred.output]
    return {port.name: len(port.type.tensor_type.shape.dim) for port in ports}


def _polynomial(activation: Activation, polynomial: PolynomialActivation, rank: int | None):
    """Nodes and constants that compute the polynomial: w2·x² + w1·x + w0, and Horner's rule from the third degree on."""
    rows = polynomial.folded().astype(np.float32)
    axis = polynomial.axis
    shape = [1] if axis is None else [-1] + [1] * ((rank or 4) - axis - 1)
    x, name = activation.input, activation.output
    nodes, constants = [], []

    def constant(power: int) -> str:
        key = _key(activation, power)
        constants.append(numpy_helper.from_array(rows[:, power].reshape(shape), key))
        return key

    def step(kind: str, left: str, right: str, result: str) -> str:
        nodes.append(helper.make_node(kind, [left, right], [result], name=result))
        return result

    if polynomial.degree == 2:
        square = step("Mul", x, x, f"{name}.square")
        upper = step("Mul", square, constant(2), f"{name}.upper")
        middle = step("Mul", x, constant(1), f"{name}.middle")
        y = step("Add", upper, middle, f"{name}.sum")
    else:
        y = step("Mul", x, constant(polynomial.degree), f"{name}.p{polynomial.degree}")
        for power in reversed(range(1, polynomial.degree)):
            y = step("Add", y, constant(power), f"{name}.s{power}")
            y = step("Mul", y, x, f"{name}.p{power}")
    nodes.append(helper.make_node("Add", [y, constant(0)], [name], name=activation.node))
    return nodes, constants


def _live(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that `wanted` tensors need: the inner nodes of activations are gone with them."""
    live = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            live.append(node)
            wanted = wanted | set(node.input)
    return live[::-1]
