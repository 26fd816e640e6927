"""The server evaluates: it runs a plan on ciphertexts it cannot read."""

from __future__ import annotations

import json
import os
from typing import Any, Union

from . import _fhec
from ._progress import Progress, listening
from .plan import Plan


class Server:
    """A plan with the evaluation keys of one client. It holds nothing that decrypts.

    ``keys`` are the bytes of a file, or its path: a file stays on disk and is mapped. ``threads`` is one per core by default;
    ``mem`` bounds the memory of runs in bytes, which then take longer. A server may be shared between threads: its evaluations
    follow one another, each on all of its threads.
    """

    def __init__(
        self,
        plan: Union[Plan, bytes, str, "os.PathLike[str]"],
        keys: Union[bytes, str, "os.PathLike[str]"],
        *,
        threads: int | None = None,
        mem: int | None = None,
    ) -> None:
        if not isinstance(plan, Plan):
            plan = Plan.from_bytes(plan) if isinstance(plan, bytes) else Plan.load(plan)
        self.plan = plan
        """The plan."""
        self.runs: list[dict[str, Any]] = []
        """What the runs of the last evaluation took: seconds, seconds by op, ops, rotations, key switches."""
        source = keys if isinstance(keys, bytes) else os.fspath(keys)
        self._server = _fhec.Server.open(plan._plan, source, threads, mem)

    def eval(self, request: bytes, *, progress: Progress = None) -> bytes:
        """Encrypted results of the encrypted inputs of :meth:`Client.encrypt`. The executed operations are checked against the plan.

        ``progress`` is called with what is done, how much there is, and the operation at hand; True shows a bar of tqdm. Ctrl-C
        stops before the next operation.
        """
        with listening(progress, "eval") as callback:
            results, runs = self._server.eval(request, callback)
        self.runs = json.loads(runs)
        return results

    @property
    def threads(self) -> int:
        """Threads it runs on."""
        return self._server.threads()

    @property
    def predicted_memory(self) -> int:
        """Bytes that its runs are predicted to need."""
        return self._server.predicted_memory()

    def __repr__(self) -> str:
        return f"<fhec.Server of {self.plan.model}: {self.threads} threads>"
