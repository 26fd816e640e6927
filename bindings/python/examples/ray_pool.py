"""Throughput of a pool on this machine: of one worker, of two, and of two of which one is killed.

    python bindings/python/examples/ray_pool.py [--requests 60]

Every worker is a process with one thread.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

import fhec
import fhec.ray
import numpy as np
import ray

MODELS = Path(__file__).resolve().parents[3] / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    requests = parser.parse_args().requests

    with np.load(MODELS / "calibration.npz") as arrays:
        calibration = next(iter(arrays.values()))
    digits = np.load(MODELS / "digits.npy")
    plan = fhec.compile(MODELS / "mnist_mlp.onnx", calibration, quiet=True)
    client = fhec.Client(plan)
    keys = client.evaluation_keys()
    images = digits[np.arange(requests) % len(digits)]
    encrypted = [client.encrypt(image[None]) for image in images]
    exact = plan.simulate(images, exact=True).exact

    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    for workers, kills in ((1, False), (2, False), (2, True)):
        with fhec.ray.Pool(plan, keys, workers=workers) as pool:
            started = time.perf_counter()
            members = pool.wait()
            ready = time.perf_counter() - started
            # The first run of a worker encodes the plan's constants.
            list(pool.map(encrypted[: 2 * workers]))
            started = time.perf_counter()
            answers = []
            for answer in pool.map(encrypted):
                answers.append(answer)
                if kills and len(answers) == requests // 3:
                    os.kill(members[0].pid, signal.SIGKILL)
            seconds = time.perf_counter() - started
            scores = np.concatenate([client.decrypt(answer) for answer in answers])
            assert np.abs(scores - exact).max() < 0.01, "every answer is right, and in its place"
            lost = f", {pool.lost} killed" if kills else ""
            print(f"{workers} workers{lost}: {requests / seconds:5.2f} images/s, {seconds:.1f} s; ready in {ready:.1f} s")


if __name__ == "__main__":
    main()
