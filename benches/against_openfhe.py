"""Times fhec's engine and the OpenFHE wheel side by side, in one run on one machine, and prints the ratios.

    python3 benches/against_openfhe.py [--log-n 15] [--limbs 12] [--digits 3] [--threads 1] [--openfhe PYTHON3.10] [--bootstrap]

Needs a release build of fhec (it builds one) and, for OpenFHE, a CPython 3.10 with `pip install openfhe==1.6.1.*`
(the wheel loads on no other version). With `--bootstrap` it also times, once, a bootstrap of N/2 and of N/4 slots at
N = 2^16 on each side: minutes, and 9 GB for OpenFHE. Both sides use ciphertexts of the same number of about 50-bit primes, the same
number of key-switching digits, and 128-bit security; each operation's result is checked before its time counts.
The sides take turns, ROUNDS times, and the fastest of each counts, so that a noisy neighbour hits both.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUNDS = 3

# Run by the Python that has the wheel: prints one JSON object of milliseconds.
OPENFHE = r"""
import json, math, sys, time
import openfhe as o
log_n, limbs, digits, repetitions = map(int, sys.argv[1:])
p = o.CCParamsCKKSRNS()
p.SetRingDim(1 << log_n)
p.SetMultiplicativeDepth(limbs - 1)
p.SetScalingModSize(49)
p.SetFirstModSize(50)
p.SetNumLargeDigits(digits)
p.SetScalingTechnique(o.ScalingTechnique.FIXEDMANUAL)
p.SetKeySwitchTechnique(o.KeySwitchTechnique.HYBRID)
p.SetSecretKeyDist(o.SecretKeyDist.UNIFORM_TERNARY)
p.SetSecurityLevel(o.SecurityLevel.HEStd_128_classic)
n = 1 << (log_n - 1)
p.SetBatchSize(n)
cc = o.GenCryptoContext(p)
for f in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE"):
    cc.Enable(getattr(o.PKESchemeFeature, f))
keys = cc.KeyGen()
cc.EvalMultKeyGen(keys.secretKey)
cc.EvalRotateKeyGen(keys.secretKey, list(range(1, 9)))
x = [math.sin(i * 0.37) for i in range(n)]
px = cc.MakeCKKSPackedPlaintext(x)
cx = cc.Encrypt(keys.publicKey, px)

def check(name, ct, expected):
    d = cc.Decrypt(keys.secretKey, ct)
    d.SetLength(n)
    worst = max(abs(a - b) for a, b in zip(d.GetRealPackedValue(), expected))
    assert worst < 2.0 ** -20, f"{name}: error {worst}"

def fastest(f):
    f()
    best = 1e9
    for _ in range(repetitions):
        start = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best

squares = [v * v for v in x]
product = cc.EvalMult(cx, px)
check("mul_plain_rescale", cc.Rescale(product), squares)
check("mul_relin_rescale", cc.Rescale(cc.EvalMult(cx, cx)), squares)
check("rotate", cc.EvalRotate(cx, 1), x[1:] + x[:1])
digits_of_x = cc.EvalFastRotationPrecompute(cx)
hoisted = lambda r: cc.EvalFastRotation(cx, r, 4 << (log_n - 1), digits_of_x)
check("hoisted_rotate", hoisted(2), x[2:] + x[:2])
print(json.dumps({
    "encode": fastest(lambda: cc.MakeCKKSPackedPlaintext(x)),
    "add": fastest(lambda: cc.EvalAdd(cx, cx)),
    "rescale": fastest(lambda: cc.Rescale(product)),
    "mul_plain_rescale": fastest(lambda: cc.Rescale(cc.EvalMult(cx, px))),
    "mul_relin_rescale": fastest(lambda: cc.Rescale(cc.EvalMult(cx, cx))),
    "rotate": fastest(lambda: cc.EvalRotate(cx, 1)),
    "hoisted_rotate": fastest(lambda: hoisted(3)),
}))
"""

# The same for one bootstrap at N = 2^16; also what it leaves and how precise it is.
OPENFHE_BOOTSTRAP = r"""
import json, math, sys, time
import openfhe as o
slots = int(sys.argv[1])
p = o.CCParamsCKKSRNS()
dist = o.SecretKeyDist.SPARSE_ENCAPSULATED
p.SetSecretKeyDist(dist)
p.SetSecurityLevel(o.SecurityLevel.HEStd_128_classic)
p.SetRingDim(1 << 16)
p.SetScalingModSize(59)
p.SetFirstModSize(60)
p.SetScalingTechnique(o.ScalingTechnique.FIXEDMANUAL)
p.SetKeySwitchTechnique(o.KeySwitchTechnique.HYBRID)
budget = [3, 3]
depth = 5 + o.FHECKKSRNS.GetBootstrapDepth(budget, dist)
p.SetMultiplicativeDepth(depth)
p.SetBatchSize(slots)
cc = o.GenCryptoContext(p)
for f in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
    cc.Enable(getattr(o.PKESchemeFeature, f))
keys = cc.KeyGen()
cc.EvalMultKeyGen(keys.secretKey)
cc.EvalBootstrapSetup(budget, [0, 0], slots)
cc.EvalBootstrapKeyGen(keys.secretKey, slots)
x = [math.sin(i * 0.37) for i in range(slots)]
ct = cc.Encrypt(keys.publicKey, cc.MakeCKKSPackedPlaintext(x, 1, depth - 1, None, slots))
start = time.perf_counter()
out = cc.EvalBootstrap(ct)
ms = 1e3 * (time.perf_counter() - start)
d = cc.Decrypt(keys.secretKey, out)
d.SetLength(slots)
worst = max(abs(a - b) for a, b in zip(d.GetRealPackedValue(), x))
assert worst < 2.0 ** -12, f"bootstrap: error {worst}"
print(json.dumps({"ms": ms, "levels": depth - out.GetLevel(), "bits": -math.log2(worst)}))
"""


def run(command, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-n", type=int, default=15)
    parser.add_argument("--limbs", type=int, default=12)
    parser.add_argument("--digits", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--openfhe", default="python3.10", help="a CPython 3.10 with the openfhe wheel")
    parser.add_argument("--fhec", help="an fhec binary; without it one is built")
    parser.add_argument("--bootstrap", action="store_true", help="also bootstraps, at N = 2^16")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    binary = args.fhec
    if not binary:
        subprocess.run(["cargo", "build", "--release", "--bin", "fhec"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        binary = target / "release" / "fhec"
    ours, theirs, report = {}, {}, {}
    bench = [binary, "bench", "--log-n", args.log_n, "--limbs", args.limbs, "--digits", args.digits,
             "--threads", args.threads, "--repetitions", args.repetitions, "--json"]
    for _ in range(ROUNDS):
        report = run([*bench, "--no-bootstrap"], args.threads)
        for name, op in report["ops"].items():
            ours[name] = min(ours.get(name, op["ms"]), op["ms"])
        peer = run([args.openfhe, "-c", OPENFHE, args.log_n, args.limbs, args.digits, args.repetitions], args.threads)
        for name, ms in peer.items():
            theirs[name] = min(theirs.get(name, ms), ms)
    rows = {name: {"fhec_ms": ours[name], "openfhe_ms": ms, "ratio": ms / ours[name],
                   "floor_ms": report["ops"][name]["floor_ms"]} for name, ms in theirs.items()}
    presets = {}
    if args.bootstrap:
        report = run(bench, args.threads)
        for name, slots in (("bootstrap", 1 << 15), ("bootstrap_sparse", 1 << 14)):
            op, preset = report["ops"][name], report["bootstraps"][name]
            peer = run([args.openfhe, "-c", OPENFHE_BOOTSTRAP, slots], args.threads)
            rows[name] = {"fhec_ms": op["ms"], "openfhe_ms": peer["ms"], "ratio": peer["ms"] / op["ms"],
                          "floor_ms": op["floor_ms"]}
            presets[name] = {"slots": slots, "fhec": {"levels": preset["target"], "scale_bits": preset["spec"]["scale_bits"],
                                                      "log_qp": preset["log_qp"], "bits": op["precision_bits"]},
                             "openfhe": {"levels": peer["levels"], "scale_bits": 59, "bits": peer["bits"]}}
    if args.json:
        print(json.dumps({"log_n": args.log_n, "limbs": args.limbs, "digits": args.digits, "threads": args.threads,
                          "isa": report["isa"], "ops": rows,
                          "bootstraps": presets}))
        return
    print(f"N = 2^{args.log_n}, {args.limbs} limbs, {args.digits} digits, {args.threads} thread(s), {report['isa']}; milliseconds")
    print(f"{'operation':<20}{'fhec':>10}{'floor':>10}{'OpenFHE':>10}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:<20}{row['fhec_ms']:>10.2f}{row['floor_ms']:>10.2f}{row['openfhe_ms']:>10.2f}{row['ratio']:>8.1f}")
    for name, preset in presets.items():
        for side in ("fhec", "openfhe"):
            left = preset[side]
            print(f"{name}, {side}: {preset['slots']} slots, {left['levels']} levels of {left['scale_bits']} bits left, "
                  f"worst slot {left['bits']:.1f} bits")


if __name__ == "__main__":
    main()
