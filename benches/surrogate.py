#!/usr/bin/env python3
"""How well the error that the planner adds up over activations predicts what plans do.

    python benches/surrogate.py FHEC NAME=MODEL,CALIBRATION,IMAGES ... [--points N] [-o FILE]

For each network N plans of the front are measured, from the fastest to the most accurate: the share of IMAGES (.npy, which no plan
was calibrated on) whose class is that of the network as given, in onnxruntime. Prints a line per plan, and per network Spearman's
rank correlation of the error with the share that disagrees, and whether slower plans agree on strictly more images. Needs numpy
and onnxruntime.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime


def ranks(values):
    """Ranks from 0, the mean of them where values are equal."""
    values = np.asarray(values, float)
    return np.array([(values < v).sum() + 0.5 * ((values == v).sum() - 1) for v in values])


def spearman(a, b):
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def classes(model, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    port = session.get_inputs()[0]
    batch = 1 if port.shape[0] == 1 else 250
    parts = [session.run(None, {port.name: images[i : i + batch]})[0] for i in range(0, len(images), batch)]
    return np.concatenate(parts).reshape(len(images), -1).argmax(1)


def front(fhec, model, calibration, images, points):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.save(folder / "classes.npy", classes(model, np.load(images).astype(np.float32)))
        command = [fhec, model, "--calibration", calibration, "-o", folder / "plan.fhe", "--pareto", folder / "front.json"]
        command += ["--validation", images, "--labels", folder / "classes.npy", "--points", points]
        subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
        return [p for p in json.loads((folder / "front.json").read_text()) if p.get("accuracy") is not None]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fhec")
    parser.add_argument("networks", nargs="+", metavar="NAME=MODEL,CALIBRATION,IMAGES")
    parser.add_argument("--points", type=int, default=14)
    parser.add_argument("-o", "--output", type=pathlib.Path)
    arguments = parser.parse_args()
    found = {}
    for network in arguments.networks:
        name, files = network.split("=", 1)
        plans = sorted(front(arguments.fhec, *files.split(","), arguments.points), key=lambda p: p["seconds"])
        found[name] = plans
        for plan in plans:
            print(
                f"{name}: error {plan['error']:.3e}, {100 * plan['accuracy']:.2f} % agree, {plan['bootstraps']} bootstraps, "
                f"{plan['seconds']:.2f} s"
            )
        correlation = spearman([p["error"] for p in plans], [1 - p["accuracy"] for p in plans])
        ordered = all(a["accuracy"] < b["accuracy"] for a, b in zip(plans, plans[1:]))
        print(f"{name}: {len(plans)} plans, rank correlation {correlation:.3f}, strictly ordered: {ordered}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))
    print(f"{sum(map(len, found.values()))} plans in all")


if __name__ == "__main__":
    sys.exit(main())
