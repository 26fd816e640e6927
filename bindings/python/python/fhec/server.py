"""The server evaluates: it runs a plan on ciphertexts it cannot read."""

from __future__ import annotations

import json
import os
from typing import Any, Union

from . import _fhec
from ._progress import Progress, listening
from .errors import UsageError
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
        self._took: dict[str, Any] = {"runs": []}
        source = keys if isinstance(keys, bytes) else os.fspath(keys)
        self._server = _fhec.Server.open(plan._plan, source, threads, mem)

    def eval(self, request: bytes, *, progress: Progress = None) -> bytes:
        """Encrypted results of the encrypted inputs of :meth:`Client.encrypt`. The executed operations are checked against the plan.

        ``progress`` is called with what is done, how much there is, and the operation at hand; True shows a bar of tqdm. Ctrl-C
        stops before the next operation.
        """
        with listening(progress, "eval") as callback:
            results, took = self._server.eval(request, callback)
        self._took = json.loads(took)
        return results

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What the runs of the last evaluation took: seconds, seconds by op, ops, rotations, key switches."""
        return self._took["runs"]

    def measured(self) -> dict[str, Any]:
        """What the last evaluation took, with the fields of ``fhec eval --json`` that a report shows:
        ``plan.report(run=server.measured())``."""
        if not self.runs:
            raise UsageError("nothing was evaluated yet", help="call eval first")
        last = self.runs[-1]
        return {
            "plan_digest": self.plan.digest,
            "images": self._took["images"],
            "threads": self.threads,
            "seconds_per_run": sum(run["seconds"] for run in self.runs) / len(self.runs),
            "seconds_by_op": last["seconds_by_op"],
            "op_seconds": self._took["op_seconds"],
            "predicted_memory_bytes": self.predicted_memory,
        }

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
