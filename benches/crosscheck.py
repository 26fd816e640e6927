"""Runs the same small programs on ciphertexts of fhec's engine and of the OpenFHE wheel, and compares the results.

    python3 benches/crosscheck.py [--openfhe PYTHON3.10] [--bootstrap-log-n 12] [--precision 20] [--json]

Products, rotations, a linear transform, a Chebyshev polynomial of degree 15, all of them in one program, and bootstraps of
full and sparse slots. fhec compiles each program from text (`benches/crosscheck.rs`: lowering, choice of parameters, key
list, execution); OpenFHE runs it by its own calls, under parameters it chooses itself; this script computes it once more
in the clear. Every pair of the three must agree in every slot within 2^-PRECISION. Leveled programs run at 128-bit
security on both sides; bootstraps below N = 2^16 do not.

Needs a CPython 3.10 with `pip install openfhe==1.6.1.*` (the wheel loads on no other version).
"""

import argparse
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLOTS = 256

# A program is a list of steps; values are numbered, the inputs first. Its outputs are the last `outputs` values.
# The interpreters of steps: `text` below (for fhec), `clear` below, `RUN` in this program of the Python with the wheel.
OPENFHE = r"""
import json, sys
import openfhe as o

def context(log_n, slots, depth, scale_bits, first_bits, technique, secret, security):
    p = o.CCParamsCKKSRNS()
    if log_n:
        p.SetRingDim(1 << log_n)
    p.SetBatchSize(slots)
    p.SetMultiplicativeDepth(depth)
    p.SetScalingModSize(scale_bits)
    p.SetFirstModSize(first_bits)
    p.SetScalingTechnique(getattr(o.ScalingTechnique, technique))
    p.SetSecretKeyDist(getattr(o.SecretKeyDist, secret))
    p.SetSecurityLevel(getattr(o.SecurityLevel, security))
    cc = o.GenCryptoContext(p)
    for f in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
        cc.Enable(getattr(o.PKESchemeFeature, f))
    keys = cc.KeyGen()
    cc.EvalMultKeyGen(keys.secretKey)
    def encrypt(x, level=0):
        return cc.Encrypt(keys.publicKey, cc.MakeCKKSPackedPlaintext(x, 1, level, None, slots))
    def decrypt(ct):
        d = cc.Decrypt(keys.secretKey, ct)
        d.SetLength(slots)
        return d.GetRealPackedValue()
    return cc, keys, encrypt, decrypt

def rotated(cc, ct, by):
    return cc.EvalRotate(ct, by) if by else ct

def step(cc, slots, values, op, a, *rest):
    x = values[a]
    plain = lambda v: cc.MakeCKKSPackedPlaintext(v, 1, 0, None, slots)
    if op == "mul":
        return cc.EvalMult(x, values[rest[0]])
    if op == "add":
        return cc.EvalAdd(x, values[rest[0]])
    if op == "sub":
        return cc.EvalSub(x, values[rest[0]])
    if op == "rotate":
        return rotated(cc, x, rest[0])
    if op == "mul_plain":
        return cc.EvalMult(x, plain(rest[0]))
    if op == "add_plain":
        return cc.EvalAdd(x, plain(rest[0]))
    if op == "linear":
        rotations, _, diagonals = rest
        terms = [cc.EvalMult(rotated(cc, x, r), plain(d)) for r, d in zip(rotations, diagonals)]
        return cc.EvalAddMany(terms)
    if op == "polynomial":
        lo, hi, coefficients = rest
        # OpenFHE halves the first coefficient of a Chebyshev series.
        return cc.EvalChebyshevSeries(x, [2 * coefficients[0], *coefficients[1:]], lo, hi)
    raise ValueError(op)

def run(program):
    slots = len(program["inputs"][0])
    args = (0, slots, program["depth"], 50, 60, "FLEXIBLEAUTO", "UNIFORM_TERNARY", "HEStd_128_classic")
    cc, keys, encrypt, decrypt = context(*args)
    rotations = {s[2] for s in program["steps"] if s[0] == "rotate"}
    rotations.update(r for s in program["steps"] if s[0] == "linear" for r in s[2] if r)
    if rotations:
        cc.EvalRotateKeyGen(keys.secretKey, sorted(rotations))
    values = [encrypt(x) for x in program["inputs"]]
    for s in program["steps"]:
        values.append(step(cc, slots, values, *s))
    return cc, [decrypt(ct) for ct in values[-program["outputs"]:]]

def bootstrap(job):
    slots, left = len(job["input"]), 3
    budget = [3, 3] if slots > 1 << 12 else [2, 2]
    secret = o.SecretKeyDist.SPARSE_ENCAPSULATED
    depth = left + o.CryptoContext.GetBootstrapDepth(budget, secret)
    security = "HEStd_128_classic" if job["log_n"] >= 16 else "HEStd_NotSet"
    args = (job["log_n"], slots, depth, 59, 60, "FLEXIBLEAUTO", "SPARSE_ENCAPSULATED", security)
    cc, keys, encrypt, decrypt = context(*args)
    cc.EvalBootstrapSetup(budget, [0, 0], slots)
    cc.EvalBootstrapKeyGen(keys.secretKey, slots)
    fresh = cc.EvalBootstrap(encrypt(job["input"], depth - 1))
    return cc, [decrypt(ct) for ct in (fresh, cc.EvalMult(fresh, fresh))]

job, results = json.load(sys.stdin), {}
for kind, one in [("programs", run), ("bootstraps", bootstrap)]:
    for item in job[kind]:
        cc, outputs = one(item)
        results[item["name"]] = {"log_n": (cc.GetRingDimension() - 1).bit_length(), "outputs": outputs}
        o.ClearEvalMultKeys()
        o.CryptoContext.ClearEvalAutomorphismKeys()
        o.ReleaseAllContexts()
json.dump(results, sys.stdout)
"""


def single(x):
    """The nearest 32-bit number: what a plan's constants and tensors hold."""
    return struct.unpack("f", struct.pack("f", x))[0]


class Program:
    """Steps on `inputs` vectors in [-1, 1]; OpenFHE needs `depth` levels for them."""

    def __init__(self, name, seed, inputs, depth, steps, outputs=1):
        rng = random.Random(seed)
        self.name, self.depth, self.outputs = name, depth, outputs
        self.inputs = [vector(rng) for _ in range(inputs)]
        self.steps = steps(rng)

    def clear(self):
        values = list(self.inputs)
        for op, a, *rest in self.steps:
            x = values[a]
            if op in ("mul", "add", "sub"):
                y = values[rest[0]]
                f = {"mul": float.__mul__, "add": float.__add__, "sub": float.__sub__}[op]
                out = [f(p, q) for p, q in zip(x, y)]
            elif op == "rotate":
                out = rotated(x, rest[0])
            elif op == "mul_plain":
                out = [p * q for p, q in zip(x, rest[0])]
            elif op == "add_plain":
                out = [p + q for p, q in zip(x, rest[0])]
            elif op == "linear":
                rotations, _, diagonals = rest
                terms = [[p * q for p, q in zip(d, rotated(x, r))] for r, d in zip(rotations, diagonals)]
                out = [math.fsum(column) for column in zip(*terms)]
            else:
                lo, hi, coefficients = rest
                out = [chebyshev(coefficients, (2 * v - lo - hi) / (hi - lo)) for v in x]
            values.append(out)
        return values[-self.outputs:]

    def text(self):
        """The program at fhec's `slot` level."""
        constants, lines, kind = [], [], f"slots<{SLOTS}>"

        def constant(shape, data):
            constants.append(f"const @c{len(constants)} : tensor<{shape}> = [{', '.join(map(number, data))}]")
            return f"@c{len(constants) - 1}"

        for i, (op, a, *rest) in enumerate(self.steps, len(self.inputs)):
            operands, attributes = f"%{a}", ""
            if op in ("mul", "add", "sub"):
                operands += f", %{rest[0]}"
            elif op == "rotate":
                attributes = f" {{by = {rest[0]}}}"
            elif op in ("mul_plain", "add_plain"):
                attributes = f" {{value = {constant(SLOTS, rest[0])}}}"
            elif op == "linear":
                rotations, giants, diagonals = rest
                data = [v for d in diagonals for v in d]
                table = constant(f"{len(diagonals)}x{SLOTS}", data)
                attributes = f" {{rotations = {rotations}, giants = {giants}, diagonals = {table}}}"
            else:
                lo, hi, coefficients = rest
                series = ", ".join(map(number, coefficients))
                attributes = f" {{basis = chebyshev, lo = {number(lo)}, hi = {number(hi)}, coeffs = [{series}]}}"
            lines.append(f"  %{i} = slot.{op} {operands}{attributes} : {kind}")
        last = len(self.inputs) + len(self.steps)
        layout = f"layout {{slots = {SLOTS}, ciphertexts = 1, period = {SLOTS}, offset = 0, " \
                 f"digits = [{{dim = 0, divisor = 1, size = {SLOTS}, stride = 1}}]}}"
        ports = [f'input "x{i}" : tensor<{SLOTS}> {layout}' for i in range(len(self.inputs))]
        ports += [f'output "y{i}" : tensor<{SLOTS}> {layout}' for i in range(self.outputs)]
        params = ", ".join(f"%{i}: {kind}" for i in range(len(self.inputs)))
        results = [f"%{last - self.outputs + i}" for i in range(self.outputs)]
        one = self.outputs == 1
        returned, types = ", ".join(results), kind if one else f"({', '.join([kind] * self.outputs)})"
        body = [f"func @main({params}) -> {types} {{", *lines, f"  return {returned}", "}"]
        return "\n".join([*constants, *ports, "", *body, ""])


def number(x):
    return f"{x:.12f}"


def vector(rng, bound=1.0):
    return [single(rng.uniform(-bound, bound)) for _ in range(SLOTS)]


def rotated(x, by):
    return [x[(i + by) % len(x)] for i in range(len(x))]


def chebyshev(coefficients, t):
    """Clenshaw's recurrence."""
    b1 = b2 = 0.0
    for c in reversed(coefficients[1:]):
        b1, b2 = c + 2 * t * b1 - b2, b1
    return coefficients[0] + t * b1 - b2


def series(f, degree):
    """The interpolant of `f` on [-1, 1] at the roots of the next Chebyshev polynomial."""
    n = degree + 1
    angles = [math.pi * (j + 0.5) / n for j in range(n)]
    values = [f(math.cos(t)) for t in angles]
    sums = [2 / n * math.fsum(v * math.cos(k * t) for v, t in zip(values, angles)) for k in range(n)]
    return [single(sums[0] / 2), *map(single, sums[1:])]


def linear(rng, a):
    rotations = [0, 1, 2, 3, 8, 9, 10, 11, -16, -15]
    giants = [0, 0, 0, 0, 8, 8, 8, 8, -16, -16]
    return ("linear", a, rotations, giants, [vector(rng, 0.1) for _ in rotations])


def programs():
    swish = series(lambda x: x / (1 + math.exp(-4 * x)), 15)
    return [
        Program("products", 1, 2, 4, lambda _: [
            ("mul", 0, 1), ("mul", 2, 2), ("mul", 3, 0), ("sub", 4, 1), ("mul", 5, 2)]),
        Program("rotations", 2, 1, 1, lambda rng: [
            ("rotate", 0, 1), ("rotate", 1, -5), ("rotate", 0, 100), ("add", 2, 3), ("mul_plain", 4, vector(rng))],
            outputs=2),
        Program("linear transform", 3, 1, 1, lambda rng: [linear(rng, 0), ("add_plain", 1, vector(rng))]),
        Program("polynomial", 4, 1, 6, lambda _: [("polynomial", 0, -1.0, 1.0, swish)]),
        Program("all of them", 5, 2, 9, lambda rng: [
            linear(rng, 0), ("add_plain", 2, vector(rng, 0.05)), ("polynomial", 3, -1.25, 1.25, swish),
            ("rotate", 4, 7), ("mul", 5, 1), ("add", 6, 4), linear(rng, 7)], outputs=2),
    ]


def bootstraps(log_n):
    def job(kind, slots, seed):
        rng = random.Random(seed)
        return {"name": f"bootstrap, {kind}", "log_n": log_n, "levels": 4, "scale_bits": 42,
                "input": [rng.uniform(-1, 1) for _ in range(slots)]}
    return [job("full slots", 1 << (log_n - 1), 6), job("sparse slots", 1 << (log_n - 4), 7)]


def run(command, job):
    done = subprocess.run([str(c) for c in command], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def bits(a, b):
    """-log2 of the largest difference of two lists of vectors."""
    if [len(x) for x in a] != [len(x) for x in b]:
        sys.exit(f"vectors of lengths {[len(x) for x in a]} and {[len(x) for x in b]}")
    worst = max(abs(p - q) for x, y in zip(a, b) for p, q in zip(x, y))
    return -math.log2(max(worst, 2.0 ** -60))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openfhe", default="python3.10", help="a CPython 3.10 with the openfhe wheel")
    parser.add_argument("--bootstrap-log-n", type=int, default=12, help="log2 of the ring degree of the bootstraps")
    parser.add_argument("--precision", type=int, default=20, help="bits within which results must agree")
    parser.add_argument("--fhec", help="the built example; without it, it is built")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    binary = args.fhec
    if not binary:
        subprocess.run(["cargo", "build", "--release", "--example", "crosscheck"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        binary = target / "release" / "examples" / "crosscheck"
    leveled, refreshed = programs(), bootstraps(args.bootstrap_log_n)
    # One bit more than asked for: two sides, each with its own error, are compared.
    ours = run([binary], {
        "precision_bits": args.precision + 1,
        "programs": [{"name": p.name, "text": p.text(), "inputs": p.inputs} for p in leveled],
        "bootstraps": refreshed})
    theirs = run([args.openfhe, "-c", OPENFHE], {
        "programs": [{"name": p.name, "depth": p.depth, "inputs": p.inputs, "outputs": p.outputs, "steps": p.steps}
                     for p in leveled],
        "bootstraps": [{"name": b["name"], "log_n": b["log_n"], "input": b["input"]} for b in refreshed]})
    exact = {p.name: p.clear() for p in leveled}
    exact.update((b["name"], [b["input"], [x * x for x in b["input"]]]) for b in refreshed)
    rows = {}
    for name, clear in exact.items():
        a, b = ours[name], theirs[name]
        rows[name] = {"fhec_openfhe_bits": bits(a["outputs"], b["outputs"]), "fhec_clear_bits": bits(a["outputs"], clear),
                      "openfhe_clear_bits": bits(b["outputs"], clear), "fhec_log_n": a["log_n"],
                      "fhec_log_qp": a["log_qp"], "openfhe_log_n": b["log_n"], "insecure": a["insecure"]}
    if args.json:
        print(json.dumps({"precision": args.precision, "programs": rows}))
    else:
        print(f"bits of agreement in the worst slot; {args.precision} are asked for")
        print(f"{'program':<24}{'fhec-OpenFHE':>14}{'fhec-clear':>12}{'OpenFHE-clear':>15}{'N':>14}")
        for name, row in rows.items():
            rings = f"2^{row['fhec_log_n']}, 2^{row['openfhe_log_n']}"
            print(f"{name:<24}{row['fhec_openfhe_bits']:>14.1f}{row['fhec_clear_bits']:>12.1f}"
                  f"{row['openfhe_clear_bits']:>15.1f}{rings:>14}")
    wrong = [name for name, row in rows.items()
             if min(row[k] for k in ("fhec_openfhe_bits", "fhec_clear_bits", "openfhe_clear_bits")) < args.precision]
    if wrong:
        sys.exit(f"these disagree: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
