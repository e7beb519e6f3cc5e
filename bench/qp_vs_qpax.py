"""Quadratic programmes beside qpax, forward and backward, on one core, in one process tree.

    python -m venv .venv-qpax && .venv-qpax/bin/pip install qpax jax==0.10.2
    python bench/qp_vs_qpax.py --peer-python .venv-qpax/bin/python

Both sides solve the same batch under jit and vmap and return x with the gradients of one score in
all four inputs. They run in turn. Prints one JSON line per size: milliseconds per problem (median,
range) of qpax in float64 and of jaxecon in both precisions, ratios (above 1: jaxecon is faster),
the largest residual of the optimality conditions, and the distance of the gradients from qpax's,
which relaxes complementarity to 1e-3 by default.
"""

import argparse
import json
import os
import platform
import statistics
import sys

import numpy as np
from peer import Peer

SIZES = {"32x64": (32, 64), "10x20": (10, 20)}


def compare(label, peer_python, batch, repeats):
    """One JSON-serialisable line."""
    size, num_rows = SIZES[label]
    task = {"size": size, "num_rows": num_rows, "batch": batch}
    core = (sorted(os.sched_getaffinity(0))[0],)
    sides = {
        "qpax float64": Peer(peer_python, "qpax_qp.py", task | {"dtype": "float64"}, core),
        **{
            f"jaxecon {dtype}": Peer(sys.executable, "jaxecon_qp.py", task | {"dtype": dtype}, core)
            for dtype in ("float64", "float32")
        },
    }
    runs = [{name: peer.ask()["seconds"] for name, peer in sides.items()} for _ in range(repeats)]
    line = {"bench": "qp_vs_qpax", "size": label, "batch": batch, "repeats": repeats}
    theirs = sides["qpax float64"].about["gradient"]
    for name, peer in sides.items():
        each = [run[name] / batch * 1e3 for run in runs]
        ratios = sorted(run["qpax float64"] / run[name] for run in runs)
        line[name] = {
            "ms_per_problem": round(statistics.median(each), 4),
            "spread": [round(min(each), 4), round(max(each), 4)],
            "ratio": round(statistics.median(ratios), 2),
            "ratio_spread": [round(ratios[0], 2), round(ratios[-1], 2)],
            "compile_s": round(peer.about["compile_s"], 1),
            "residual": peer.about["residual"],
            "gradient_distance": float(np.abs(np.subtract(peer.about["gradient"], theirs)).max()),
            "versions": peer.about["versions"],
        }
        peer.close()
    return line | {"cores": 1, "device": f"cpu ({platform.machine()})"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="interpreter that has qpax")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    for chosen in SIZES:
        line = compare(chosen, arguments.peer_python, arguments.batch, arguments.repeats)
        print(json.dumps(line), flush=True)
