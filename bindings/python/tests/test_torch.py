"""Modules of PyTorch, and the comparison with the model as trained."""

from __future__ import annotations

import fhec
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from conftest import MODELS  # noqa: E402


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 6 * 6, 3),
    )


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(1).random((64, 1, 12, 12), dtype=np.float32)


def test_a_module_is_compiled_and_compared_with_itself(inputs, capsys):
    module = network().train()
    plan = fhec.compile(module, torch.from_numpy(inputs), degree=7)
    assert module.training, "its mode is as it was"
    comparison = plan.comparison
    assert comparison.images == 32 and comparison.max_error < 0.2 * comparison.largest
    assert capsys.readouterr().out == f"{comparison}\n"
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(inputs[:4])).numpy()
    assert np.abs(plan.simulate(inputs[:4]).outputs - wanted).max() < 0.2
    client = fhec.Client(plan)
    server = fhec.Server(plan, client.evaluation_keys())
    scores = client.decrypt(server.eval(client.encrypt(inputs[:1])))
    assert np.abs(scores - wanted[:1]).max() < 0.2


def test_new_inputs_are_compared_where_they_are_given(inputs):
    module = network().eval()
    plan = fhec.compile(module, inputs, degree=7, compare=inputs[:5] * 0.9, quiet=True)
    assert (plan.comparison.images, plan.comparison.inputs) == (5, "inputs")


def test_several_inputs_by_name_and_in_order(inputs):
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(8, 4), torch.nn.Linear(3, 4)

        def forward(self, left, right):
            return self.a(left) * 2 + self.b(right)

    module = Two().eval()
    left, right = inputs.reshape(64, -1)[:, :8], inputs.reshape(64, -1)[:, 8:11]
    for x in ({"left": left, "right": right}, (left, right)):
        plan = fhec.compile(module, x, quiet=True)
        assert plan.comparison.max_error < 1e-2
        with torch.no_grad():
            wanted = module(torch.from_numpy(left.copy()), torch.from_numpy(right.copy())).numpy()
        assert np.abs(plan.simulate(x).outputs - wanted).max() < 1e-2


def test_a_head_is_left_to_the_client(inputs):
    module = torch.nn.Sequential(network(), torch.nn.Softmax(dim=1)).eval()
    plan = fhec.compile(module, inputs, degree=7, quiet=True)
    assert plan.outputs[0].heads and plan.comparison.max_error < 0.1
    client = fhec.Client(plan)
    server = fhec.Server(plan, client.evaluation_keys())
    probabilities = client.decrypt(server.eval(client.encrypt(inputs[:1])), apply_head=True)
    assert abs(probabilities.sum() - 1) < 1e-3


def test_a_module_needs_an_example_and_must_be_exported(inputs):
    with pytest.raises(fhec.ModelError, match="example"):
        fhec.compile(network())

    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(fhec.ModelError) as caught:
        fhec.compile(Odd(), inputs)
    assert caught.value.causes


def test_onnx_files_are_compared_by_onnxruntime(calibration, digits):
    pytest.importorskip("onnxruntime")
    plan = fhec.compile(MODELS / "mnist_mlp.onnx", calibration, degree=15, compare=digits, quiet=True)
    assert plan.comparison.same_class == len(digits)
