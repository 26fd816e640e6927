#!/usr/bin/env python3
"""One point of every paper's claim, from the ONNX files of models/: compiled, simulated over the whole test set, encrypted.

usage: python3 benches/points.py [--fhec FHEC] [--only NAME,...] [--images N]

Needs numpy, and the MNIST and CIFAR-10 files of ../shared/material. For every point it compiles the model, simulates its plan
exactly over all 10,000 test images, runs the first N of them encrypted (default 1), and prints a row of a table. It fails where
accuracy is below, or a count of operations above, what is stated for the point, where an encrypted class differs from that of the
polynomials, or where the operations that ran are not those of the plan.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import typing

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "models"))
import cifar_calibration as cifar  # noqa: E402


class Point(typing.NamedTuple):
    """A network of models/, and what its plan must reach."""

    what: str
    model: str
    # The kind of its images, and its calibration data where the repository has some.
    data: tuple[str, str | None]
    # Per cent of the test images.
    accuracy: float
    bootstraps: int
    rotations: int | None = None
    options: tuple[str, ...] = ()


DIGITS = ("mnist", "models/calibration.npz")
IMAGES = ("resnet", None)
POINTS = {
    "autofhe": Point("AutoFHE: trained quadratics", "cifar_resnet20_quadratic", IMAGES, 91.7, 4),
    "ola": Point("layerwise degrees, no training", "mnist_resnet", DIGITS, 99.0, 4),
    "skips": Point("skips in Dirac kernels, degree 7", "mnist_resnet_dirac", DIGITS, 98.75, 3, options=("--degree", "7")),
    "twin": Point("their residual twin, degree 7", "mnist_resnet", DIGITS, 99.0, 4, options=("--degree", "7")),
    "powers": Point("Faster CryptoNets: weights 0 or ±2^k", "mnist_pow2", DIGITS, 98.7, 0, rotations=50),
}


def mnist():
    """Test images, float32 [10000, 1, 28, 28] of pixels / 255, and labels."""
    data = cifar.MATERIAL / "data"
    read = lambda name, offset: np.frombuffer(gzip.decompress((data / name).read_bytes()), np.uint8, offset=offset)
    images = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return images.astype(np.float32) / 255, read("t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)


def tests(kind, folder):
    """Test images and labels as files in `folder`."""
    images, labels = folder / f"{kind}.npy", folder / f"{kind}-labels.npy"
    if not images.exists():
        x, y = mnist() if kind == "mnist" else cifar.cifar10(cifar.MATERIAL, "test")
        np.save(images, x if kind == "mnist" else cifar.preprocess(kind, x))
        np.save(labels, y)
    return images, labels


def calibration(kind, given, folder):
    """The calibration inputs: a file of the repository, or the first 1,024 training images."""
    if given:
        return ROOT / given
    file = folder / f"{kind}.npz"
    if not file.exists():
        pixels, _ = cifar.cifar10(cifar.MATERIAL, "train")
        np.savez(file, input=cifar.preprocess(kind, pixels[:1024]))
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fhec", default=ROOT / "target/release/fhec", help="the compiler")
    parser.add_argument("--only", default=",".join(POINTS), help="points, separated by commas")
    parser.add_argument("--images", type=int, default=1, help="images that are run encrypted")
    arguments = parser.parse_args()

    def fhec(*command):
        done = subprocess.run([arguments.fhec, *map(str, command), "--json"], capture_output=True, text=True)
        if done.returncode not in (0, 3):
            sys.exit(done.stderr)
        return json.loads(done.stdout)

    print("| point | accuracy | bootstraps | rotations | predicted s | encrypted s | largest error |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    failed = []
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        for name in arguments.only.split(","):
            point = POINTS[name]
            kind, given = point.data
            images, labels = tests(kind, folder)
            plan, exact, got = (folder / f"{name}{end}" for end in (".fhe", "-exact.npy", "-got.npy"))
            inputs = calibration(kind, given, folder)
            model = ROOT / f"models/{point.model}.onnx"
            compiled = fhec("compile", model, "--calibration", inputs, "-o", plan, *point.options)
            fhec("simulate", plan, "--input", images, "--exact", "-o", exact)
            ran = fhec("run", plan, "--input", images, "--limit", arguments.images, "-o", got)
            scores, decrypted = (np.load(f).reshape(-1, 10) for f in (exact, got))
            # What is not a number has no class.
            classes = np.where(np.isfinite(scores).all(1), scores.argmax(1), -1)
            accuracy = 100 * float((classes == np.load(labels)).mean())
            counts, seconds = compiled["summary"]["counts"], compiled["summary"]["predicted_seconds"]
            bootstraps, rotations = counts["bootstraps"], counts["rotations"]
            error = float(np.abs(decrypted - scores[: len(decrypted)]).max())
            print(
                f"| {name}: {point.what} | {accuracy:.2f} % | {bootstraps} | {rotations} | {seconds:.2f} "
                f"| {ran['seconds_per_image']:.2f} | {error:.1e} |",
                flush=True,
            )
            checks = {
                f"an accuracy of {accuracy:.2f} % is below {point.accuracy} %": accuracy >= point.accuracy,
                f"{bootstraps} bootstraps are more than {point.bootstraps}": bootstraps <= point.bootstraps,
                f"{rotations} rotations are more than {point.rotations}": point.rotations is None or rotations <= point.rotations,
                "an encrypted class is another": (decrypted.argmax(1) == scores[: len(decrypted)].argmax(1)).all(),
                "encrypted scores equal those in the clear": (decrypted != scores[: len(decrypted)]).any(),
                "the operations that ran are not those of the plan": ran["trace"] == "equal to the plan",
            }
            failed += [f"{name}: {fault}" for fault, holds in checks.items() if not holds]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
