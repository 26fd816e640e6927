"""Train the MNIST network of zeros and powers of two, write it as ONNX and measure the file.

usage: python3 models/train_mnist_pow2.py [--data DIR] [--fhec FHEC] [--work DIR] [--check]

Needs torch, numpy, onnx, onnxruntime and blake3, and the compiler (default target/release/fhec). Training takes some
fifteen minutes of one core. --data names the directory of the four MNIST idx .gz files (default
../shared/material/data, seen from the repository), --work where files in between go (default: a temporary directory).
--check trains nothing and only measures the files that are there.

A ReLU network is trained first. `fhec prepare` then says what it is to become: quadratics of powers of two in place of
ReLU, zeros in whole rotations and diagonals of the packed layers, and 0 or ±2^k for every weight and bias (Faster
CryptoNets, arXiv 1811.09953). `fhec-train` trains that, with the ReLU network as teacher and with labels.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections import OrderedDict

import numpy as np
import onnx
from onnx import numpy_helper

from train_mnist import DATA, HERE, VALIDATION, export, fit, in_sequence, mnist, report, seed, sets

NAME = "mnist_pow2"
PATH = HERE / f"{NAME}.onnx"
RELU = {"epochs": 14, "rate": 0.01, "decay": 1e-2, "turn": 10, "shift": 2, "bound": 3.0, "weight": 1.0}
# What `fhec prepare` is asked for, and how `fhec-train` trains it.
PREPARE = ["--activations", "power-of-two", "--prune", "0.3", "--powers-of-two", "8"]
TRAIN = ["--epochs", "26", "--shift", "2", "--hard", "1", "--rate", "0.08", "--decay", "1e-4", "--features", "0.1"]
TRAIN += ["--temperature", "2", "--held", str(VALIDATION), "--surgery", "0.25", "--portions", "0.3,0.6,0.8,0.9,1"]


def build():
    """The torch module of the ReLU network; submodule names become the ONNX node names."""
    from torch import nn

    layers = [
        ("conv1", nn.Conv2d(1, 8, 5, stride=2, padding=2)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(8, 16, 5, stride=2, padding=2)),
        ("relu2", nn.ReLU()),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(784, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def train(arguments, work, x, y):
    """Write the network beside this script."""
    relu, data = work / "relu.onnx", work / "train.npz"
    student, recipe, out = (work / name for name in ("student.onnx", "recipe.json", "trained.onnx"))
    seed(threads=1)
    export(NAME, fit("relu", build(), in_sequence, RELU, x, y), relu)
    np.savez(data, x=x, labels=y)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent / "python")}
    files = ["-o", student, "--recipe", recipe, "--force"]
    subprocess.run([arguments.fhec, "prepare", relu, *files, *PREPARE], check=True)
    command = [sys.executable, "-m", "fhec_train", student, "--recipe", recipe, "--teacher", relu, "--data", data]
    subprocess.run([*command, "-o", out, "--force", *TRAIN], check=True, env=environment)
    PATH.write_bytes(out.read_bytes())


def weights(model):
    """The float constants of an ONNX model by name."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {name: a for name, a in arrays.items() if a.dtype == np.float32}


def is_zero_or_power_of_two(a):
    """Which elements are 0 or ±2^k."""
    mantissa, _ = np.frexp(np.abs(a))
    return (a == 0) | (mantissa == 0.5)


def scalar_operations(model):
    """Operations on ciphertexts of one value each, as in CryptoNets: products with weights that are not zero, as many
    sums, since a result begins with its bias, and squares."""
    ones = onnx.ModelProto()
    ones.CopyFrom(model)
    for tensor in ones.graph.initializer:
        a = numpy_helper.to_array(tensor)
        if a.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array((a != 0).astype(np.float32) * (a.ndim > 1), tensor.name))
    # With ones for weights and inputs, and zeros for biases, the results of a layer count its products.
    layers = [node for node in ones.graph.node if node.op_type in ("Conv", "MatMul")]
    products = sum(int(counted(ones, node, node.input[0]).sum()) for node in layers)
    powers = [node for node in ones.graph.node if node.op_type == "Mul" and node.input[0] == node.input[1]]
    return products, sum(counted(ones, node, node.input[0]).size for node in powers)


def counted(model, node, value):
    """The results of one `node` of `model`, whose operand `value` is all ones, for one image."""
    import onnxruntime

    shapes = onnx.shape_inference.infer_shapes(model).graph
    ports = [*shapes.input, *shapes.value_info, *shapes.output]
    shape = next([d.dim_value or 1 for d in p.type.tensor_type.shape.dim] for p in ports if p.name == value)
    taken = [t for t in model.graph.initializer if t.name in node.input]
    one = onnx.NodeProto()
    one.CopyFrom(node)
    graph = onnx.helper.make_graph(
        [one],
        "one",
        [onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_empty_tensor_value_info(node.output[0])],
        taken,
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    session = onnxruntime.InferenceSession(single.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {value: np.ones(shape, np.float32)})[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=DATA, help="directory of the MNIST idx .gz files")
    parser.add_argument("--fhec", default=HERE.parent / "target/release/fhec", help="the compiler")
    parser.add_argument("--work", type=pathlib.Path, help="where files in between go")
    parser.add_argument("--check", action="store_true", help="measure the files that are there; train nothing")
    arguments = parser.parse_args()
    x, y = mnist(arguments.data, "train")
    test_x, test_y = mnist(arguments.data, "t10k")
    if not arguments.check:
        with tempfile.TemporaryDirectory() as made:
            work = arguments.work or pathlib.Path(made)
            work.mkdir(parents=True, exist_ok=True)
            train(arguments, work, x, y)
    report(PATH, sets(x, y, test_x, test_y))
    model = onnx.load(PATH)
    arrays = weights(model).values()
    count, zeros = (sum(int(f(a).sum()) for a in arrays) for f in (np.ones_like, lambda a: a == 0))
    powers = sum(int(is_zero_or_power_of_two(a).sum()) for a in arrays)
    products, squares = scalar_operations(model)
    total = 2 * products + squares
    print(f"  {count} constants, {zeros} of them 0, {powers} of them 0 or ±2^k")
    print(f"  one value in a ciphertext: {products} products with weights, as many sums, {squares} squares: {total} HOPs")


if __name__ == "__main__":
    main()
