"""Filter, smoother and EM beside dynamax and pykalman, on equal work, in one process tree.

    python -m venv .venv-lds
    .venv-lds/bin/pip install dynamax==1.0.3 pykalman==0.11.2
    python bench/kalman_vs_dynamax.py --peer-python .venv-lds/bin/python

Every side gets the same series, of T = 4,096 rounds, d = 4 hidden and p = 2 observed numbers, in
float64, and does the same: 20 EM iterations, then a filter and a smoother under the fitted model.
dynamax runs whole under jit and vmap, with its fit_em written as one scan over its own e_step and
m_step. pykalman takes one replica. Both sides run in turn, on one core and then on all.

Prints one JSON line per number of cores: seconds per replica (median, range), ratios (above 1:
jaxecon is faster), and how far the log-likelihoods of the sides lie apart.
"""

import argparse
import json
import os
import platform
import statistics
import sys

import numpy as np
from peer import Peer


def compare(cores, arguments):
    """One line for some cores."""
    task = {
        "num_times": arguments.num_times,
        "num_iterations": arguments.iterations,
        "num_devices": len(cores),
    }
    batch = task | {"batch": arguments.batch}
    ours = Peer(sys.executable, "jaxecon_lds.py", batch, cores)
    theirs = Peer(arguments.peer_python, "dynamax_lds.py", batch, cores)
    slow = Peer(arguments.peer_python, "pykalman_lds.py", task | {"batch": 1}, cores)
    for peer in (ours, theirs):
        peer.ask()  # warm-up
    runs = [(ours.ask(), theirs.ask()) for _ in range(arguments.repeats)]
    last = slow.ask()
    per_replica = lambda replies: [reply["seconds"] / arguments.batch for reply in replies]
    mine = per_replica([run[0] for run in runs])
    dynamax = per_replica([run[1] for run in runs])
    ratios = sorted(b / a for a, b in zip(mine, dynamax, strict=True))
    gap = lambda reply: float(
        np.abs(
            np.subtract(runs[-1][0]["likelihood"][: len(reply["likelihood"])], reply["likelihood"])
        ).max()
    )
    for peer in (ours, theirs, slow):
        peer.close()
    return {
        "bench": "kalman_vs_dynamax",
        "cores": len(cores),
        **batch,
        "jaxecon_s_per_replica": statistics.median(mine),
        "spread": [min(mine), max(mine)],
        "compile_s": ours.about["compile_s"],
        "dynamax_s_per_replica": statistics.median(dynamax),
        "dynamax_compile_s": theirs.about["compile_s"],
        "pykalman_s_per_replica": last["seconds"],
        "ratio_dynamax": round(statistics.median(ratios), 2),
        "ratio_spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "ratio_pykalman": round(last["seconds"] / statistics.median(mine), 1),
        "likelihood_gap": {"dynamax": gap(runs[-1][1]), "pykalman": gap(last)},
        "versions": ours.about["versions"] | theirs.about["versions"] | slow.about["versions"],
        "device": f"cpu ({platform.machine()})",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="with dynamax and pykalman")
    parser.add_argument("--num-times", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one-core", action="store_true", help="leave out the run on all cores")
    given = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    choices = [(available[0],)] if given.one_core else [(available[0],), tuple(available)]
    for chosen in dict.fromkeys(choices):
        print(json.dumps(compare(chosen, given)), flush=True)
