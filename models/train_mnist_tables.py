"""Train the MNIST network for look-up tables, write it as ONNX and measure the written file.

usage: python3 models/train_mnist_tables.py [--data DIR] [--check]

Needs what train_mnist.py needs, and takes its data and its way of writing ONNX from there; a minute of one core. Under TFHE every
activation is a table, which takes all the time, and every sum must fit into a few bits. So the convolutions have strides and no
padding, which leaves few activations, the second one has groups, which leaves few products in each sum, and the loss holds the
sum of the weights' magnitudes, which makes many of them so small that they may be zero.

Training sees the first 55,000 images of the MNIST training set; the last 5,000 are held out for validation. The test set is read
only to measure the written file.
"""

from collections import OrderedDict

from train_mnist import BN_EPSILON, HERE, VALIDATION, export, mnist, read_arguments, report, seed, sets

NAME = "mnist_tables"
EPOCHS = 15
BATCH = 128
RATE = 4e-3
# Times the sum of magnitudes over its largest possible value, in each filter, on average over the filters.
SPARSITY = 0.02


def build():
    """The torch module; submodule names become the ONNX node names."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            [
                ("conv1", nn.Conv2d(1, 8, 5, stride=3, bias=False)),
                ("bn1", nn.BatchNorm2d(8, eps=BN_EPSILON)),
                ("relu1", nn.ReLU()),
                ("conv2", nn.Conv2d(8, 16, 3, stride=2, groups=2, bias=False)),
                ("bn2", nn.BatchNorm2d(16, eps=BN_EPSILON)),
                ("relu2", nn.ReLU()),
                ("flatten", nn.Flatten()),
                ("fc", nn.Linear(144, 10)),
            ]
        )
    )


def spread(weight):
    """How far the filters of `weight` are from having one weight each: the sum of magnitudes over the norm, over its largest value."""
    filters = weight.flatten(1)
    return (filters.abs().sum(1) / filters.norm(dim=1)).mean() / filters.shape[1] ** 0.5


def train(x, y):
    """The trained network."""
    import torch
    import torch.nn.functional as F

    seed(threads=1)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    kept = len(x) - VALIDATION
    model = build()
    steps = kept // BATCH
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(kept)
        for step in range(steps):
            pick = order[step * BATCH : (step + 1) * BATCH]
            loss = F.cross_entropy(model(x[pick]), y[pick])
            loss = loss + SPARSITY * sum(spread(layer.weight) for layer in (model.conv1, model.conv2))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right = (model(x[kept:]).argmax(1) == y[kept:]).float().mean().item()
        print(f"{NAME} epoch {epoch + 1:2}: validation {100 * right:.2f} %", flush=True)
    return model


def main():
    arguments = read_arguments(__doc__.splitlines()[0])
    x, y = mnist(arguments.data, "train")
    test_x, test_y = mnist(arguments.data, "t10k")
    path = HERE / f"{NAME}.onnx"
    if not arguments.check:
        export(NAME, train(x, y), path)
    report(path, sets(x, y, test_x, test_y))


if __name__ == "__main__":
    main()
