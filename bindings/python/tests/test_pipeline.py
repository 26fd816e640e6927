"""From a model to decrypted results, in objects, bytes and files."""

from __future__ import annotations

import json
import pickle
import threading

import fhec
import numpy as np
import pytest


def test_decrypted_scores_are_those_of_the_simulation(plan, client, server, digits, digit_labels):
    request = client.encrypt(digits[:2])
    answer = server.eval(request)
    assert isinstance(request, bytes) and isinstance(answer, bytes)
    scores = client.decrypt(answer)
    simulated = plan.simulate(digits[:2], digit_labels[:2])
    assert scores.shape == (2, 10) and scores.dtype == np.float32
    assert np.abs(scores - simulated.exact).max() < 1e-2
    # Different images give different scores, and these are the digits'.
    assert np.abs(scores[0] - scores[1]).max() > 0.1
    assert list(scores.argmax(axis=1)) == list(digit_labels[:2])
    assert (simulated.right, simulated.right_exact, simulated.images) == (2, 2, 2)
    assert 0 < simulated.max_error < 1e-2 and simulated.layers == []
    assert len(server.runs) == 2 and server.runs[0]["rotations"] > 0


def test_everything_goes_by_bytes_and_by_files(plan, keys, digits, tmp_path):
    assert fhec.Plan.from_bytes(plan.bytes()).digest == plan.digest
    plan.save(tmp_path / "plan.fhe")
    plan.client_plan().save(tmp_path / "client.fhe")
    loaded = fhec.load(tmp_path / "plan.fhe")
    assert loaded.digest == plan.digest and loaded.activations == plan.activations
    assert len(plan.client_plan().bytes()) < len(plan.bytes()) / 10
    by_bytes = fhec.Client(plan.client_plan().bytes())
    by_bytes.save(tmp_path / "client.key", "a passphrase")
    by_bytes.save_evaluation_keys(tmp_path / "server.key")
    assert (tmp_path / "client.key").stat().st_mode & 0o077 == 0
    again = fhec.Client.load(tmp_path / "client.fhe", tmp_path / "client.key", "a passphrase")
    server = fhec.Server(tmp_path / "plan.fhe", tmp_path / "server.key", threads=1)
    assert server.threads == 1 and server.predicted_memory > len(keys) / 4
    scores = again.decrypt(server.eval(by_bytes.encrypt(digits[:1])))
    assert np.abs(scores - plan.simulate(digits[:1], exact=True).exact).max() < 1e-2
    assert pickle.loads(pickle.dumps(plan)).digest == plan.digest


def test_arrays_of_other_types_and_orders_are_the_same_images(plan, digits):
    expected = plan.simulate(digits, exact=True).exact
    for other in (
        digits.astype(np.float64),
        np.asfortranarray(digits),
        digits[::-1][::-1],
        digits.tolist(),
        {plan.inputs[0].name: digits},
        (digits,),
    ):
        assert np.array_equal(plan.simulate(other, exact=True).exact, expected)


def test_noise_follows_the_seed(plan, digits):
    first = plan.simulate(digits[:1], seed=3).outputs
    assert np.array_equal(plan.simulate(digits[:1], seed=3).outputs, first)
    assert not np.array_equal(plan.simulate(digits[:1], seed=4).outputs, first)


def test_threads_share_a_server_and_the_lock_is_free_while_it_works(client, server, digits):
    requests = [client.encrypt(digits[i : i + 1]) for i in range(2)]
    alone = [client.decrypt(server.eval(request)) for request in requests]
    answers: list[bytes | None] = [None, None]

    def work(i: int) -> None:
        answers[i] = server.eval(requests[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads):
        turns += 1
    # A lock that is held would let this thread turn once.
    assert turns > 1000
    for answer, expected in zip(answers, alone):
        assert np.array_equal(client.decrypt(answer), expected)


def test_progress_counts_to_the_last_operation(client, server, digits):
    request = client.encrypt(digits[:2])
    heard: list[tuple[int, int, str]] = []
    server.eval(request, progress=lambda *step: heard.append(step))
    assert heard and all(0 <= done < total for done, total, _ in heard)
    assert [done for done, _, _ in heard] == sorted(done for done, _, _ in heard)
    assert heard[-1][2].split()[1] == "at"
    with pytest.raises(fhec.UsageError):
        server.eval(request, progress=3)


def test_a_callback_that_raises_stops_the_work(client, server, digits):
    class Enough(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        server.eval(client.encrypt(np.repeat(digits[:1], 50, axis=0)), progress=stop)
    # The server goes on.
    server.eval(client.encrypt(digits[:1]))
    with pytest.raises(Enough):
        client.evaluation_keys(progress=stop)


def test_bars_of_tqdm(client, server, digits, capsys):
    pytest.importorskip("tqdm")
    server.eval(client.encrypt(digits[:1]), progress=True)
    assert "eval" in capsys.readouterr().err


def test_the_report_is_data_and_a_page(plan, tmp_path):
    report = plan.report()
    assert report.data["model"] == plan.model and len(report.data["layers"]) > 2
    assert report.html.startswith("<!DOCTYPE html>")
    for shown in (report, plan):
        assert shown._repr_html_().startswith("<iframe srcdoc=") and "<script" not in shown._repr_html_()
    assert "timeline" in report.card and "<script" not in report.card and len(report.card) < len(report.html)
    report.save(tmp_path / "report.html")
    with pytest.raises(FileExistsError):
        report.save(tmp_path / "report.html")
    run = {"plan_digest": plan.digest, "seconds_per_run": 0.5, "images": 1}
    assert plan.report(run=run).data["run"]["seconds_per_run"] == 0.5
    with pytest.raises(fhec.UsageError, match="the run is of the plan 000"):
        plan.report(run=run | {"plan_digest": "0" * 64})


def test_the_report_shows_a_simulation_and_a_front(plan, digits, digit_labels):
    simulated = plan.simulate(digits[:4], digit_labels[:4])
    data = plan.report(simulation=simulated).data
    assert (data["simulation"]["images"], data["simulation"]["right"]) == (4, simulated.right)
    assert data["simulation"]["max_error"] == simulated.max_error
    assert all(0 < layer["noise"]["rms_error"] < 1e-2 for layer in data["layers"])
    counts = [sum(p["data"]["counts"]) + p["data"]["below"] + p["data"]["above"] for p in data["polynomials"]]
    assert counts and all(count > 0 and count % 4 == 0 for count in counts)
    # What the command prints is a mapping with the same fields.
    assert plan.report(simulation=simulated.as_dict()).data == data
    exact = plan.report(simulation=plan.simulate(digits[:4], digit_labels[:4], exact=True)).data
    assert exact["simulation"]["max_error"] is None and exact["layers"][0]["noise"] is None
    with pytest.raises(fhec.UsageError, match="the simulation is of the plan 000"):
        plan.report(simulation=simulated.as_dict() | {"plan_digest": "0" * 64})
    with pytest.warns(fhec.FhecWarning, match="no errors of layers"):
        plan.report(simulation={"plan_digest": plan.digest, "images": 4})

    choices = {a["node"]: {"family": "least-squares", "degree": a["degree"]} for a in plan.activations}
    front = [{"seconds": 2.0, "error": 0.1, "choices": choices}, {"seconds": 1.0, "error": 0.2}]
    data = plan.report(front=front).data
    assert [point["seconds"] for point in data["findings"]["pareto"]] == [1.0, 2.0] and data["front_plan"] == 1
    with pytest.raises(fhec.UsageError, match="no activation `elsewhere`"):
        plan.report(front=[{"seconds": 1.0, "error": 0.2, "choices": {"elsewhere": {"degree": 3}}}])


def test_a_trace_is_what_perfetto_reads(plan, client, server, digits, tmp_path):
    server.eval(client.encrypt(digits[:1]))
    run = server.measured()
    report = plan.report(run=run)
    assert report.data["run"]["images"] == 1 and all(layer["measured_seconds"] > 0 for layer in report.data["layers"])
    events = json.loads(report.trace)["traceEvents"]
    named = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert len(named) == 2 and "predicted" in named[0] and "measured" in named[1]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["name"] for event in spans if event["cat"] == "node"} >= {layer["node"] for layer in report.data["layers"]}
    assert len([event for event in spans if event["pid"] == 2 and event["cat"] != "node"]) == len(run["op_seconds"])
    report.save_trace(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"] == events
    with pytest.raises(FileExistsError):
        report.save_trace(tmp_path / "trace.json")


def test_parts_of_a_request_are_computed_apart(plan, client, server, digits):
    request = client.encrypt(digits[:3])
    parts = fhec.split(plan, request, 2)
    assert len(parts) == 2 and len(fhec.split(plan.client_plan(), request)) == 3
    answers = [server.eval(part) for part in parts]
    whole = client.decrypt(fhec.join(plan, answers))
    assert np.abs(whole - plan.simulate(digits[:3], exact=True).exact).max() < 1e-2
    other = server.eval(client.encrypt(digits[:1]))
    for wrong in ([], [answers[0], other], [answers[0], parts[1]]):
        with pytest.raises(fhec.CiphertextError) as caught:
            fhec.join(plan, wrong)
        assert caught.value.help
