"""Compiles one network under both schemes, CKKS and TFHE, runs it encrypted on one machine, and prints the ratio.

    python3 benches/schemes.py [--model models/mnist_tables.onnx] [--images 3] [--threads 1] [--data ../shared/material/data]

Needs a release build of fhec with the feature `tfhe` (it builds one, or takes `--fhec`) and the four MNIST files. Calibration data
are the first 1,024 training images. Accuracy is over all 10,000 test images in the clear: under CKKS in polynomial simulation without
noise, under TFHE by the integers that an encrypted run gives. The encrypted images are the first of the test set, and every run
compares itself with the clear one: under TFHE `fhec run` fails unless all integers are equal.
"""

import argparse
import gzip
import json
import pathlib
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def idx(path):
    """Shape and bytes of an idx file."""
    raw = gzip.open(path).read()
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4:4 + 4 * rank])
    return shape, raw[4 + 4 * rank:]


def npy(path, descr, shape, data):
    """Writes a NumPy file, version 1.0."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii") + data)


def images(data, out, prefix, count):
    (_, height, width), pixels = idx(data / f"{prefix}-images-idx3-ubyte.gz")
    _, labels = idx(data / f"{prefix}-labels-idx1-ubyte.gz")
    floats = struct.pack(f"<{count * height * width}f", *(p / 255 for p in pixels[:count * height * width]))
    npy(out / f"{prefix}.npy", "<f4", (count, 1, height, width), floats)
    npy(out / f"{prefix}-labels.npy", "<i8", (count,), struct.pack(f"<{count}q", *labels[:count]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/mnist_tables.onnx")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/material/data")
    parser.add_argument("--fhec", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--message-bits", type=int, choices=[2, 4, 6, 8])
    parser.add_argument("--min-agreement", type=float, help="per cent, under TFHE")
    parser.add_argument("--schemes", nargs="+", choices=["ckks", "tfhe"], default=["ckks", "tfhe"])
    arguments = parser.parse_args()
    fhec = arguments.fhec
    if fhec is None:
        subprocess.run(["cargo", "build", "--release", "-p", "fhec-cli", "--features", "tfhe"], cwd=ROOT, check=True)
        fhec = ROOT / "target/release/fhec"

    def run(*words):
        done = subprocess.run([fhec, *map(str, words), "--json"], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        images(arguments.data, out, "train", 1024)
        images(arguments.data, out, "t10k", 10000)
        for scheme in arguments.schemes:
            options = ["--scheme", scheme]
            if scheme == "tfhe" and arguments.message_bits:
                options += ["--message-bits", arguments.message_bits]
            if scheme == "tfhe" and arguments.min_agreement:
                options += ["--min-agreement", arguments.min_agreement]
            plan = out / f"{scheme}.fhe"
            compiled = run("compile", arguments.model, "--calibration", out / "train.npy", "-o", plan, *options)
            exact = run("simulate", plan, "--exact", "--input", out / "t10k.npy", "--labels", out / "t10k-labels.npy")
            encrypted = run("run", plan, "--input", out / "t10k.npy", "--labels", out / "t10k-labels.npy", "--limit",
                            arguments.images, "--threads", arguments.threads, "-o", out / f"{scheme}.npy")
            seconds[scheme] = encrypted["seconds_per_image"]
            print(f"{scheme}: {100 * exact['right_exact'] / exact['images']:.2f} % of {exact['images']} test images in the clear")
            print(f"  {encrypted['seconds_per_image']:.2f} s per image encrypted, mean of {encrypted['images']} on "
                  f"{encrypted['threads']} threads; {encrypted['same_argmax']} with the class of the clear run, {encrypted['right']} right")
            print(f"  keygen {encrypted['seconds']['keygen']:.1f} s, evaluation keys {encrypted['evaluation_key_bytes'] / 2**20:.0f} MiB, "
                  f"ciphertexts in {encrypted['input_ciphertext_bytes'] / 2**10:.0f} KiB, out "
                  f"{encrypted['output_ciphertext_bytes'] / 2**10:.0f} KiB, memory {encrypted['peak_memory_bytes'] / 2**20:.0f} MiB")
            if scheme == "tfhe":
                print(f"  message space of {compiled['summary']['message_bits']} bits, {compiled['summary']['lookups']} look-ups, "
                      f"agreement {100 * compiled['agreement']:.1f} % on {compiled['held_back']} held-back calibration inputs")
                for layer in compiled["layers"]:
                    print(f"    {layer['node']}: {layer['sums']} sums of {layer['products']} products, {layer['kept']} of them kept, {layer['sum_bits']} bits, "
                          f"{layer.get('values', '-')} values, {100 * layer['error']:.1f} % lost")
    if len(seconds) == 2:
        print(f"TFHE takes {seconds['tfhe'] / seconds['ckks']:.0f} times as long as CKKS")


if __name__ == "__main__":
    main()
