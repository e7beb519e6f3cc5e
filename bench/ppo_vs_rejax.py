"""PPO on CartPole-v1 beside rejax 0.1.3, on equal work, in one process tree.

    python -m venv .venv-rejax && .venv-rejax/bin/pip install rejax==0.1.3 gymnax==0.0.9
    python bench/ppo_vs_rejax.py --peer-python .venv-rejax/bin/python

Equal work: the same network (two towers of 64 x 64 tanh), environments, steps, epochs,
minibatches, hyperparameters, and 4 evaluations of 128 sampled episodes. Both programs are compiled
once in processes of their own and then run in turn, so that a slow moment of the machine hits both.
rejax needs its own environment because it breaks on gymnax 1.x. Differences that remain: rejax
clips each gradient entry at 0.5 and updates actor and critic one after the other; jaxecon clips the
joint norm at 0.5.

Prints one JSON line per task: seconds (median and range) and compile seconds of both, their ratio
(above 1: jaxecon is faster), and the mean return at each evaluation of both.
"""

import argparse
import json
import platform
import statistics
import sys

from peer import Peer

BASE = {"env": "CartPole-v1", "learning_rate": 2.5e-4, "num_evaluations": 4}
TASKS = {
    "1 seed, 4 envs, 500k steps": {"num_envs": 4, "total_steps": 500_000, "num_seeds": 1},
    "8 seeds, 4 envs, 500k steps": {"num_envs": 4, "total_steps": 500_000, "num_seeds": 8},
    "4 seeds, 64 envs, 1M steps": {"num_envs": 64, "total_steps": 1_000_000, "num_seeds": 4},
}


def compare(name, task, peer_python, repeats):
    """One JSON-serialisable line for one task."""
    ours = Peer(sys.executable, "jaxecon_ppo.py", task)
    theirs = Peer(peer_python, "rejax_ppo.py", task)
    ours.ask(), theirs.ask()  # warm-up
    runs = [(ours.ask(), theirs.ask()) for _ in range(repeats)]
    ours.close(), theirs.close()
    our_seconds, their_seconds = zip(*((a["seconds"], b["seconds"]) for a, b in runs), strict=True)
    ratios = sorted(b / a for a, b in zip(our_seconds, their_seconds, strict=True))
    return {
        "bench": "ppo_vs_rejax",
        "task": name,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "jaxecon": summary(ours.about, our_seconds, [a for a, _ in runs]),
        "rejax": summary(theirs.about, their_seconds, [b for _, b in runs]),
        "repeats": repeats,
        "device": f"cpu ({platform.machine()})",
    }


def summary(about, seconds, runs):
    """Time and learning curve of one side."""
    curve = [statistics.mean(row) for row in zip(*(run_curve(run) for run in runs), strict=True)]
    return {
        "seconds": round(statistics.median(seconds), 3),
        "spread": [round(min(seconds), 3), round(max(seconds), 3)],
        "compile_s": round(about["compile_s"], 2),
        "returns": [round(value, 1) for value in curve],
        "versions": about["versions"],
    }


def run_curve(run):
    """Mean over seeds at each evaluation."""
    return [statistics.mean(row) for row in run["returns"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="interpreter that has rejax")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--task", choices=list(TASKS), action="append", help="default: all")
    arguments = parser.parse_args()
    for chosen in arguments.task or TASKS:
        line = compare(chosen, BASE | TASKS[chosen], arguments.peer_python, arguments.repeats)
        print(json.dumps(line), flush=True)
