"""Train the GELU network of this directory on CIFAR-10, write it as ONNX and measure the written file.

usage: python3 models/train_cifar_gelu.py [--data DIR] [--check]

Needs torch, numpy, onnx and onnxruntime; about ten minutes of one core. --data names the directory of unpack.py and its
data (default ../shared/material, seen from the repository). --check trains nothing and only measures the file that is
there, which needs no torch.

Training sees the first 45,000 images of the CIFAR-10 training set; the last 5,000 are held out for validation. The test
set is read only to measure the exported file. The network is ConvNeXt in small, with BatchNormalization, which folds
into the convolutions, in place of LayerNormalization, which has to be computed on each input.
"""

import argparse
import pathlib
from collections import OrderedDict

import numpy as np
import onnx
from onnx import TensorProto, helper

from cifar_calibration import MATERIAL, cifar10, preprocess
from train_mnist import BN_EPSILON, SEED, VALIDATION, evaluate, layer_node

HERE = pathlib.Path(__file__).resolve().parent
PATH = HERE / "cifar_gelu.onnx"
CALIBRATION = 1024

# Channels, kernel of the depthwise convolutions and number of blocks at 16x16, 8x8 and 4x4.
STAGES = [(32, 5, 1), (64, 5, 2), (128, 3, 1)]
RECIPE = {"epochs": 12, "batch": 128, "rate": 0.005, "decay": 0.05, "shift": 2, "bound": 3.0, "weight": 1.0}


# ---- training


def build():
    """The torch module; submodule names become the ONNX node names, and `forward` says where the skips run."""
    from torch import nn

    layers, block, before = [], 0, 3
    for stage, (channels, kernel, blocks) in enumerate(STAGES):
        name = f"down{stage}" if stage else "stem"
        entry = nn.Conv2d(before, channels, 2 if stage else 5, stride=2, padding=0 if stage else 2, bias=False)
        layers += [(name, entry), (f"{name}_bn", nn.BatchNorm2d(channels, eps=BN_EPSILON))]
        for _ in range(blocks):
            block += 1
            layers += [
                (
                    f"block{block}_depthwise",
                    nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
                ),
                (f"block{block}_bn", nn.BatchNorm2d(channels, eps=BN_EPSILON)),
                (f"block{block}_expand", nn.Conv2d(channels, 2 * channels, 1)),
                (f"block{block}_gelu", nn.GELU()),
                (f"block{block}_project", nn.Conv2d(2 * channels, channels, 1)),
            ]
        before = channels
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(before, 10))]
    return nn.Sequential(OrderedDict(layers))


def forward(model, x):
    """Logits of `model` and the list of its GELU inputs: each block adds what it makes to what it was given."""
    z, skip, inputs = x, None, []
    for name, layer in model.named_children():
        if name.endswith("_depthwise"):
            skip = z
        if name.endswith("_gelu"):
            inputs.append(z)
        z = layer(z)
        if name.endswith("_project"):
            z = z + skip
    return z, inputs


def train(x, y):
    """Train with AdamW, a one-cycle rate, mirrored and shifted images.

    Besides the cross entropy the loss holds weight * mean(max(0, |z| - bound)^2) over each GELU input z: it keeps the
    intervals short on which polynomials of low degree replace the GELUs.
    """
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    batch = RECIPE["batch"]
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    kept = len(x) - VALIDATION
    # Depthwise convolutions with channels outermost are twenty times slower.
    model = build().to(memory_format=torch.channels_last)
    steps = kept // batch
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": weights, "weight_decay": RECIPE["decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=RECIPE["rate"],
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RECIPE["rate"], total_steps=RECIPE["epochs"] * steps)
    for epoch in range(RECIPE["epochs"]):
        model.train()
        order = torch.randperm(kept)
        total = 0.0
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            z, inputs = forward(model, distort(x[pick], RECIPE["shift"]))
            tails = sum((z.abs() - RECIPE["bound"]).clamp(min=0).square().mean() for z in inputs)
            loss = F.cross_entropy(z, y[pick], label_smoothing=0.05) + RECIPE["weight"] * tails
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        model.eval()
        right = 0
        with torch.no_grad():
            for part, labels in zip(x[kept:].split(500), y[kept:].split(500)):
                part = part.contiguous(memory_format=torch.channels_last)
                right += (forward(model, part)[0].argmax(1) == labels).sum().item()
        print(f"epoch {epoch + 1:2}: loss {total / steps:.4f}, validation {100 * right / VALIDATION:.2f} %", flush=True)
    return model


def distort(images, shift):
    """Each image mirrored or not and shifted by up to `shift` pixels each way; channels lie innermost."""
    import torch
    import torch.nn.functional as F

    n, size = len(images), images.shape[-1]
    padded = F.pad(images, [shift] * 4)
    rows = torch.randint(2 * shift + 1, (n, 1)) + torch.arange(size)
    columns = torch.arange(size).expand(n, size)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns, size - 1 - columns)
    columns = torch.randint(2 * shift + 1, (n, 1)) + columns
    moved = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


# ---- ONNX


def export(model, path):
    """Write `model` as ONNX: opset 20, `input` [batch, 3, 32, 32] to `logits` [batch, 10], one node per layer and skip."""
    nodes, tensors, value, skip = [], [], "input", None
    layers = list(model.named_children())
    for name, layer in layers:
        if name.endswith("_depthwise"):
            skip = value
        result = "logits" if name == layers[-1][0] else f"{name}.out"
        node, constants = layer_node(name, layer, value, result)
        nodes.append(node)
        tensors += constants
        value = result
        if name.endswith("_project"):
            name = name.replace("_project", "_add")
            value = f"{name}.out"
            nodes.append(helper.make_node("Add", [result, skip], [value], name=name))
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        tensors,
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
        producer_name="fhec models/train_cifar_gelu.py",
        doc_string="CIFAR-10 classifier; pixel / 127.5 - 1. Licence: MIT OR Apache-2.0.",
    )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


# ---- measurement of the written file


def fit_cubic(z, uniform_share, margin=1.3):
    """Coefficients, constant first, of the least-squares cubic for GELU on [-b, b], b = margin * largest |z|.

    The weight is the distribution of the inputs `z`, but for `uniform_share` of it, which lies evenly on the interval.
    """
    from math import erf

    bound, bins = margin * np.abs(z).max(), 4096
    counts, edges = np.histogram(z, bins, (-bound, bound))
    root = np.sqrt((1 - uniform_share) * counts / counts.sum() + uniform_share / bins)
    centre = (edges[:-1] + edges[1:]) / 2
    gelu = np.array([0.5 * c * (1 + erf(c / 2**0.5)) for c in centre])
    basis = np.polynomial.polynomial.polyvander(centre / bound, 3)
    scaled, *_ = np.linalg.lstsq(basis * root[:, None], gelu * root, rcond=None)
    return scaled / bound ** np.arange(4)


def with_cubics(proto, x, uniform_share):
    """`proto` with each GELU, in order, replaced by a cubic calibrated on the inputs `x`.

    A cubic is fitted to what its node sees in the original network together with what it sees behind the cubics before it.
    """
    _, original = evaluate(proto, x)
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for name, seen in original.items():
        _, shifted = evaluate(result, x)
        cubic = fit_cubic(np.concatenate([seen, shifted[name]], axis=None), uniform_share)
        place = next(i for i, node in enumerate(result.graph.node) if node.name == name)
        gelu = result.graph.node[place]
        source, target = gelu.input[0], gelu.output[0]
        steps = []
        for degree, coefficient in enumerate(cubic):
            constant = helper.make_tensor(f"{name}.c{degree}", TensorProto.FLOAT, [], [coefficient])
            result.graph.initializer.append(constant)
        value = f"{name}.c3"
        for degree in (2, 1, 0):
            product, total = f"{name}.product{degree}", target if degree == 0 else f"{name}.sum{degree}"
            steps.append(helper.make_node("Mul", [value, source], [product]))
            steps.append(helper.make_node("Add", [product, f"{name}.c{degree}"], [total]))
            value = total
        nodes = list(result.graph.node)
        nodes[place : place + 1] = steps
        del result.graph.node[:]
        result.graph.node.extend(nodes)
    return result


def report(what, proto, sets):
    """Print accuracy and GELU input ranges of `proto` on each (name, images, labels)."""
    print(what)
    for set_name, x, y in sets:
        right, largest, ranges = 0, 0.0, {}
        for part in np.array_split(np.arange(len(y)), -(-len(y) // 1000)):
            logits, inputs = evaluate(proto, x[part])
            right += int((logits.argmax(1) == y[part]).sum())
            largest = max(largest, float(np.abs(logits).max()))
            for node, z in inputs.items():
                lo, hi, squares = ranges.get(node, (0.0, 0.0, 0.0))
                ranges[node] = (min(lo, z.min()), max(hi, z.max()), squares + len(part) / len(y) * np.square(z).mean())
        print(f"  {set_name}: {right} of {len(y)} right, {100 * right / len(y):.2f} %; largest |logit| {largest:.2f}")
        for node, (lo, hi, square) in ranges.items():
            print(f"    {node} input: {lo:.2f} to {hi:.2f}, root mean square {square**0.5:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=MATERIAL, help="directory of unpack.py and its data")
    parser.add_argument("--check", action="store_true", help="measure the file that is there; train nothing")
    arguments = parser.parse_args()
    pixels, y = cifar10(arguments.data, "train")
    x = preprocess("gelu", pixels)
    if not arguments.check:
        export(train(x, y), PATH)
    pixels, test_y = cifar10(arguments.data, "test")
    kept = len(x) - VALIDATION
    sets = [
        ("calibration", x[:CALIBRATION], y[:CALIBRATION]),
        ("validation", x[kept:], y[kept:]),
        ("test", preprocess("gelu", pixels), test_y),
    ]
    proto = onnx.load(PATH)
    report(f"{PATH.name}: {PATH.stat().st_size:,} bytes", proto, sets)
    for share in (0.02, 1.0):
        cubic = with_cubics(proto, x[:CALIBRATION], share)
        report(f"cubics, {100 * share:.0f} % of the weight of the fit spread evenly", cubic, sets)


if __name__ == "__main__":
    main()
