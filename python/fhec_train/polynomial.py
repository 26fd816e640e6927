"""The polynomials that take the places of activations in training."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor, nn

from . import recipe
from .errors import TrainError

_EPSILON = 1e-5
# The share of a batch's statistics in the running ones.
_MOMENTUM = 0.05


def hermite(degree: int) -> np.ndarray:
    """Row n: the monomial coefficients of the n-th Hermite polynomial, orthonormal under the normal density.

    They keep the coefficients of polynomials of normalised arguments independent of each other, so that one learning
    rate does for all degrees. h(0) = 1, h(1) = z, √(n+1)·h(n+1) = z·h(n) - √n·h(n-1).
    """
    rows = np.zeros((degree + 1, degree + 1))
    rows[0, 0] = 1.0
    if degree > 0:
        rows[1, 1] = 1.0
    for n in range(1, degree):
        rows[n + 1, 1:] = rows[n, :-1]
        rows[n + 1] = (rows[n + 1] - math.sqrt(n) * rows[n - 1]) / math.sqrt(n + 1)
    return rows


class Replacement(nn.Module):
    """What takes an activation's place. `share` moves the result from the function (0) to the polynomial (1)."""

    def __init__(self, spec: recipe.Activation, axis: int | None):
        super().__init__()
        degree = spec.polynomial.degree
        if degree < 1:
            raise TrainError(f"activation {spec.node!r}: the degree of a polynomial is 1 or more, not {degree}")
        self.spec, self.axis, self.degree = spec, axis, degree
        self.register_buffer("reach", torch.zeros(()))
        self.share, self.straight_through, self.bound, self.tails = 1.0, False, 4.0, 0.0
        self.penalty: Tensor | None = None

    def reads_function(self) -> bool:
        """Whether the function itself is needed."""
        return self.training and (self.share < 1.0 or self.straight_through)

    def _by_channel(self, x: Tensor) -> Tensor:
        """`x` with its channels as the second dimension."""
        return x.reshape(1, 1, -1) if self.axis is None else x.movedim(self.axis, 1)

    def _within(self, z: Tensor) -> Tensor:
        """`z`, of which those beyond `bound` are penalised, and cut off far outside, in training; else they are noted."""
        if not self.training:
            self.reach = torch.maximum(self.reach, z.detach().abs().amax())
            return z
        outside = F.relu(z.abs() - self.bound)
        # The tail is in single inputs: the mean over a batch does not see the element that destroys one of them.
        worst = outside.flatten(1).amax(dim=1)
        far = F.relu(worst - self.bound)
        self.penalty = outside.square().mean() + worst.square().mean() * 1e-3 + far.square().mean() * self.tails
        limit = self.bound * (1.5 if self.share < 1.0 else 3.0)
        return z.clamp(-limit, limit)

    def _blended(self, p: Tensor, y: Tensor | None) -> Tensor:
        """The polynomial's result `p`, with what `share` leaves of the function's, `y`."""
        if self.straight_through and self.training:
            # Forward the polynomial, backward the function's gradient to the argument (AutoFHE, section 3.3, PAT).
            p = p + y - y.detach()
        if self.training and self.share < 1.0:
            p = self.share * p + (1.0 - self.share) * y
        return p


class FixedPolynomial(Replacement):
    """The polynomial that the recipe states, of the argument itself; no coefficient is trained.

    Its argument, for the penalty and for `reach`, is counted so that the recipe's interval ends at `bound`.
    """

    def __init__(self, spec: recipe.Activation):
        super().__init__(spec, None)
        start = spec.polynomial.start
        if start is None or len(start.coefficients) != 1:
            raise TrainError(f"activation {spec.node!r}: a polynomial that is not trained has one row of coefficients")
        self.monomial = np.pad(_monomial(spec, 0), (0, self.degree + 1))[: self.degree + 1]
        lo, hi = start.interval
        self.middle, self.half = (hi + lo) / 2, (hi - lo) / 2

    def start(self, x: Tensor, y: Tensor) -> None:
        """Nothing is fitted."""

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """As [`PolynomialActivation.forward`]."""
        given = x.detach() if self.straight_through and self.training else x
        z = self._within((given - self.middle) * (self.bound / self.half))
        if self.training:
            given = z * (self.half / self.bound) + self.middle
        p = torch.full_like(given, self.monomial[-1])
        for k in reversed(range(self.degree)):
            p = p * given + self.monomial[k]
        return self._blended(p, y)

    def folded(self) -> np.ndarray:
        """The monomial coefficients, lowest first, in one row."""
        return self.monomial[None]


class PolynomialActivation(Replacement):
    """p(z) of z, the argument over the statistics of its channel; one polynomial per channel.

    Batch statistics stand inside the activation, since without them the first hundred steps of training end in NaN.
    `folded` takes them into the coefficients.
    """

    def __init__(self, spec: recipe.Activation, channels: int):
        super().__init__(spec, spec.polynomial.axis)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("basis", torch.from_numpy(hermite(self.degree)).float())
        self.coefficients = nn.Parameter(torch.zeros(channels, self.degree + 1))

    def start(self, x: Tensor, y: Tensor) -> None:
        """Takes statistics of the arguments `x`, and coefficients from the recipe or by least squares to `y`."""
        rows = self._by_channel(x).transpose(0, 1).flatten(1).double().cpu().numpy()
        results = self._by_channel(y).transpose(0, 1).flatten(1).double().cpu().numpy()
        mean, variance = rows.mean(axis=1), rows.var(axis=1)
        deviation = np.sqrt(variance + _EPSILON)
        self.mean.copy_(torch.from_numpy(mean))
        self.variance.copy_(torch.from_numpy(variance))
        change = np.linalg.inv(hermite(self.degree))
        for channel in range(len(rows)):
            # A channel that never changes has no shape to fit; its mean is all there is of it.
            z = (rows[channel] - mean[channel]) / deviation[channel]
            if self.spec.polynomial.start is None:
                design = polynomial.polyvander(z, self.degree) @ hermite(self.degree).T
                fitted = np.linalg.lstsq(design, results[channel], rcond=1e-6)[0]
            else:
                monomial = _shifted(_monomial(self.spec, channel), mean[channel], deviation[channel])
                fitted = np.pad(monomial, (0, self.degree + 1 - len(monomial))) @ change
            self.coefficients.data[channel] = torch.from_numpy(fitted).to(self.coefficients)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The polynomial of `x`; `y`, the function's result, is read where `reads_function` says so."""
        moved = self._by_channel(x)
        if self.straight_through and self.training:
            moved = moved.detach()
        z = F.batch_norm(moved, self.mean, self.variance, None, None, self.training, _MOMENTUM, _EPSILON)
        z = self._within(z)
        monomial = self.coefficients @ self.basis
        shape = [1, -1] + [1] * (z.dim() - 2)
        p = monomial[:, -1].reshape(shape)
        for k in reversed(range(self.degree)):
            p = p * z + monomial[:, k].reshape(shape)
        p = p.reshape(x.shape) if self.axis is None else p.movedim(1, self.axis)
        return self._blended(p, y)

    def folded(self) -> np.ndarray:
        """The monomial coefficients of the argument itself, lowest first, one row per channel, in double precision."""
        rows = self.coefficients.detach().double().cpu().numpy() @ hermite(self.degree)
        deviation = np.sqrt(self.variance.double().cpu().numpy() + _EPSILON)
        mean = self.mean.double().cpu().numpy()
        out = np.zeros_like(rows)
        for channel, row in enumerate(rows):
            monomial = _shifted(row, -mean[channel] / deviation[channel], 1.0 / deviation[channel])
            out[channel, : len(monomial)] = monomial
        return out


def _shifted(row: np.ndarray, shift: float, scale: float) -> np.ndarray:
    """The monomial coefficients of p(shift + scale·x) for those of p(x)."""
    out = np.zeros(1)
    for coefficient in reversed(row):
        out = polynomial.polyadd(polynomial.polymul(out, [shift, scale]), [coefficient])
    return out[: len(row)]


def _monomial(spec: recipe.Activation, channel: int) -> np.ndarray:
    """The monomial coefficients of the recipe's start of a channel."""
    start = spec.polynomial.start
    row = np.asarray(start.coefficients[min(channel, len(start.coefficients) - 1)])
    if start.basis == "monomial":
        return row
    if start.basis != "chebyshev":
        raise TrainError(f"activation {spec.node!r}: the basis {start.basis!r} of its start is not known")
    lo, hi = start.interval
    return _shifted(chebyshev.cheb2poly(row), -(hi + lo) / (hi - lo), 2.0 / (hi - lo))
