"""Training ends in a network of polynomials, goes on after it was killed, and refuses what does not belong together."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest

from fhec_train import Data, TrainError
from fhec_train.command import main
from fhec_train.data import distorted


def agreement(path, case) -> float:
    logits = onnxruntime.InferenceSession(path.read_bytes()).run(None, {"x": case.x[-256:]})[0]
    return float((logits.argmax(1) == case.labels[-256:]).mean())


@pytest.mark.parametrize("dirac", [False, True])
def test_students_learn_and_hold_polynomials_alone(case, capsys, dirac):
    made = case(2, dirac)
    assert main(made.arguments("trained.onnx", "--epochs", "6", "--json")) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    result = records[-1]
    assert result["kind"] == "result" and [r["kind"] for r in records[:-1]] == ["epoch"] * 6
    trained = made.directory / "trained.onnx"
    assert abs(agreement(trained, made) - result["best"]["agreement"]) < 0.005
    # Three classes by chance are 33 %.
    assert result["best"]["agreement"] > 0.85 and result["best"]["destroyed"] == 0
    kinds = [node.op_type for node in onnx.load(trained).graph.node]
    assert not {"Relu", "Sigmoid"}.intersection(kinds)
    assert not dirac or kinds.count("Add") == 2 * 2 + 1, "sums of polynomials and the bias are all that is left"
    assert not (made.directory / "trained.onnx.checkpoint").exists()


def test_labels_alone_and_the_teacher_alone_suffice(case):
    made = case()
    arguments = made.arguments("a.onnx", "--epochs", "1")
    at = arguments.index("--teacher")
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    np.save(made.directory / "x.npy", made.x)
    arguments = made.arguments("b.onnx", "--epochs", "1")
    arguments[arguments.index("--data") + 1] = str(made.directory / "x.npy")
    assert main(arguments) == 0


def test_a_shared_source_alone_is_trained(case, capsys):
    made = case()
    recipe = json.loads(made.recipe.read_text())
    joins = [{"join": "add", "form": "shared"}]
    made.recipe.write_text(json.dumps({**recipe, "activations": [], "joins": joins}))
    assert main(made.arguments("trained.onnx", "--epochs", "1")) == 0
    told = capsys.readouterr().err
    assert "epoch 1 of 1: teacher" in told and "reach" not in told, told


def test_training_goes_on_from_a_trained_network(case, capsys):
    made = case()
    assert main(made.arguments("first.onnx", "--epochs", "6", "--json")) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["best"]["agreement"]
    begin = ("--begin", str(made.directory / "first.onnx"), "--rate", "0.002")
    assert main(made.arguments("second.onnx", "--epochs", "1", "--json", *begin)) == 0
    epoch, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert epoch["share"] == 1.0, "its activations are polynomials from the start"
    assert result["best"]["agreement"] > first - 0.03
    # Begun from nothing, one epoch of so small a rate ends far from it.
    assert main(made.arguments("alone.onnx", "--epochs", "1", "--json", "--rate", "0.002")) == 0
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])["best"]["agreement"]
    assert alone < result["best"]["agreement"] - 0.03
    other = pathlib.Path(__file__).resolve().parents[2] / "models/mnist_mlp.onnx"
    assert main(made.arguments("fourth.onnx", "--begin", str(other))) == 1
    assert "mnist_mlp.onnx: the tensor" in capsys.readouterr().err
    dirac = case(2, True)
    assert main(dirac.arguments("third.onnx", *begin)) == 1
    assert "activations alone" in capsys.readouterr().err


def test_a_recipe_may_give_activations_back(case, capsys):
    made = case()
    assert main(made.arguments("all.onnx", "--epochs", "6")) == 0
    recipe = json.loads(made.recipe.read_text())
    made.recipe.write_text(json.dumps({**recipe, "activations": recipe["activations"][1:]}))
    begin = ("--begin", str(made.directory / "all.onnx"))
    assert main(made.arguments("some.onnx", "--epochs", "1", "--rate", "0.002", "--json", *begin)) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["best"]["agreement"] > 0.85
    kinds = [node.op_type for node in onnx.load(made.directory / "some.onnx").graph.node]
    assert "Relu" in kinds and "Sigmoid" not in kinds


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_goes_on_and_ends_the_same(case, kind):
    made = case()
    more = ("--epochs", "4", "--shift", "1", "--flip")
    assert main(made.arguments("whole.onnx", *more)) == 0
    command = [sys.executable, "-m", "fhec_train", *made.arguments("killed.onnx", *more)]
    checkpoint = made.directory / "killed.onnx.checkpoint"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    while not checkpoint.exists():
        time.sleep(0.01)
    run.send_signal(kind)
    message = run.communicate()[1].decode()
    assert run.returncode == (130 if kind == signal.SIGTERM else -kind), message
    assert not (made.directory / "killed.onnx").exists()
    assert main(made.arguments("killed.onnx", *more)) == 0
    assert (made.directory / "killed.onnx").read_bytes() == (made.directory / "whole.onnx").read_bytes()


def test_a_checkpoint_of_another_run_is_refused(case, capsys):
    made = case()
    command = [sys.executable, "-m", "fhec_train", *made.arguments("trained.onnx", "--epochs", "9")]
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE)
    while not (made.directory / "trained.onnx.checkpoint").exists():
        time.sleep(0.01)
    run.kill()
    run.communicate()
    assert main(made.arguments("trained.onnx", "--epochs", "8")) == 1
    assert "of a run with epochs 9, not 8" in capsys.readouterr().err


def test_files_that_do_not_belong_together_are_refused(case, capsys):
    made = case()

    def refused(arguments, text):
        assert main(arguments) == 1
        assert text in capsys.readouterr().err

    arguments = made.arguments()
    swapped = list(arguments)
    swapped[swapped.index("--teacher") + 1] = str(made.student)
    made.student.write_bytes(made.student.read_bytes() + b"\x00")
    refused(arguments, "the student is not the file")
    made = type(made)(made.directory, 2)
    refused(arguments[:-4] + ["--batch", "4096"], "too few for batches of 4096")
    refused([*arguments[:-4], "--batch", "32", "--held", "0", "--rate", "1e9", "--epochs", "1"], "not finite")
    np.save(made.directory / "labels.npy", made.labels + 1)
    refused([*arguments, "--labels", str(made.directory / "labels.npy")], "the label 3 names no class: the network has 3")
    recipe = json.loads(made.recipe.read_text())
    made.recipe.write_text(json.dumps({**recipe, "masks": []}))
    refused(arguments, "the field 'masks' is not known")
    made.recipe.write_text(json.dumps({**recipe, "version": 3}))
    refused(arguments, "has version 3")
    for joins in ([], [{"join": "add", "form": "residual"}]):
        made.recipe.write_text(json.dumps({**recipe, "activations": [], "joins": joins}))
        refused(arguments, "the recipe changes nothing")
    made.recipe.write_text("{")
    refused(arguments, "recipe.json")
    made.recipe.write_text(json.dumps(recipe))
    refused([*arguments[:-6], "-o", str(made.teacher), "--force"], "an output replaces no input")
    (made.directory / "trained.onnx").write_text("mine")
    refused(arguments, "--force replaces it")


def test_data_is_checked():
    x = np.zeros((4, 2, 3), np.float32)
    for bad, text in (((x[0, 0], None), "no batch"), ((x * np.nan, None), "finite"), ((x, np.zeros(3, int)), "4 labels"), ((x, np.zeros((4, 3))), "one class")):
        with pytest.raises(TrainError, match=text):
            Data.of(*bad)
    with pytest.raises(TrainError, match="module:name"):
        Data.load("images.png")


def test_distortions_are_of_the_generator_alone():
    import torch

    x = torch.arange(2 * 1 * 5 * 5.0).reshape(2, 1, 5, 5)
    again = [distorted(x, 2, True, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again) and not torch.equal(again[0], x)
    assert torch.equal(distorted(x, 0, False, torch.Generator()), x)
