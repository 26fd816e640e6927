"""What users have of models becomes ONNX."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _arrays
from ._arrays import Array, Named
from .errors import ModelError, missing

Outputs = list[Array]
"""The outputs of a model for many images, in order."""


@dataclass
class Model:
    """A model as ONNX, and how it is run as it was trained."""

    source: bytes | str
    """The bytes of an ONNX file, or where it is."""
    name: str
    run: Callable[[Named], Outputs] | None
    """Runs it on images; None where what runs it is not installed."""
    inputs: list[str] | None
    """Names of its inputs, where these are known without reading it."""


def read(model: Any, calibration: Any, name: str | None) -> Model:
    """The model that ``model`` is: the path or the bytes of an ONNX file, an ``onnx.ModelProto``, or a module of PyTorch."""
    if isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        return Model(path, name or Path(path).stem, _runtime(path), None)
    if isinstance(model, (bytes, bytearray)):
        return Model(bytes(model), name or "model", _runtime(bytes(model)), None)
    if hasattr(model, "SerializeToString"):
        data = model.SerializeToString()
        return Model(data, name or model.graph.name or "model", _runtime(data), None)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _from_torch(torch, model, calibration, name or type(model).__name__)
    raise ModelError(
        f"a {type(model).__module__}.{type(model).__qualname__} is no model that fhec reads",
        help="give the path or the bytes of an ONNX file, an onnx.ModelProto or a torch.nn.Module; estimators of scikit-learn "
        "go through fhec.sklearn.wrap",
    )


def _from_torch(torch: Any, module: Any, calibration: Any, name: str) -> Model:
    """A module, exported for one image: the first of the calibration inputs."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as e:
        raise missing(e.name or "onnx", "torch", "the export of a module of PyTorch") from e
    if calibration is None:
        raise ModelError(
            "a module of PyTorch is exported with an example of its input, and there are no calibration inputs",
            help="give calibration=x, a few hundred inputs of the training set",
        )
    parts = [(key, _arrays.single(value, str(key))) for key, value in _torch_inputs(calibration)]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))

    def tensors(rows: slice) -> list[Any]:
        return [torch.from_numpy(array[rows].copy()).to(device) for _, array in parts]

    names = [key or "x" for key, _ in parts]
    named = any(isinstance(key, str) for key, _ in parts) and not isinstance(calibration, tuple)
    args = () if named else tuple(tensors(slice(0, 1)))
    kwargs = dict(zip(names, tensors(slice(0, 1)))) if named else None
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            options = {} if named else {"input_names": names}
            program = torch.onnx.export(module, args, kwargs=kwargs, dynamo=True, verbose=False, **options)
        source = program.model_proto.SerializeToString()
    except Exception as e:
        raise ModelError(
            f"`{name}` cannot be exported: {type(e).__name__}",
            causes=_reasons(e),
            help="torch.onnx.export(module, example, dynamo=True) must work for one image; it says more",
        ) from e
    finally:
        module.train(training)

    def run(x: Named) -> Outputs:
        training = module.training
        module.eval()
        try:
            with torch.no_grad():
                given = [torch.from_numpy(array.copy()).to(device) for _, array in x]
                out = module(**dict(zip(names, given))) if named else module(*given)
        finally:
            module.train(training)
        outputs = out if isinstance(out, (tuple, list)) else out.values() if isinstance(out, Mapping) else [out]
        return [_arrays.single(output, "an output of the model") for output in outputs]

    return Model(source, name, run, names)


def _reasons(error: BaseException | None) -> list[str]:
    """What led to an error, one line each, the nearest first."""
    reasons = []
    while error is not None:
        lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).strip().splitlines()
        reasons += lines[:1]
        error = error.__cause__
    return reasons


def _torch_inputs(calibration: Any) -> list[tuple[str | None, Any]]:
    if isinstance(calibration, tuple):
        return [(f"x{i}", part) for i, part in enumerate(calibration)] if len(calibration) > 1 else [(None, calibration[0])]
    return list(_arrays.named(calibration))


def _runtime(source: bytes | str) -> Callable[[Named], Outputs] | None:
    """Runs an ONNX model by onnxruntime, one image after another where it takes one at a time."""
    try:
        import onnxruntime
    except ImportError:
        return None

    def run(x: Named) -> Outputs:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        ports = session.get_inputs()
        given = {port.name: _of(x, port.name, len(ports)) for port in ports}
        images = min(map(len, given.values()))
        shapes = {port.name: port.shape for port in ports}
        fixed = [shape[0] for shape in shapes.values() if shape and isinstance(shape[0], int)]
        step = fixed[0] if fixed else images
        outputs: list[list[Any]] = []
        for at in range(0, images - images % step, step):
            feed = {name: _fitted(array[at : at + step], shapes[name]) for name, array in given.items()}
            outputs.append(session.run(None, feed))
        return [np.concatenate([np.atleast_1d(part) for part in parts]) for parts in zip(*outputs)]

    return run


def _of(x: Named, name: str, inputs: int) -> Array:
    found = dict(x).get(name)
    return x[0][1] if found is None and inputs == 1 else found if found is not None else np.zeros(0, np.float32)


def _fitted(array: Array, shape: list[Any]) -> Array:
    """Images in the shape of the model's input, whose extents may be names."""
    extents = [extent if isinstance(extent, int) else -1 for extent in shape]
    return array.reshape(extents) if extents.count(-1) <= 1 else array
