"""Weights of which groups are zero, and whose elements become powers of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import recipe
from .errors import TrainError

# A group that is masked counts this much less than one that is not: without a difference, two groups of nearly the same
# weight would take turns.
_HYSTERESIS = 0.8


class ConstrainedWeight(nn.Module):
    """A tensor times a mask; elements that are `frozen` stay at the powers of two in `fixed`.

    Masks by dynamic network surgery (Guo et al., 2016): masked elements are trained on by the gradient of the product, and
    return when their group has grown beyond others. Rounding by incremental network quantisation (Zhou et al., 2017): the
    largest elements are frozen first, and the others are trained to make up for it.
    """

    def __init__(self, weight: Tensor, mask: recipe.Mask | None, powers: recipe.PowersOfTwo | None):
        super().__init__()
        self.weight, self.powers = nn.Parameter(weight.detach().clone()), powers
        groups = [] if mask is None else mask.groups
        for group in groups:
            if not all(0 <= e < weight.numel() for e in group.elements):
                raise TrainError(f"weights {mask.weight!r}: a group of the recipe has elements that are not there")
            if group.seconds <= 0.0:
                raise TrainError(f"weights {mask.weight!r}: a group of the recipe saves no time")
        self.groups = [torch.tensor(group.elements, dtype=torch.int64) for group in groups]
        self.register_buffer("seconds", torch.tensor([group.seconds for group in groups], dtype=torch.float64))
        self.register_buffer("masked", torch.tensor([group.masked for group in groups], dtype=torch.bool))
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("frozen", torch.zeros_like(weight, dtype=torch.bool))
        self.register_buffer("fixed", torch.zeros_like(weight))
        # Whether masks stay as they are.
        self.register_buffer("settled", torch.tensor(not groups))
        chosen = sorted(self.masked.nonzero().flatten().tolist(), key=lambda i: -len(self.groups[i]))
        # What the masks of the recipe save, and those of training have to.
        self.saved = self._mask(chosen, float("inf"))

    def _mask(self, order: list[int], enough: float) -> float:
        """Masks groups in `order`, and those inside of them, until they save `enough`; returns what they save."""
        mask, saved = torch.ones(self.mask.numel(), dtype=torch.bool), 0.0
        for i in order:
            if saved >= enough * (1.0 - 1e-9):
                break
            if mask[self.groups[i]].any():
                mask[self.groups[i]] = False
                saved += float(self.seconds[i])
        self.mask.copy_(mask.reshape(self.mask.shape))
        masked = [not bool(mask[group].any()) for group in self.groups]
        self.masked.copy_(torch.tensor(masked, dtype=torch.bool))
        return saved

    def forward(self) -> Tensor:
        weight = torch.where(self.frozen, self.fixed, self.weight)
        product = weight * self.mask
        if self.settled or not self.training:
            return product
        # The value is the product's, the gradient reaches masked elements as well.
        return weight + (product - weight).detach()

    @torch.no_grad()
    def operate(self) -> None:
        """Chooses masks anew: groups of the least squares per second, until they save what those of the recipe do."""
        squares = self.weight.detach().cpu().double().square().flatten()
        each = torch.stack([squares[group].sum() for group in self.groups]) / self.seconds.cpu()
        order = torch.argsort(torch.where(self.masked.cpu(), _HYSTERESIS * each, each)).tolist()
        self._mask(order, self.saved)

    def settle(self) -> None:
        """Masks stay as they are from here on."""
        self.settled.fill_(True)

    @torch.no_grad()
    def freeze(self, share: float) -> None:
        """Freezes the largest elements, until `share` of those that are not masked are frozen at powers of two."""
        kept = self.mask & ~self.frozen
        count = round(share * int(self.mask.sum())) - int((self.frozen & self.mask).sum())
        if count <= 0:
            return
        magnitude = torch.where(kept, self.weight.abs(), -torch.ones_like(self.weight)).flatten()
        chosen = torch.topk(magnitude, min(count, magnitude.numel())).indices
        newly = torch.zeros_like(magnitude, dtype=torch.bool)
        newly[chosen] = True
        newly = newly.reshape(kept.shape) & kept
        self.fixed.copy_(torch.where(newly, rounded(self.weight, self.powers), self.fixed))
        self.frozen |= newly

    def is_frozen(self) -> bool:
        """Whether no element is left to train."""
        return bool((self.frozen | ~self.mask).all()) and self.settled


def rounded(x: Tensor, powers: recipe.PowersOfTwo) -> Tensor:
    """The nearest of 0 and ±2^k, `lowest` ≤ k ≤ `highest`, to each element."""
    magnitude = x.abs().double()
    # Between 2^k and 2^(k+1) the middle is 1.5·2^k.
    exponent = torch.floor(torch.log2(magnitude.clamp_min(2.0 ** (powers.lowest - 2)) / 1.5)) + 1
    power = torch.pow(2.0, exponent.clamp(powers.lowest, powers.highest))
    nearest = torch.where(magnitude < 2.0 ** (powers.lowest - 1), torch.zeros_like(power), power)
    return (torch.sign(x).double() * nearest).to(x)
