"""Train a ResNet-20 with SiLU on CIFAR-10 until it is confident, write it as ONNX and measure the written file.

usage: MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 \
       python3 models/train_cifar_silu.py OUT.onnx [--epochs N] [--images N] [--data DIR] [--check]

Needs torch, numpy, onnx and onnxruntime; about twelve minutes of one core for each epoch of all images. The variables keep glibc from
returning large tensors to the system after every step, which costs a factor of three. The checkpoint OUT.pt is written
after every epoch, and a run that was interrupted goes on from there. --check trains nothing and only measures OUT.onnx.

The network is resnet20_cifar10.onnx of the material with SiLU in place of ReLU, and starts from its weights. It is
trained on the first --images of the training images, at the end without distortions: to a training accuracy above 99 %, on which it
is so sure of its classes that gradients of its loss say nothing about what its activations matter. It is not in the
repository: tests of the compiler on confident networks make it by this script. The test set is read only to measure
the exported file.
"""

import argparse
import pathlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cifar_calibration import MATERIAL, cifar10, preprocess
from train_cifar_gelu import distort
from train_mnist import SEED, evaluate

RECIPE = {"batch": 128, "rate": 0.03, "momentum": 0.9, "decay": 5e-4, "shift": 4, "plain": 0.6}
EPOCHS = 10


class Network:
    """The graph of an ONNX file as torch functions; its float initialisers are the parameters."""

    def __init__(self, proto):
        import torch

        self.nodes = list(proto.graph.node)
        self.tensors, self.constants = {}, {}
        for tensor in proto.graph.initializer:
            array = numpy_helper.to_array(tensor).copy()
            if array.dtype == np.float32 and array.ndim > 0:
                self.tensors[tensor.name] = torch.from_numpy(array)
            else:
                self.constants[tensor.name] = array
        self.statistics = {name for node in self.nodes if node.op_type == "BatchNormalization" for name in node.input[3:]}
        self.parameters = {n: t.requires_grad_() for n, t in self.tensors.items() if n not in self.statistics}

    def __call__(self, x, training):
        import torch.nn.functional as F

        values = {"input": x}
        tensors = self.tensors
        for node in self.nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            z, names = values[node.input[0]], node.input
            match node.op_type:
                case "Conv":
                    pads, strides = attributes["pads"][0], attributes["strides"][0]
                    z = F.conv2d(z, tensors[names[1]], stride=strides, padding=pads)
                case "BatchNormalization":
                    scale, bias, mean, variance = (tensors[name] for name in names[1:])
                    z = F.batch_norm(z, mean, variance, scale, bias, training, 0.1, attributes["epsilon"])
                case "Relu":
                    z = F.silu(z)
                case "Add":
                    z = z + values[names[1]]
                case "Slice":
                    z = z[:, :, ::2, ::2]
                case "Pad":
                    before, after = (int(self.constants[names[1]][i]) for i in (1, 5))
                    z = F.pad(z, (0, 0, 0, 0, before, after))
                case "AveragePool":
                    z = F.avg_pool2d(z, attributes["kernel_shape"][0])
                case "Flatten":
                    z = z.flatten(1)
                case "Gemm":
                    z = F.linear(z, tensors[names[1]], tensors[names[2]])
                case other:
                    raise SystemExit(f"{node.name}: {other} is not expected in this network")
            values[node.output[0]] = z
        return values["logits"]


def train(proto, x, y, epochs, checkpoint):
    """Stochastic gradients with a one-cycle rate; the last part of the epochs sees the images as they are."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(SEED)
    network = Network(proto)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    batch, steps = RECIPE["batch"], len(x) // RECIPE["batch"]
    weights = [p for p in network.parameters.values() if p.dim() > 1]
    others = [p for p in network.parameters.values() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": RECIPE["decay"]}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=RECIPE["rate"], momentum=RECIPE["momentum"], nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RECIPE["rate"], total_steps=epochs * steps, pct_start=0.1, cycle_momentum=False
    )
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        start = state["epoch"]
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        with torch.no_grad():
            for name, tensor in state["tensors"].items():
                network.tensors[name].copy_(tensor)
        print(f"goes on after epoch {start}", flush=True)
    for epoch in range(start, epochs):
        torch.manual_seed(SEED + epoch)
        order = torch.randperm(len(x))
        plain = epoch >= (1 - RECIPE["plain"]) * epochs
        total, right = 0.0, 0
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            images = x[pick] if plain else distort(x[pick], RECIPE["shift"])
            logits = network(images, True)
            loss = F.cross_entropy(logits, y[pick])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(network.parameters.values()), 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
            right += (logits.argmax(1) == y[pick]).sum().item()
        print(f"epoch {epoch + 1:2}: loss {total / steps:.4f}, {100 * right / (steps * batch):.2f} % right", flush=True)
        state = {"epoch": epoch + 1, "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
        partial = checkpoint.with_suffix(".partial")
        torch.save({**state, "tensors": {n: t.detach() for n, t in network.tensors.items()}}, partial)
        partial.replace(checkpoint)
    return network


def export(proto, network, path):
    """Write `proto` with the trained tensors and x * sigmoid(x) in place of every ReLU."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    for tensor in out.graph.initializer:
        if tensor.name in network.tensors:
            array = network.tensors[tensor.name].detach().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    nodes = []
    for node in proto.graph.node:
        if node.op_type != "Relu":
            nodes.append(node)
            continue
        gate = f"{node.name}.gate"
        nodes.append(helper.make_node("Sigmoid", [node.input[0]], [gate], name=f"{node.name}.sigmoid"))
        nodes.append(helper.make_node("Mul", [node.input[0], gate], [node.output[0]], name=node.name))
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    out.graph.name = path.stem
    out.producer_name = "fhec models/train_cifar_silu.py"
    onnx.checker.check_model(out, full_check=True)
    path.write_bytes(out.SerializeToString(deterministic=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="the ONNX file to write, or to measure")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--images", type=int, default=50_000, help="training images (default: all 50,000)")
    parser.add_argument("--data", type=pathlib.Path, default=MATERIAL, help="directory of unpack.py and its data")
    parser.add_argument("--check", action="store_true", help="measure the file that is there; train nothing")
    arguments = parser.parse_args()
    pixels, y = cifar10(arguments.data, "train")
    x, y = preprocess("resnet", pixels[: arguments.images]), y[: arguments.images]
    if not arguments.check:
        proto = onnx.load(arguments.data / "models" / "resnet20_cifar10.onnx")
        network = train(proto, x, y, arguments.epochs, arguments.out.with_suffix(".pt"))
        export(proto, network, arguments.out)
    pixels, test_y = cifar10(arguments.data, "test")
    proto = onnx.load(arguments.out)
    for name, images, labels in (("training", x, y), ("test", preprocess("resnet", pixels), test_y)):
        right = 0
        for part in np.array_split(np.arange(len(labels)), -(-len(labels) // 1000)):
            logits, _ = evaluate(proto, images[part])
            right += int((logits.argmax(1) == labels[part]).sum())
        print(f"{name}: {right} of {len(labels)} right, {100 * right / len(labels):.2f} %", flush=True)


if __name__ == "__main__":
    main()
