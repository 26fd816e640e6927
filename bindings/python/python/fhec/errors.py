"""What fhec refuses, and what it warns of.

Every exception carries what the library says as data: the message, what led to it, what helps, the file that is at fault and,
where nodes of a model cannot be compiled, all of these at once.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any


class FhecWarning(UserWarning):
    """What the user should change or know: of the compiler, of inputs and of results."""


@dataclass(frozen=True)
class Issue:
    """One node that cannot be compiled, or a fault of the network as a whole."""

    node: str | None
    """Name of the model's node; None where it is no node."""
    op: str | None
    """Its operator."""
    reason: str
    """What is wrong."""
    help: str | None
    """What can be done about it."""

    def __str__(self) -> str:
        at = f"`{self.node}` ({self.op}): " if self.node is not None else ""
        return f"{at}{self.reason}" + (f"\n    help: {self.help}" if self.help else "")


class Error(Exception):
    """Base of everything that fhec raises.

    ``message`` says what is wrong, ``help`` what can be done about it, ``causes`` what led to it (the nearest first), ``file``
    which file or argument is at fault, ``issues`` all nodes that cannot be compiled.
    """

    kind: str = "error"
    """What kind of error it is, in one word that stays the same between versions."""

    def __init__(
        self,
        message: str,
        *,
        help: str | None = None,
        file: str | None = None,
        causes: Iterable[str] = (),
        issues: Iterable[Issue] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.file = file
        self.causes = list(causes)
        self.issues = list(issues)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = {"help": self.help, "file": self.file, "causes": self.causes, "issues": self.issues}
        return (partial(type(self), **parts), (self.message,), {"kind": self.kind})

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  because: {cause}" for cause in self.causes]
        lines += [f"  {issue}" for issue in self.issues]
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


class ModelError(Error):
    """A model that cannot be read, or has nodes that cannot be imported."""

    kind = "model"


class CompileError(Error):
    """A model that cannot be compiled, or not with this calibration data."""

    kind = "compile"


class RefusedError(Error):
    """An option that cannot be obeyed; the message says the best that can be had."""

    kind = "refused"


class PlanError(Error):
    """A plan that cannot be used, or that something was not made for."""

    kind = "plan"


class DataError(Error):
    """Arrays that do not fit the model."""

    kind = "data"


class InputsError(Error):
    """Inputs so unlike the calibration data that their results would be wrong."""

    kind = "inputs"


class ResultsError(Error):
    """Results that must not be trusted."""

    kind = "results"


class CiphertextError(Error):
    """Ciphertexts that do not go with the plan or the key."""

    kind = "ciphertexts"


class EngineError(Error):
    """Parameters, keys or ciphertexts that the engine refuses."""

    kind = "engine"


class InsecureError(Error):
    """A plan whose parameters are marked insecure, and nobody who accepted them."""

    kind = "insecure"


class PassphraseError(Error):
    """An encrypted secret key without its passphrase, or a wrong one."""

    kind = "passphrase"


class FileError(Error):
    """A file that cannot be read or written, or must not be replaced."""

    kind = "file"


class LimitError(Error):
    """A bound on memory or on keys that is not met."""

    kind = "memory"


class ServiceError(Error):
    """A service that refuses a request, does not answer, or answers what it should not."""

    kind = "service"


class WorkerLostError(Error):
    """Work that was lost with several workers, one after another."""

    kind = "worker"


class UsageError(Error):
    """A request that makes no sense."""

    kind = "usage"


class CancelledError(Error):
    """Work that was told to stop."""

    kind = "cancelled"


class MissingPackageError(Error, ImportError):
    """A package that is needed for what was asked, and is not installed."""

    kind = "missing"


_CLASSES: dict[str, type[Error]] = {
    cls.kind: cls
    for cls in (
        ModelError,
        CompileError,
        RefusedError,
        PlanError,
        DataError,
        InputsError,
        ResultsError,
        CiphertextError,
        EngineError,
        InsecureError,
        PassphraseError,
        FileError,
        LimitError,
        ServiceError,
        UsageError,
        CancelledError,
    )
}
_CLASSES |= {"calibration": CompileError, "program": CompileError}

# Flags of the command line that are true or false here.
_FLAGS = {"force", "insecure", "no-reconstruct", "pareto", "apply-head", "exact", "plain-http"}
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?:[ =](\d[\w.]*))?")


def in_python(text: str) -> str:
    """Help of the command line in the words of this package: ``--max-keys 4`` is ``max_keys=4``."""

    def argument(found: re.Match[str]) -> str:
        name, value = found.groups()
        value = "True" if name in _FLAGS else value or ""
        return f"{name.replace('-', '_')}={value}"

    return _OPTION.sub(argument, text)


def make(
    *,
    kind: str,
    message: str,
    help: str | None,
    file: str | None,
    causes: list[str],
    issues: list[tuple[str | None, str | None, str, str | None]],
) -> Error:
    """The exception for an error of the library."""
    found = [Issue(node, op, in_python(reason), in_python(advice) if advice else None) for node, op, reason, advice in issues]
    advice = in_python(help) if help else None
    error = _CLASSES.get(kind, Error)(in_python(message), help=advice, file=file, causes=causes, issues=found)
    error.kind = kind
    return error


def missing(package: str, extra: str, purpose: str) -> MissingPackageError:
    """The exception for a package that is not installed."""
    return MissingPackageError(f"{purpose} needs the package `{package}`", help=f"pip install 'fhec[{extra}]'")


def warn(messages: Iterable[str], *, depth: int = 3) -> None:
    """Warns the caller's caller."""
    for message in messages:
        warnings.warn(in_python(message), FhecWarning, stacklevel=depth)
