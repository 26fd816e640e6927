"""Pools on a local cluster of two nodes, each with processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fhec
import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="there is no ray: pip install 'fhec[ray]'")
pytest.importorskip("fcntl")

import fhec.ray  # noqa: E402
from fhec._node_files import NodeFile  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 512 << 20, "memory": 4 << 30}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def pool(cluster: Any, plan: fhec.Plan, keys: bytes) -> Iterator[fhec.ray.Pool]:
    with fhec.ray.Pool(plan, keys, timeout=120) as pool:
        assert len({worker.node for worker in pool.wait()}) == 2, "each node has a worker"
        yield pool
    assert pool.workers == []


def scores(client: fhec.Client, results: list[bytes]) -> np.ndarray:
    return np.concatenate([client.decrypt(result) for result in results])


def test_the_runs_of_a_request_are_spread_and_joined(pool, plan, client, digits):
    request = client.encrypt(digits[:5])
    heard: list[tuple[int, int, str]] = []
    answer = pool.eval(request, progress=lambda *step: heard.append(step))
    exact = plan.simulate(digits[:5], exact=True).exact
    assert np.abs(client.decrypt(answer) - exact).max() < 1e-2
    assert len(pool.runs) == 5 and pool.runs[0]["rotations"] > 0
    assert heard[-1][:2] == (5, 5) and [done for done, _, _ in heard] == sorted(done for done, _, _ in heard)


def test_requests_are_answered_in_order_from_a_generator(pool, plan, client, digits):
    taken = []

    def requests() -> Iterator[bytes]:
        for i in range(12):
            taken.append(i)
            yield client.encrypt(digits[i % len(digits)][None])

    answers = pool.map(requests())
    first = next(answers)
    assert len(taken) < 12, "requests are taken a few ahead"
    with pytest.raises(fhec.UsageError, match="computes already"):
        pool.eval(b"")
    exact = plan.simulate(digits, exact=True).exact
    expected = np.stack([exact[i % len(digits)] for i in range(12)])
    assert np.abs(scores(client, [first, *answers]) - expected).max() < 1e-2


def test_what_the_requests_are_wrong_about_is_raised_as_it_is(pool, client, digits):
    with pytest.raises(fhec.Error, match="another secret key") as caught:
        pool.eval(fhec.Client(pool.plan).encrypt(digits[:1]))
    assert caught.value.kind != "error" and caught.value.__cause__ is None
    with pytest.raises(fhec.Error):
        list(pool.map([b"no request"]))
    assert len(scores(client, list(pool.map([client.encrypt(digits[:1])])))) == 1, "the pool goes on"
    with pytest.raises(fhec.Error):
        with fhec.ray.Pool(pool.plan, b"no keys", workers=1, options={"num_cpus": 0}) as wrong:
            wrong.wait()


def test_an_abandoned_iterator_stops_its_work(pool, client, digits):
    many = client.encrypt(np.repeat(digits[:1], 40, axis=0))
    answers = pool.map([client.encrypt(digits[:1]), many, many])
    next(answers)
    before = pool.lost
    answers.close()
    assert len(scores(client, list(pool.map([client.encrypt(digits[:1])])))) == 1
    assert pool.lost == before, "workers stop within the time they have"


def test_what_a_killed_worker_was_at_is_computed_again(pool, plan, client, digits):
    requests = [client.encrypt(digits[i][None]) for i in range(8)]
    before = pool.lost
    answers = pool.map(requests)
    results = [next(answers)]
    os.kill(pool.workers[0].pid, signal.SIGKILL)
    results += answers
    assert np.abs(scores(client, results) - plan.simulate(digits[:8], exact=True).exact).max() < 1e-2
    assert pool.lost == before + 1 and len(pool.wait()) == 2, "it is replaced"


def test_what_a_lost_node_was_at_is_computed_elsewhere(cluster, plan, keys, client, digits):
    node = cluster.add_node(**(NODE | {"resources": {"third": 1}}))
    options = {"num_cpus": 0, "memory": 0}
    with fhec.ray.Pool(plan, keys, workers=1, options=options | {"resources": {"third": 1}}) as alone:
        (there,) = alone.wait()
        answers = alone.map([client.encrypt(digits[i][None]) for i in range(4)])
        results = [next(answers)]
        cluster.remove_node(node)
        # A node with the same resource takes its place.
        cluster.add_node(**(NODE | {"resources": {"third": 1}}))
        results += answers
        assert alone.lost >= 1 and alone.workers[0].node != there.node
    assert np.abs(scores(client, results) - plan.simulate(digits[:4], exact=True).exact).max() < 1e-2


def test_a_request_that_costs_every_worker_is_given_up(cluster, plan, keys, client, digits, monkeypatch):
    class Fatal(fhec.ray._Worker):
        def eval(self, call: int, request: bytes) -> Any:
            os._exit(1)

    monkeypatch.setattr(fhec.ray, "_Worker", Fatal)
    with fhec.ray.Pool(plan, keys, workers=1, retries=1, options={"num_cpus": 0, "memory": 0}) as fatal:
        with pytest.raises(fhec.WorkerLostError, match="request 0") as caught:
            list(fatal.map([client.encrypt(digits[:1])]))
    assert caught.value.help and caught.value.causes


def test_a_cluster_without_room_is_told_of(cluster, plan, keys, client, digits):
    with fhec.ray.Pool(plan, keys, workers=1, timeout=2, options={"num_cpus": 64}) as nowhere:
        with pytest.raises(fhec.LimitError, match="started") as caught:
            nowhere.eval(client.encrypt(digits[:1]))
    assert "ray status" in caught.value.help


def test_shared_keys_are_mapped_where_they_are(cluster, plan, keys, client, digits, tmp_path):
    (tmp_path / "server.key").write_bytes(keys)
    options = {"num_cpus": 0, "memory": 0}
    with fhec.ray.Pool(plan, tmp_path / "server.key", shared=True, workers=1, options=options) as shared:
        assert client.decrypt(shared.eval(client.encrypt(digits[:1]))).shape == (1, 10)
    with pytest.raises(fhec.UsageError):
        fhec.ray.Pool(plan, keys, shared=True)


def test_files_of_a_node_are_one_and_end_with_their_last_process(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    first, second = NodeFile("name", b"content"), NodeFile("name", b"content")
    assert first.path == second.path and first.path.read_bytes() == b"content"
    first.close()
    assert second.path.exists()
    code = "import os, fhec._node_files as f; f.NodeFile('other', b'x'); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (second.path.parent / "other.shared").exists(), "a process that is killed leaves it"
    (second.path.parent / "half.part").touch()
    second.close()
    assert [path.name for path in Path(second.path.parent).iterdir()] == ["lock"]
    second.path.parent.chmod(0o755)
    with pytest.raises(fhec.FileError, match="open to other users"):
        NodeFile("name", b"content")
