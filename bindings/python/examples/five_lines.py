"""The five lines on a network of PyTorch, with the time of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import fhec
import numpy as np
import torch


def timed(what: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = work()
    size = f", {len(result) / 2**20:.1f} MiB" if isinstance(result, bytes) else ""
    print(f"{what:<10} {time.perf_counter() - started:6.2f} s{size}")
    return result


torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 5, stride=2, padding=2),
    torch.nn.ReLU(),
    torch.nn.AvgPool2d(2),
    torch.nn.Conv2d(8, 16, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.AvgPool2d(2),
    torch.nn.Flatten(),
    torch.nn.Linear(16 * 3 * 3, 10),
)
x = np.random.default_rng(0).random((256, 1, 28, 28), dtype=np.float32)

# The network was never trained, and gives nearly all inputs the same class: that its results are scores has to be said.
plan = timed("compile", lambda: fhec.compile(model, calibration=x, results="classes"))
client = timed("key", lambda: fhec.Client(plan))
keys = timed("keys", client.evaluation_keys)
server = timed("server", lambda: fhec.Server(plan, keys))
request = timed("encrypt", lambda: client.encrypt(x[:1]))
answer = timed("eval", lambda: server.eval(request))
scores = timed("decrypt", lambda: client.decrypt(answer))

with torch.no_grad():
    wanted = model.eval()(torch.from_numpy(x[:1])).numpy()
print(f"largest difference of the decrypted scores from the model's: {np.abs(scores - wanted).max():.1e}")
