"""What is refused and warned of, and how."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import fhec
import numpy as np
import pytest

from conftest import MODELS


def test_a_model_that_is_none_names_its_file(tmp_path):
    with pytest.raises(fhec.ModelError) as caught:
        fhec.compile(b"no model")
    assert caught.value.kind == "model" and caught.value.help
    with pytest.raises(fhec.ModelError) as caught:
        fhec.compile(tmp_path / "nothing.onnx")
    assert caught.value.file == str(tmp_path / "nothing.onnx")
    with pytest.raises(fhec.ModelError, match="is no model that fhec reads"):
        fhec.compile(object())


def test_all_nodes_in_the_way_are_issues(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [helper.make_node("NonZero", ["x"], ["a"], "first"), helper.make_node("Hardmax", ["x"], ["y"], "second")]
    x = helper.make_tensor_value_info("x", 1, [1, 4])
    y = helper.make_tensor_value_info("y", 1, [1, 4])
    a = helper.make_tensor_value_info("a", 7, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y, a]), opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(fhec.ModelError) as caught:
        fhec.compile(model)
    assert {issue.node for issue in caught.value.issues} == {"first", "second"}
    assert all(issue.op and issue.reason and issue.help for issue in caught.value.issues)
    assert "`second` (Hardmax)" in str(caught.value)


def test_errors_go_through_pickle_with_all_they_carry():
    issue = fhec.Issue("conv", "Conv", "it is wrong", "mend it")
    error = fhec.ModelError("no", help="do", file="m.onnx", causes=["why"], issues=[issue])
    error.kind = "other"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is fhec.ModelError and str(again) == str(error)
    assert (again.kind, again.file, again.causes, again.issues) == ("other", "m.onnx", ["why"], [issue])


def test_options_are_those_of_the_command_line(calibration):
    model = MODELS / "mnist_mlp.onnx"
    with pytest.raises(fhec.RefusedError) as caught:
        fhec.compile(model, calibration, degree=7, max_keys=1000, quiet=True)
    assert caught.value.kind == "refused" and "--" not in str(caught.value)
    for wrong in ({"degree": 0}, {"margin": 0.5}, {"batch": 3}, {"min_agreement": 120.0}):
        with pytest.raises(fhec.RefusedError):
            fhec.compile(model, calibration, **wrong)
    for wrong in ({"place": "nowhere"}, {"composite": "1,2"}, {"composite": "15,15,27", "degree": 3}):
        with pytest.raises(fhec.UsageError):
            fhec.compile(model, calibration, **wrong)
    with pytest.raises(TypeError):
        fhec.compile(model, calibration, degre=7)


def test_warnings_of_the_compiler_are_warnings():
    with pytest.warns(fhec.FhecWarning, match="calibration"):
        plan = fhec.compile((MODELS / "mnist_mlp.onnx").read_bytes(), guess_ranges=True, degree=7)
    assert plan.warnings and plan.comparison is None


def test_labels_give_accuracy(calibration, digits, digit_labels):
    model = MODELS / "mnist_mlp.onnx"
    plan = fhec.compile(model, calibration, digit_labels, validation=digits, degree=7, quiet=True)
    assert plan.accuracy["original"] > 0.9 and plan.accuracy["polynomial"] > 0.8
    with pytest.raises(fhec.UsageError):
        fhec.compile(model, calibration, validation=digits)
    with pytest.raises(fhec.DataError, match="labels"):
        fhec.compile(model, calibration, digit_labels[:-1], validation=digits)


def test_arrays_that_do_not_fit_are_refused(plan, client, digits):
    for wrong in (digits[:, :, :5], np.zeros((0, 1, 28, 28), np.float32), np.full_like(digits, np.nan)):
        with pytest.raises(fhec.DataError) as caught:
            client.encrypt(wrong)
        assert caught.value.help
    with pytest.raises(fhec.DataError, match="complex"):
        client.encrypt(digits.astype(np.complex64))
    with pytest.raises(fhec.DataError, match="2 arrays"):
        plan.simulate((digits, digits))


def test_inputs_unlike_the_calibration_data_are_refused_unless_forced(client, digits):
    with pytest.raises(fhec.InputsError) as caught:
        client.encrypt(digits * 255)
    assert "force=True" in caught.value.help
    with pytest.warns(fhec.FhecWarning, match="outside"):
        client.encrypt(digits * 255, force=True)
    with pytest.warns(fhec.FhecWarning, match="outside"):
        client.encrypt(digits[:1] * 1.05)


def test_other_keys_and_other_bytes_are_refused(plan, client, server, digits):
    request = client.encrypt(digits[:1])
    with pytest.raises(fhec.Error):
        server.eval(request[:-1])
    with pytest.raises(fhec.Error):
        fhec.Server(plan, b"no keys")
    with pytest.raises(fhec.CiphertextError):
        client.decrypt(request)
    with pytest.raises(fhec.Error, match="another secret key"):
        server.eval(fhec.Client(plan).encrypt(digits[:1]))
    with pytest.raises(fhec.CiphertextError):
        fhec.Client(plan).decrypt(server.eval(request))


def test_files_are_not_replaced_unasked(plan, client, tmp_path):
    plan.save(tmp_path / "plan.fhe")
    with pytest.raises(fhec.FileError):
        plan.save(tmp_path / "plan.fhe")
    plan.save(tmp_path / "plan.fhe", force=True)
    client.save(tmp_path / "key")
    with pytest.raises(fhec.EngineError):
        client.save(tmp_path / "key")
    with pytest.raises(fhec.PassphraseError):
        fhec.Client.load(plan, tmp_path / "key", "of another")


def test_a_bound_on_memory_that_cannot_be_kept_is_refused(plan, keys):
    with pytest.raises(fhec.LimitError) as caught:
        fhec.Server(plan, keys, mem=1 << 20)
    assert "mem=" in caught.value.help


def interrupted(code: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that says `now` where it is interrupted."""
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MODELS": str(MODELS)},
        # What a shell starts in the background ignores the signal, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout.readline() == "now\n"
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_stops_an_evaluation(plan, keys, client, digits, tmp_path):
    plan.save(tmp_path / "plan.fhe")
    (tmp_path / "keys").write_bytes(keys)
    (tmp_path / "x.ct").write_bytes(client.encrypt(np.repeat(digits[:1], 400, axis=0)))
    done = interrupted(
        f"""
        import fhec
        server = fhec.Server({str(tmp_path / "plan.fhe")!r}, {str(tmp_path / "keys")!r})
        request = open({str(tmp_path / "x.ct")!r}, "rb").read()
        print("now", flush=True)
        try:
            server.eval(request)
        except KeyboardInterrupt:
            print("stopped")
        """
    )
    assert done.stdout == "stopped\n", done


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_leaves_a_compilation():
    done = interrupted(
        """
        import os, fhec, numpy
        with numpy.load(os.environ["MODELS"] + "/calibration.npz") as arrays:
            x = arrays[arrays.files[0]]
        print("now", flush=True)
        try:
            fhec.compile(os.environ["MODELS"] + "/mnist_resnet.onnx", x, quiet=True)
        except KeyboardInterrupt:
            print("stopped")
        """
    )
    assert done.stdout == "stopped\n", done
