"""Train the residual MNIST network of this directory, write it as ONNX and measure the written file.

usage: python3 models/train_mnist_resnet.py [--data DIR] [--check]

Needs torch, numpy, onnx and onnxruntime; three minutes of one core. --data names the directory of the four MNIST idx
.gz files (default ../shared/material/data, seen from the repository). --check trains nothing and only measures the file
that is there, which needs no torch.

Data, loss and optimiser are those of train_mnist.py. The network is small and deep, so that it needs bootstraps: a stem
that halves the image, five residual blocks of two convolutions, the first of which halves it again, and the mean over
the 7x7 pixels that are left.
"""

from collections import OrderedDict

from onnx import helper

from train_mnist import BN_EPSILON, HERE, fit, layer_node, mnist, read_arguments, report, seed, sets, write

NAME = "mnist_resnet"
PATH = HERE / f"{NAME}.onnx"
# Channels of the stem, and channels and stride of each block.
STEM = 8
BLOCKS = [(12, 2), (12, 1), (12, 1), (12, 1), (12, 1)]
RECIPE = {"epochs": 12, "rate": 0.01, "decay": 1e-2, "turn": 10, "shift": 2, "bound": 3.0, "weight": 1.0}


# ---- training


def build():
    """The torch module; submodule names become the ONNX node names, and `forward` says where the skips run."""
    from torch import nn

    def convolution(name, norm, before, channels, kernel, stride):
        conv = nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        return [(name, conv), (norm, nn.BatchNorm2d(channels, eps=BN_EPSILON))]

    before = STEM
    layers = [*convolution("stem", "stem_bn", 1, before, 3, 2), ("stem_relu", nn.ReLU())]
    for index, (channels, stride) in enumerate(BLOCKS):
        block = f"block{index + 1}"
        layers += [
            *convolution(f"{block}_conv1", f"{block}_bn1", before, channels, 3, stride),
            (f"{block}_relu1", nn.ReLU()),
            *convolution(f"{block}_conv2", f"{block}_bn2", channels, channels, 3, 1),
        ]
        if (before, 1) != (channels, stride):
            layers += convolution(f"{block}_skip", f"{block}_skip_bn", before, channels, 1, stride)
        layers.append((f"{block}_relu2", nn.ReLU()))
        before = channels
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(before, 10))]
    return nn.Sequential(OrderedDict(layers))


def forward(model, z):
    """Logits of `model` and the list of its ReLU inputs: each block adds what it was given to what it makes."""
    from torch import nn

    inputs, skip = [], None
    for name, layer in model.named_children():
        if name.endswith("_conv1"):
            skip = z
        if "_skip" in name:
            skip = layer(skip)
            continue
        if name.endswith("_relu2"):
            z = z + skip
        if isinstance(layer, nn.ReLU):
            inputs.append(z)
        z = layer(z)
    return z, inputs


# ---- ONNX


def export(model):
    """Write `model` as ONNX: `input` [batch, 1, 28, 28] to `logits` [batch, 10], one node per layer and sum."""
    nodes, tensors, value, skip = [], [], "input", None
    for name, layer in model.named_children():
        if name.endswith("_conv1"):
            skip = value
        if name.endswith("_relu2"):
            add = name.replace("_relu2", "_add")
            nodes.append(helper.make_node("Add", [value, skip], [f"{add}.out"], name=add))
            value = f"{add}.out"
        result = "logits" if name == "fc" else f"{name}.out"
        node, constants = layer_node(name, layer, skip if "_skip" in name else value, result)
        nodes.append(node)
        tensors += constants
        if "_skip" in name:
            skip = result
        else:
            value = result
    write(NAME, nodes, tensors, PATH, "fhec models/train_mnist_resnet.py")


def main():
    arguments = read_arguments(__doc__.splitlines()[0])
    x, y = mnist(arguments.data, "train")
    if not arguments.check:
        # Layers as small as these gain nothing from a second thread.
        seed(threads=1)
        export(fit(NAME, build(), forward, RECIPE, x, y))
    report(PATH, sets(x, y, *mnist(arguments.data, "t10k")))


if __name__ == "__main__":
    main()
