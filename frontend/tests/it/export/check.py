"""Checks the ONNX files in a folder with onnx.checker and compares onnxruntime with results beside them.

usage: check.py FOLDER

`list` names the files, `N.onnx` is a network, `N.I.in` and `N.I.out` are inputs and results of image I: for each tensor
its rank, its extents (both 32-bit) and its elements (32-bit floats). Where the batch is open, both images run in one
call.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

# Convolutions sum in another order.
CLOSE = 2e-5


def tensors(path):
    data, at, out = path.read_bytes(), 0, []
    while at < len(data):
        rank = int(np.frombuffer(data, "<u4", 1, at)[0])
        shape = np.frombuffer(data, "<u4", rank, at + 4).astype(int)
        at += 4 + 4 * rank
        count = int(np.prod(shape))
        out.append(np.frombuffer(data, "<f4", count, at).reshape(shape))
        at += 4 * count
    return out


def batch_axes(values):
    """By value: the dimension in which the batch lies, or None."""
    dims = lambda v: [d.dim_param for d in v.type.tensor_type.shape.dim]
    return [dims(v).index("batch") if "batch" in dims(v) else None for v in values]


def distance(found, expected):
    if list(found.shape) != list(expected.shape):
        return float("inf")
    if found.size == 0:
        return 0.0
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    size = max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0))
    return float(np.where(same, 0.0, np.abs(found - expected) / size).max())


def check(folder, number):
    path = folder / f"{number}.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = [(tensors(folder / f"{number}.{i}.in"), tensors(folder / f"{number}.{i}.out")) for i in range(2)]
    names = [i.name for i in model.graph.input]
    worst = 0.0
    for given, expected in images:
        found = session.run(None, dict(zip(names, given)))
        worst = max([worst] + [distance(f, e) for f, e in zip(found, expected)])
    (own, results) = (batch_axes(model.graph.input), batch_axes(model.graph.output))
    open_batch = bool(own) and None not in own
    if open_batch:
        both = {n: np.concatenate([x[k] for x, _ in images], own[k]) for k, n in enumerate(names)}
        found = session.run(None, both)
        for k, axis in enumerate(results):
            outputs = [y[k] for _, y in images]
            expected = outputs[0] if axis is None else np.concatenate(outputs, axis)
            worst = max(worst, distance(found[k], expected))
    return worst, open_batch


def main(folder):
    wrong, batches, worst, count = [], 0, 0.0, 0
    for line in (folder / "list").read_text().splitlines():
        number, name = line.split(" ", 1)
        count += 1
        try:
            error, open_batch = check(folder, number)
        except Exception as e:
            wrong.append(f"{name}: {e}")
            continue
        batches += open_batch
        worst = max(worst, error)
        if not error <= CLOSE:
            wrong.append(f"{name}: {error}")
    print(f"{count} networks, {batches} of open batch, largest difference {worst:.2e}")
    print("\n".join(wrong))
    return bool(wrong)


sys.exit(main(Path(sys.argv[1])))
