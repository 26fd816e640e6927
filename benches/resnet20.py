"""The figures of the README for a ResNet-20, from public files: weights as published, CIFAR-10 from its authors.

    python3 benches/resnet20.py [FOLDER] [--limit IMAGES] [--export-only] [-- OPTIONS of fhec compile]

Needs numpy, onnx, onnxscript and torch, a release build of fhec (it builds one; FHEC names another), 12 GB of memory, and
network access unless FOLDER (`target/resnet20`) has the files already. Every file is compared with its SHA-256 before it is
read. The script

1. exports the network, trained by Yerlan Idelbayev (github.com/akamaster/pytorch_resnet_cifar10, BSD-2-Clause), to ONNX;
2. writes the first 1,024 training images for calibration and the 10,000 test images for validation;
3. compiles with the defaults, which prints accuracy with polynomials and as given over all test images;
4. runs the first IMAGES test images encrypted (20), which prints the time of each, and how many agree.

What follows `--` goes to `fhec compile`.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import tarfile
import urllib.request

import numpy as np
import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEIGHTS = (
    "https://github.com/akamaster/pytorch_resnet_cifar10/raw/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/"
    "pretrained_models/resnet20-12fca82f.th",
    "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
)
ARCHIVE = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
# What is read of the archive.
BATCHES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)


def check(path, sha256):
    """The path, if the file has this hash; else the program ends."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} has SHA-256 {found}, not {sha256}: remove it, and it is downloaded again")
    return path


def download(folder, url, sha256):
    """The file of this URL in the folder, downloaded where it is missing, compared in any case."""
    path = folder / url.rsplit("/", 1)[1]
    if not path.exists():
        print(f"downloading {url}")
        partial = path.with_name(path.name + ".part")
        urllib.request.urlretrieve(url, partial)
        partial.rename(path)
    return check(path, sha256)


def batch(folder, name):
    """Images as the network expects them, float32 [10000, 3, 32, 32], and labels of one file of CIFAR-10."""
    path = folder / "cifar-10-batches-bin" / name
    if not path.exists():
        with tarfile.open(download(folder, *ARCHIVE)) as archive:
            archive.extractall(folder, filter="data")
    records = np.frombuffer(check(path, BATCHES[name]).read_bytes(), np.uint8).reshape(-1, 3073)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)
    return (pixels / np.float32(255) - MEAN) / DEVIATION, records[:, 0].astype(np.int64)


class Block(nn.Module):
    """Two convolutions and a skip; a smaller output takes every other pixel of it and zeros for the new channels."""

    def __init__(self, channels, outputs):
        super().__init__()
        self.grows = outputs != channels
        stride = 2 if self.grows else 1
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.grows:
            more = (y.shape[1] - x.shape[1]) // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
        return torch.relu(x + y)


class ResNet20(nn.Module):
    """The network, with the names of its published weights."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(nn.functional.avg_pool2d(x, 8).flatten(1))


def export(weights, path):
    """Writes the trained network as ONNX."""
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network = ResNet20()
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    network.eval()
    torch.onnx.export(
        network, (torch.zeros(1, 3, 32, 32),), path, dynamo=True, external_data=False, verbose=False,
        input_names=["input"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "target" / "resnet20")
    parser.add_argument("--limit", type=int, default=20, help="encrypted images; 0 for none")
    parser.add_argument("--export-only", action="store_true", help="write model and inputs, and stop")
    parser.add_argument("options", nargs="*", help="options of fhec compile, after --")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    model, calibration = folder / "resnet20.onnx", folder / "calibration.npz"
    images, labels = folder / "images.npy", folder / "labels.npy"
    export(download(folder, *WEIGHTS), model)
    np.savez(calibration, input=batch(folder, "data_batch_1.bin")[0][:1024])
    for path, array in zip((images, labels), batch(folder, "test_batch.bin")):
        np.save(path, array)
    if arguments.export_only:
        return

    fhec = os.environ.get("FHEC")
    if fhec is None:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
        fhec = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "fhec"
    plan = folder / "resnet20.fhe"
    compile_ = [fhec, "compile", model, "--calibration", calibration, "-o", plan, "--force"]
    subprocess.run([*compile_, "--validation", images, "--labels", labels, *arguments.options], check=True)
    if arguments.limit:
        run = [fhec, "run", plan, "--input", images, "--labels", labels, "--limit", str(arguments.limit)]
        subprocess.run([*run, "-o", folder / "logits.npy", "--force"], check=True)


if __name__ == "__main__":
    main()
