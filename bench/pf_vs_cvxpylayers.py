"""Proportional fairness beside cvxpylayers (JAX, diffcp), on equal problems, in one process tree.

    python -m venv .venv-cvx
    .venv-cvx/bin/pip install cvxpylayers==1.2.0 diffcp==1.1.9 jax==0.10.2
    python bench/pf_vs_cvxpylayers.py --peer-python .venv-cvx/bin/python

Both sides get the same batch of problems, return the allocation and, under "forward+backward", the
gradients with respect to valuations, demands and supplies for the same cotangent. They run in turn,
first on one core and then on both (diffcp spreads a batch over threads, jaxecon over devices).
Ours: float64 at smoothing 1e-8 and float32 at 1e-5, each compiled once.

Prints one JSON line per size, pass and number of cores: microseconds per problem (median, range),
ratio (above 1: jaxecon is faster), and how far the answers of the two lie apart.
"""

import argparse
import json
import os
import platform
import statistics
import sys

import numpy as np
from peer import Peer

SIZES = {"2x2": (2, 2), "10x3": (10, 3), "50x10": (50, 10)}
SMOOTHING = {"float64": 1e-8, "float32": 1e-5}


def compare(size, cores, peer_python, batch, repeats, our_repeats):
    """Lines for one size on some cores."""
    num_agents, num_resources = SIZES[size]
    task = {"num_agents": num_agents, "num_resources": num_resources, "batch": batch}
    ours = {
        dtype: Peer(
            sys.executable,
            "jaxecon_pf.py",
            task | {"dtype": dtype, "num_devices": len(cores), "smoothing": smoothing},
            cores,
        )
        for dtype, smoothing in SMOOTHING.items()
    }
    theirs = Peer(peer_python, "cvxpylayers_pf.py", task, cores)
    for what in ("forward", "forward+backward"):
        for peer in (*ours.values(), theirs):
            peer.ask(what)  # warm-up
        runs = []
        for _ in range(repeats):
            fast = {d: [p.ask(what) for _ in range(our_repeats)] for d, p in ours.items()}
            runs.append((fast, theirs.ask(what)))
        yield {
            "bench": "pf_vs_cvxpylayers",
            "size": size,
            "pass": what,
            "cores": len(cores),
            "batch": batch,
            "cvxpylayers": summary([slow for _, slow in runs], theirs.about, batch),
            **{dtype: against(dtype, runs, ours[dtype].about, batch) for dtype in ours},
            "device": f"cpu ({platform.machine()})",
        }
    for peer in (*ours.values(), theirs):
        peer.close()


def against(dtype, runs, about, batch):
    """Our time in one dtype, its ratio to the peer's, and the distance of the answers."""
    ratios = sorted(
        slow["seconds"] / statistics.median(run["seconds"] for run in fast[dtype])
        for fast, slow in runs
    )
    mine, other = runs[-1][0][dtype][-1], runs[-1][1]
    distance = lambda key: float(np.abs(np.subtract(mine[key], other[key])).max())
    return {
        "ratio": round(statistics.median(ratios), 1),
        "ratio_spread": [round(ratios[0], 1), round(ratios[-1], 1)],
        **summary([run for fast, _ in runs for run in fast[dtype]], about, batch),
        "compile_s": round(about["compile_s"], 2),
        "allocation_distance": distance("allocation"),
        "gradient_distance": distance("gradient"),
    }


def summary(runs, about, batch):
    """Microseconds per problem."""
    each = [run["seconds"] / batch * 1e6 for run in runs]
    return {
        "us_per_problem": round(statistics.median(each), 3),
        "spread": [round(min(each), 3), round(max(each), 3)],
        "versions": about["versions"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="interpreter that has cvxpylayers")
    parser.add_argument("--size", choices=list(SIZES), action="append", help="default: all")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3, help="runs of the peer")
    parser.add_argument("--our-repeats", type=int, default=7, help="our runs between two of them")
    arguments = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    for chosen in arguments.size or SIZES:
        for cores in dict.fromkeys([(available[0],), tuple(available)]):
            for line in compare(
                chosen,
                cores,
                arguments.peer_python,
                arguments.batch,
                arguments.repeats,
                arguments.our_repeats,
            ):
                print(json.dumps(line), flush=True)
