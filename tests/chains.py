"""Compile time and memory of long chains of layers without activations.

    python tests/chains.py target/release/fhec

Makes chains of 8, 25, 50 and 100 dense layers with bias, convolutions with batch normalisation, products and sums, and
transpositions and products; compiles each, and prints seconds and the most memory of the whole command. Both must grow
with the length as it does. Needs numpy and onnx.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

LENGTHS = (8, 25, 50, 100)
SHAPES = {"dense": [1, 16], "convolution": [1, 4, 8, 8], "affine": [1, 16], "transpose": [1, 4, 4]}


def layer(kind, name, x, draw):
    """The nodes of one layer that ends in `name`, and its constants."""
    near_one = lambda *shape: 1 + draw.standard_normal(shape) / 50
    if kind == "dense":
        constants = {"w": draw.standard_normal((16, 16)) / 4, "b": draw.standard_normal(16) / 4}
        steps = [("Gemm", [x, "w", "b"], name, {})]
    elif kind == "convolution":
        constants = {"w": draw.standard_normal((4, 4, 3, 3)) / 6, "s": near_one(4), "b": near_one(4), "m": near_one(4), "v": near_one(4)}
        convolved = f"{name}.conv"
        steps = [("Conv", [x, "w"], convolved, {"pads": [1] * 4}), ("BatchNormalization", [convolved, "s", "b", "m", "v"], name, {})]
    elif kind == "affine":
        constants = {"s": near_one(16), "b": near_one(16)}
        steps = [("Mul", [x, "s"], f"{name}.product", {}), ("Add", [f"{name}.product", "b"], name, {})]
    else:
        constants = {"s": near_one(1, 4, 4)}
        steps = [("Transpose", [x], f"{name}.moved", {"perm": [0, 2, 1]}), ("Mul", [f"{name}.moved", "s"], name, {})]
    own = lambda operand: f"{name}.{operand}" if operand in constants else operand
    nodes = [helper.make_node(op, [own(i) for i in inputs], [out], name=out, **more) for op, inputs, out, more in steps]
    return nodes, [numpy_helper.from_array(a.astype(numpy.float32), own(n)) for n, a in constants.items()]


def chain(kind, length, path):
    """Writes a chain to `path`."""
    draw, nodes, constants, x = numpy.random.default_rng(0), [], [], "x"
    for i in range(length):
        made, more = layer(kind, f"layer{i}", x, draw)
        nodes, constants, x = nodes + made, constants + more, f"layer{i}"
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPES[kind])
    graph = helper.make_graph(nodes, kind, [port("x")], [port(x)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        for kind in SHAPES:
            outcomes = []
            for length in LENGTHS:
                model = pathlib.Path(folder, f"{kind}{length}.onnx")
                chain(kind, length, model)
                start = time.monotonic()
                command = [program, model, "-o", model.with_suffix(".fhe")]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                if status != 0:
                    raise SystemExit(f"{model.name}: ended with status {os.waitstatus_to_exitcode(status)}")
                outcomes.append(f"{length}: {time.monotonic() - start:.2f} s, {usage.ru_maxrss >> 10} MiB")
            print(f"{kind:12} {'; '.join(outcomes)}", flush=True)


if __name__ == "__main__":
    main()
