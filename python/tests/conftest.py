"""A teacher, a student and its recipe, small enough to train in seconds."""

from __future__ import annotations

import json
import os
import pathlib

# Networks of these sizes are slower on several threads, in the processes that tests start as well.
os.environ["OMP_NUM_THREADS"] = "1"

import blake3
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 6


def _model(seed: int, dirac: bool, scale=1.0, shift=0.0) -> onnx.ModelProto:
    """conv, batch normalisation, ReLU, conv, (add,) batch normalisation, SiLU of two nodes, mean, fully connected.

    Logits are `scale` times those drawn, plus `shift`, one element per class.
    """
    draw = np.random.default_rng(seed)

    def tensor(name, *shape, scale=0.4, mean=0.0):
        return numpy_helper.from_array((mean + scale * draw.standard_normal(shape)).astype(np.float32), name)

    constants = [tensor("conv1.weight", CHANNELS, 2, 3, 3), tensor("conv2.weight", CHANNELS, CHANNELS, 3, 3, scale=0.2)]
    for bn in ("bn1", "bn2"):
        constants += [tensor(f"{bn}.scale", CHANNELS, mean=1.0, scale=0.1), tensor(f"{bn}.bias", CHANNELS, scale=0.1)]
        constants += [tensor(f"{bn}.mean", CHANNELS, scale=0.1)]
        constants += [numpy_helper.from_array(np.ones(CHANNELS, np.float32), f"{bn}.variance")]
    head = draw.standard_normal((CHANNELS, 3)) * scale
    constants += [numpy_helper.from_array(head.astype(np.float32), "fc.weight")]
    constants += [numpy_helper.from_array(np.broadcast_to(shift, 3).astype(np.float32), "fc.bias")]
    constants += [numpy_helper.from_array(np.array([2, 3], np.int64), "axes")]
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    norm = lambda name, x: helper.make_node(  # noqa: E731
        "BatchNormalization", [x, *(f"{name}.{p}" for p in ("scale", "bias", "mean", "variance"))], [name], name=name
    )
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight"], ["conv1"], name="conv1", **pads),
        norm("bn1", "conv1"),
        helper.make_node("Relu", ["bn1"], ["relu1"], name="relu1"),
        helper.make_node("Conv", ["relu1", "conv2.weight"], ["conv2"], name="conv2", **pads),
        *([] if dirac else [helper.make_node("Add", ["conv2", "relu1"], ["add"], name="add")]),
        norm("bn2", "conv2" if dirac else "add"),
        helper.make_node("Sigmoid", ["bn2"], ["gate"], name="gate"),
        helper.make_node("Mul", ["bn2", "gate"], ["silu2"], name="silu2"),
        helper.make_node("ReduceMean", ["silu2", "axes"], ["pool"], name="pool", keepdims=0),
        helper.make_node("MatMul", ["pool", "fc.weight"], ["fc"], name="fc"),
        helper.make_node("Add", ["fc", "fc.bias"], ["logits"], name="bias"),
    ]
    ports = [helper.make_tensor_value_info(*p) for p in (("x", TensorProto.FLOAT, ["batch", 2, 8, 8]), ("logits", TensorProto.FLOAT, ["batch", 3]))]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


class Case:
    """The files of one student."""

    def __init__(self, directory: pathlib.Path, degree: int, dirac: bool = False):
        self.directory = directory
        self.teacher, self.student = directory / "teacher.onnx", directory / "student.onnx"
        self.recipe, self.data = directory / "recipe.json", directory / "data.npz"

        def logits(model):
            return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": self.x})[0]

        # Classes that the teacher gives: a student can be as right as it is. Each is about as frequent as the others.
        self.x = np.random.default_rng(7).standard_normal((1280, 2, 8, 8)).astype(np.float32)
        drawn = logits(_model(1, False))
        scale = 2.0 / drawn.std(axis=0)
        head = (scale, -scale * drawn.mean(axis=0))
        teacher, student = _model(1, False, *head), _model(1, dirac, *head)
        self.labels = logits(teacher).argmax(1)
        assert np.bincount(self.labels, minlength=3).min() > 256, "no class is rare"
        recipe = {"format": "fhec recipe", "version": 1, "joins": [], "dirac": []}
        if dirac:
            weight = next(t for t in student.graph.initializer if t.name == "conv2.weight")
            array = numpy_helper.to_array(weight).copy()
            norms = np.linalg.norm(array.reshape(CHANNELS, -1), axis=1)
            for i in range(CHANNELS):
                array[i, i, 1, 1] += 1.0
            weight.CopyFrom(numpy_helper.from_array(array, "conv2.weight"))
            factors = {"a": [1.0] * CHANNELS, "b": norms.tolist()}
            recipe["dirac"] = [{"node": "conv2", "output": "conv2", "weight": "conv2.weight", "tap": 4, **factors}]
            recipe["joins"] = [{"join": "add", "form": "dirac"}]
        self.teacher.write_bytes(teacher.SerializeToString())
        self.student.write_bytes(student.SerializeToString())
        polynomial = {"degree": degree, "axis": 1, "start": None}
        recipe["activations"] = [
            {"node": "relu1", "input": "bn1", "output": "relu1", "function": "relu", "polynomial": polynomial},
            {"node": "silu2", "input": "bn2", "output": "silu2", "function": "silu", "polynomial": polynomial},
        ]
        recipe["matches"] = [{"student": "bn1", "teacher_node": "relu1"}, {"student": "bn2", "teacher_node": "silu2"}]
        for name in ("teacher", "student"):
            digest = blake3.blake3((directory / f"{name}.onnx").read_bytes()).hexdigest()
            recipe[f"{name}_digest"] = digest
        self.recipe.write_text(json.dumps(recipe))
        np.savez(self.data, x=self.x, labels=self.labels)

    def arguments(self, out: str = "trained.onnx", *more: str) -> list[str]:
        files = ["--recipe", self.recipe, "--teacher", self.teacher, "--data", self.data, "-o", self.directory / out]
        return [str(a) for a in (self.student, *files, "--batch", "32", "--held", "256", *more)]


@pytest.fixture
def case(tmp_path):
    """A function that makes a student with polynomials of a degree, with a Dirac kernel or without."""
    return lambda degree=2, dirac=False: Case(tmp_path, degree, dirac)
