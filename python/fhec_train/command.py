"""`fhec-train`: the command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time

from .errors import TrainError

_HELP = {
    "epochs": "passes over the data",
    "batch": "inputs in a step",
    "rate": "the largest learning rate; it falls to nothing by a cosine",
    "momentum": "of the gradient",
    "decay": "of weights; not of biases, factors and coefficients",
    "warmup": "steps over which the rate rises; at most a tenth of all",
    "blend": "epochs over which activations become polynomials; at most a third of all",
    "coefficient_rate": "the rate of coefficients, as a share of that of weights",
    "temperature": "at which the teacher's logits are matched",
    "hard": "the weight of labels beside the teacher",
    "features": "the weight of the teacher's tensors; it falls to a tenth",
    "penalty": "the weight of arguments beyond --bound",
    "bound": "in standard deviations of a channel",
    "tails": "the weight of each input's farthest argument beyond twice --bound, as a share of --penalty",
    "clip": "the largest norm of a gradient",
    "straight_through": "backward the function's gradient where the degree is above 2",
    "surgery": "the share of the epochs over which masked weights may return",
    "portions": "the shares of weights that are frozen at powers of two, one after another",
    "shift": "move images by up to this many pixels",
    "flip": "mirror half of the images",
    "held": "inputs at the end of the data to measure on (0: a tenth, at most 2,000)",
    "patience": "end after this many epochs without a better network (0: never)",
    "seed": "of order, distortions and all else that is drawn",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Exit codes: 0, 1 for an error that a message explains, 130 when a signal ended the run."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except TrainError as error:
        print(f"fhec-train: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fhec-train", description="Train a student of `fhec prepare` as its recipe says; the result is compiled by `fhec`."
    )
    parser.add_argument("student", help="the student that `fhec prepare` wrote")
    parser.add_argument("--recipe", required=True, help="the recipe beside it")
    parser.add_argument("--data", required=True, help="x.npz with inputs and labels, x.npy, or a torch dataset module:name")
    parser.add_argument("--labels", help="classes of the inputs, .npy")
    parser.add_argument("--teacher", help="the model that the student was prepared from, to learn from")
    parser.add_argument("--begin", help="a network that was trained by this recipe before, to go on from")
    parser.add_argument("-o", "--output", required=True, help="the trained network, ONNX")
    parser.add_argument("--force", action="store_true", help="replace the output where it is there")
    parser.add_argument("--json", action="store_true", help="one record for each epoch on standard output, as JSON")
    from .training import Options

    for field in dataclasses.fields(Options):
        flag, kind = "--" + field.name.replace("_", "-"), type(field.default)
        text = f"{_HELP[field.name]} (default: {field.default})"
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=_HELP[field.name])
        else:
            parser.add_argument(flag, type=kind, default=field.default, help=text)
    return parser


def _run(given: argparse.Namespace) -> int:
    from .data import Data
    from .recipe import Recipe
    from .training import Options, Stopped, train

    out = pathlib.Path(given.output)
    for name in ("student", "recipe", "data", "labels", "teacher", "begin"):
        source = getattr(given, name)
        if source and out.exists() and pathlib.Path(source).exists() and out.samefile(source):
            raise TrainError(f"{out} is the {name}; an output replaces no input")
    if out.exists() and not given.force:
        raise TrainError(f"{out} is there; --force replaces it")
    options = Options(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Options)})
    report = _Report(given.json)
    try:
        result = train(
            given.student,
            Recipe.load(given.recipe),
            out,
            Data.load(given.data, given.labels),
            teacher=given.teacher,
            options=options,
            report=report,
            begin=given.begin,
        )
    except Stopped as stopped:
        report.clear()
        print(f"fhec-train: {stopped}", file=sys.stderr)
        return 130
    finally:
        report.clear()
    if given.json:
        print(json.dumps({"kind": "result", **dataclasses.asdict(result)}))
    best = result.best
    right = "" if best.accuracy is None else f", {100 * best.accuracy:.2f} % right"
    print(
        f"{out}: of {best.inputs} inputs that it was not trained on, {100 * best.agreement:.2f} % have the class of the original"
        f"{right}; {best.destroyed} destroyed; epoch {result.epoch} of {result.epochs}, {result.seconds:.0f} s",
        file=sys.stderr,
    )
    if best.destroyed:
        print(
            f"warning: on {best.destroyed} inputs results are far beyond the original network's; "
            "go on from this network with --begin, a lower --rate and --tails 0.05",
            file=sys.stderr,
        )
    return 0


class _Report:
    """A bar on a terminal, a line for each epoch elsewhere."""

    def __init__(self, as_json: bool):
        self._json, self._bar, self._last = as_json, sys.stderr.isatty(), 0.0

    def clear(self) -> None:
        if self._bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, record: dict) -> None:
        if record["kind"] == "step":
            if self._bar and time.monotonic() - self._last > 0.2:
                self._last = time.monotonic()
                done = (record["epoch"] - 1 + record["step"] / record["steps"]) / record["epochs"]
                bar = "#" * int(30 * done)
                left = time.strftime("%H:%M:%S", time.gmtime(record["seconds_left"]))
                line = f"[{bar:<30}] epoch {record['epoch']} of {record['epochs']}, {left} left, loss {sum(record['losses'].values()):.3f}"
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            return
        self.clear()
        if self._json:
            print(json.dumps(record), flush=True)
        if record["kind"] == "resumed":
            print(f"goes on at epoch {record['epoch'] + 1}, step {record['step']}", file=sys.stderr, flush=True)
        elif record["kind"] == "epoch":
            measured = record["measured"]
            losses = ", ".join(f"{name} {value:.3f}" for name, value in record["losses"].items())
            right = "" if measured["accuracy"] is None else f", {100 * measured['accuracy']:.2f} % right"
            share = "" if record["share"] is None else f"polynomials {100 * record['share']:.0f} %, "
            reach = "" if measured["reach"] is None else f", reach {measured['reach']:.1f}"
            print(
                f"epoch {record['epoch']} of {record['epochs']}: {share}{losses}; "
                f"{100 * measured['agreement']:.2f} % agree{right}, {measured['destroyed']} destroyed{reach}",
                file=sys.stderr,
                flush=True,
            )
