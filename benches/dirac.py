#!/usr/bin/env python3
"""What training makes of Dirac kernels in place of skips, on deep digit networks.

    python3 benches/dirac.py pair [--fhec FHEC] [--images N]
    python3 benches/dirac.py identity [--fhec FHEC] [--epochs N]

`pair` trains the network of models/train_mnist_resnet.py with ten blocks in place of five: of the networks of benches/skips.py skips cost
most in it. From its weights it trains the same with Dirac kernels. Both are compiled with polynomials of degree 7, simulated on the
10,000 test images, and run encrypted on the first N (default 5).

`identity` trains Dirac kernels with and without their identity (a = 0 throughout), from scratch and by labels alone, in 20 blocks, which
are 41 convolutions in a row; it fails where those without it learn as well.

Needs torch, numpy, onnx, onnxruntime and blake3, and the MNIST files of ../shared/material; fifteen minutes of two cores, and five.
"""

import argparse
import concurrent.futures
import contextlib
import io
import json
import multiprocessing
import pathlib
import sys
import tempfile

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "models", "python")]

import train_mnist_resnet as resnet  # noqa: E402
from fhec_command import fhec  # noqa: E402
from train_mnist import DATA, fit, mnist, seed  # noqa: E402

# A command of fhec takes less, in seconds.
LIMIT = 1800
# Epochs of the kernels of a pair.
EPOCHS = 8


def called(program, *command):
    """What a command of fhec reports."""
    report = fhec(program, LIMIT, *command)
    if isinstance(report, str):
        sys.exit(report)
    return report


def network(path, blocks):
    """An untrained residual network, which `resnet.export` will write to `path`."""
    resnet.NAME, resnet.PATH = path.stem, path
    resnet.BLOCKS = resnet.BLOCKS + [resnet.BLOCKS[-1]] * (blocks - len(resnet.BLOCKS))
    # Layers as small as these gain nothing from a second thread.
    seed(threads=1)
    return resnet.build()


def student(program, folder, path, images, labels):
    """Write the student of `path` with Dirac kernels, its recipe, and what it is trained on."""
    called(program, "prepare", path, "-o", folder / "student.onnx", "--recipe", folder / "recipe.json", "--skips", "dirac")
    np.savez(folder / "data.npz", input=images, labels=labels)


def trained(folder, output, *options):
    """Train the student; the records of its epochs."""
    import torch
    from fhec_train import command

    torch.set_num_threads(1)
    files = [folder / "student.onnx", "--recipe", folder / "recipe.json", "--data", folder / "data.npz", "-o", output]
    records = io.StringIO()
    with contextlib.redirect_stdout(records):
        if status := command.main([*map(str, [*files, *options]), "--json"]):
            sys.exit(status)
    return [record for record in map(json.loads, records.getvalue().splitlines()) if record["kind"] == "epoch"]


# ---- a network and its twin without skips


def pair(program, count):
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        networks = {"residual": folder / "residual.onnx", "Dirac": folder / "dirac.onnx"}
        data = mnist(DATA, "train")
        model = network(networks["residual"], 10)
        with contextlib.redirect_stdout(sys.stderr):
            resnet.export(fit("residual", model, resnet.forward, resnet.RECIPE, *data))
        student(program, folder, networks["residual"], *data)
        trained(folder, networks["Dirac"], "--teacher", networks["residual"], "--epochs", EPOCHS, "--shift", 2)
        images, labels = mnist(DATA, "t10k")
        np.save(folder / "images.npy", images)
        print("| skips | sums left | test images right | bootstraps | predicted s | encrypted s | same class | trace |")
        print("|---|---:|---:|---:|---:|---:|---:|---|", flush=True)
        for name, path in networks.items():
            plan, exact, got = (folder / file for file in ("plan.fhe", "exact.npy", "got.npy"))
            calibration = ROOT / "models/calibration.npz"
            compiled = called(program, "compile", path, "--calibration", calibration, "--degree", 7, "-o", plan, "--force")
            called(program, "simulate", plan, "--input", folder / "images.npy", "--exact", "-o", exact, "--force")
            ran = called(program, "run", plan, "--input", folder / "images.npy", "--limit", count, "-o", got, "--force")
            right = (np.load(exact).reshape(-1, 10).argmax(1) == labels).mean()
            sums = sum(node.op_type == "Add" for node in onnx.load(path).graph.node)
            summary = compiled["summary"]
            print(
                f"| {name} | {sums} | {100 * right:.2f} % | {summary['counts']['bootstraps']} | {summary['predicted_seconds']:.2f} "
                f"| {ran['seconds_per_image']:.2f} | {ran['same_argmax']} of {count} | {ran['trace']} |",
                flush=True,
            )


# ---- kernels without the identity


def accuracies(folder, with_identity, epochs):
    """The share of validation images that are right after each epoch."""
    import torch
    from fhec_train import dirac, training

    class WithoutIdentity(dirac.DiracKernel):
        def __init__(self, spec, weight):
            super().__init__(spec, weight)
            torch.nn.init.zeros_(self.a)
            self.a.requires_grad_(False)

    if not with_identity:
        training.DiracKernel = WithoutIdentity
    output = folder / ("with.onnx" if with_identity else "without.onnx")
    return [record["measured"]["accuracy"] for record in trained(folder, output, "--epochs", epochs)]


def identity(program, epochs):
    import torch

    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        model = network(folder / "deep.onnx", 20).train()
        images, labels = mnist(DATA, "train")
        # Normalisations of an untrained network that have seen images.
        with torch.no_grad():
            for _ in range(30):
                resnet.forward(model, torch.from_numpy(images[:1024]))
        resnet.export(model.eval())
        student(program, folder, folder / "deep.onnx", images, labels)
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            runs = [pool.submit(accuracies, folder, with_identity, epochs) for with_identity in (False, True)]
            without, whole = (run.result() for run in runs)
    print(f"| validation images right after epoch | {' | '.join(str(epoch + 1) for epoch in range(epochs))} |")
    print(f"|---|{'---:|' * epochs}")
    for name, shares in (("without the identity (a = 0)", without), ("with it", whole)):
        print(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")
    if without[-1] >= whole[-1]:
        sys.exit("kernels without the identity learn as well")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, option, default, what in (
        ("pair", "--images", 5, "images that are run encrypted"),
        ("identity", "--epochs", 3, "passes over the data"),
    ):
        command = commands.add_parser(name)
        command.add_argument("--fhec", default=ROOT / "target/release/fhec", help="the compiler")
        command.add_argument(option, dest="number", type=int, default=default, help=what)
    arguments = parser.parse_args()
    {"pair": pair, "identity": identity}[arguments.command](arguments.fhec, arguments.number)


if __name__ == "__main__":
    main()
