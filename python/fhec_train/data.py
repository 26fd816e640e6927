"""What is trained on: arrays in memory, from files or from a torch dataset."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import TrainError

_INPUTS = ("input", "inputs", "images", "x", "data")
_LABELS = ("labels", "label", "y", "targets")


@dataclasses.dataclass
class Data:
    """Inputs, float32, the batch first, as the network is to be given them; labels, int64, where there are any."""

    inputs: Tensor
    labels: Tensor | None = None

    @classmethod
    def load(cls, source: str, labels: str | None = None) -> Data:
        """From `x.npz`, from `x.npy` with `labels` in another `.npy`, or from `module:name`, a torch dataset or what makes one."""
        path = pathlib.Path(source)
        if path.suffix not in (".npz", ".npy"):
            return cls._dataset(source)
        try:
            if path.suffix == ".npy":
                x, y = np.load(path), None
            else:
                with np.load(path) as arrays:
                    x, y = _choose(path, {name: arrays[name] for name in arrays.files})
            if labels is not None:
                y = np.load(labels)
        except (OSError, ValueError) as error:
            raise TrainError(f"{source}: {error}") from error
        return cls.of(x, y, source)

    @classmethod
    def of(cls, x, y, name: str = "data") -> Data:
        """From arrays. Raises `TrainError` for what is no batch, not finite, or has not one label for each input."""
        x = np.asarray(x)
        if x.ndim < 2 or len(x) == 0:
            raise TrainError(f"{name}: inputs of shape {list(x.shape)} are no batch")
        x = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        if not torch.isfinite(x).all():
            raise TrainError(f"{name}: some inputs are not finite")
        if y is None:
            return cls(x)
        y = np.asarray(y)
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise TrainError(f"{name}: {len(x)} labels are expected, one class for each input, not an array of shape {list(y.shape)}")
        return cls(x, torch.from_numpy(y.astype(np.int64)))

    @classmethod
    def _dataset(cls, source: str) -> Data:
        module, _, name = source.partition(":")
        if not name:
            raise TrainError(f"{source}: neither a file x.npz or x.npy nor a dataset module:name")
        try:
            made = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise TrainError(f"{source}: {error}") from error
        items = made() if callable(made) else made
        pairs = [items[i] for i in range(len(items))]
        inputs = np.stack([np.asarray(p[0] if isinstance(p, (tuple, list)) else p, np.float32) for p in pairs])
        labels = np.asarray([int(p[1]) for p in pairs]) if pairs and isinstance(pairs[0], (tuple, list)) else None
        return cls.of(inputs, labels, source)

    def __len__(self) -> int:
        return len(self.inputs)

    def split(self, held: int) -> tuple[Data, Data]:
        """All but the last `held` inputs, and those."""
        cut = len(self) - held
        labels = (None, None) if self.labels is None else (self.labels[:cut], self.labels[cut:])
        return Data(self.inputs[:cut], labels[0]), Data(self.inputs[cut:], labels[1])


def _choose(path: pathlib.Path, arrays: dict[str, np.ndarray]):
    """The inputs and labels among the arrays of a file."""
    names = [name for name in _INPUTS if name in arrays]
    if not names and len(arrays) == 1:
        names = list(arrays)
    if not names:
        raise TrainError(f"{path}: none of its arrays {sorted(arrays)} is called {' or '.join(_INPUTS)}")
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    return arrays[names[0]], labels


def distorted(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Images moved by up to `shift` pixels each way, zeros at the edges, half of them mirrored where `flip` says so."""
    if x.dim() != 4 or not (shift or flip):
        return x
    batch, _, height, width = x.shape
    rows = torch.arange(height) + torch.randint(0, 2 * shift + 1, (batch, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(0, 2 * shift + 1, (batch, 1), generator=generator)
    if flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(x, (shift,) * 4)
    at = torch.arange(batch)[:, None, None]
    return padded.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
