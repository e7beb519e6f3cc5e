"""jaxecon's PPO on one task, run on request: our side of bench/ppo_vs_rejax.py.

The same protocol as rejax_ppo.py, through the sweep executor: one lane per core.
"""

import importlib.metadata
import json
import sys
import time

import numpy as np

from jaxecon.sweeps import load_study
from jaxecon.sweeps.executor import build_executor
from jaxecon.sweeps.plan import make_plan


def main():
    task = json.loads(sys.stdin.readline())
    # an evaluation plays num_eval_episodes on each of two splits: together the peer's 128
    study = {
        "study": {
            "name": "bench",
            "num_seeds": task["num_seeds"],
            "total_steps": task["total_steps"],
            "num_evaluations": task["num_evaluations"],
        },
        "env": {"id": task["env"]},
        "algorithm": {
            "config": {
                "num_envs": task["num_envs"],
                "num_eval_episodes": 64,
                "greedy_evaluation": False,
            },
            "hparams": {"learning_rate": task["learning_rate"], "ent_coef": 0.01},
        },
    }
    plan = make_plan(load_study(study))
    executor = build_executor(plan)
    names = ("jaxecon", "gymnax", "jax")
    reply = {
        "compile_s": executor.compile_seconds,
        "strategy": executor.strategy,
        "num_devices": executor.lanes_per_wave,
        "versions": {name: importlib.metadata.version(name) for name in names},
    }
    print(json.dumps(reply), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        returns = run(executor)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "returns": returns}), flush=True)


def run(executor):
    """Every lane from scratch; returns [evaluations][seeds]."""
    plan, width = executor.plan, executor.lanes_per_wave
    returns = np.zeros((plan.num_evaluations, plan.num_lanes))
    for first in range(0, plan.num_lanes, width):
        lanes = np.minimum(np.arange(first, first + width), plan.num_lanes - 1)
        inputs, state = executor.lane_inputs(lanes), executor.initial_state()
        for evaluation in range(plan.num_evaluations):
            state, metrics = executor.run(state, inputs, evaluation)
            both = [np.asarray(metrics[f"{split}/return"]) for split in ("validation", "test")]
            returns[evaluation, lanes] = np.mean(both, axis=0)
    return returns.tolist()


if __name__ == "__main__":
    main()
