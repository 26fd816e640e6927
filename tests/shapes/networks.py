#!/usr/bin/env python3
"""Networks of shapes that chains and residual blocks are not, bootstrapped and encrypted once each.

    python tests/shapes/networks.py FHEC [--only NAME,...] [--small FILE]

makes each network with random weights that keep its values in range, compiles it with calibration data of its own, runs one image
encrypted, and compares with onnxruntime. `--small FILE` writes the network of all shapes in small that `.ci/headline` runs, with
its calibration data beside it, and does nothing else. Needs numpy, onnx and onnxruntime.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A network in the making; every method takes names of values and gives that of its result."""

    def __init__(self, seed, inputs):
        self.random = np.random.default_rng(seed)
        self.inputs = inputs
        self.nodes, self.weights, self.channels = [], [], {"x": inputs[1]}

    def node(self, op, operands, channels, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, operands, [name], name=name, **attributes))
        self.channels[name] = channels
        return name

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def conv(self, x, channels, kernel=3, stride=1, gain=2.0):
        shape = (channels, self.channels[x], kernel, kernel)
        w = self.random.normal(0, np.sqrt(gain / (shape[1] * kernel * kernel)), shape)
        b = self.random.normal(0, 0.1, channels)
        pad = kernel // 2
        return self.node("Conv", [x, self.constant(w), self.constant(b)], channels, pads=[pad] * 4, strides=[stride] * 2)

    def relu(self, x):
        return self.node("Relu", [x], self.channels[x])

    def add(self, a, b, share=0.7):
        """The sum, scaled: without it values would grow from block to block."""
        total = self.node("Add", [a, b], self.channels[a])
        return self.node("Mul", [total, self.constant(share)], self.channels[a])

    def mul(self, a, b):
        return self.node("Mul", [a, b], self.channels[a])

    def concat(self, values):
        return self.node("Concat", values, sum(self.channels[v] for v in values), axis=1)

    def mean(self, x):
        return self.node("GlobalAveragePool", [x], self.channels[x])

    def sigmoid(self, x):
        return self.node("Sigmoid", [x], self.channels[x])

    def head(self, x, classes=10):
        flat = self.node("Flatten", [self.mean(x)], self.channels[x], axis=1)
        w = self.random.normal(0, np.sqrt(1 / self.channels[x]), (self.channels[x], classes))
        return self.node("Gemm", [flat, self.constant(w), self.constant(np.zeros(classes))], classes)

    def residual(self, x, channels, stride=1):
        y = self.conv(self.relu(self.conv(x, channels, stride=stride)), channels, gain=1.0)
        skip = x if stride == 1 and self.channels[x] == channels else self.conv(x, channels, kernel=1, stride=stride, gain=1.0)
        return self.relu(self.add(y, skip))

    def excited(self, x):
        """Squeeze and excitation: channels times what a small network makes of their means."""
        few = self.conv(self.mean(x), max(self.channels[x] // 4, 2), kernel=1)
        return self.mul(x, self.sigmoid(self.conv(self.relu(few), self.channels[x], kernel=1)))

    def model(self, outputs):
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.inputs)
        graph = helper.make_graph(self.nodes, "network", [x], values, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        return onnx.shape_inference.infer_shapes(model)


def shared_source():
    net = Net(1, [1, 3, 16, 16])
    first = y = net.relu(net.conv("x", 16))
    for _ in range(6):
        y = net.conv(net.relu(net.conv(y, 16)), 16, gain=1.0)
        y = net.relu(net.add(y, first))
    return net.model([net.head(y)])


def dense_block():
    net = Net(2, [1, 3, 16, 16])
    values = [net.relu(net.conv("x", 8))]
    for _ in range(8):
        together = net.concat(values) if len(values) > 1 else values[0]
        values.append(net.relu(net.conv(together, 8)))
    return net.model([net.head(net.relu(net.conv(net.concat(values), 16, kernel=1)))])


def two_outputs():
    net = Net(3, [1, 3, 16, 16])
    y = net.relu(net.conv("x", 16))
    for _ in range(3):
        y = net.residual(y, 16)
    early = net.head(y, 4)
    for _ in range(3):
        y = net.residual(y, 16)
    return net.model([early, net.head(y)])


def squeeze_and_excitation():
    net = Net(4, [1, 3, 16, 16])
    y = net.relu(net.conv("x", 16))
    for _ in range(4):
        z = net.excited(net.conv(net.relu(net.conv(y, 16)), 16, gain=1.0))
        y = net.relu(net.add(z, y))
    return net.model([net.head(y)])


def chain_of_linear_maps():
    """Products by the input keep the maps apart: they are not one linear map."""
    net = Net(5, [1, 3, 16, 16])
    y = net.conv("x", 8)
    mask = net.conv("x", 8, gain=0.5)
    for _ in range(40):
        y = net.add(net.conv(y, 8, gain=1.0), net.mul(net.conv(y, 8, gain=0.5), mask))
    return net.model([net.head(y)])


def resnet(blocks, width=16):
    net = Net(6, [1, 3, 32, 32])
    y = net.relu(net.conv("x", width))
    for stage, channels in enumerate([width, 2 * width, 4 * width]):
        for block in range(blocks):
            y = net.residual(y, channels, stride=2 if stage and not block else 1)
    return net.model([net.head(y)])


def all_in_small():
    net = Net(7, [1, 1, 8, 8])
    first = y = net.relu(net.conv("x", 4))
    for _ in range(2):
        y = net.relu(net.add(net.conv(net.relu(net.conv(y, 4)), 4, gain=1.0), first))
    early = net.head(y, 3)
    together = net.concat([first, y, net.relu(net.conv(y, 4))])
    y = net.relu(net.conv(together, 8))
    y = net.relu(net.add(net.excited(net.conv(y, 8, gain=1.0)), y))
    return net.model([early, net.head(y)])


NETWORKS = {
    "shared_source": shared_source,
    "dense_block": dense_block,
    "two_outputs": two_outputs,
    "squeeze_and_excitation": squeeze_and_excitation,
    "chain_of_linear_maps": chain_of_linear_maps,
    "resnet_56": lambda: resnet(9),
}


def inputs(model, count, seed):
    """Smooth images, as natural ones are, of mean 0 and deviation 1."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, shape[1], shape[2] // 4, shape[3] // 4))
    images = np.kron(coarse, np.ones((1, 1, 4, 4))) + 0.3 * random.normal(size=(count, *shape[1:]))
    return images.astype(np.float32)


def small(file):
    model = all_in_small()
    onnx.save(model, file)
    np.savez_compressed(file.with_suffix(".npz"), x=inputs(model, 128, 1).astype(np.float16).astype(np.float32))


def encrypted(fhec, name, folder):
    model = NETWORKS[name]()
    path, plan = folder / f"{name}.onnx", folder / f"{name}.fhe"
    onnx.save(model, path)
    np.save(folder / "calibration.npy", inputs(model, 256, 1))
    x = inputs(model, 1, 2)
    np.save(folder / "x.npy", x)

    def run(*command):
        done = subprocess.run([fhec, *map(str, command)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{name}: {' '.join(map(str, command))}\n{done.stderr}")
        return json.loads(done.stdout)

    compiled = run(path, "--calibration", folder / "calibration.npy", "-o", plan, "--force", "--json")
    ran = run("run", plan, "--input", folder / "x.npy", "-o", folder / "y.npz", "--force", "--json")
    run("simulate", plan, "--input", folder / "x.npy", "--exact", "-o", folder / "s.npz", "--force", "--json")
    outputs = len(model.graph.output)
    read = lambda file: [np.asarray(a).ravel() for a in (lambda z: [z] if isinstance(z, np.ndarray) else list(z.values()))(np.load(file))]
    got, clear = read(folder / "y.npz"), read(folder / "s.npz")
    wanted = [y.ravel() for y in onnxruntime.InferenceSession(str(path)).run(None, {"x": x})]
    largest = lambda a, b: max(float(np.abs(u - v).max()) for u, v in zip(a, b))
    size = max(float(np.abs(y).max()) for y in wanted)
    assert len(got) == len(wanted) == outputs
    assert ran["trace"] == "equal to the plan", ran["trace"]
    counts = compiled["summary"]["counts"]
    print(
        f"{name}: {counts['bootstraps']} bootstraps, predicted {compiled['summary']['predicted_seconds']:.1f} s, "
        f"took {ran['seconds_per_image']:.1f} s, {ran['peak_memory_bytes'] / 1e9:.1f} GB; encrypted against its polynomials "
        f"{largest(got, clear):.1e}, against the network {largest(got, wanted):.1e} of {size:.2g}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fhec", nargs="?")
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--small", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.small:
        small(arguments.small)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            encrypted(arguments.fhec, name, pathlib.Path(folder))


if __name__ == "__main__":
    main()
