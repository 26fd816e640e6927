"""What the tests share: the digit network of the repository and its data, a plan of it, and a client with its server."""

from __future__ import annotations

from pathlib import Path

import fhec
import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="session")
def calibration() -> np.ndarray:
    with np.load(MODELS / "calibration.npz") as arrays:
        return arrays[arrays.files[0]][:256]


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    return np.load(MODELS / "digits.npy")


@pytest.fixture(scope="session")
def digit_labels() -> np.ndarray:
    return np.load(MODELS / "digits_labels.npy")


@pytest.fixture(scope="session")
def plan(calibration: np.ndarray) -> fhec.Plan:
    """Of the network with the fewest operations."""
    return fhec.compile(MODELS / "mnist_mlp.onnx", calibration, quiet=True)


@pytest.fixture(scope="session")
def client(plan: fhec.Plan) -> fhec.Client:
    return fhec.Client(plan.client_plan())


@pytest.fixture(scope="session")
def keys(client: fhec.Client) -> bytes:
    return client.evaluation_keys()


@pytest.fixture(scope="session")
def server(plan: fhec.Plan, keys: bytes) -> fhec.Server:
    return fhec.Server(plan, keys)
