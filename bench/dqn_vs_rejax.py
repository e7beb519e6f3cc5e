"""DQN on CartPole-v1 beside rejax 0.1.3, on equal work, in one process tree.

    python -m venv .venv-rejax && .venv-rejax/bin/pip install rejax==0.1.3 gymnax==0.0.9
    python bench/dqn_vs_rejax.py --peer-python .venv-rejax/bin/python

Equal work: the same network (64 x 64 swish), environments, steps, buffer, one update of the same
batch after every step of the environments, the same target network and exploration, double
Q-learning, and 4 evaluations of 128 episodes. Both programs are compiled once in processes of
their own and then run in turn, so that a slow moment of the machine hits both. Differences that
remain: rejax samples without replacement, keeps next observations, takes a time limit for an
ending, clips each gradient entry at 10,
starts from other random kernels and evaluates with 0.5% of random
actions; jaxecon samples with replacement, bootstraps where an episode was cut off, does not clip
and evaluates greedily.

Prints one JSON line per task: seconds (median and range) and compile seconds of both, their ratio
(above 1: jaxecon is faster), and the mean return at each evaluation of both.
"""

import argparse
import json
import platform
import statistics
import sys

from peer import Peer
from ppo_vs_rejax import summary

BASE = {
    "env": "CartPole-v1",
    "activation": "swish",
    "num_envs": 10,
    "total_steps": 200_000,
    "num_updates": 1,
    "buffer_size": 131_072,
    "batch_size": 256,
    "learning_starts": 2_048,
    "learning_rate": 5e-4,
    "gamma": 0.99,
    "tau": 0.01,
    "epsilon_end": 0.05,
    "epsilon_share": 0.1,
    "num_evaluations": 4,
}
TASKS = {
    "1 seed, 10 envs, 200k steps": {"num_seeds": 1},
    "4 seeds, 10 envs, 200k steps": {"num_seeds": 4},
}


def compare(name, task, peer_python, repeats):
    """One JSON-serialisable line for one task."""
    ours = Peer(sys.executable, "jaxecon_dqn.py", task)
    theirs = Peer(peer_python, "rejax_dqn.py", task)
    runs = [(ours.ask(), theirs.ask()) for _ in range(repeats)]
    ours.close(), theirs.close()
    our_seconds, their_seconds = zip(*((a["seconds"], b["seconds"]) for a, b in runs), strict=True)
    ratios = sorted(b / a for a, b in zip(our_seconds, their_seconds, strict=True))
    return {
        "bench": "dqn_vs_rejax",
        "task": name,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "jaxecon": summary(ours.about, our_seconds, [a for a, _ in runs]),
        "rejax": summary(theirs.about, their_seconds, [b for _, b in runs]),
        "repeats": repeats,
        "device": f"cpu ({platform.machine()})",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="interpreter that has rejax")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", choices=list(TASKS), action="append", help="default: all")
    arguments = parser.parse_args()
    for chosen in arguments.task or TASKS:
        line = compare(chosen, BASE | TASKS[chosen], arguments.peer_python, arguments.repeats)
        print(json.dumps(line), flush=True)
