"""Runs the same small programs in fhec's engine and in the OpenFHE wheel and compares what they decrypt to.

    python3 benches/crosscheck.py [--log-slots 12] [--openfhe PYTHON3.10] [--binary FILE] [--json]

Products, a product with a plain vector, a rotation, a linear transform by diagonals, a polynomial, a bootstrap; both
sides at N = 2^16 and 128-bit security. fhec's side is the example `crosscheck` (built when no binary is given); OpenFHE
needs a CPython 3.10 with `pip install openfhe==1.6.1.*`. Both must agree with the cleartext result and with each other
within BITS; a program that does not ends the script with status 1.
"""

import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Bits to which results agree at least. OpenFHE's bootstrap at this setting has about 12 to 20 bits.
BITS = {"bootstrap": 12}
BITS_OTHERS = 18

OPENFHE = r"""
import json, math, sys
import openfhe as o
c = json.load(sys.stdin)
n = c["slots"]
budget = [3, 3]
dist = o.SecretKeyDist.SPARSE_ENCAPSULATED
p = o.CCParamsCKKSRNS()
p.SetSecretKeyDist(dist)
p.SetSecurityLevel(o.SecurityLevel.HEStd_128_classic)
p.SetRingDim(1 << 16)
p.SetScalingModSize(50)
p.SetFirstModSize(55)
p.SetScalingTechnique(o.ScalingTechnique.FLEXIBLEAUTO)
p.SetKeySwitchTechnique(o.KeySwitchTechnique.HYBRID)
depth = 8 + o.FHECKKSRNS.GetBootstrapDepth(budget, dist)
p.SetMultiplicativeDepth(depth)
p.SetBatchSize(n)
cc = o.GenCryptoContext(p)
for f in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
    cc.Enable(getattr(o.PKESchemeFeature, f))
keys = cc.KeyGen()
cc.EvalMultKeyGen(keys.secretKey)
cc.EvalRotateKeyGen(keys.secretKey, list(range(1, max(6, len(c["diagonals"])))))
cc.EvalBootstrapSetup(budget, [0, 0], n)
cc.EvalBootstrapKeyGen(keys.secretKey, n)
plain = lambda v, level=0: cc.MakeCKKSPackedPlaintext(v, 1, level, None, n)
x, y = (cc.Encrypt(keys.publicKey, plain(c[k])) for k in "xy")

def linear():
    out = None
    for r, d in enumerate(c["diagonals"]):
        term = cc.EvalMult(cc.EvalRotate(x, r) if r else x, plain(d))
        out = term if out is None else cc.EvalAdd(out, term)
    return out

results = {
    "product": cc.EvalMult(x, y),
    "plain_product": cc.EvalMult(x, plain(c["y"])),
    "rotation": cc.EvalRotate(x, 5),
    "linear": linear(),
    "polynomial": cc.EvalPoly(x, c["polynomial"]),
    "bootstrap": cc.EvalBootstrap(cc.Encrypt(keys.publicKey, plain(c["x"], depth - 1))),
}
out = {}
for name, ct in results.items():
    d = cc.Decrypt(keys.secretKey, ct)
    d.SetLength(n)
    out[name] = d.GetRealPackedValue()
print(json.dumps(out))
"""


def programs(slots):
    """Operands, and the cleartext results."""
    dice = random.Random(7)
    vector = lambda: [dice.uniform(-1, 1) for _ in range(slots)]
    x, y, diagonals = vector(), vector(), [[v / 4 for v in vector()] for _ in range(4)]
    polynomial = [0.1, 0.5, -0.25, 0.3, 0.05, -0.125]
    at = lambda v, i: v[i % slots]
    clear = {
        "product": [a * b for a, b in zip(x, y)],
        "plain_product": [a * b for a, b in zip(x, y)],
        "rotation": [at(x, i + 5) for i in range(slots)],
        "linear": [sum(d[i] * at(x, i + r) for r, d in enumerate(diagonals)) for i in range(slots)],
        "polynomial": [sum(c * v**k for k, c in enumerate(polynomial)) for v in x],
        "bootstrap": x,
    }
    return {"slots": slots, "x": x, "y": y, "diagonals": diagonals, "polynomial": polynomial}, clear


def run(command, text):
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def bits(a, b):
    assert len(a) == len(b), f"{len(a)} slots against {len(b)}"
    return -math.log2(max(max(abs(u - v) for u, v in zip(a, b)), 1e-300))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-slots", type=int, default=12)
    parser.add_argument("--openfhe", default="python3.10", help="a CPython 3.10 with the openfhe wheel")
    parser.add_argument("--binary", help="the built example; without it one is built")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    binary = args.binary
    if not binary:
        subprocess.run(["cargo", "build", "--release", "--example", "crosscheck"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        binary = target / "release" / "examples" / "crosscheck"
    operands, clear = programs(1 << args.log_slots)
    text = json.dumps(operands)
    ours, theirs = run([binary], text), run([args.openfhe, "-c", OPENFHE], text)
    rows = {name: {"fhec_bits": bits(ours[name], expected), "openfhe_bits": bits(theirs[name], expected),
                   "agreement_bits": bits(ours[name], theirs[name]), "wanted_bits": BITS.get(name, BITS_OTHERS)}
            for name, expected in clear.items()}
    if args.json:
        print(json.dumps(rows))
    else:
        print(f"worst of {1 << args.log_slots} slots, in bits")
        print(f"{'program':<16}{'fhec':>8}{'OpenFHE':>9}{'between':>9}{'wanted':>8}")
        for name, row in rows.items():
            print(f"{name:<16}" + "{fhec_bits:>8.1f}{openfhe_bits:>9.1f}{agreement_bits:>9.1f}{wanted_bits:>8}".format(**row))
    wrong = [name for name, row in rows.items() if min(row["fhec_bits"], row["agreement_bits"]) < row["wanted_bits"]]
    if wrong:
        sys.exit(f"results differ: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
