"""From a model to a plan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from . import _arrays, _fhec, models
from ._progress import Progress, listening
from .comparison import compare as compared
from .comparison import held_back
from .errors import FhecWarning, UsageError, warn
from .plan import Path, Plan


def compile(
    model: Any,
    calibration: Any = None,
    labels: Any = None,
    *,
    validation: Any = None,
    compare: Any = None,
    name: str | None = None,
    quiet: bool = False,
    progress: Progress = None,
    degree: int | None = None,
    composite: str | Sequence[int] | None = None,
    place: str = "joint",
    guess_ranges: bool = False,
    no_reconstruct: bool = False,
    max_latency: float | None = None,
    max_error: float | None = None,
    min_agreement: float | None = None,
    results: str | None = None,
    max_keys: int | None = None,
    max_memory: int | None = None,
    latency: Path | None = None,
    margin: float | None = None,
    batch: int = 1,
    precision: int | None = None,
    pareto: bool = False,
    points: int = 8,
) -> Plan:
    """Compiles a model to a plan.

    ``model`` is the path or the bytes of an ONNX file, an ``onnx.ModelProto``, or a module of PyTorch, which is exported with the
    first of the calibration inputs. ``calibration`` are inputs of the training set, a few hundred: activations are fitted where
    they lie. ``labels`` are the classes of the ``validation`` inputs, on which accuracy is measured (``plan.accuracy``); without
    ``validation`` they are those of the calibration inputs, of which those that the choice of polynomials holds back are taken,
    and new inputs would say more.

    Arrays hold images in the leading dimension. Models with several inputs take a mapping from their names to arrays, or, modules
    of PyTorch, a tuple.

    Where the model can be run as it was trained (by PyTorch, or by onnxruntime if it is installed), the plan is compared with it
    on the inputs ``compare``, else on calibration inputs that are held back. The comparison is printed, unless ``quiet``, and is
    ``plan.comparison``.

    The other options are those of the command line: see ``fhec compile --help``. ``max_keys`` and ``max_memory`` are in bytes,
    ``max_latency`` is in seconds, ``min_agreement`` in per cent; ``pareto`` gives ``plan.pareto``, of which ``points`` plans are
    measured on the validation inputs.

    What the compiler warns of is a :class:`fhec.FhecWarning`, what it refuses a :class:`fhec.Error` with all ``issues`` at once.
    Ctrl-C raises at once; the compilation ends in the background at the end of the stage, or of the trial of polynomials, it is in.
    """
    given = models.read(model, calibration, name)
    fitted = _named(calibration, given.inputs)
    measured = _named(validation, given.inputs)
    if validation is not None and labels is None:
        raise UsageError("validation inputs without labels", help="give labels=y, the class of each of them")
    if labels is not None and measured is None:
        if fitted is None:
            raise UsageError("labels without inputs", help="give the inputs that they are of: validation=x or calibration=x")
        measured, labels = held_back(fitted), _arrays.single(labels, "the labels")[1::2][: _arrays.rows(held_back(fitted))]
    options = {
        "degree": degree,
        "composite": _degrees(composite),
        "place": place,
        "guess_ranges": guess_ranges,
        "no_reconstruct": no_reconstruct,
        "max_latency": max_latency,
        "max_error": max_error,
        "min_agreement": min_agreement,
        "results": results,
        "max_keys": max_keys,
        "max_memory": max_memory,
        "latency": os.fspath(latency) if latency is not None else None,
        "margin": margin,
        "batch": batch,
        "precision": precision,
        "pareto": pareto,
        "points": points,
    }
    known = _arrays.labels(labels) if labels is not None else None
    with listening(progress, "compile") as callback:
        compiled = _fhec.compile(given.source, given.name, fitted, measured, known, options, callback)
    plan = Plan(compiled.plan)
    details = json.loads(compiled.measured)
    plan.stages, plan.explanation = compiled.stages, compiled.explanation
    plan.precision, plan.pareto = details["precision"], details["pareto"]
    warn(compiled.warnings)
    _compare(plan, given, fitted, compare, quiet)
    return plan


def load(path: Path, *, max_size: int | None = None) -> Plan:
    """Reads a plan from a file, which may take ``max_size`` bytes of memory."""
    return Plan.load(path, max_size=max_size)


def _named(x: Any, inputs: list[str] | None) -> _arrays.Named | None:
    return _arrays.named(x, inputs) if x is not None else None


def _degrees(composite: str | Sequence[int] | None) -> list[int] | None:
    if composite is None:
        return None
    parts = composite.split(",") if isinstance(composite, str) else composite
    try:
        return [int(part) for part in parts]
    except ValueError as e:
        raise UsageError(f"composite={composite!r}", help="give degrees, such as '15,15,27'") from e


def _compare(plan: Plan, model: models.Model, fitted: _arrays.Named | None, new: Any, quiet: bool) -> None:
    """Compares with the model as trained, where it can be run and there are inputs."""
    if model.run is None:
        if new is not None:
            warn(["inputs to compare on were given, and the model cannot be run: pip install 'fhec[torch]'"], depth=4)
        return
    if new is not None:
        x, inputs = _arrays.named(new, [port.name for port in plan.inputs]), "inputs"
    elif fitted is not None:
        x, inputs = held_back(fitted), "calibration inputs held back"
    else:
        return
    plan.comparison = compared(plan, model.run, x, inputs)
    if not quiet:
        print(plan.comparison)


__all__ = ["FhecWarning", "compile", "load"]
