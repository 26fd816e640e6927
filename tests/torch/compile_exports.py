"""Exports the networks of `networks.py` by both exporters of torch, compiles each export, and prints a table.

    python tests/torch/compile_exports.py target/release/fhec [--only mlp,vgg] [--symbolic-batch] [--degree 15]

Needs torch, onnx, onnxscript, onnxruntime and numpy. Calibration is on 64 random inputs. A plan that was made is
simulated on 4 of them with modelled noise, and the largest difference from onnxruntime stands beside the largest
result. Most of a difference is that of polynomials from activations, in networks that are not trained: it falls where
`--degree` rises. With `--encrypted` the first input is also run encrypted, and the largest difference from
onnxruntime is added.
"""

import argparse
import contextlib
import logging
import os
import pathlib
import sys
import tempfile
import time
import warnings

import numpy
import onnxruntime
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from fhec_command import fhec
from networks import NETWORKS

CALIBRATION, SIMULATED = 64, 4
EXPORTERS = {"dynamo": True, "legacy": False}


def prepare(name):
    """The network in eval mode, with batch statistics of its calibration inputs; and these inputs."""
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    network, inputs = make(), torch.randn(CALIBRATION, *shape)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                # The plain mean over what is seen, instead of a moving one.
                module.momentum = None
        network.train()(inputs)
    return network.eval(), inputs


def export(network, inputs, path, dynamo, symbolic):
    """Writes the network to `path`, for one image or with a symbolic batch; returns why not, or None."""
    # The dynamo exporter takes a dimension of extent 1 for a constant.
    example, batch = inputs[: 2 if symbolic else 1], {}
    if symbolic and dynamo:
        batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    elif symbolic:
        batch = {"input_names": ["input"], "dynamic_axes": {"input": {0: "batch"}}}
    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            torch.onnx.export(network, (example,), path, dynamo=dynamo, **batch)
    except Exception as error:  # Every failure of an exporter belongs in the table.
        return repr(error).splitlines()[0]
    return None


def difference(program, limit, folder, model, images, encrypt):
    """How far simulated results are from those of onnxruntime, in words."""
    session = onnxruntime.InferenceSession(model)
    port = session.get_inputs()[0].name
    expected = numpy.concatenate([session.run(None, {port: image[None]})[0] for image in images[:SIMULATED]])
    paths = ["--input", folder / "inputs.npy", "--output", folder / "results.npy", "--limit", SIMULATED]
    simulated = fhec(program, limit, "simulate", folder / "plan.fhe", *paths, "--force")
    if isinstance(simulated, str):
        return f"simulation: {simulated}"
    results = numpy.load(folder / "results.npy").reshape(expected.shape)
    text = f"{numpy.abs(results - expected).max():.1e} of {numpy.abs(expected).max():.1e}"
    return text + encrypted(program, limit, folder, expected[0]) if encrypt else text


def encrypted(program, limit, folder, expected):
    """How far the decrypted result of the first input is from that of onnxruntime, in words."""
    paths = ["--input", folder / "inputs.npy", "--output", folder / "decrypted.npy", "--limit", 1]
    ran = fhec(program, limit, "run", folder / "plan.fhe", *paths, "--force")
    if isinstance(ran, str):
        return f", encrypted: {ran}"
    results = numpy.load(folder / "decrypted.npy").reshape(expected.shape)
    return f", encrypted {numpy.abs(results - expected).max():.1e}"


def attempt(options, program, folder, name, exporter):
    """Exports and compiles one network, and says what became of it."""
    network, inputs = prepare(name)
    model = folder / f"{name}-{exporter}.onnx"
    error = export(network, inputs, model, EXPORTERS[exporter], options.symbolic_batch)
    if error:
        return f"not exported: {error}"
    numpy.save(folder / "inputs.npy", inputs.numpy())
    paths = [model, "--calibration", folder / "inputs.npy", "--output", folder / "plan.fhe", "--force"]
    degree = ["--degree", options.degree] if options.degree else []
    start = time.monotonic()
    compiled = fhec(program, options.limit, "compile", *paths, *degree)
    seconds = time.monotonic() - start
    if isinstance(compiled, str):
        return f"refused: {compiled}"
    far = difference(program, options.limit, folder, model, inputs.numpy(), options.encrypted)
    return f"compiled in {seconds:.0f} s, {far}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the command fhec")
    parser.add_argument("--only", help="names of networks, separated by commas", default=",".join(NETWORKS))
    parser.add_argument("--limit", type=float, help="seconds that a command may take", default=120)
    parser.add_argument("--symbolic-batch", action="store_true", help="export with a batch of any size")
    parser.add_argument("--degree", help="of the polynomials, instead of the default")
    parser.add_argument("--encrypted", action="store_true", help="run one input of each encrypted as well")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder in which the exports stay")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    program = str(pathlib.Path(options.program).resolve())
    with contextlib.ExitStack() as stack:
        folder = options.keep or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        print("| network | dynamo | legacy |\n|---|---|---|")
        names, both = options.only.split(","), 0
        for name in names:
            outcomes = [attempt(options, program, folder, name, exporter) for exporter in EXPORTERS]
            both += all(outcome.startswith("compiled") for outcome in outcomes)
            print(f"| {name} | {' | '.join(outcomes)} |", flush=True)
        print(f"\n{both} of {len(names)} compile from both exports.")


if __name__ == "__main__":
    main()
