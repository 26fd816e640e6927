"""Plans, what clients need of them, their reports and their runs in the clear."""

from __future__ import annotations

import html
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union

import numpy as np

from . import _arrays, _fhec
from ._arrays import Array
from ._progress import Progress, listening
from .errors import warn

if TYPE_CHECKING:
    from .comparison import Comparison

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Port:
    """An input or an output of a plan."""

    name: str
    shape: tuple[int, ...]
    """Extents of one image."""
    heads: tuple[str, ...] = ()
    """What the network does with it at its end, such as a softmax, and the plan leaves to the client."""


def _ports(described: list[tuple[str, list[int], list[str]]]) -> list[Port]:
    return [Port(name, tuple(shape), tuple(heads)) for name, shape, heads in described]


class Report:
    """What a plan is and what it costs: as data, as a page that notebooks show, and as a trace."""

    def __init__(self, report: _fhec.Report) -> None:
        self._report = report

    @cached_property
    def data(self) -> dict[str, Any]:
        """Everything the page shows, with the fields that ``fhec report --json`` has."""
        return json.loads(self._report.data())

    @cached_property
    def html(self) -> str:
        """One page of HTML that needs nothing else."""
        return self._report.html()

    @cached_property
    def card(self) -> str:
        """A small page: the figures that matter most, and levels over time."""
        return self._report.card()

    @cached_property
    def trace(self) -> str:
        """Trace events in the JSON that Perfetto shows: the run as it is predicted, and as it was measured where the report was
        given one. Without a time for every operation it is a :class:`fhec.UsageError`."""
        return self._report.trace()

    def save(self, path: Path, *, force: bool = False) -> None:
        """Writes the page. It replaces no file, unless ``force`` is given."""
        _write(path, self.html, force)

    def save_trace(self, path: Path, *, force: bool = False) -> None:
        """Writes the trace. It replaces no file, unless ``force`` is given."""
        _write(path, self.trace, force)

    def __repr__(self) -> str:
        layers = self.data["layers"]
        return f"<fhec.Report of {self.data['model']}: {len(layers)} layers, {sum(layer['ops'] for layer in layers)} ops>"

    def _repr_html_(self) -> str:
        return _framed(self.html, "fhec report", 640)


def _write(path: Path, text: str, force: bool) -> None:
    with open(path, "w" if force else "x", encoding="utf-8") as file:
        file.write(text)


def _framed(page: str, title: str, height: int) -> str:
    """A page in a frame of its own: its styles and names do not meet those of a notebook."""
    return f'<iframe srcdoc="{html.escape(page, quote=True)}" title="{title}" style="width:100%;height:{height}px;border:0"></iframe>'


@dataclass(frozen=True)
class Simulation:
    """A run in the clear with modelled noise: what an encrypted run will give."""

    outputs: Array | dict[str, Array]
    """With noise: images in front, by name where there are several outputs."""
    exact: Array | dict[str, Array]
    """Without noise."""
    seconds: float
    max_error: float
    """The largest difference of the two."""
    same_class: int
    """Images whose largest score is the same one with noise and without."""
    images: int
    right: int | None = None
    """Images whose class is the label's; None without labels."""
    right_exact: int | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    """Layers whose values left their range, which makes results wrong: node, range, images, slots, multiple of the limit."""
    ops: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """The error of every operation."""
    arguments: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """Histograms of the arguments of polynomials."""
    noise: bool = True
    """Whether there was noise."""
    plan_digest: str = ""
    """Digest of the plan."""

    def as_dict(self) -> dict[str, Any]:
        """What a report shows of it, with the fields that ``fhec simulate --per-op --json`` has; None stands for what is not finite."""
        return {
            "plan_digest": self.plan_digest,
            "images": self.images,
            "labelled": self.images if self.right is not None else None,
            "right": self.right,
            "right_exact": self.right_exact,
            "same_argmax": self.same_class if self.noise else None,
            "max_error": self.max_error if self.noise and math.isfinite(self.max_error) else None,
            "layers": self.layers,
            "ops": self.ops if self.noise else [],
            "arguments": self.arguments,
        }


_Kind = TypeVar("_Kind", bound="_PlanFile")


class _PlanFile:
    """What a plan and what a client needs of it have in common: files, and what both say of the plan."""

    _native: ClassVar[Any]
    """The class of the extension module."""

    def __init__(self, plan: Any) -> None:
        self._plan = plan

    @classmethod
    def load(cls: type[_Kind], path: Path, *, max_size: int | None = None) -> _Kind:
        """Reads it from a file, which may take ``max_size`` bytes of memory."""
        return cls(cls._native.load(os.fspath(path), max_size))

    @classmethod
    def from_bytes(cls: type[_Kind], data: bytes) -> _Kind:
        """Reads it from the bytes of a file."""
        return cls(cls._native.from_bytes(data))

    @cached_property
    def _facts(self) -> _fhec.Facts:
        return self._plan.facts()

    def save(self, path: Path, *, force: bool = False) -> None:
        """Writes it to a file. It replaces none, unless ``force`` is given."""
        self._plan.save(os.fspath(path), force)

    def bytes(self) -> bytes:
        """The bytes of a file; equal plans give equal bytes."""
        return self._plan.bytes()

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._facts.model

    @property
    def digest(self) -> str:
        """Digest of the plan: what requests, results and secret keys name it by."""
        return self._facts.digest

    @property
    def batch(self) -> int:
        """Images of one run."""
        return self._facts.batch

    @property
    def security_bits(self) -> int:
        """Bits of security; 0 where the parameters are marked insecure."""
        return self._facts.security_bits

    @property
    def inputs(self) -> list[Port]:
        """The inputs."""
        return _ports(self._facts.inputs)

    @property
    def outputs(self) -> list[Port]:
        """The outputs."""
        return _ports(self._facts.outputs)

    def __repr__(self) -> str:
        return f"<fhec.{type(self).__name__} of {self.model}: {self.security_bits}-bit security, digest {self.digest[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self).from_bytes, (self.bytes(),))


class Plan(_PlanFile):
    """A compiled model: :func:`fhec.compile` makes it, :func:`fhec.load` reads it.

    A server runs it, a client needs :meth:`client_plan` of it. It may be shared between threads.
    """

    _native = _fhec.Plan
    _plan: _fhec.Plan

    def __init__(self, plan: _fhec.Plan) -> None:
        super().__init__(plan)
        provenance = json.loads(plan.provenance())
        self._report: dict[str, Any] = provenance.get("report") or {}
        self.options: dict[str, str] = provenance["options"]
        """Options of the compiler that shaped it."""
        self.comparison: Comparison | None = None
        """How it compares with the model as trained: of plans that were compiled here, where that could be run."""
        self.stages: list[tuple[str, float]] = []
        """Stages of the compilation and their seconds: of plans that were compiled here."""
        self.pareto: list[dict[str, Any]] = []
        """The Pareto-optimal plans, where they were asked for."""
        self.precision: dict[str, Any] | None = None
        """How precise simulated results are: of plans that were compiled here."""
        self.explanation = ""
        """The rewrites from the model's nodes to the compiled ones: of plans that were compiled here."""

    def client_plan(self) -> ClientPlan:
        """What a client needs of it, without the model's weights."""
        return ClientPlan(self._plan.client_plan())

    @property
    def activations(self) -> list[dict[str, Any]]:
        """What became of each activation: function, degree, interval, errors."""
        return self._report.get("activations", [])

    @property
    def agreement(self) -> dict[str, Any] | None:
        """How far it agrees with the network as it was given, on calibration inputs."""
        return self._report.get("agreement")

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """How accurate the network is before and after, where there were labels: ``original``, ``polynomial``, ``agreement``."""
        return self._report.get("accuracy")

    @property
    def notes(self) -> list[str]:
        """Remarks of the passes."""
        return self._report.get("notes", [])

    @property
    def warnings(self) -> list[str]:
        """What the user should change, as the compiler has said it."""
        return self._report.get("warnings", [])

    def report(
        self,
        *,
        run: Mapping[str, Any] | None = None,
        simulation: Simulation | Mapping[str, Any] | None = None,
        front: Sequence[Mapping[str, Any]] | None = None,
        latency: Path | None = None,
    ) -> Report:
        """What it is and what it costs.

        ``run`` is what ``fhec run --json`` or ``fhec eval --json`` printed: measured times and memory. ``simulation`` is what
        :meth:`simulate` gave, or what ``fhec simulate --per-op --json`` printed: errors, the data of polynomials, accuracy. ``front``
        is ``plan.pareto`` of a compilation with ``pareto=True``, or the file of ``fhec compile --pareto``, in place of the front that
        the plan carries. ``latency`` is the file of ``fhec calibrate``.

        What is of another plan, or a front of another model, is a :class:`fhec.UsageError`.
        """
        if isinstance(simulation, Simulation):
            simulation = simulation.as_dict()
        given = [json.dumps(x) if x is not None else None for x in (run, simulation, front)]
        report = self._plan.report(*given, os.fspath(latency) if latency is not None else None)
        warn(report.warnings)
        return Report(report)

    def _repr_html_(self) -> str:
        return _framed(self.report().card, f"fhec plan of {html.escape(self.model, quote=True)}", 560)

    def simulate(
        self,
        x: Any,
        labels: Any = None,
        *,
        exact: bool = False,
        seed: int = 1,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Simulation:
        """Runs it in the clear with modelled noise: what an encrypted run will give, at the speed of plain arithmetic.

        ``labels`` are class numbers, ``exact`` leaves the noise out, the same ``seed`` gives the same noise. Layers whose values
        leave their range are warned of: encrypted results of such inputs are wrong.
        """
        arrays = _arrays.named(x, [port.name for port in self.inputs])
        known = _arrays.labels(labels) if labels is not None else None
        started = time.perf_counter()
        with listening(progress, "simulate") as callback:
            noisy, clear, happened, warnings = self._plan.simulate(arrays, known, exact, seed, threads, callback)
        seconds = time.perf_counter() - started
        warn(warnings)
        found = json.loads(happened)
        first = next(iter(noisy))
        return Simulation(
            outputs=_arrays.one_or_all(noisy),
            exact=_arrays.one_or_all(clear),
            seconds=seconds,
            max_error=max(float(np.abs(noisy[name] - clear[name]).max(initial=0.0)) for name in noisy),
            same_class=int(np.sum(classes(noisy[first]) == classes(clear[first]))),
            images=len(noisy[first]),
            right=found["right"],
            right_exact=found["right_exact"],
            layers=found["layers"],
            ops=found["ops"],
            arguments=found["arguments"],
            noise=not exact,
            plan_digest=self.digest,
        )

    def apply_head(self, outputs: Array | Mapping[str, Array]) -> Array | dict[str, Array]:
        """What the plan leaves to the client, such as a softmax at the end of the network, applied to results."""
        by_name = outputs if isinstance(outputs, Mapping) else {self.outputs[0].name: outputs}
        return _arrays.one_or_all(self._plan.apply_heads(_arrays.named(by_name)))


class ClientPlan(_PlanFile):
    """What a client needs of a plan: inputs, outputs, parameters, the list of keys. It holds no weight of the model.

    It is read from what :meth:`save` wrote, or from a plan.
    """

    _native = _fhec.ClientPlan
    _plan: _fhec.ClientPlan


def classes(scores: Array) -> Any:
    """The class that every image's largest score names."""
    return scores.reshape(len(scores), -1).argmax(axis=1)
