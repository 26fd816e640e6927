"""A service that computes for clients of this package. It is the program `fhec`, of FHEC_PROGRAM or of a release build."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fhec
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(os.environ.get("FHEC_PROGRAM", ROOT / "target/release/fhec"))

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"there is no {PROGRAM}: cargo build --release -p fhec-cli")


@pytest.fixture(scope="module")
def folder(plan: fhec.Plan, keys: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    plan.save(folder / "plan.fhe")
    (folder / "server.key").write_bytes(keys)
    return folder


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    done = subprocess.run([PROGRAM, "token", "alice", "--tokens", "tokens"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def address(folder: Path, token: str) -> Iterator[str]:
    command = [PROGRAM, "serve", "--plan", "plan.fhe", "--keys-dir", "state", "--listen", "127.0.0.1:0", "--tokens", "tokens"]
    with open(folder / "log", "w") as log, subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
    ) as service:
        found = re.search(r"http://\S+", service.stdout.readline())
        assert found, (folder / "log").read_text()
        yield found.group()
        service.terminate()
        assert service.wait(60) == 0


def test_a_service_computes_what_the_server_would(address, token, folder, plan, client, digits):
    remote = fhec.RemoteClient(address, client, folder / "server.key", token=token)
    steps: list[tuple[int, int, str]] = []
    scores = remote.run(digits[:3], progress=lambda *step: steps.append(step))
    assert np.abs(scores - plan.simulate(digits[:3], exact=True).exact).max() < 1e-2
    assert remote.seconds > 0 and any(what == "bytes" for _, _, what in steps)
    # The keys are there: this uploads nothing, and gives the same name.
    heard: list[tuple[int, int, str]] = []
    again = fhec.RemoteClient(address, client, (folder / "server.key").read_bytes(), token=token)
    name = again.upload(progress=lambda *step: heard.append(step))
    assert re.fullmatch("[0-9a-f]{64}", name) and all(done == total for done, total, _ in heard)
    request = client.encrypt(digits[:1])
    assert np.abs(client.decrypt(again.eval(request)) - scores[:1]).max() < 1e-2


def test_what_a_client_needs_comes_from_the_service(address, token, plan):
    found = fhec.RemoteClient.plan_of(address, token=token)
    assert isinstance(found, fhec.ClientPlan) and found.digest == plan.digest and found.inputs == plan.inputs


def test_what_the_service_refuses_is_an_error_with_help(address, token, folder, client, plan, calibration, digits):
    for wrong in ({}, {"token": token[:-1] + ("0" if token[-1] != "0" else "1")}):
        with pytest.raises(fhec.ServiceError) as caught:
            fhec.RemoteClient(address, client, folder / "server.key", patience=5, **wrong).upload()
        assert "token" in caught.value.message and caught.value.help
    with pytest.raises(fhec.ServiceError, match="computes plan"):
        other = fhec.compile(ROOT / "models/mnist_mlp.onnx", calibration, degree=3, quiet=True)
        fhec.RemoteClient(address, fhec.Client(other), b"keys", token=token).run(digits[:1])
    with pytest.raises(fhec.ServiceError, match="another secret key"):
        fhec.RemoteClient(address, fhec.Client(plan), folder / "server.key", token=token).run(digits[:1])
    with pytest.raises(fhec.UsageError, match="plain_http=True"):
        fhec.RemoteClient("http://service.example", client, b"keys")
    with pytest.raises(fhec.ServiceError, match="in time") as caught:
        fhec.RemoteClient("http://127.0.0.1:1", client, b"keys", patience=0).upload()
    assert "patience" in caught.value.help
    with pytest.raises(fhec.InputsError):
        fhec.RemoteClient(address, client, folder / "server.key", token=token).run(255 * digits[:1])


def test_a_callback_that_raises_calls_the_job_off(address, token, folder, client, digits):
    class Enough(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if what == "running":
            raise Enough

    remote = fhec.RemoteClient(address, client, folder / "server.key", token=token)
    with pytest.raises(Enough):
        remote.run(np.repeat(digits[:1], 60, axis=0), progress=stop)
    # The service is free for the next one, which need not wait for sixty images.
    assert remote.run(digits[:1]).shape == (1, 10)
    log = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    outcomes = [line.get("outcome") for line in log if line.get("outcome")] or (folder / "log").read_text()
    assert "cancelled" in outcomes
