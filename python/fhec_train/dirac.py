"""Convolution kernels that hold a skip (DiracNets; Efficient Skip Connections, short-term skips)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import recipe
from .errors import TrainError


class DiracKernel(nn.Module):
    """diag(a)·δ + diag(b)·W/‖W‖, the norm over all of a filter; δ returns the operand of a channel."""

    def __init__(self, spec: recipe.Dirac, weight: Tensor):
        super().__init__()
        filters, channels = weight.shape[:2]
        if not len(spec.a) == len(spec.b) == filters:
            raise TrainError(f"convolution {spec.node!r}: the recipe has {len(spec.a)} factors for {filters} filters")
        delta = torch.zeros(weight.shape).flatten(2)
        if not 0 <= spec.tap < delta.shape[2]:
            raise TrainError(f"convolution {spec.node!r}: its kernel has no place {spec.tap}")
        for i in range(min(filters, channels)):
            delta[i, i, spec.tap] = 1.0
        self.register_buffer("delta", delta.reshape(weight.shape))
        self.a, self.b = nn.Parameter(torch.tensor(spec.a)), nn.Parameter(torch.tensor(spec.b))
        self.weight = nn.Parameter(weight.detach() - self._by_filter(self.a.detach()) * self.delta)

    def _by_filter(self, x: Tensor) -> Tensor:
        return x.reshape([-1] + [1] * (self.delta.dim() - 1))

    def forward(self) -> Tensor:
        norm = self.weight.flatten(1).norm(dim=1)
        # A filter of norm 0 has no direction.
        direction = self.weight / self._by_filter(torch.where(norm > 0, norm, torch.ones_like(norm)))
        return self._by_filter(self.a) * self.delta + self._by_filter(self.b) * direction
