"""What zeros among the weights of a network save in packed ciphertexts, by where they lie.

    python3 benches/sparsity.py MODEL.onnx --calibration x.npz [--shares 0.5 0.9 ...] [--degree N] [--fhec FHEC] [--json]

The activations of MODEL are polynomials, or become polynomials of --degree. For every share of zeros it is compiled with weights that are
zero at random, with the smallest of each tensor zero, and with zeros where `fhec prepare --prune` puts them, of a share of
time that makes as many; and the plans' rotations, products with constants, homomorphic operations and predicted times are
listed. Levels, ring and primes are those that the compiler chooses for each. Accuracy is not looked at.

Needs onnx and numpy.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fhec_command import fhec  # noqa: E402

# A bisection for the share of time that makes a share of zeros ends after so many steps.
STEPS = 6


def weights(model):
    """The tensors that convolutions and matrix products multiply with, by name."""
    names = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")}
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names}


def with_weights(model, arrays, path):
    """Write `model` with other weights."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name].astype(np.float32), tensor.name))
    path.write_bytes(changed.SerializeToString())


def at_random(arrays, share, draw):
    """Each weight is zero with this probability."""
    return {name: a * (draw.random(a.shape) >= share) for name, a in arrays.items()}


def smallest(arrays, share):
    """The smallest weights of each tensor are zero."""
    return {name: a * (np.abs(a) >= np.quantile(np.abs(a), share)) for name, a in arrays.items()}


def of_structures(arguments, work, share):
    """The student of `fhec prepare` and its weights with zeros in whole rotations and diagonals, at most this share."""
    low, high, found = 0.0, 1.0, None
    for _ in range(STEPS):
        middle = (low + high) / 2
        recipe = work / "recipe.json"
        files = ["-o", work / "student.onnx", "--recipe", recipe, "--force"]
        report = fhec(arguments.fhec, 600, "prepare", arguments.model, *files, "--prune", middle)
        if isinstance(report, str):
            high = middle
            continue
        student = weights(onnx.load(work / "student.onnx"))
        for mask in json.loads(recipe.read_text())["masks"]:
            changed = student[mask["weight"]].copy().reshape(-1)
            for group in mask["groups"]:
                if group["masked"]:
                    changed[group["elements"]] = 0.0
            student[mask["weight"]] = changed.reshape(student[mask["weight"]].shape)
        zeros = sum(int((a == 0).sum()) for a in student.values()) / sum(a.size for a in student.values())
        if zeros <= share:
            low, found = middle, (work / "student.onnx", student)
        else:
            high = middle
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--calibration", type=pathlib.Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--degree", type=int, help="of the polynomials in place of activations")
    parser.add_argument("--fhec", default=ROOT / "target/release/fhec")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = onnx.load(arguments.model)
    arrays = weights(model)
    draw = np.random.default_rng(arguments.seed)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        work = pathlib.Path(made)

        def measure(where, share, source, changed):
            with_weights(source, changed, work / "sparse.onnx")
            files = ["--calibration", arguments.calibration, "-o", work / "plan.fhe", "--force"]
            files += [] if arguments.degree is None else ["--degree", arguments.degree]
            report = fhec(arguments.fhec, 600, work / "sparse.onnx", *files)
            if isinstance(report, str):
                raise SystemExit(f"{where}, {share}: {report}")
            summary = fhec(arguments.fhec, 600, "inspect", work / "plan.fhe")["summary"]
            counts = summary["counts"]
            zeros = sum(int((a == 0).sum()) for a in changed.values()) / sum(a.size for a in changed.values())
            keys = ("rotations", "plain_products")
            row = {"zeros": where, "share": zeros, **{key: counts[key] for key in keys}, "hops": summary["hops"]}
            rows.append(row | {"n": summary["n"], "seconds": summary["predicted_seconds"]})

        measure("none", 0.0, model, arrays)
        for share in arguments.shares:
            measure("at random", share, model, at_random(arrays, share, draw))
            measure("the smallest", share, model, smallest(arrays, share))
            structured = of_structures(arguments, work, share)
            if structured is not None:
                measure("rotations and diagonals", share, onnx.load(structured[0]), structured[1])
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("| zeros | share | rotations | products with constants | HOPs | N | predicted |\n|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        numbers = f"{row['rotations']} | {row['plain_products']} | {row['hops']} | {row['n']} | {1000 * row['seconds']:.0f} ms"
        print(f"| {row['zeros']} | {100 * row['share']:.0f} % | {numbers} |")


if __name__ == "__main__":
    main()
