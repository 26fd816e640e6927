"""How many of the ONNX project's node cases compile to an encrypted plan that agrees in simulation.

    python tests/onnx_nodes.py target/release/fhec FOLDER [--limit 60] [--only test_relu,test_conv]

FOLDER is the unpacked `onnx_backend.tar.xz`. Of every case the first operand of real numbers is encrypted and the others are
constants, as weights are. Calibration is the operand itself and 63 copies whose elements are scaled by 0.9 to 1.1, so that
logarithms and roots stay in their domain. A plan agrees when its simulation, without noise, is off by at most a twentieth of the
largest expected value: that is the part of polynomials of the default degree. Needs onnx and numpy.
"""

import argparse
import collections
import pathlib
import tempfile

import numpy
import onnx
from onnx import numpy_helper

from fhec_command import fhec

CALIBRATION, SHARE = 64, 0.05


def tensors(folder, kind, names):
    """The tensors of a data set by name."""
    files = [folder / f"{kind}_{i}.pb" for i in range(len(names))]
    read = lambda file: numpy_helper.to_array(onnx.load_tensor(file))
    return {name: read(file) for name, file in zip(names, files) if file.is_file()}


def bound(case, folder):
    """The model with all operands but the first real one as constants; that operand, its name, and the expected results."""
    model = onnx.load(case / "model.onnx")
    inputs = tensors(folder, "input", [port.name for port in model.graph.input])
    expected = tensors(folder, "output", [port.name for port in model.graph.output])
    real = [name for name, value in inputs.items() if value.dtype == numpy.float32 and value.size > 0]
    if not real:
        return None
    for name, value in inputs.items():
        if name != real[0]:
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    kept = [port for port in model.graph.input if port.name == real[0]]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, real[0], inputs[real[0]], expected


def results(path, expected):
    """The results of a simulation by name: `path` is an .npz where there are several."""
    loaded = numpy.load(path)
    if isinstance(loaded, numpy.ndarray):
        return dict.fromkeys(expected, loaded)
    return {name: loaded[name] for name in expected if name in loaded}


def forms(found, shape, images):
    """Results of several images lie one after the other, wherever the model has its batch."""
    yield found.reshape(shape)
    for axis in (axis for axis, extent in enumerate(shape) if extent == images > 1):
        of_one = shape[:axis] + shape[axis + 1 :]
        yield numpy.moveaxis(found.reshape(images, *of_one), 0, axis)


def outcome(program, limit, case, place):
    """What became of a case, in words: `agrees`, or why not."""
    made = bound(case, case / "test_data_set_0")
    if made is None:
        return "nothing of real numbers to encrypt"
    model, name, operand, expected = made
    onnx.save(model, place / "model.onnx")
    numbers = numpy.random.default_rng(1)
    copies = [operand] + [operand * numbers.uniform(0.9, 1.1, operand.shape) for _ in range(CALIBRATION - 1)]
    together = numpy.stack(copies).astype(numpy.float32)
    plan, several = place / "plan.fhe", len(expected) > 1
    out = place / ("out.npz" if several else "out.npy")
    # The first dimension of the operand may be the batch of the model, whose images are then given one by one.
    shapes = [(together, operand[None])]
    if operand.ndim > 1:
        shapes.append((together.reshape(-1, *operand.shape[1:]), operand))
    error = None
    for samples, image in shapes:
        numpy.savez(place / "calibration.npz", **{name: samples})
        numpy.savez(place / "input.npz", **{name: image})
        compile_it = ["compile", place / "model.onnx", "--calibration", place / "calibration.npz", "-o", plan, "--force"]
        made = fhec(program, limit, *compile_it)
        if isinstance(made, dict):
            break
        error = error or made
    else:
        return f"not compiled: {error}"
    inspected = fhec(program, limit, "inspect", plan)
    if isinstance(inspected, str):
        return f"not inspected: {inspected}"
    if any(port["heads"] for port in inspected["summary"]["outputs"]):
        return "left to the client: the results are those before the head"
    apply = ["simulate", plan, "--input", place / "input.npz", "--exact", "-o", out, "--force"]
    simulated = fhec(program, limit, *apply)
    if isinstance(simulated, str):
        return f"not simulated: {simulated}"
    found = results(out, expected)
    for port, value in expected.items():
        if port not in found or found[port].size != value.size:
            return f"differs: `{port}` has another size"
        largest = max(numpy.abs(value).max(initial=0.0), 1e-6)
        error = min(numpy.abs(form - value).max(initial=0.0) for form in forms(found[port], value.shape, len(operand)))
        if not error <= SHARE * largest:
            return f"differs: {error:.1e} of {largest:.1e}"
    return "agrees"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the command fhec")
    parser.add_argument("folder", type=pathlib.Path, help="the unpacked cases")
    parser.add_argument("--limit", type=float, default=60, help="seconds that a command may take")
    parser.add_argument("--only", help="names of cases, separated by commas")
    options = parser.parse_args()
    program = str(pathlib.Path(options.program).resolve())
    cases = sorted(path.parent for path in options.folder.rglob("model.onnx"))
    if options.only:
        cases = [case for case in cases if case.name in options.only.split(",")]
    counts = collections.Counter()
    for case in cases:
        with tempfile.TemporaryDirectory() as place:
            said = outcome(program, options.limit, case, pathlib.Path(place))
        counts[said.split(":")[0]] += 1
        if said != "agrees":
            print(f"{case.name}: {said}", flush=True)
    print(f"\nof {len(cases)} cases:")
    for said, count in counts.most_common():
        print(f"{count:5} {said}")


if __name__ == "__main__":
    main()
