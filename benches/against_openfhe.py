"""Times fhec's engine and the OpenFHE wheel side by side, in one run on one machine, and prints the ratios.

    python3 benches/against_openfhe.py [--log-n 16] [--limbs 26] [--digits 4] [--threads 1] [--openfhe PYTHON3.10]

Needs a release build of fhec (it builds one) and, for OpenFHE, a CPython 3.10 with `pip install openfhe==1.6.1.*`
(the wheel loads on no other version). Both sides use ciphertexts of the same number of about 50-bit primes, the same
number of key-switching digits, and 128-bit security; each operation's result is checked before its time counts.
The sides take turns, `--rounds` times, and the fastest of each counts, so that a noisy neighbour hits both; on one thread
processor time is measured.

Bootstraps (N = 2^16, 2^15 and 2^14 slots) come last: about 9 GB and some minutes of OpenFHE; `--no-bootstrap` skips
them. Each side has parameters of its own for them, which the output states: fhec its two circuits, OpenFHE the fewest digits that
leave OPENFHE_LEVELS levels at 128-bit security, with the scale its precision needs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Slots, and our circuits that are set against OpenFHE's.
BOOTSTRAPS = {1 << 15: ["bootstrap", "bootstrap_compact"], 1 << 14: ["bootstrap_sparse", "bootstrap_compact_sparse"]}
OPENFHE_LEVELS = 5

# Run by the Python that has the wheel: prints one JSON object of milliseconds.
OPENFHE = r"""
import json, math, os, sys, time
import openfhe as o
clock = time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter
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
        start = clock()
        f()
        best = min(best, clock() - start)
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

# The same for one bootstrap: prints milliseconds, precision in bits, and the parameters.
OPENFHE_BOOTSTRAP = r"""
import json, math, os, resource, sys, time
import openfhe as o
clock = time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter
slots, left, repetitions = map(int, sys.argv[1:])
budget, secret = [3, 3], o.SecretKeyDist.SPARSE_ENCAPSULATED
depth = left + o.CryptoContext.GetBootstrapDepth(budget, secret)
SCALE, FIRST = 59, 60

def context(digits):
    p = o.CCParamsCKKSRNS()
    p.SetRingDim(1 << 16)
    p.SetMultiplicativeDepth(depth)
    p.SetScalingModSize(SCALE)
    p.SetFirstModSize(FIRST)
    p.SetNumLargeDigits(digits)
    p.SetScalingTechnique(o.ScalingTechnique.FIXEDMANUAL)
    p.SetKeySwitchTechnique(o.KeySwitchTechnique.HYBRID)
    p.SetSecretKeyDist(secret)
    p.SetSecurityLevel(o.SecurityLevel.HEStd_128_classic)
    p.SetBatchSize(slots)
    return o.GenCryptoContext(p)

for digits in range(2, depth):
    try:
        cc = context(digits)
        break
    except RuntimeError:
        continue
else:
    sys.exit(f"no number of digits makes {depth + 1} limbs secure")
for f in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
    cc.Enable(getattr(o.PKESchemeFeature, f))
keys = cc.KeyGen()
cc.EvalMultKeyGen(keys.secretKey)
cc.EvalBootstrapSetup(budget, [0, 0], slots)
cc.EvalBootstrapKeyGen(keys.secretKey, slots)
x = [math.sin(i * 0.37) for i in range(slots)]
low = cc.Encrypt(keys.publicKey, cc.MakeCKKSPackedPlaintext(x, 1, depth - 1, None, slots))
best = 1e9
for _ in range(repetitions):
    start = clock()
    fresh = cc.EvalBootstrap(low)
    best = min(best, clock() - start)
d = cc.Decrypt(keys.secretKey, fresh)
d.SetLength(slots)
worst = max(abs(a - b) for a, b in zip(d.GetRealPackedValue(), x))
assert worst < 2.0 ** -10, f"bootstrap: error {worst}"
print(json.dumps({
    "ms": 1e3 * best, "precision_bits": -math.log2(worst), "slots": slots, "digits": digits, "limbs": depth + 1,
    "levels": depth - fresh.GetLevel(), "scale_bits": SCALE,
    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
}))
"""


def run(command, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-n", type=int, default=16)
    parser.add_argument("--limbs", type=int, default=26)
    parser.add_argument("--digits", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--openfhe", default="python3.10", help="a CPython 3.10 with the openfhe wheel")
    parser.add_argument("--fhec", help="an fhec binary; without it one is built")
    parser.add_argument("--no-bootstrap", action="store_true")
    parser.add_argument("--bootstrap-repetitions", type=int, default=2, help="of OpenFHE's bootstraps; the fastest counts")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    binary = args.fhec
    if not binary:
        subprocess.run(["cargo", "build", "--release", "--bin", "fhec"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        binary = target / "release" / "fhec"
    ours, theirs, report = {}, {}, {}
    for turn in range(args.rounds):
        command = [binary, "bench", "--log-n", args.log_n, "--limbs", args.limbs, "--digits", args.digits,
                   "--threads", args.threads, "--repetitions", args.repetitions, "--json"]
        if args.no_bootstrap or turn < args.rounds - 1:
            command.append("--no-bootstrap")
        report = run(command, args.threads)
        for name, op in report["ops"].items():
            ours[name] = min(ours.get(name, math.inf), 1e3 * op["seconds"])
        peer = run([args.openfhe, "-c", OPENFHE, args.log_n, args.limbs, args.digits, args.repetitions], args.threads)
        for name, ms in peer.items():
            theirs[name] = min(theirs.get(name, ms), ms)
    peers = {}
    if not args.no_bootstrap:
        for slots, names in BOOTSTRAPS.items():
            command = [args.openfhe, "-c", OPENFHE_BOOTSTRAP, slots, OPENFHE_LEVELS, args.bootstrap_repetitions]
            peer = run(command, args.threads)
            for name in names:
                peers[name], theirs[name] = peer, peer["ms"]
    rows = {name: {"fhec_ms": ours[name], "openfhe_ms": ms, "ratio": ms / ours[name],
                   "floor_ms": 1e3 * report["ops"][name]["floor_seconds"]} for name, ms in theirs.items()}
    presets = {name: {"fhec": dict(report["bootstraps"][name], precision_bits=report["ops"][name]["precision_bits"]),
                      "openfhe": peer} for name, peer in peers.items()}
    if args.json:
        print(json.dumps({"log_n": args.log_n, "limbs": args.limbs, "digits": args.digits, "threads": args.threads,
                          "isa": report["isa"], "ops": rows, "bootstraps": presets}))
        return
    print(f"N = 2^{args.log_n}, {args.limbs} limbs, {args.digits} digits, {args.threads} thread(s), {report['isa']}; milliseconds")
    print(f"{'operation':<26}{'fhec':>10}{'bound':>10}{'OpenFHE':>10}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:<26}{row['fhec_ms']:>10.2f}{row['floor_ms']:>10.2f}{row['openfhe_ms']:>10.2f}{row['ratio']:>8.1f}")
    for name, both in presets.items():
        mine, peer = both["fhec"], both["openfhe"]
        print(f"{name}: {peer['slots']} slots; fhec leaves {mine['target']} levels of {mine['spec']['scale_bits']} bits, worst slot "
              f"{mine['precision_bits']:.1f} bits; OpenFHE {peer['levels']} of {peer['scale_bits']}, "
              f"{peer['precision_bits']:.1f} bits, {peer['peak_bytes'] / 2 ** 30:.1f} GB")


if __name__ == "__main__":
    main()
