"""Graphs, polynomials and kernels compute what the ONNX files say, before and after."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from fhec_train import Recipe, TrainError
from fhec_train.dirac import DiracKernel
from fhec_train.export import export
from fhec_train.graph import Graph
from fhec_train.polynomial import PolynomialActivation, hermite
from fhec_train.recipe import Dirac


def run(model, x):
    data = model.read_bytes() if hasattr(model, "read_bytes") else model.SerializeToString()
    return onnxruntime.InferenceSession(data).run(None, {"x": x})[0]


def test_graphs_compute_what_onnxruntime_does(case):
    made = case()
    x = made.x[:16]
    for path in (made.teacher, made.student):
        graph = Graph.load(path).eval()
        with torch.no_grad():
            y, captured = graph(torch.from_numpy(x), ["bn1"])
        assert np.abs(y.numpy() - run(path, x)).max() < 1e-5
        assert captured["bn1"].shape == (16, 6, 8, 8)


OPERATORS = {
    "asymmetric": (helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[0, 1, 2, 1], strides=[2, 2]), {"w": (4, 2, 3, 3)}),
    "same": (helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]), {"w": (4, 2, 3, 3)}),
    "average": (helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), {}),
    "counted": (helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 0, 1, 1], count_include_pad=1), {}),
    "max": (helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), {}),
    "backwards": (helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"]), {"starts": [-1], "ends": [-99], "axes": [3], "steps": [-2]}),
    "padded": (helper.make_node("Pad", ["x", "pads"], ["y"]), {"pads": [0, 1, 0, 2, 0, 0, 1, 3]}),
    "reflected": (helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect"), {"pads": [0, 0, 1, 2, 0, 0, 2, 1]}),
    "gathered": (helper.make_node("Gather", ["x", "at"], ["y"], axis=2), {"at": [1, -1, 3]}),
    "clipped": (helper.make_node("Clip", ["x", "lo", "hi"], ["y"]), {"lo": np.float32(-0.5), "hi": np.float32(0.25)}),
    "gelu": (helper.make_node("Gelu", ["x"], ["y"], approximate="tanh"), {}),
    "hard": (helper.make_node("HardSigmoid", ["x"], ["y"], alpha=0.25), {}),
    "selu": (helper.make_node("Selu", ["x"], ["y"]), {}),
    "flat": (helper.make_node("Flatten", ["x"], ["y"], axis=2), {}),
    "shaped": (helper.make_node("Reshape", ["x", "to"], ["y"]), {"to": [0, -1, 4]}),
    "softmax": (helper.make_node("Softmax", ["x"], ["y"], axis=1), {}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_follow_the_reference(name):
    node, constants = OPERATORS[name]
    draw = np.random.default_rng(3)
    arrays = {
        key: value if isinstance(value, np.generic) else np.asarray(value, np.int64) if isinstance(value, list) else draw.standard_normal(value).astype(np.float32)
        for key, value in constants.items()
    }
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None if n == "y" else [3, 2, 7, 8]) for n in ("x", "y")]
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    graph = helper.make_graph([node], name, ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    x = draw.standard_normal((3, 2, 7, 8)).astype(np.float32)
    with torch.no_grad():
        y, _ = Graph(model, name).eval()(torch.from_numpy(x))
    expected = run(model, x)
    assert y.shape == expected.shape and np.abs(y.numpy() - expected).max() < 1e-5


def test_operators_that_are_not_known_are_named(case):
    made = case()
    model = onnx.load(made.teacher)
    model.graph.node[2].op_type = "Hardmax"
    with pytest.raises(TrainError, match="'relu1' \\(Hardmax\\)"):
        Graph(model, "teacher.onnx")


def test_hermite_polynomials_are_orthonormal():
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    values = np.polynomial.polynomial.polyvander(nodes, 7) @ hermite(7).T
    assert np.allclose(values.T @ (values * (weights / weights.sum())[:, None]), np.eye(8), atol=1e-9)


def _activation(made, degree):
    spec = Recipe.load(made.recipe).activations[0]
    made = PolynomialActivation(spec, 6)
    x = torch.randn(64, 6, 4, 4, generator=torch.Generator().manual_seed(2)) * 1.7 + 0.6
    made.start(x, torch.relu(x))
    return made, x


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_folded_coefficients_are_the_polynomial(case, degree):
    activation, x = _activation(case(degree), degree)
    y = activation.eval()(x, None).detach().double()
    folded = torch.from_numpy(activation.folded())
    powers = torch.stack([x.double() ** k for k in range(degree + 1)])
    assert (torch.einsum("ck,kbchw->bchw", folded, powers) - y).abs().max() < 2e-5


def test_polynomials_start_at_least_squares(case):
    quadratic, x = _activation(case(2), 2)
    quadratic.eval()
    error = lambda: (quadratic(x, None) - torch.relu(x)).square().mean().item()  # noqa: E731
    best = error()
    for k in range(3):
        with torch.no_grad():
            quadratic.coefficients[:, k] += 0.01
        assert error() > best
        with torch.no_grad():
            quadratic.coefficients[:, k] -= 0.01


def test_gradients_are_the_functions_where_asked(case):
    activation, x = _activation(case(5), 5)
    activation.train()
    activation.straight_through = True
    x = x.requires_grad_()
    y = activation(x, torch.relu(x))
    y.sum().backward()
    assert torch.equal(x.grad, (x > 0).float()) and activation.coefficients.grad.abs().sum() > 0
    with torch.no_grad():
        assert (y - torch.relu(x)).abs().max() > 1e-3, "forward is the polynomial"


def test_tails_are_penalised_on_the_inputs_that_have_them(case):
    activation, x = _activation(case(2), 2)
    activation.train()

    def pull(farthest, tails):
        activation.tails, moved = tails, x.clone()
        moved[3, 1, 2, 2] = farthest
        activation(moved.requires_grad_(), None)
        return torch.autograd.grad(activation.penalty, moved)[0][3, 1, 2, 2]

    # 15 and 6 standard deviations.
    assert pull(30.0, 0.05) > 2 * pull(30.0, 0.0) > 0, "it is drawn in"
    assert pull(10.0, 0.05) == pull(10.0, 0.0) > 0, "within twice the bound nothing is added"


def test_dirac_kernels_start_as_the_weights_and_hold_a_skip():
    weight = torch.randn(3, 4, 3, 3)
    made = DiracKernel(Dirac("conv", "conv", "w", 4, [1.0] * 3, [0.0] * 3), weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.allclose(torch.nn.functional.conv2d(x, made(), padding=1), x[:, :3], atol=1e-6)
    norms = (weight - made.delta).flatten(1).norm(dim=1)
    made = DiracKernel(Dirac("conv", "conv", "w", 4, [1.0] * 3, norms.tolist()), weight)
    assert torch.allclose(made(), weight, atol=1e-6)


@pytest.mark.parametrize("degree", [2, 4])
def test_exported_polynomials_are_what_was_trained(case, tmp_path, degree):
    made = case(degree, dirac=True)
    recipe, graph = Recipe.load(made.recipe), Graph.load(made.student).eval()
    x = torch.from_numpy(made.x[:64])
    with torch.no_grad():
        _, values = graph(x, ["bn1", "relu1", "bn2", "silu2"])
    for activation in recipe.activations:
        polynomial = PolynomialActivation(activation, 6)
        polynomial.start(values[activation.input], values[activation.output])
        graph.replace_activation(activation.input, activation.output, polynomial)
    for dirac in recipe.dirac:
        graph.replace_weight(dirac.weight, DiracKernel(dirac, graph.tensor(dirac.weight)))
    with torch.no_grad():
        expected, _ = graph.eval()(x)
    export(graph, recipe, tmp_path / "out.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node]
    assert not {"Relu", "Sigmoid"}.intersection(kinds)
    assert np.abs(run(tmp_path / "out.onnx", made.x[:64]) - expected.numpy()).max() < 2e-5
