"""The client owns the data: it holds the secret key, encrypts and decrypts."""

from __future__ import annotations

import os
from typing import Any, Union

from . import _arrays, _fhec
from ._arrays import Array
from ._progress import Progress, listening
from .errors import warn
from .plan import ClientPlan, Path, Plan

AnyPlan = Union[Plan, ClientPlan, bytes, str, "os.PathLike[str]"]
"""A plan, or what a client needs of it: as an object, as the bytes of a file, or as a path."""


def _client_plan(plan: AnyPlan) -> ClientPlan:
    if isinstance(plan, ClientPlan):
        return plan
    if isinstance(plan, Plan):
        return plan.client_plan()
    return ClientPlan.from_bytes(plan) if isinstance(plan, bytes) else ClientPlan.load(plan)


class Client:
    """A secret key for one plan, of which it knows what a :class:`ClientPlan` says.

    ``Client(plan)`` makes a new key, :meth:`Client.load` reads one. Whoever sends the plan chooses its parameters: those marked
    insecure are refused unless ``insecure`` is given, and so are evaluation keys of more than ``max_keys`` bytes (8 GiB).

    The secret key leaves the client for a file alone: bytes of Python cannot be wiped from memory. A client may be shared between
    threads, which wait for each other.
    """

    def __init__(self, plan: AnyPlan, *, insecure: bool = False, max_keys: int | None = None) -> None:
        self.plan = _client_plan(plan)
        """What it knows of the plan."""
        self._client = _fhec.Client.generate(self.plan._plan, insecure, max_keys)

    @classmethod
    def load(
        cls,
        plan: AnyPlan,
        path: Path,
        passphrase: str | None = None,
        *,
        insecure: bool = False,
        max_keys: int | None = None,
    ) -> Client:
        """A client with the secret key in a file, of :meth:`save` or of ``fhec keygen``."""
        client = cls.__new__(cls)
        client.plan = _client_plan(plan)
        client._client = _fhec.Client.load(client.plan._plan, os.fspath(path), passphrase, insecure, max_keys)
        return client

    def save(self, path: Path, passphrase: str | None = None) -> None:
        """Writes the secret key to a file that only its owner may read, encrypted where a passphrase is given. It replaces no
        file: the key in it would be lost."""
        self._client.save(os.fspath(path), passphrase)

    def evaluation_keys(self, *, progress: Progress = None) -> bytes:
        """The keys that a :class:`Server` needs, as the bytes of a file. They decrypt nothing."""
        with listening(progress, "keygen") as callback:
            return self._client.evaluation_keys(callback)

    def save_evaluation_keys(self, path: Path, *, force: bool = False, progress: Progress = None) -> None:
        """Writes the keys that a :class:`Server` needs to a file, with one of them in memory at a time. It replaces no file, unless
        ``force`` is given."""
        with listening(progress, "keygen") as callback:
            self._client.save_evaluation_keys(os.fspath(path), force, callback)

    def encrypt(self, x: Any, *, force: bool = False) -> bytes:
        """Encrypts images, which lie in the leading dimension: a request for :meth:`Server.eval`.

        Elements outside the range of the calibration data are warned of. Inputs far outside raise :class:`fhec.InputsError`, unless
        ``force`` is given: their results are most likely wrong.
        """
        names = [port.name for port in self.plan.inputs]
        encrypted, warnings = self._client.encrypt(_arrays.named(x, names), force)
        warn(warnings)
        return encrypted

    def decrypt(self, results: bytes, *, apply_head: bool = False, force: bool = False) -> Array | dict[str, Array]:
        """Decrypts results: an array with images in front, or one by the name of every output where there are several.

        What the network does at its end and the plan leaves to the client, such as a softmax, is applied if ``apply_head``. Results
        that are not finite, or far outside of what calibration data gave, raise :class:`fhec.ResultsError`, unless ``force`` is
        given. Results are for the owner of the key alone: SECURITY.md says what they tell of it.
        """
        outputs, warnings = self._client.decrypt(results, apply_head, force)
        warn(warnings)
        return _arrays.one_or_all(outputs)

    def __repr__(self) -> str:
        return f"<fhec.Client of {self.plan.model}>"
