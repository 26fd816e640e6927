#!/usr/bin/env python3
"""What skips cost: every form of the skips of a family of networks, planned exactly, before any training.

    python3 benches/skips.py [--fhec FHEC] [--only NETWORK ...]

Prints bootstraps and predicted seconds of each network with its skips as they are, in Dirac kernels, and with a shared source, its
activations being polynomials of one to four levels (`fhec prepare --table`). Networks are those of ../shared/material and of models/, and
three of random weights, on which the price does not depend. Needs numpy, onnx and onnxruntime; ten minutes of one core. What training
makes of it: benches/dirac.py.
"""

import argparse
import pathlib
import sys
import tempfile

import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared/material"
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/shapes")]

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


# A file, or what makes the network.
NETWORKS = {
    "ResNet-20": MATERIAL / "models/resnet20_cifar10.onnx",
    "ResNet-32": MATERIAL / "models/resnet32_cifar10.onnx",
    "ResNet-44, with projections": lambda: resnet(7),
    "ResNet-8 (MLPerf Tiny)": MATERIAL / "models/mlperftiny_resnet8_cifar10.onnx",
    "digits, five blocks (mnist_resnet)": ROOT / "models/mnist_resnet.onnx",
    "digits, ten blocks of 12 channels": lambda: digits(10),
    # Its first tensors take several ciphertexts each.
    "64 to 256 channels, six blocks": lambda: resnet(2, width=64),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fhec", default=ROOT / "target/release/fhec", help="the compiler")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), metavar="NETWORK", help="names of networks, as the table has them")
    arguments = parser.parse_args()
    tables(arguments.fhec, arguments.only)


if __name__ == "__main__":
    main()
