"""How a plan compares with the model as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import _arrays
from ._arrays import Array, Named
from .plan import Plan, classes

MOST_HELD_BACK = 64
"""Calibration inputs that are compared at most, where no others are given."""


@dataclass(frozen=True)
class Comparison:
    """Results of a plan, simulated with noise, beside those of the model as it was trained."""

    images: int
    inputs: str
    """Which inputs these are."""
    max_error: float
    """The largest difference of an element."""
    rms_error: float
    """The root mean square difference."""
    largest: float
    """The largest magnitude of the model's results, to judge errors by."""
    same_class: int | None
    """Images whose largest score is the same one; None where results are no scores."""

    def __str__(self) -> str:
        same = f", same class for {self.same_class} of {self.images}" if self.same_class is not None else ""
        return (
            f"against the model as trained, on {self.images} {self.inputs}: largest error {self.max_error:.1e} of results up to "
            f"{self.largest:.3g}, root mean square {self.rms_error:.1e}{same}"
        )


def held_back(x: Named) -> Named:
    """Calibration inputs that the choice of polynomials holds back: every other one. The polynomials that were chosen are fitted
    again on all of them, so that new inputs (``compare``) say more."""
    return [(name, np.ascontiguousarray(array[1::2][:MOST_HELD_BACK]) if len(array) > 1 else array) for name, array in x]


def compare(plan: Plan, run: Callable[[Named], list[Array]], x: Named, inputs: str) -> Comparison:
    """Compares a plan with what ``run`` gives for the same images."""
    arrays = {name: array for name, array in x} if x[0][0] is not None else x[0][1]
    simulated = plan.simulate(arrays).outputs
    heads = any(port.heads for port in plan.outputs)
    results = plan.apply_head(simulated) if heads else simulated
    found = list(results.values()) if isinstance(results, dict) else [results]
    wanted = run(x)
    flat = [(a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1)) for a, b in zip(found, wanted)]
    flat = [(a, b) for a, b in flat if a.shape == b.shape]
    differences = np.concatenate([(a - b).ravel() for a, b in flat]) if flat else np.full(1, np.nan)
    scores = flat and flat[0][1].shape[1] > 1
    return Comparison(
        images=_arrays.rows(x),
        inputs=inputs,
        max_error=float(np.abs(differences).max()),
        rms_error=float(np.sqrt(np.mean(differences**2))),
        largest=max((float(np.abs(b).max()) for _, b in flat), default=float("nan")),
        same_class=int(np.sum(classes(flat[0][0]) == classes(flat[0][1]))) if scores else None,
    )
