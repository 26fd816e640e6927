"""Masks that give way to others, powers of two, and networks of both that compute what was trained."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from fhec_train import Recipe, TrainError
from fhec_train.command import main
from fhec_train.constrained import ConstrainedWeight, rounded
from fhec_train.polynomial import FixedPolynomial
from fhec_train.recipe import Group, Mask, PowersOfTwo

POWERS = PowersOfTwo("w", -3, 1)


def groups(*masked: bool) -> Mask:
    """Groups of two neighbouring elements."""
    return Mask("w", [Group([2 * i, 2 * i + 1], 0.5, each) for i, each in enumerate(masked)])


def test_the_nearest_power_is_taken():
    x = torch.linspace(-3, 3, 4001)
    values = torch.tensor([0.0] + [s * 2.0**k for s in (1, -1) for k in range(-3, 2)])
    nearest = (x[:, None] - values).abs().min(dim=1).values
    taken = rounded(x, POWERS)
    assert torch.isin(taken, values).all()
    assert torch.allclose((x - taken).abs(), nearest, atol=1e-6)


def test_masked_weights_return_once_they_have_outgrown_others():
    weight = ConstrainedWeight(torch.tensor([1.0, 1.0, 0.9, 0.9, 3.0, 3.0]), groups(True, False, False), None)
    assert weight().tolist() == [0, 0, 0.9, 0.9, 3, 3] or torch.equal(weight().bool(), torch.tensor([0, 0, 1, 1, 1, 1]).bool())
    weight.operate()
    assert weight.masked.tolist() == [True, False, False], "nearly the same is not enough: 0.8 · 2 < 1.62"
    with torch.no_grad():
        weight.weight[:2] = 2.0
    weight.operate()
    assert weight.masked.tolist() == [False, True, False], "as much is saved as before"
    assert weight().tolist() == pytest.approx([2, 2, 0, 0, 3, 3])


def test_groups_inside_masked_ones_save_nothing_more():
    mask = Mask("w", [Group([0, 1], 0.5, False), Group([0], 0.1, False), Group([2, 3], 0.5, True)])
    weight = ConstrainedWeight(torch.tensor([0.1, 0.1, 1.0, 1.0]), mask, None)
    weight.operate()
    assert weight.masked.tolist() == [True, True, False]
    assert weight().tolist() == [0, 0, 1, 1]


def test_gradients_reach_masked_weights_while_masks_may_change_and_never_frozen_ones():
    weight = ConstrainedWeight(torch.tensor([1.0, 2.0, 0.6, 0.3]), groups(True, False), POWERS).train()
    weight().sum().backward()
    assert weight.weight.grad.tolist() == [1, 1, 1, 1]
    weight.weight.grad = None
    weight.settle()
    weight.freeze(0.5)
    assert weight().tolist() == pytest.approx([0, 0, 0.5, 0.3])
    weight().sum().backward()
    assert weight.weight.grad.tolist() == [0, 0, 0, 1]
    weight.freeze(1.0)
    assert weight().tolist() == [0, 0, 0.5, 0.25] and weight.is_frozen()


def test_what_a_recipe_cannot_mean_is_refused():
    with pytest.raises(TrainError, match="not there"):
        ConstrainedWeight(torch.zeros(2), groups(False, True), None)
    with pytest.raises(TrainError, match="saves no time"):
        ConstrainedWeight(torch.zeros(2), Mask("w", [Group([0], 0.0, False)]), None)


def constrain(made) -> None:
    """Gives a case a recipe of version 2: taps of the second convolution, powers of two in all weights and in polynomials."""
    recipe = json.loads(made.recipe.read_text())
    polynomial = {"degree": 2, "axis": None, "trained": False}
    for activation, row in zip(recipe["activations"], ([0.25, 0.5, 0.125], [0.125, 0.5, 0.125])):
        start = {"basis": "monomial", "interval": [-4.0, 4.0], "coefficients": [row]}
        activation["polynomial"] = polynomial | {"start": start}
    model = onnx.load(made.student)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    recipe["powers_of_two"] = [
        {"weight": name, "lowest": int(np.floor(np.log2(4 / 3 * np.abs(arrays[name]).max()))) - 5, "highest": int(np.floor(np.log2(4 / 3 * np.abs(arrays[name]).max())))}
        for name in ("conv1.weight", "conv2.weight", "fc.weight", "fc.bias")
    ]
    places = np.arange(arrays["conv2.weight"].size).reshape(arrays["conv2.weight"].shape)
    taps = itertools.product(range(3), range(3))
    recipe["masks"] = [
        {
            "weight": "conv2.weight",
            "groups": [{"elements": places[:, :, i, j].ravel().tolist(), "seconds": 0.01, "masked": j == 0} for i, j in taps],
        }
    ]
    recipe["version"] = 2
    made.recipe.write_text(json.dumps(recipe))


def test_trained_weights_are_powers_of_two_and_whole_taps_are_gone(case, capsys):
    made = case()
    constrain(made)
    assert main(made.arguments("trained.onnx", "--epochs", "8", "--json", "--rate", "0.02")) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["epoch"] == 8, "no network is kept before all weights are powers of two"
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(made.directory / "trained.onnx").graph.initializer}
    recipe = Recipe.load(made.recipe)
    for powers in recipe.powers_of_two:
        allowed = [0.0] + [2.0**k for k in range(powers.lowest, powers.highest + 1)]
        assert np.isin(np.abs(arrays[powers.weight]), allowed).all(), powers.weight
    taps = arrays["conv2.weight"].transpose(2, 3, 0, 1).reshape(9, -1)
    assert (np.abs(taps).sum(axis=1) == 0).sum() >= 3
    assert [arrays[f"relu1.c{k}"].item() for k in range(3)] == [0.25, 0.5, 0.125]
    logits = onnxruntime.InferenceSession((made.directory / "trained.onnx").read_bytes()).run(None, {"x": made.x[-256:]})[0]
    assert abs((logits.argmax(1) == made.labels[-256:]).mean() - result["best"]["accuracy"]) < 0.005
    # Three classes by chance are 33 %.
    assert result["best"]["accuracy"] > 0.7


def test_a_run_with_masks_and_powers_that_is_killed_ends_the_same(case):
    made = case()
    constrain(made)
    more = ("--epochs", "6", "--surgery", "0.5")
    assert main(made.arguments("whole.onnx", *more)) == 0
    command = [sys.executable, "-m", "fhec_train", *made.arguments("killed.onnx", *more)]
    checkpoint = made.directory / "killed.onnx.checkpoint"
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE)
    while not checkpoint.exists():
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert main(made.arguments("killed.onnx", *more)) == 0
    assert (made.directory / "killed.onnx").read_bytes() == (made.directory / "whole.onnx").read_bytes()


def test_polynomials_that_are_not_trained_stay_as_the_recipe_says(case):
    made = case()
    constrain(made)
    fixed = FixedPolynomial(Recipe.load(made.recipe).activations[0])
    x = torch.randn(8, 6, 4, 4)
    assert not list(fixed.parameters())
    assert torch.allclose(fixed.eval()(x, None), x * x / 8 + x / 2 + 0.25, atol=1e-6)
    assert torch.allclose(fixed.train()(x, None), x * x / 8 + x / 2 + 0.25, atol=1e-6)
    fixed(torch.full((1, 1), 6.0), None)
    assert fixed.penalty.item() > 3.9, "2 beyond the interval"


@pytest.mark.parametrize("portions", ["", "0.5", "0.5,0.5,1", "half,1"])
def test_portions_rise_to_all(case, capsys, portions):
    made = case()
    assert main(made.arguments("trained.onnx", "--portions", portions)) == 1
    assert "shares that rise to 1" in capsys.readouterr().err
