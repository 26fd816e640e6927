"""Recipes, the files in which `fhec prepare` says what training must respect (docs/recipe.md)."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
import typing

import blake3

from .errors import TrainError

FORMAT = "fhec recipe"
VERSION = 2
# The versions that are read.
_READ = (1, 2)


@dataclasses.dataclass(frozen=True)
class Join:
    """A join of a residual block: the teacher's node, and `residual`, `dirac` or `shared`."""

    join: str
    form: str


@dataclasses.dataclass(frozen=True)
class Dirac:
    """A convolution whose weights are diag(a)·δ + diag(b)·W/‖W‖, the norm over all of a filter."""

    node: str
    output: str
    weight: str
    tap: int
    a: list[float]
    b: list[float]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A least-squares fit on calibration data: one row of coefficients per channel or one for all, lowest first."""

    basis: str
    interval: list[float]
    coefficients: list[list[float]]


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """What an activation becomes; `axis` is the dimension of channels, `None` where all share their coefficients.

    Where it is not `trained`, its coefficients stay as they start: powers of two.
    """

    degree: int
    axis: int | None
    start: Fitted | None
    trained: bool


@dataclasses.dataclass(frozen=True)
class Activation:
    """An activation of the student that becomes a polynomial."""

    node: str
    input: str
    output: str
    function: str
    polynomial: Polynomial


@dataclasses.dataclass(frozen=True)
class Group:
    """Weights, by their places in the flattened tensor, that together cost `seconds`; whether they begin as zeros."""

    elements: list[int]
    seconds: float
    masked: bool


@dataclasses.dataclass(frozen=True)
class Mask:
    """An initialiser of which groups become zero. Groups may share elements: an element of a masked one is masked."""

    weight: str
    groups: list[Group]


@dataclasses.dataclass(frozen=True)
class PowersOfTwo:
    """An initialiser whose elements become 0 or ±2^k, `lowest` ≤ k ≤ `highest`."""

    weight: str
    lowest: int
    highest: int


@dataclasses.dataclass(frozen=True)
class Match:
    """A tensor of the student, and the teacher's node of whose first operand it is the counterpart."""

    student: str
    teacher_node: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the training of a student must respect."""

    format: str
    version: int
    teacher_digest: str
    student_digest: str
    joins: list[Join]
    dirac: list[Dirac]
    activations: list[Activation]
    matches: list[Match]
    masks: list[Mask]
    powers_of_two: list[PowersOfTwo]

    @classmethod
    def load(cls, path) -> Recipe:
        """The recipe in the file at `path`. Raises `TrainError` for another file, or another version's."""
        path = pathlib.Path(path)
        try:
            return cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise TrainError(f"{path}: {error}") from error
        except TrainError as error:
            raise TrainError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, value) -> Recipe:
        """The recipe that a JSON value holds. A field that is not known here is an error: it would go unheeded."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise TrainError("this is no recipe of `fhec prepare`")
        if value.get("version") not in _READ:
            known = " and ".join(map(str, _READ))
            raise TrainError(f"the recipe has version {value.get('version')}, and this program reads {known}")
        return _read(cls, _upgraded(value), "recipe")

    @property
    def changes_nothing(self) -> bool:
        """Whether the student is the teacher, and nothing of it becomes another function or another kind of weight."""
        converted = any(join.form != "residual" for join in self.joins)
        return not (converted or self.dirac or self.activations or self.masks or self.powers_of_two)

    def check(self, student: bytes, teacher: bytes | None) -> None:
        """Raises `TrainError` unless the recipe was written for these files."""
        for name, data, digest in (("student", student, self.student_digest), ("teacher", teacher, self.teacher_digest)):
            if data is not None and blake3.blake3(data).hexdigest() != digest:
                raise TrainError(
                    f"the {name} is not the file that the recipe was written for; run `fhec prepare` again for both"
                )


def _upgraded(value: dict) -> dict:
    """A recipe of version 1 as one of version 2: all polynomials are trained, nothing is masked or rounded."""
    if value["version"] != 1:
        return value
    new = value | {"version": 2, "masks": [], "powers_of_two": []}
    activations = value.get("activations")
    if isinstance(activations, list):
        new["activations"] = [
            a | {"polynomial": a["polynomial"] | {"trained": True}}
            if isinstance(a, dict) and isinstance(a.get("polynomial"), dict)
            else a
            for a in activations
        ]
    for name in ("masks", "powers_of_two"):
        if name in value:
            raise TrainError(f"recipe: the field {name!r} is not known in version 1")
    return new


def _read(kind, value, where: str):
    """`value` as a `kind`, which is a data class, a list, an optional or a plain type."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TrainError(f"{where}: an object is expected")
        hints = typing.get_type_hints(kind)
        for name in value.keys() - hints.keys():
            raise TrainError(f"{where}: the field {name!r} is not known")
        for name in hints.keys() - value.keys():
            raise TrainError(f"{where}: the field {name!r} is missing")
        return kind(**{name: _read(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        if not isinstance(value, list):
            raise TrainError(f"{where}: a list is expected")
        return [_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(arguments[0], value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TrainError(f"{where}: {value!r} is not of type {kind.__name__}")
    return value
