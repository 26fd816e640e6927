"""The loop: from activations to polynomials, distilled from the teacher, with checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import signal
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .constrained import ConstrainedWeight
from .data import Data, distorted
from .dirac import DiracKernel
from .errors import TrainError
from .export import coefficients, export
from .graph import Graph
from .polynomial import FixedPolynomial, PolynomialActivation, Replacement
from .recipe import Fitted, Recipe

# Inputs that statistics and coefficients start from.
_START = 512
# Steps between two choices of masks.
_SURGERY = 16
# The share of the epochs after which the first weights are frozen; the last ones are at the end.
_FIRST_FREEZE = 0.4
# An input is destroyed where its results are this many times as large as any of the original network's.
_DESTROYED = 10.0


@dataclasses.dataclass(frozen=True)
class Options:
    """How training goes. The defaults are what was measured to work on residual networks of quadratics."""

    epochs: int = 12
    batch: int = 128
    rate: float = 0.03
    momentum: float = 0.9
    decay: float = 5e-4
    warmup: int = 200
    """Steps over which the rate rises from nothing; at most a tenth of all."""
    blend: float = 2.0
    """Epochs over which activations become polynomials; at most a third of all. At once, training diverges."""
    coefficient_rate: float = 0.1
    """The rate of polynomials' coefficients, as a share of that of weights."""
    temperature: float = 3.0
    hard: float = 0.1
    """The weight of the labels' cross-entropy beside the teacher's logits."""
    features: float = 1.0
    """The weight of the teacher's tensors, which falls to a tenth of it."""
    penalty: float = 5.0
    """The weight of arguments beyond `bound` standard deviations."""
    bound: float = 4.0
    tails: float = 0.0
    """The weight of each input's farthest argument beyond twice `bound`, as a share of `penalty`. Few inputs have one so far out, and
    polynomials destroy their results."""
    clip: float = 1.0
    """The largest norm of a step's gradient."""
    straight_through: bool = False
    """Forward the polynomial, backward the function's gradient, for degrees above 2 (AutoFHE, PAT)."""
    surgery: float = 0.35
    """The share of the epochs over which masked weights may return in place of others."""
    portions: str = "0.5,0.75,0.875,1"
    """The shares of weights that are frozen at powers of two, one after another; the rest is trained on in between."""
    shift: int = 0
    """Images are moved by up to this many pixels."""
    flip: bool = False
    held: int = 0
    """Inputs at the end of the data that are kept to measure on; 0: a tenth, at most 2,000."""
    patience: int = 0
    """Training ends after this many epochs without a better network; 0: never before its time."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Measured:
    """A network of polynomials on inputs that it was not trained on."""

    inputs: int
    agreement: float
    """The share of inputs that get the teacher's class, or the original network's where there is no teacher."""
    accuracy: float | None
    """The share of inputs that get their label."""
    destroyed: int
    """Inputs with results beyond ten times the original network's largest, or not finite."""
    reach: float | None
    """The largest argument of a polynomial, in standard deviations of its channel; `None` where activations stay."""

    def score(self) -> float:
        """What is better has a larger one: classes first, and no input destroyed."""
        right = self.agreement if self.accuracy is None else self.accuracy
        return right - self.destroyed / self.inputs


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of training."""

    best: Measured
    epoch: int
    """The epoch, from 1, after which the network that is kept was measured."""
    epochs: int
    seconds: float


class Stopped(Exception):
    """SIGINT or SIGTERM came, and a checkpoint is written."""


def train(
    student,
    recipe: Recipe,
    out,
    data: Data,
    teacher=None,
    options: Options = Options(),
    report: Callable[[dict], None] = lambda record: None,
    checkpoint_seconds: float = 120.0,
    begin=None,
) -> Result:
    """Trains the ONNX file `student` and writes `out`, the network with polynomials.

    Beside `out` lies `out.checkpoint` until training has ended: a run that was stopped, however it was, goes on from
    there. `report` is given a record for each step and each epoch. `begin` is a network that was trained by the same recipe, from
    which training goes on with polynomials alone. Raises `TrainError` for files and data that do not
    belong together, `Stopped` when a signal ends the run.
    """
    student, out = pathlib.Path(student), pathlib.Path(out)
    recipe.check(_read(student), None if teacher is None else _read(pathlib.Path(teacher)))
    graph, teacher = Graph.load(student), None if teacher is None else Graph.load(teacher)
    if begin is not None:
        begin = Graph.load(begin)
        recipe, options = _begun(graph, recipe, begin), dataclasses.replace(options, blend=0.0)
    run = _Run(graph, recipe, teacher, data, options, begin)
    return run.go(out, report, checkpoint_seconds)


def _begun(student: Graph, recipe: Recipe, begin: Graph) -> Recipe:
    """Gives `student` the weights of `begin`; the recipe with its polynomials to start from. Raises `TrainError` where the recipe
    changes more than activations: of kernels, masks and frozen weights a trained network shows only the product."""
    if recipe.dirac or recipe.masks or recipe.powers_of_two:
        raise TrainError("--begin is for recipes that change activations alone: train the others from their student")
    student.take(begin)
    activations = []
    for activation in recipe.activations:
        rows = coefficients(begin, activation).tolist()
        start = Fitted(basis="monomial", interval=[-1.0, 1.0], coefficients=rows)
        activations.append(dataclasses.replace(activation, polynomial=dataclasses.replace(activation.polynomial, start=start)))
    return dataclasses.replace(recipe, activations=activations)


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainError(f"{path}: {error.strerror}") from error


class _Run:
    """A training run: the networks, the optimiser and where it is."""

    def __init__(
        self, student: Graph, recipe: Recipe, teacher: Graph | None, data: Data, options: Options, begin: Graph | None = None
    ):
        if recipe.changes_nothing:
            raise TrainError("the recipe changes nothing: run `fhec prepare` with --activations, --skips, --prune or --powers-of-two")
        self.portions = _portions(options.portions)
        if teacher is None and data.labels is None:
            raise TrainError("there is nothing to learn from: give the teacher, or data with labels")
        held = options.held or min(len(data) // 10, 2000)
        if not 0 < held < len(data) or len(data) - held < options.batch:
            raise TrainError(
                f"{len(data)} inputs are too few for batches of {options.batch} and {held} inputs to measure on"
            )
        torch.manual_seed(options.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.recipe, self.options, self.begin = recipe, options, begin
        self.data, self.held = data.split(held)
        self.teacher, self.student = teacher, student
        self.matches = self._matches()
        self._replace()
        self.student.to(self.device)
        if teacher is not None:
            teacher.to(self.device).eval().requires_grad_(False)
        self.original = self._original()
        self._check_labels()
        self.steps = len(self.data) // options.batch
        self.total = self.steps * options.epochs
        self.optimiser = torch.optim.SGD(self._groups(), lr=options.rate, momentum=options.momentum, nesterov=True)
        self.epoch, self.step, self.best, self.best_epoch, self.best_state = 0, 0, None, 0, None
        self.spent, self.sums, self.stop = 0.0, {}, False

    # ---- what is trained

    def _matches(self) -> list[tuple[str, str]]:
        """Tensors of the student and of the teacher that ought to be alike."""
        if self.teacher is None:
            return []
        by_name = {node.name: node for node in self.teacher.nodes} | self.teacher.producer
        pairs = []
        for match in self.recipe.matches:
            node = by_name.get(match.teacher_node)
            if node is None:
                raise TrainError(f"{self.teacher.file}: the recipe names a node {match.teacher_node!r}, which is not there")
            pairs.append((match.student, node.inputs[0]))
        return pairs

    @torch.no_grad()
    def _replace(self) -> None:
        """Puts kernels and activations in place, these started on the first inputs."""
        for dirac in self.recipe.dirac:
            self.student.replace_weight(dirac.weight, DiracKernel(dirac, self.student.tensor(dirac.weight)))
        masks = {mask.weight: mask for mask in self.recipe.masks}
        powers = {each.weight: each for each in self.recipe.powers_of_two}
        for name in sorted(masks.keys() | powers.keys()):
            kernel = ConstrainedWeight(self.student.tensor(name), masks.get(name), powers.get(name))
            self.student.replace_weight(name, kernel)
        self.student.eval()
        names = {name for a in self.recipe.activations for name in (a.input, a.output)}
        source = (self.student if self.begin is None else self.begin).eval()
        parts = [_whole(*source(x, names)) for x in self.data.inputs[:_START].split(64)]
        for activation in self.recipe.activations:
            x, y = (torch.cat([part[name] for part in parts]) for name in (activation.input, activation.output))
            axis = activation.polynomial.axis
            if activation.polynomial.trained:
                made = PolynomialActivation(activation, 1 if axis is None else x.shape[axis])
            else:
                made = FixedPolynomial(activation)
            made.bound, made.tails = self.options.bound, self.options.tails
            made.straight_through = self.options.straight_through and made.degree > 2
            made.start(x, y)
            self.student.replace_activation(activation.input, activation.output, made)

    def _polynomials(self) -> list[Replacement]:
        return list(self.student.activations.values())

    def _constrained(self) -> list[ConstrainedWeight]:
        return [kernel for kernel in self.student.kernels.values() if isinstance(kernel, ConstrainedWeight)]

    def _groups(self) -> list[dict]:
        """Weights decay; statistics' factors, biases and the factors of Dirac kernels do not; coefficients move slowly."""
        coefficients = {id(p.coefficients) for p in self._polynomials() if isinstance(p, PolynomialActivation)}
        groups = {"weights": [], "others": [], "coefficients": []}
        for p in self.student.parameters():
            kind = "coefficients" if id(p) in coefficients else "weights" if p.dim() > 1 else "others"
            groups[kind].append(p)
        slow = self.options.coefficient_rate
        return [
            {"params": groups["weights"], "weight_decay": self.options.decay, "factor": 1.0},
            {"params": groups["others"], "weight_decay": 0.0, "factor": 1.0},
            {"params": groups["coefficients"], "weight_decay": 0.0, "factor": slow},
        ]

    @torch.no_grad()
    def _original(self) -> dict[str, Tensor]:
        """The classes and the largest result of the teacher on held inputs; without one, of labels."""
        if self.teacher is None:
            return {"classes": self.held.labels.to(self.device), "largest": torch.tensor(math.inf)}
        logits = torch.cat([self.teacher(x.to(self.device))[0] for x in self.held.inputs.split(256)])
        return {"classes": logits.argmax(1), "largest": logits.abs().max()}

    @torch.no_grad()
    def _check_labels(self) -> None:
        """Raises `TrainError` where a label names a class that the network does not have."""
        labels = [part.labels for part in (self.data, self.held) if part.labels is not None]
        if not labels:
            return
        classes = self.student.eval()(self.held.inputs[:1].to(self.device))[0].shape[1]
        largest = int(torch.cat(labels).max())
        if largest >= classes:
            raise TrainError(f"the label {largest} names no class: the network has {classes}, which count from 0")

    # ---- one step

    def _schedule(self) -> tuple[float, float]:
        """The factor of the rate and the share of polynomials at this step."""
        at = self.epoch * self.steps + self.step
        warmup = min(self.options.warmup, self.total // 10)
        rate = (at + 1) / warmup if at < warmup else 0.5 * (1 + math.cos(math.pi * (at - warmup) / (self.total - warmup)))
        blend = min(self.options.blend * self.steps, self.total / 3)
        return rate, 1.0 if at >= blend else at / blend

    def _loss(self, x: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """The parts of the loss on a batch, weighted."""
        options, at = self.options, self.epoch * self.steps + self.step
        logits, ours = self.student(x, [name for name, _ in self.matches])
        parts = {}
        if self.teacher is not None:
            with torch.no_grad():
                target, theirs = self.teacher(x, [name for _, name in self.matches])
            t = options.temperature
            likely = F.log_softmax(target / t, 1)
            parts["teacher"] = F.kl_div(F.log_softmax(logits / t, 1), likely, reduction="batchmean", log_target=True) * t * t
            if self.matches:
                falling = options.features * (1.0 - 0.9 * at / self.total)
                far = [F.mse_loss(ours[a], theirs[b]) / theirs[b].var().clamp_min(1e-12) for a, b in self.matches]
                parts["features"] = falling * torch.stack(far).mean()
        if labels is not None:
            weight = options.hard if self.teacher is not None else 1.0
            parts["labels"] = weight * F.cross_entropy(logits, labels)
        outside = [p.penalty for p in self._polynomials() if p.penalty is not None]
        if outside:
            parts["outside"] = options.penalty * torch.stack(outside).mean()
        return parts

    def _batch(self, order: Tensor) -> tuple[Tensor, Tensor | None]:
        """The inputs and labels of this step, distorted by a generator of its own: a run that goes on sees the same."""
        pick = order[self.step * self.options.batch :][: self.options.batch]
        generator = torch.Generator().manual_seed((self.options.seed * 1_000_003 + self.epoch) * 1_000_003 + self.step)
        x = distorted(self.data.inputs[pick], self.options.shift, self.options.flip, generator)
        labels = None if self.data.labels is None else self.data.labels[pick].to(self.device)
        return x.to(self.device), labels

    def _advance(self, order: Tensor) -> None:
        rate, share = self._schedule()
        self._operate()
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * rate * group["factor"]
        for p in self._polynomials():
            p.share = share
        parts = self._loss(*self._batch(order))
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise TrainError(
                f"the loss is not finite at epoch {self.epoch + 1}, step {self.step + 1}: lower --rate, or raise --blend or --penalty"
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.options.clip)
        self.optimiser.step()
        for name, part in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + part.item()
        self.step += 1

    def _operate(self) -> None:
        """Chooses masks while they may change, and leaves them as they are from then on."""
        at = self.epoch * self.steps + self.step
        for weight in self._constrained():
            if weight.settled:
                continue
            if at >= self.options.surgery * self.total:
                weight.settle()
            elif at % _SURGERY == 0:
                weight.operate()

    def _freeze(self) -> None:
        """Freezes weights at the ends of epochs, the largest first, as many as have their turn by now."""
        later = len(self.portions) - 1
        for i, portion in enumerate(self.portions):
            turn = _FIRST_FREEZE + (1.0 - _FIRST_FREEZE) * i / later if later else 1.0
            if self.epoch + 1 >= round(turn * self.options.epochs):
                for weight in self._constrained():
                    if weight.powers is not None:
                        weight.settle()
                        weight.freeze(portion)

    # ---- the loop

    @torch.no_grad()
    def measure(self) -> Measured:
        """The network of polynomials alone on the held inputs."""
        self.student.eval()
        for p in self._polynomials():
            p.reach.zero_()
        logits = torch.cat([self.student(x.to(self.device))[0] for x in self.held.inputs.split(256)])
        classes, count = logits.argmax(1), len(self.held)
        largest = self.original["largest"].item()
        lost = ~torch.isfinite(logits).all(1) | (logits.abs().amax(1) > _DESTROYED * largest)
        labels = self.held.labels
        return Measured(
            inputs=count,
            agreement=(classes == self.original["classes"]).sum().item() / count,
            accuracy=None if labels is None else (classes == labels.to(self.device)).sum().item() / count,
            destroyed=int(lost.sum()),
            reach=max((p.reach.item() for p in self._polynomials()), default=None),
        )

    def go(self, out: pathlib.Path, report: Callable[[dict], None], checkpoint_seconds: float) -> Result:
        checkpoint = out.with_name(out.name + ".checkpoint")
        if checkpoint.exists():
            self._resume(checkpoint)
            report({"kind": "resumed", "epoch": self.epoch, "step": self.step})
        with _Signals() as signals:
            begun, saved = time.monotonic() - self.spent, time.monotonic()
            while self.epoch < self.options.epochs and not self.stop:
                order = torch.randperm(
                    len(self.data), generator=torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.epoch)
                )
                self.student.train()
                while self.step < self.steps:
                    self._advance(order)
                    self.spent = time.monotonic() - begun
                    report(self._record("step", begun))
                    if signals.came or time.monotonic() - saved > checkpoint_seconds:
                        self._save(checkpoint)
                        saved = time.monotonic()
                    if signals.came:
                        raise Stopped(f"stopped at epoch {self.epoch + 1}; the same command goes on from {checkpoint}")
                self._end_epoch(report, begun)
                self._save(checkpoint)
                saved = time.monotonic()
        self.student.load_state_dict(self.best_state)
        export(self.student, self.recipe, out)
        checkpoint.unlink(missing_ok=True)
        return Result(best=self.best, epoch=self.best_epoch, epochs=self.epoch, seconds=self.spent)

    def _record(self, kind: str, begun: float) -> dict:
        steps = self.epoch * self.steps + self.step
        left = (time.monotonic() - begun) / max(steps, 1) * (self.total - steps)
        share = next((p.share for p in self._polynomials()), None)
        place = {"epoch": self.epoch + 1, "epochs": self.options.epochs, "step": self.step, "steps": self.steps}
        losses = {name: sum / max(self.step, 1) for name, sum in self.sums.items()}
        return {"kind": kind, **place, "share": share, "losses": losses, "seconds_left": left}

    def _end_epoch(self, report: Callable[[dict], None], begun: float) -> None:
        self._freeze()
        measured, record = self.measure(), self._record("epoch", begun)
        whole = all(p.share >= 1.0 for p in self._polynomials())
        whole = whole and all(w.is_frozen() if w.powers is not None else w.settled for w in self._constrained())
        if self.best is None or (whole and measured.score() > self.best.score()) or self.best_epoch == 0:
            self.best, self.best_epoch = measured, self.epoch + 1 if whole else 0
            self.best_state = {k: v.detach().clone() for k, v in self.student.state_dict().items()}
        report(record | {"measured": dataclasses.asdict(measured), "kept": self.best_epoch})
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        patience = self.options.patience
        self.stop = bool(patience and self.best_epoch and self.epoch - self.best_epoch >= patience)

    # ---- checkpoints

    def _identity(self) -> dict:
        """What a run must share with the one that wrote a checkpoint."""
        return {
            "student": self.recipe.student_digest,
            "teacher": self.recipe.teacher_digest if self.teacher is not None else None,
            "inputs": len(self.data) + len(self.held),
            "begin": None if self.begin is None else self.begin.digest(),
            **dataclasses.asdict(self.options),
        }

    def _save(self, path: pathlib.Path) -> None:
        about = {
            "identity": self._identity(),
            "place": [self.epoch, self.step, self.best_epoch, self.spent, self.stop],
            "sums": self.sums,
            "best": None if self.best is None else dataclasses.asdict(self.best),
        }
        # Numbers are text: what reads tensors alone reads no others in every version of PyTorch.
        state = {
            "about": json.dumps(about),
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict()["state"],
            "best_state": self.best_state,
        }
        # Whole or not at all: the old checkpoint stays until the new one is on the disk.
        part = path.with_name(path.name + ".part")
        with open(part, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def _resume(self, path: pathlib.Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            about = json.loads(state["about"])
        except Exception as error:  # pickle and zip errors of many kinds
            raise TrainError(f"{path}: {error}; remove it to start again") from error
        ours, theirs = self._identity(), about["identity"]
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise TrainError(
                    f"{path} is of a run with {name} {theirs.get(name)}, not {value}; go on as it began, or remove it to start again"
                )
        self.student.load_state_dict(state["student"])
        # Rates are of the schedule, and all else in a group is of the options.
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state["optimiser"]})
        self.epoch, self.step, self.best_epoch, self.spent, self.stop = about["place"]
        self.sums, self.best_state = about["sums"], state["best_state"]
        self.best = None if about["best"] is None else Measured(**about["best"])


def _whole(logits: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of those inputs of a batch whose results are finite, and not many times as large as is usual."""
    largest = logits.abs().amax(1).nan_to_num(math.inf)
    kept = largest <= _DESTROYED * largest.median()
    return {name: tensor[kept] for name, tensor in tensors.items()}


def _portions(text: str) -> list[float]:
    """The shares of weights in `text`. Raises `TrainError` unless they rise to 1."""
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or shares[-1] != 1.0 or shares[0] <= 0.0 or any(a >= b for a, b in zip(shares, shares[1:])):
        raise TrainError(f"--portions {text}: shares that rise to 1 are expected, such as 0.5,0.75,0.875,1")
    return shares


class _Signals:
    """Notes that SIGINT or SIGTERM came, so that a step is ended and saved first."""

    def __enter__(self) -> _Signals:
        self.came, self._before = False, {}
        for kind in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[kind] = signal.signal(kind, self._note)
            except ValueError:  # not the main thread, whose owner looks after signals
                pass
        return self

    def _note(self, *_) -> None:
        self.came = True

    def __exit__(self, *_) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
