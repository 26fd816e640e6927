"""Write calibration inputs, and on request test inputs, for the CIFAR-10 networks.

usage: python3 models/cifar_calibration.py OUT.npz --model-preprocessing {resnet,raw,gelu} [--count N]
                                           [--test DIR] [--test-count N] [--data DIR]

Needs numpy. OUT.npz gets the array `input`, float32 [N, 3, 32, 32], the first N images of the CIFAR-10 training set as
the network expects them. --test also writes DIR/images.npy and DIR/labels.npy (int64) from the start of the test set.
--data names the directory of unpack.py and its data (default ../shared/material, seen from the repository).
"""

import argparse
import importlib.util
import lzma
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
MATERIAL = HERE.parent.parent / "shared" / "material"
TRAINING, TEST = 50_000, 10_000
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)

PREPROCESSING = {
    # ResNet-20 and ResNet-32.
    "resnet": lambda x: (x / np.float32(255) - IMAGENET_MEAN) / IMAGENET_DEVIATION,
    # ResNet-8 of MLPerf Tiny.
    "raw": lambda x: x,
    # cifar_gelu.onnx.
    "gelu": lambda x: x / np.float32(127.5) - np.float32(1),
}


def cifar10(material, part):
    """Pixels as uint8 [n, 3, 32, 32] and labels as int64 [n], in the official order; part is `train` or `test`."""
    if part == "test":
        raw = lzma.decompress((material / "data" / "cifar10_test.bin.xz").read_bytes())
    else:
        spec = importlib.util.spec_from_file_location("unpack", material / "unpack.py")
        unpack = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(unpack)
        raw = unpack.train_records()
    records = np.frombuffer(raw, np.uint8).reshape(TEST if part == "test" else TRAINING, 1 + 3072)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def preprocess(kind, pixels):
    """Inputs as float32, of the shape of `pixels`, for the networks of preprocessing `kind`."""
    return PREPROCESSING[kind](pixels.astype(np.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="the .npz file to write")
    parser.add_argument("--model-preprocessing", choices=list(PREPROCESSING), required=True)
    parser.add_argument("--count", type=int, default=1024, help=f"training images, 1 to {TRAINING:,} (default 1024)")
    parser.add_argument("--test", type=pathlib.Path, metavar="DIR", help="write test images and labels into DIR too")
    parser.add_argument("--test-count", type=int, default=TEST, help=f"test images, 1 to {TEST:,} (default: all)")
    parser.add_argument("--data", type=pathlib.Path, default=MATERIAL, help="directory of unpack.py and its data")
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= TRAINING or not 1 <= arguments.test_count <= TEST:
        parser.error(f"the training set has {TRAINING:,} images, the test set {TEST:,}")
    pixels, _ = cifar10(arguments.data, "train")
    np.savez_compressed(arguments.out, input=preprocess(arguments.model_preprocessing, pixels[: arguments.count]))
    if arguments.test:
        pixels, labels = cifar10(arguments.data, "test")
        arguments.test.mkdir(parents=True, exist_ok=True)
        images = preprocess(arguments.model_preprocessing, pixels[: arguments.test_count])
        np.save(arguments.test / "images.npy", images)
        np.save(arguments.test / "labels.npy", labels[: arguments.test_count])


if __name__ == "__main__":
    main()
