#!/usr/bin/env python3
"""What skips cost: every form of the skips of a family of networks, planned exactly, before any training.

    python3 benches/skips.py [--fhec FHEC] [--only NETWORK ...]
    python3 benches/skips.py --identity [--epochs N]

The first prints bootstraps and predicted seconds of each network with its skips as they are, in Dirac kernels, and with a shared source, its
activations being polynomials of one to four levels (`fhec prepare --table`). Networks are those of ../shared/material and of models/, and
three of random weights, on which the price does not depend. Needs numpy, onnx and onnxruntime.

The second trains Dirac kernels without and with their identity (a = 0 throughout), from scratch and by labels alone: a digit network
of 20 blocks, 41 convolutions in a row. Needs PyTorch and blake3 besides, and the MNIST files of ../shared/material.
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
MATERIAL = ROOT.parent / "shared/material"
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/shapes", "models", "python")]

from fhec_command import fhec  # noqa: E402
from networks import Net, resnet  # noqa: E402

FORMS = ("residual", "dirac", "shared")
# Planning a network in all its forms takes less.
LIMIT = 1800


def digits(blocks):
    """The network of models/mnist_resnet.onnx with another number of blocks, and random weights."""
    net = Net(9, [1, 1, 28, 28])
    y = net.residual(net.relu(net.conv("x", 8, stride=2)), 12, stride=2)
    for _ in range(blocks - 1):
        y = net.residual(y, 12)
    return net.model([net.head(y)])


def wide():
    """Six blocks whose first tensors take several ciphertexts each."""
    net = Net(8, [1, 3, 32, 32])
    y = net.relu(net.conv("x", 64))
    for stage, channels in enumerate([64, 128, 256]):
        for block in range(2):
            y = net.residual(y, channels, stride=2 if stage and not block else 1)
    return net.model([net.head(y)])


# A file, or what makes the network.
NETWORKS = {
    "ResNet-20": MATERIAL / "models/resnet20_cifar10.onnx",
    "ResNet-32": MATERIAL / "models/resnet32_cifar10.onnx",
    "ResNet-44, with projections": lambda: resnet(7),
    "ResNet-8 (MLPerf Tiny)": MATERIAL / "models/mlperftiny_resnet8_cifar10.onnx",
    "digits, five blocks (mnist_resnet)": ROOT / "models/mnist_resnet.onnx",
    "digits, ten blocks of 12 channels": lambda: digits(10),
    "64 to 256 channels, six blocks": wide,
}


def tables(program, only):
    if unknown := set(only) - set(NETWORKS):
        sys.exit(f"no such network: {', '.join(sorted(unknown))}; there are {'; '.join(NETWORKS)}")
    with tempfile.TemporaryDirectory() as made:
        for index, name in enumerate(only):
            path = NETWORKS[name]
            if callable(path):
                model, path = path(), pathlib.Path(made) / "network.onnx"
                onnx.save(model, path)
            report = fhec(program, LIMIT, "prepare", path, "--table")
            if isinstance(report, str):
                sys.exit(f"{name}: {report}")
            rows = report["table"]
            if index == 0:
                print(f"| network | form | {' | '.join('degree ' + str(row['degree']) for row in rows)} |")
                print(f"|---|---|{'---:|' * len(rows)}", flush=True)
            for form in FORMS:
                prices = [price for row in rows for price in row["forms"] if price["form"] == form]
                if prices:
                    cells = [f"{price['bootstraps']}, {price['seconds']:.2f} s" for price in prices]
                    print(f"| {name} | {form} | {' | '.join(cells)} |", flush=True)


def deep(path):
    """Write a digit network of 20 blocks that has not been trained; its normalisations have seen images."""
    import torch
    import train_mnist_resnet as digits_of
    from train_mnist import mnist, seed

    digits_of.NAME, digits_of.PATH, digits_of.BLOCKS = path.stem, path, [(12, 2)] + 19 * [(12, 1)]
    seed(threads=1)
    images, _ = mnist(MATERIAL / "data", "train")
    model = digits_of.build().train()
    with torch.no_grad():
        for _ in range(30):
            digits_of.forward(model, torch.as_tensor(images[:1024]))
    digits_of.export(model.eval())


def trained(folder, identity, epochs):
    """The share of validation images that are right after each epoch of training, with the identity of Dirac kernels or without."""
    import torch
    from fhec_train import command, dirac, training

    class WithoutIdentity(dirac.DiracKernel):
        def __init__(self, spec, weight):
            super().__init__(spec, weight)
            torch.nn.init.zeros_(self.a)
            self.a.requires_grad_(False)

    if not identity:
        training.DiracKernel = WithoutIdentity
    torch.set_num_threads(1)
    name = "with" if identity else "without"
    student, recipe, data, output = (str(folder / file) for file in ("student.onnx", "recipe.json", "data.npz", f"{name}.onnx"))
    records = io.StringIO()
    with contextlib.redirect_stdout(records):
        status = command.main([student, "--recipe", recipe, "--data", data, "-o", output, "--epochs", str(epochs), "--json"])
    if status:
        sys.exit(status)
    lines = map(json.loads, records.getvalue().splitlines())
    return [line["measured"]["accuracy"] for line in lines if line.get("kind") == "epoch"]


def without_identity(program, epochs):
    from train_mnist import mnist

    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        deep(folder / "deep.onnx")
        files = ("-o", folder / "student.onnx", "--recipe", folder / "recipe.json")
        report = fhec(program, LIMIT, "prepare", folder / "deep.onnx", *files, "--skips", "dirac")
        if isinstance(report, str):
            sys.exit(report)
        images, labels = mnist(MATERIAL / "data", "train")
        np.savez(folder / "data.npz", input=np.asarray(images), labels=np.asarray(labels))
        # Layers as small as these gain nothing from a second thread.
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            runs = {identity: pool.submit(trained, folder, identity, epochs) for identity in (False, True)}
            results = {identity: run.result() for identity, run in runs.items()}
    print(f"| validation images right after epoch | {' | '.join(str(epoch + 1) for epoch in range(epochs))} |")
    print(f"|---|{'---:|' * epochs}")
    for identity, name in ((False, "without the identity (a = 0)"), (True, "with it")):
        print(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in results[identity])} |")
    if results[False][-1] >= results[True][-1]:
        sys.exit("kernels without the identity train as well")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fhec", default=ROOT / "target/release/fhec", help="the compiler")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), metavar="NETWORK", help="names of networks, as the table has them")
    parser.add_argument("--identity", action="store_true", help="train Dirac kernels without and with their identity")
    parser.add_argument("--epochs", type=int, default=3, help="of that training")
    arguments = parser.parse_args()
    if arguments.identity:
        without_identity(arguments.fhec, arguments.epochs)
    else:
        tables(arguments.fhec, arguments.only)


if __name__ == "__main__":
    main()
