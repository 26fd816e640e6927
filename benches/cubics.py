#!/usr/bin/env python3
"""What polynomials of a low degree can do for a network whose weights stay as they are: bounds for `models/cifar_gelu.onnx`.

usage: OMP_NUM_THREADS=1 python3 benches/cubics.py [--calibration N] [--epochs N]

Needs torch, numpy, onnx, blake3 and the CIFAR-10 files of ../shared/material; a minute of one core. Nothing of the compiler runs here.
On 2,000 training images that are used for nothing else it prints how many are right

- with the best polynomial per channel in place of every GELU, by least squares over the arguments that these very images give, which
  no compiler has: what any fit of an activation by itself can reach;
- the same with one GELU replaced and the others kept, which says where the loss comes from;
- with cubics whose coefficients are trained together on N calibration images, by the divergence from the network's own logits, which
  knows what each coefficient does to the logits: what any choice of coefficients can hope for.
"""

import argparse
import functools
import pathlib
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "models"), str(ROOT / "python")]
import cifar_calibration as cifar  # noqa: E402
from fhec_train.graph import Graph  # noqa: E402

HELD = slice(40_000, 42_000)
TEMPERATURE = 2.0


class Standing(nn.Module):
    """Stands in place of an activation, as a function of the caller's."""

    def reads_function(self):
        return False

    def forward(self, z, _):
        return self.function(z)


class Network(Graph):
    """The graph of `cifar_gelu.onnx`, whose weights stay, with a function of the caller's in place of its activations."""

    def __init__(self, path):
        super().__init__(onnx.load(path), str(path))
        self.names = [node.outputs[0] for node in self.nodes if node.kind == "Gelu"]
        for name in self.names:
            self.replace_activation(self.producer[name].inputs[0], name, Standing())
        self.eval().requires_grad_(False)

    def logits(self, x, activation):
        """Logits [n, 10] of images [n, 3, 32, 32]; `activation` takes the name and the argument of each."""
        for name in self.names:
            self.activation(name).function = functools.partial(activation, name)
        return self(x)[0]


class Polynomial:
    """One polynomial per channel: coefficients [channels, degree + 1] of the argument over its mean and twice its deviation."""

    def __init__(self, z, degree):
        by_channel = lambda t: t.transpose(0, 1).flatten(1).double()  # noqa: E731
        u, y = by_channel(z), by_channel(F.gelu(z))
        self.mean, self.scale = u.mean(1, keepdim=True), 2 * u.std(1, keepdim=True) + 1e-9
        powers = torch.stack([((u - self.mean) / self.scale) ** k for k in range(degree + 1)], 2)
        gram, right = powers.transpose(1, 2) @ powers, powers.transpose(1, 2) @ y.unsqueeze(2)
        ridge = 1e-9 * gram[:, :1, :1] * torch.eye(degree + 1, dtype=torch.float64)
        self.coefficients = torch.linalg.solve(gram + ridge, right)[:, :, 0].float()

    def __call__(self, z):
        by_channel = lambda t: t.float().reshape(1, -1, 1, 1)  # noqa: E731
        u = (z - by_channel(self.mean)) / by_channel(self.scale)
        result = torch.zeros_like(u)
        for k in reversed(range(self.coefficients.shape[1])):
            result = result * u + by_channel(self.coefficients[:, k])
        return result


def trained_together(network, images, epochs):
    """Cubics fitted to `images`, then trained on them by the divergence from the network's logits."""
    polynomials = {}

    def fit(name, z):
        polynomials[name] = Polynomial(z, 3)
        return polynomials[name](z)

    with torch.no_grad():
        network.logits(images, fit)
        target = F.log_softmax(network.logits(images, lambda _, z: F.gelu(z)) / TEMPERATURE, 1)
    coefficients = [p.coefficients.requires_grad_() for p in polynomials.values()]
    optimiser = torch.optim.Adam(coefficients, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(images) // 128))
    for _ in range(epochs):
        for pick in torch.randperm(len(images)).split(128)[: len(images) // 128]:
            logits = network.logits(images[pick], lambda name, z: polynomials[name](z))
            divergence = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), target[pick], log_target=True, reduction="batchmean")
            optimiser.zero_grad()
            divergence.backward()
            torch.nn.utils.clip_grad_norm_(coefficients, 1.0)
            optimiser.step()
            schedule.step()
    return polynomials


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibration", type=int, default=1024, help="images that coefficients are trained on (default 1024)")
    parser.add_argument("--epochs", type=int, default=12, help="passes over them (default 12)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pixels, labels = cifar.cifar10(cifar.MATERIAL, "train")
    inputs = lambda part: torch.from_numpy(cifar.preprocess("gelu", pixels[part]))  # noqa: E731
    network, images, labels = Network(ROOT / "models/cifar_gelu.onnx"), inputs(HELD), labels[HELD]

    def report(what, activation):
        with torch.no_grad():
            right = np.mean(network.logits(images, activation).argmax(1).numpy() == labels)
        print(f"{what:44} {100 * right:6.2f} % right", flush=True)

    report("as it is", lambda _, z: F.gelu(z))
    for degree in (2, 3, 4, 5, 7):
        report(f"best polynomials of degree {degree}", lambda _, z: Polynomial(z, degree)(z))
    for only in network.names:
        report(f"best cubics for {only} alone", lambda name, z: Polynomial(z, 3)(z) if name == only else F.gelu(z))
    together = trained_together(network, inputs(slice(0, arguments.calibration)), arguments.epochs)
    report(f"cubics trained together on {arguments.calibration} images", lambda name, z: together[name](z))


if __name__ == "__main__":
    main()
