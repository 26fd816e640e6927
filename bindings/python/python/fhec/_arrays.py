"""What users have of arrays becomes what the library reads."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

Array = NDArray[np.float32]
Named = list[tuple[str | None, Array]]


def named(x: Any, names: list[str] | None = None) -> Named:
    """Arrays by the name of their input.

    ``x`` is one array for a model with one input, a mapping from names to arrays, a tuple of arrays in the order of the inputs
    (with ``names``, where these are known), or the path of an ``.npy`` or ``.npz`` file. Single-precision arrays in row-major
    order are taken as they are, others are converted.
    """
    if isinstance(x, (str, os.PathLike)):
        x = _read(Path(x))
    if isinstance(x, Mapping):
        return [(str(name), single(array, str(name))) for name, array in x.items()]
    if isinstance(x, tuple):
        if names is None or len(names) != len(x):
            inputs = "unknown inputs" if names is None else f"the inputs {', '.join(names)}"
            raise DataError(
                f"a tuple of {len(x)} arrays for {inputs}", help="give a mapping from the names of the inputs to arrays"
            )
        return [(name, single(array, name)) for name, array in zip(names, x)]
    return [(None, single(x, "the array"))]


def single(x: Any, what: str) -> Array:
    """An array of single-precision numbers in row-major order, copied only where it is not one."""
    if hasattr(x, "detach"):  # A tensor of PyTorch, which may need a gradient or lie elsewhere.
        x = x.detach().cpu()
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what}: elements of type {array.dtype} are not read", help="give x.astype(numpy.float32)")
    # `ascontiguousarray` makes a vector of a scalar, which would fit an input of one element by chance.
    return array.astype(np.float32, order="C", copy=False)


def labels(y: Any) -> bytes:
    """Class numbers as the bytes of a NumPy file: the library checks them."""
    if isinstance(y, (str, os.PathLike)):
        return Path(y).read_bytes()
    if hasattr(y, "detach"):
        y = y.detach().cpu()
    file = io.BytesIO()
    np.save(file, single(y, "the labels"), allow_pickle=False)
    return file.getvalue()


def rows(x: Named) -> int:
    """Images in arrays that have them in front."""
    return min(len(array) for _, array in x) if x else 0


def one_or_all(outputs: dict[str, Array]) -> Array | dict[str, Array]:
    """The array of a model with one output, else all by name."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _read(path: Path) -> Any:
    try:
        read = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as e:
        raise DataError(f"{path}: {e}", file=str(path), help="give a file of numpy.save or numpy.savez") from e
    if isinstance(read, np.lib.npyio.NpzFile):
        with read:
            arrays = {name: read[name] for name in read.files}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
    return read
