"""Evaluations spread over a cluster of Ray.

    with fhec.ray.Pool(plan, "server.key") as pool:
        answer = pool.eval(request)              # as Server.eval does, with the images spread
        for answer in pool.map(requests):        # many requests, answered in their order
            ...

Plan and keys go to every node once, where its workers map them. What a lost worker or node was at is computed again elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np

from ._node_files import NodeFile
from ._progress import Progress, listening
from .errors import CancelledError, Error, LimitError, UsageError, WorkerLostError, missing
from .parts import join, split
from .plan import Plan
from .server import Server

try:
    import ray
except ImportError as e:
    raise missing("ray", "ray", "a pool of workers") from e

_STOPPING = 10.0
"""Seconds in which a worker that is told to stop is expected to; it looks before every operation."""


@dataclass(frozen=True)
class WorkerInfo:
    """A worker of a pool."""

    node: str
    """The node it runs on, as Ray names it."""
    pid: int
    """Its process there."""
    memory: int
    """Bytes that its runs are predicted to need."""


class _Worker:
    """What runs in a process of a node: a server, and nothing that decrypts."""

    def __init__(self) -> None:
        self._stopped = -1
        self._files: list[NodeFile] = []

    def start(self, plan: Any, keys: Any, names: tuple[str, str | None], threads: int, mem: int | None) -> WorkerInfo:
        # What is wrong with a plan or keys is told as the result of a call: a constructor could not.
        plan_file = NodeFile(names[0], plan)
        self._files.append(plan_file)
        if names[1] is not None:
            keys_file = NodeFile(names[1], keys)
            self._files.append(keys_file)
            keys = keys_file.path
        self._server = Server(Plan.load(plan_file.path), keys, threads=threads, mem=mem)
        node = ray.get_runtime_context().get_node_id()
        return WorkerInfo(node, os.getpid(), self._server.predicted_memory)

    def eval(self, call: int, request: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        def look(done: int, total: int, what: str) -> None:
            if self._stopped >= call:
                raise CancelledError("the pool has stopped this evaluation")

        return self._server.eval(request, progress=look), self._server.runs

    def stop(self, call: int) -> None:
        """Stops evaluations up to this one; another thread than theirs runs it."""
        self._stopped = max(self._stopped, call)

    def close(self) -> None:
        for file in self._files:
            file.close()


@dataclass
class _Task:
    """A request that is not answered yet."""

    index: int
    request: Any
    """Where Ray keeps it."""
    lost: int = 0
    """Workers that were lost with it."""


@dataclass
class _Batch:
    """The requests of one call, and how far they are."""

    todo: deque[_Task] = field(default_factory=deque)
    """To be computed before further requests: their workers were lost."""
    running: dict[Any, tuple[Any, _Task]] = field(default_factory=dict)
    """By the reference of their result, with their worker."""
    done: dict[int, tuple[bytes, list[dict[str, Any]]]] = field(default_factory=dict)
    read: int = 0
    """Requests taken."""
    given: int = 0
    """Results given."""


class Pool:
    """Workers on a Ray cluster, each a process with a :class:`fhec.Server` of its own. It holds nothing that decrypts.

    ``keys`` are the bytes of a file, or its path; ``shared`` says that the path leads to the same file on every node, which is
    then mapped there and not sent. There are as many ``workers`` as the cluster has cores for, with ``threads`` each. What a worker's
    runs are predicted to need, or ``mem``, is asked of Ray as memory, so that no node gets more workers than it holds; ``options``
    are further ones of Ray's actors, such as ``{"resources": {"fhec": 1}}``.

    A request whose worker is lost is computed again on another one, up to ``retries`` times; the worker is replaced, where the cluster
    has room. Where no worker is there for ``timeout`` seconds the pool gives up. Errors of fhec are raised as such.

    One evaluation at a time; close the pool, or use it as a context.
    """

    def __init__(
        self,
        plan: Union[Plan, bytes, str, "os.PathLike[str]"],
        keys: Union[bytes, str, "os.PathLike[str]"],
        *,
        workers: int | None = None,
        threads: int = 1,
        mem: int | None = None,
        shared: bool = False,
        retries: int = 2,
        timeout: float = 600.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(plan, Plan):
            plan = Plan.from_bytes(plan) if isinstance(plan, bytes) else Plan.load(plan)
        if shared and isinstance(keys, bytes):
            raise UsageError("shared keys that are bytes", help="give the path that leads to them on every node")
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        cores = int(ray.cluster_resources().get("CPU", 1))
        workers = max(1, cores // threads) if workers is None else workers
        if workers < 1 or threads < 1 or retries < 0:
            raise UsageError(f"{workers} workers of {threads} threads with {retries} retries", help="give positive numbers")
        self.plan = plan
        """The plan."""
        self.runs: list[dict[str, Any]] = []
        """What the runs of the last :meth:`eval` took, in their order."""
        self.lost = 0
        """Workers that were lost."""
        self._retries, self._timeout, self._size = retries, timeout, workers
        self._client_plan = plan.client_plan()
        predicted = mem if mem is not None else plan.report().data["predicted_memory_bytes"]
        asked = {"num_cpus": threads, "memory": int(predicted), "scheduling_strategy": "SPREAD", **(options or {})}
        # A second method at a time, so that `stop` is heard during `eval`; what is lost is replaced here, not by Ray.
        self._actor = ray.remote(_Worker).options(**asked, max_concurrency=2, max_restarts=0)
        data = plan.bytes()
        stored_keys, keys_name = (os.fspath(keys), None) if shared else _stored(keys)
        stored_plan, plan_name = _stored(data)
        self._start = (stored_plan, stored_keys, (plan_name, keys_name), threads, mem)
        self._calls = 0
        self._computes = False
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._known: dict[Any, WorkerInfo] = {}
        for _ in range(workers):
            self._spawn()

    @property
    def workers(self) -> list[WorkerInfo]:
        """The workers that are there. Some may start later, where the cluster is busy."""
        self._settle(0.0)
        return list(self._known.values())

    def wait(self, workers: int | None = None) -> list[WorkerInfo]:
        """Waits until so many workers are there, or all of them."""
        wanted = self._size if workers is None else workers
        until = time.monotonic() + self._timeout
        while len(self._known) < wanted:
            if time.monotonic() > until:
                raise self._none_started(f"{len(self._known)} of {wanted} workers have")
            self._settle(0.5)
        return list(self._known.values())

    def eval(self, request: bytes, *, progress: Progress = None) -> bytes:
        """Encrypted results of the encrypted inputs of :meth:`fhec.Client.encrypt`, as :meth:`fhec.Server.eval` gives them: the runs
        of the request are spread over the workers. ``progress`` counts runs."""
        self._check_free()
        parts = split(self._client_plan, request)
        results, runs = [], []
        for result, reports in self._computed(parts, len(parts), progress):
            results.append(result)
            runs += reports
        self.runs = runs
        return join(self._client_plan, results)

    def map(self, requests: Iterable[bytes], *, progress: Progress = None) -> Generator[bytes, None, None]:
        """The results of many requests, in their order, as soon as they are there. Requests are taken as workers become free, a few
        ahead: there may be more than fit into memory. ``progress`` counts requests."""
        self._check_free()
        if isinstance(requests, bytes):
            raise UsageError("one request where several belong", help="give a list of requests, or call eval")
        total = len(requests) if isinstance(requests, Sized) else 0
        return self._results(requests, total, progress)

    def _results(self, requests: Iterable[bytes], total: int, progress: Progress) -> Generator[bytes, None, None]:
        # Closing this one closes the other one at once, which stops the workers.
        with closing(self._computed(requests, total, progress)) as computed:
            for result, _ in computed:
                yield result

    def close(self) -> None:
        """Ends the workers, and removes their files."""
        ends = [worker.close.remote() for worker in self._known]
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=_STOPPING)
        for worker in [*self._known, *self._starting.values()]:
            ray.kill(worker)
        self._known, self._starting, self._idle = {}, {}, []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<fhec.ray.Pool of {self.plan.model}: {len(self._known)} of {self._size} workers>"

    def _check_free(self) -> None:
        if self._computes:
            raise UsageError("the pool computes already", help="take all results of the other call first, or close its iterator")

    def _computed(
        self, requests: Iterable[bytes], total: int, progress: Progress
    ) -> Generator[tuple[bytes, list[dict[str, Any]]], None, None]:
        """Results and reports of requests, in their order."""
        self._check_free()
        self._computes = True
        self._calls += 1
        batch, source, deadline = _Batch(), iter(requests), time.monotonic() + self._timeout
        try:
            with listening(progress, "eval") as callback:
                while True:
                    self._dispatch(batch, source)
                    while batch.given in batch.done:
                        result = batch.done.pop(batch.given)
                        batch.given += 1
                        yield result
                        self._dispatch(batch, source)
                    if not batch.running and not batch.todo and batch.given == batch.read and self._idle:
                        return
                    if self._settle(0.2, batch) and callback is not None:
                        callback(batch.given + len(batch.done), total, f"{len(self._known)} workers")
                    if self._known:
                        deadline = time.monotonic() + self._timeout
                    elif time.monotonic() > deadline:
                        raise self._none_started("no worker has")
        finally:
            self._stop(batch)
            self._computes = False

    def _dispatch(self, batch: _Batch, source: Iterator[bytes]) -> None:
        """Gives work to idle workers, a bounded number of requests ahead of what was given."""
        while self._idle:
            if batch.todo:
                task = batch.todo.popleft()
            elif batch.read - batch.given < 4 * self._size and (request := next(source, None)) is not None:
                task = _Task(batch.read, ray.put(request))
                batch.read += 1
            else:
                return
            worker = self._idle.pop()
            batch.running[worker.eval.remote(self._calls, task.request)] = (worker, task)

    def _settle(self, timeout: float, batch: _Batch | None = None) -> bool:
        """Waits until something has ended, and takes it in; whether a request is answered."""
        running = batch.running if batch is not None else {}
        ended, _ = ray.wait([*running, *self._starting], timeout=timeout) if running or self._starting else ([], [])
        answered = False
        for reference in ended:
            task = None
            if reference in self._starting:
                worker = self._starting.pop(reference)
            else:
                worker, task = running.pop(reference)
            try:
                found = ray.get(reference)
            except ray.exceptions.RayTaskError as e:
                if task is not None:
                    self._idle.append(worker)
                cause = e.cause
                raise cause if isinstance(cause, Error) else e from None
            except ray.exceptions.RayError as e:
                self._replace(worker)
                if task is not None and batch is not None:
                    task.lost += 1
                    batch.todo.appendleft(task)
                if (task.lost if task is not None else self.lost - self._size) > self._retries:
                    raise WorkerLostError(
                        f"request {task.index} was lost with {task.lost} workers" if task else "workers are lost before they start",
                        causes=[str(e).splitlines()[0]],
                        help="see Ray's log of the workers; too little memory is the usual reason: give mem, or fewer workers",
                    ) from e
                continue
            self._idle.append(worker)
            if task is None:
                self._known[worker] = found
            elif batch is not None:
                batch.done[task.index] = found
                answered = True
        if not running and not self._starting:
            time.sleep(0.0 if self._idle else timeout)
        return answered

    def _spawn(self) -> None:
        worker = self._actor.remote()
        self._starting[worker.start.remote(*self._start)] = worker

    def _replace(self, worker: Any) -> None:
        """A new worker in the place of a lost one."""
        self.lost += 1
        self._known.pop(worker, None)
        # One that is out of reach only must not come back.
        ray.kill(worker)
        self._spawn()

    def _stop(self, batch: _Batch) -> None:
        """Stops what is still computed: of a call that failed, or whose results nobody takes."""
        if not batch.running:
            return
        for worker, _ in batch.running.values():
            worker.stop.remote(self._calls)
        ended, left = ray.wait([*batch.running], num_returns=len(batch.running), timeout=_STOPPING)
        for reference in ended:
            worker, _ = batch.running[reference]
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError:
                pass
            except ray.exceptions.RayError:
                self._replace(worker)
                continue
            self._idle.append(worker)
        for reference in left:
            self._replace(batch.running[reference][0])

    def _none_started(self, what: str) -> LimitError:
        return LimitError(
            f"{what} started in {self._timeout:.0f} s",
            help="`ray status` shows what the cluster lacks: cores for the threads, or memory for the plan (give mem, or fewer "
            "workers), or nodes that have fhec installed",
        )


def _stored(content: Union[bytes, str, "os.PathLike[str]"]) -> tuple[Any, str]:
    """Where Ray keeps the content of a file, and its hash. As an array it is mapped by processes of a node, not copied."""
    if isinstance(content, bytes):
        array = np.frombuffer(content, np.uint8)
    else:
        array = np.memmap(Path(content), np.uint8, "r")
    return ray.put(np.asarray(array)), hashlib.blake2b(array, digest_size=16).hexdigest()
