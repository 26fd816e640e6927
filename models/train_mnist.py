"""Train the two MNIST networks of this directory, write them as ONNX and measure the written files.

usage: python3 models/train_mnist.py [--data DIR] [--check]

Needs torch, numpy, onnx and onnxruntime; less than ten minutes on two cores. --data names the directory of the four
MNIST idx .gz files (default ../shared/material/data, seen from the repository). --check trains nothing and only
measures the files that are there, which needs no torch.

Training sees the first 55,000 images of the MNIST training set; the last 5,000 are held out for validation and were
used to choose the hyper-parameters. The test set is read only to measure the exported files and to cut digits.npy.
The ONNX graphs are written node by node, so that names are stable and BatchNormalization stays a node of its own.
"""

import argparse
import gzip
import pathlib
from collections import OrderedDict

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "material" / "data"
VALIDATION = 5_000
CALIBRATION = 1024
DIGITS = 16
SEED = 2024
BN_EPSILON = 1e-5


def read_idx(path):
    """The array in a gzipped idx file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path}: not an idx file of unsigned bytes")
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def mnist(directory, part):
    """Images as float32 [n, 1, 28, 28] in 0..1 and labels as int64 [n]; part is `train` or `t10k`."""
    images = read_idx(directory / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(directory / f"{part}-labels-idx1-ubyte.gz")
    return images[:, None].astype(np.float32) / np.float32(255), labels.astype(np.int64)


# ---- training


def build(name):
    """The torch module of `name`; submodule names become the ONNX node names."""
    from torch import nn

    if name == "mnist_cnn":
        layers = [
            ("conv1", nn.Conv2d(1, 8, 5, padding=2, bias=False)),
            ("bn1", nn.BatchNorm2d(8, eps=BN_EPSILON)),
            ("relu1", nn.ReLU()),
            ("pool1", nn.AvgPool2d(2)),
            ("conv2", nn.Conv2d(8, 16, 3, padding=1, bias=False)),
            ("bn2", nn.BatchNorm2d(16, eps=BN_EPSILON)),
            ("relu2", nn.ReLU()),
            ("pool2", nn.AvgPool2d(2)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(784, 10)),
        ]
    else:
        layers = [
            ("flatten", nn.Flatten()),
            ("fc1", nn.Linear(784, 64)),
            ("relu1", nn.ReLU()),
            ("fc2", nn.Linear(64, 32)),
            ("relu2", nn.ReLU()),
            ("fc3", nn.Linear(32, 10)),
        ]
    return nn.Sequential(OrderedDict(layers))


RECIPES = {
    "mnist_cnn": {"epochs": 20, "rate": 0.01, "decay": 1e-2, "turn": 10, "shift": 2, "bound": 3.0, "weight": 1.0},
    "mnist_mlp": {"epochs": 40, "rate": 0.003, "decay": 2e-2, "turn": 5, "shift": 1, "bound": 3.0, "weight": 10.0},
}


def train(name, x, y):
    """Train `name` by its recipe."""
    seed(threads=2)
    return fit(name, build(name), in_sequence, RECIPES[name], x, y)


def seed(threads):
    """Make what torch does next, on so many threads, the same in every run on one machine."""
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)


def in_sequence(model, z):
    """Logits of `model`, layer after layer, and the list of its ReLU inputs."""
    from torch import nn

    inputs = []
    for layer in model:
        if isinstance(layer, nn.ReLU):
            inputs.append(z)
        z = layer(z)
    return z, inputs


def fit(name, model, forward, recipe, x, y):
    """Train `model` with AdamW, a one-cycle rate and small random turns and shifts of the images; returns it.

    `forward` maps the model and images to logits and a list of ReLU inputs. Besides the cross entropy the loss holds
    weight * mean(max(0, |z| - bound)^2) over each ReLU input z: it keeps the tails short, so that one polynomial of
    moderate degree serves the whole range of a layer.
    """
    import torch
    import torch.nn.functional as F

    batch = 256
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    kept = len(x) - VALIDATION
    steps = kept // batch
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": weights, "weight_decay": recipe["decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=recipe["rate"],
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe["rate"], total_steps=recipe["epochs"] * steps)
    for epoch in range(recipe["epochs"]):
        model.train()
        order = torch.randperm(kept)
        total = 0.0
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            z, inputs = forward(model, distort(x[pick], recipe["turn"], recipe["shift"]))
            tails = sum((z.abs() - recipe["bound"]).clamp(min=0).square().mean() for z in inputs)
            loss = F.cross_entropy(z, y[pick], label_smoothing=0.05) + recipe["weight"] * tails
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            right = (forward(model, x[kept:])[0].argmax(1) == y[kept:]).float().mean().item()
        print(f"{name} epoch {epoch + 1:2}: loss {total / steps:.4f}, validation {100 * right:.2f} %", flush=True)
    return model


def distort(images, turn, shift):
    """Each image turned by up to `turn` degrees and shifted by up to `shift` pixels each way."""
    import torch
    import torch.nn.functional as F

    n = len(images)
    angle = (torch.rand(n) * 2 - 1) * (turn * np.pi / 180)
    move = (torch.rand(n, 2) * 2 - 1) * (shift * 2 / 28)
    rows = torch.stack([angle.cos(), -angle.sin(), move[:, 0], angle.sin(), angle.cos(), move[:, 1]], 1)
    grid = F.affine_grid(rows.view(n, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


# ---- ONNX


def layer_node(name, layer, value, result):
    """The ONNX node `name` that computes the torch `layer` from `value` to `result`, and its constants as tensors."""
    from torch import nn

    inputs, tensors, attributes = [value], [], {}

    def bind(suffix, tensor):
        inputs.append(f"{name}.{suffix}")
        tensors.append(numpy_helper.from_array(tensor.detach().contiguous().numpy().astype(np.float32), inputs[-1]))

    if isinstance(layer, nn.Conv2d):
        op = "Conv"
        bind("weight", layer.weight)
        if layer.bias is not None:
            bind("bias", layer.bias)
        attributes = {
            "kernel_shape": list(layer.kernel_size),
            "strides": list(layer.stride),
            "pads": list(layer.padding) * 2,
        }
        if layer.groups > 1:
            attributes["group"] = layer.groups
    elif isinstance(layer, nn.BatchNorm2d):
        op = "BatchNormalization"
        bind("scale", layer.weight)
        bind("bias", layer.bias)
        bind("mean", layer.running_mean)
        bind("var", layer.running_var)
        attributes = {"epsilon": layer.eps}
    elif isinstance(layer, nn.Linear):
        op = "Gemm"
        bind("weight", layer.weight)
        bind("bias", layer.bias)
        attributes = {"transB": 1}
    elif isinstance(layer, nn.AvgPool2d):
        op, attributes = "AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}
    elif isinstance(layer, nn.AdaptiveAvgPool2d):
        op = "GlobalAveragePool"
    elif isinstance(layer, nn.Flatten):
        op, attributes = "Flatten", {"axis": 1}
    elif isinstance(layer, nn.GELU):
        op = "Gelu"
    else:
        op = "Relu"
    return helper.make_node(op, inputs, [result], name=name, **attributes), tensors


def export(name, model, path):
    """Write `model` as ONNX: opset 17, `input` [batch, 1, 28, 28] to `logits` [batch, 10], one node per layer."""
    nodes, tensors, value = [], [], "input"
    layers = list(model.named_children())
    for layer_name, layer in layers:
        result = "logits" if layer_name == layers[-1][0] else f"{layer_name}.out"
        node, constants = layer_node(layer_name, layer, value, result)
        nodes.append(node)
        tensors += constants
        value = result
    write(name, nodes, tensors, path, "fhec models/train_mnist.py")


def write(name, nodes, tensors, path, producer):
    """Write the graph of `nodes` and constants `tensors` as ONNX, opset 17, with a symbolic batch."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        tensors,
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name=producer,
        doc_string="MNIST digit classifier; pixels in 0..1. Licence: MIT OR Apache-2.0.",
    )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


# ---- measurement of the written files


def evaluate(proto, x):
    """Logits of the ONNX model `proto` and a dict from each activation's name to its input, by onnxruntime."""
    import onnxruntime

    watched = {node.name: node.input[0] for node in proto.graph.node if node.op_type in ("Relu", "Gelu")}
    watching = onnx.ModelProto()
    watching.CopyFrom(proto)
    for value in watched.values():
        watching.graph.output.append(helper.make_empty_tensor_value_info(value))
    session = onnxruntime.InferenceSession(watching.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [session.run(["logits", *watched.values()], {"input": part}) for part in np.array_split(x, -(-len(x) // 500))]
    logits, *values = (np.concatenate(column) for column in zip(*parts))
    return logits, dict(zip(watched, values))


def report(path, sets):
    """Print size, accuracy and activation input ranges of the ONNX file at `path` on each (name, images, labels)."""
    print(f"{path.name}: {path.stat().st_size:,} bytes")
    for set_name, x, y in sets:
        logits, inputs = evaluate(onnx.load(path), x)
        right = int((logits.argmax(1) == y).sum())
        print(f"  {set_name}: {right} of {len(y)} right, {100 * right / len(y):.2f} %; largest |logit| {np.abs(logits).max():.2f}")
        for node, value in inputs.items():
            print(f"    {node} input: {value.min():.2f} to {value.max():.2f}, mean {value.mean():.2f}, deviation {value.std():.2f}")


def read_arguments(description):
    """The command line that the scripts of MNIST share: `data`, a directory, and `check`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=pathlib.Path, default=DATA, help="directory of the MNIST idx .gz files")
    parser.add_argument("--check", action="store_true", help="measure the files that are there; train nothing")
    return parser.parse_args()


def sets(x, y, test_x, test_y):
    """What written files are measured on: (name, images, labels) of three parts of MNIST."""
    kept = len(x) - VALIDATION
    return [
        ("calibration", x[:CALIBRATION], y[:CALIBRATION]),
        ("validation", x[kept:], y[kept:]),
        ("test", test_x, test_y),
    ]


def main():
    arguments = read_arguments(__doc__.splitlines()[0])
    x, y = mnist(arguments.data, "train")
    test_x, test_y = mnist(arguments.data, "t10k")
    if not arguments.check:
        for name in RECIPES:
            export(name, train(name, x, y), HERE / f"{name}.onnx")
        np.savez_compressed(HERE / "calibration.npz", input=x[:CALIBRATION])
        np.save(HERE / "digits.npy", test_x[:DIGITS])
        np.save(HERE / "digits_labels.npy", test_y[:DIGITS])
    for name in RECIPES:
        report(HERE / f"{name}.onnx", sets(x, y, test_x, test_y))


if __name__ == "__main__":
    main()
