"""From a model of the repository to an encrypted image: prepare, train, compile, run.

Needs the compiler: FHEC names it, or it lies in target/release. The network learns from its teacher alone, on the
calibration images.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import numpy as np
import onnxruntime
import pytest

from fhec_train.command import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
FHEC = pathlib.Path(os.environ.get("FHEC", ROOT / "target/release/fhec"))
MODELS = ROOT / "models"


def fhec(*arguments) -> dict:
    run = subprocess.run([str(FHEC), *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) if "--json" in arguments else {}


@pytest.mark.skipif(not FHEC.exists(), reason=f"the compiler {FHEC} is not there: cargo build --release")
def test_a_model_becomes_a_network_of_polynomials_that_runs_encrypted(tmp_path):
    model, calibration, digits = (MODELS / name for name in ("mnist_cnn.onnx", "calibration.npz", "digits.npy"))
    student, recipe, trained, plan = (tmp_path / name for name in ("student.onnx", "recipe.json", "trained.onnx", "plan.fhe"))
    prepared = ("--activations", "quadratic", "--calibration", calibration)
    fhec("prepare", model, "-o", student, "--recipe", recipe, *prepared)
    data = ("--data", calibration, "--teacher", model)
    options = ("--epochs", "8", "--batch", "64", "--shift", "2")
    assert main([str(a) for a in (student, "--recipe", recipe, *data, *options, "-o", trained)]) == 0

    x, labels = np.load(digits), np.load(MODELS / "digits_labels.npy")
    logits = onnxruntime.InferenceSession(trained.read_bytes()).run(None, {"input": x})[0]
    assert (logits.argmax(1) == labels).mean() > 0.9

    compiled = fhec(trained, "--calibration", calibration, "-o", plan, "--json")
    assert not compiled["activations"], "what was trained is not fitted again"
    fhec("simulate", plan, "--input", digits, "--exact", "-o", tmp_path / "exact.npy")
    exact = np.load(tmp_path / "exact.npy").reshape(logits.shape)
    assert np.abs(exact - logits).max() < 1e-4 * np.abs(logits).max(), "the plan computes what was trained"
    ran = fhec("run", plan, "--input", digits, "--limit", "1", "-o", tmp_path / "decrypted.npy", "--json")
    assert ran["trace"] == "equal to the plan"
    decrypted = np.load(tmp_path / "decrypted.npy").reshape(1, -1)
    assert decrypted.argmax() == exact[0].argmax() and np.abs(decrypted[0] - exact[0]).max() < 1e-2
    # What low degrees are for: the ReLU network takes more levels.
    relu = fhec(model, "--calibration", calibration, "-o", tmp_path / "relu.fhe", "--json")
    assert compiled["summary"]["levels"] < relu["summary"]["levels"]
