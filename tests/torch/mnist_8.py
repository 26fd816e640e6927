"""Trains a network like `mnist-8` of the ONNX model zoo and writes it as ONNX.

    PYTHONPATH=python python tests/torch/mnist_8.py OUT.onnx [--data ../shared/material/data]

Two convolutions 5x5 with `auto_pad`, biases as nodes `Add`, maxima of 2x2 and of 3x3 pixels, a reshape to a constant
batch of 1 and a matrix product: what exporters of that time wrote. Needs torch, onnx, numpy and onnxruntime; a minute of
one core. The calibration data and the images to run are those of `models/`.
"""

import argparse
import pathlib
import sys

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from fhec_train.graph import Graph

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models"))

IMAGES, EPOCHS, BATCH = 20_000, 2, 64


def network(batch):
    """The graph with weights drawn at random, for `batch` images; -1: for any number."""
    draw = numpy.random.default_rng(8)
    weights = lambda name, *shape: numpy_helper.from_array(
        (draw.standard_normal(shape) / numpy.sqrt(numpy.prod(shape[1:]))).astype(numpy.float32), name
    )
    zeros = lambda name, *shape: numpy_helper.from_array(numpy.zeros(shape, numpy.float32), name)
    constants = [weights("w1", 8, 1, 5, 5), zeros("b1", 8, 1, 1), weights("w2", 16, 8, 5, 5), zeros("b2", 16, 1, 1)]
    constants += [weights("w3", 256, 10), zeros("b3", 1, 10), numpy_helper.from_array(numpy.array([batch, 256]), "shape")]
    same = {"kernel_shape": [5, 5], "auto_pad": "SAME_UPPER", "strides": [1, 1], "dilations": [1, 1]}
    pool = lambda k: {"kernel_shape": [k, k], "strides": [k, k], "auto_pad": "NOTSET", "pads": [0, 0, 0, 0]}
    steps = [
        ("Conv", ["input", "w1"], "convolution28", same),
        ("Add", ["convolution28", "b1"], "plus30", {}),
        ("Relu", ["plus30"], "relu32", {}),
        ("MaxPool", ["relu32"], "pooling66", pool(2)),
        ("Conv", ["pooling66", "w2"], "convolution110", same),
        ("Add", ["convolution110", "b2"], "plus112", {}),
        ("Relu", ["plus112"], "relu114", {}),
        ("MaxPool", ["relu114"], "pooling160", pool(3)),
        ("Reshape", ["pooling160", "shape"], "reshape0", {}),
        ("MatMul", ["reshape0", "w3"], "times212", {}),
        ("Add", ["times212", "b3"], "logits", {}),
    ]
    nodes = [helper.make_node(kind, inputs, [name], name=name, **attributes) for kind, inputs, name, attributes in steps]
    port = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch if batch > 0 else "n", *shape])
    graph = helper.make_graph(nodes, "mnist_8", [port("input", 1, 28, 28)], [port("logits", 10)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def main():
    from train_mnist import mnist

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/material/data")
    options = parser.parse_args()
    x, y = mnist(options.data, "train")
    x, y = torch.from_numpy(x[:IMAGES]), torch.from_numpy(y[:IMAGES])
    torch.manual_seed(8)
    graph = Graph(network(-1), "mnist_8").train()
    steps = EPOCHS * len(x) // BATCH
    optimiser = torch.optim.SGD(graph.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=steps)
    for _ in range(steps):
        pick = torch.randint(len(x), (BATCH,))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(graph(x[pick])[0], y[pick]).backward()
        optimiser.step()
        rate.step()
    trained, model = graph.trained(), network(1)
    for tensor in model.graph.initializer:
        if tensor.name in trained:
            tensor.CopyFrom(numpy_helper.from_array(trained[tensor.name], tensor.name))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, options.out)
    test_x, test_y = mnist(options.data, "t10k")
    session = onnxruntime.InferenceSession(options.out)
    classes = [session.run(None, {"input": image.reshape(1, 1, 28, 28)})[0].argmax() for image in test_x[:2000]]
    print(f"{(numpy.array(classes) == test_y[:2000]).mean():.2%} of 2,000 test images right")


if __name__ == "__main__":
    main()
