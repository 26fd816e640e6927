"""Security of the ephemeral sparse secret of bootstrapping, by the public lattice estimator.

    python3 -m venv venv && venv/bin/pip install passagemath-standard      # Sage's library without Sage
    git clone https://github.com/malb/lattice-estimator
    PYTHONPATH=lattice-estimator venv/bin/python benches/estimate_security.py

Every attack runs in a process of its own, one after the other, and is given up after --limit seconds; a line of JSON per attack
goes to standard output. The instance is what `docs/bootstrapping.md` describes: N samples modulo q_0 p_0 under a secret of
`--weight` non-zero coefficients. The estimator counts as many +1 as -1, which leaves a little less to guess than our
random signs do.
"""

import argparse
import json
import multiprocessing
import sys
import time

# Name of the attack: the estimator's function and its arguments.
ATTACKS = {
    "primal": ("primal_usvp", {}),
    "primal hybrid": ("primal_hybrid", {"mitm": False, "babai": False}),
    "primal hybrid, meet in the middle": ("primal_hybrid", {"mitm": True, "babai": True}),
    "dual": ("dual", {}),
    "dual hybrid": ("dual_hybrid", {}),
    "dual hybrid, meet in the middle": ("dual_hybrid", {"mitm_optimization": True}),
    "dual hybrid with a Fourier transform": ("matzov", {}),
}


def estimate(name, options, results):
    """Puts the estimator's cost of one attack into `results`: log2 of operations, and all it says, as text."""
    from estimator import LWE, ND, lwe_dual
    from sage.all import log, oo

    n = 2**options.log_n
    params = LWE.Parameters(
        n=n,
        q=2**options.log_q,
        Xs=ND.SparseTernary(options.weight // 2, options.weight - options.weight // 2, n),
        Xe=ND.DiscreteGaussian(options.sigma),
        m=n,
    )
    function, arguments = ATTACKS[name]
    module = lwe_dual if function in ("dual_hybrid", "matzov") else LWE
    cost = getattr(module, function)(params, **arguments)
    bits = None if cost["rop"] == oo else float(log(cost["rop"], 2))
    results.put({"bits": bits, "cost": repr(cost)})


def main():
    parser = argparse.ArgumentParser(description="Security of the ephemeral sparse secret by the lattice estimator.")
    parser.add_argument("--log-n", type=int, default=16, help="log2 of the ring degree")
    parser.add_argument("--log-q", type=int, default=100, help="bits of the modulus the secret meets")
    parser.add_argument("--weight", type=int, default=32, help="non-zero coefficients of the secret")
    parser.add_argument("--sigma", type=float, default=3.2, help="standard deviation of the errors")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which an attack is given up")
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="only this one; may be repeated")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in options.attack or ATTACKS:
        results, start = context.Queue(), time.monotonic()
        process = context.Process(target=estimate, args=(name, options, results))
        process.start()
        process.join(options.limit)
        line = {"attack": name, "log_n": options.log_n, "log_q": options.log_q, "weight": options.weight}
        if process.is_alive():
            process.terminate()
            process.join()
            line["given_up"] = True
        elif process.exitcode == 0:
            line |= results.get()
        else:
            line["failed"] = process.exitcode
        print(json.dumps(line | {"seconds": round(time.monotonic() - start, 1)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
