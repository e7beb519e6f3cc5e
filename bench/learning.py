"""Do PPO, DQN and SAC reach what they should? Ten seeds per task, a known optimum or threshold.

    python bench/learning.py                     # all tasks
    python bench/learning.py CartPole-v1         # one of them
    python bench/learning.py CartPole-v1/dqn     # one of DQN's

Prints one JSON line per task: the final evaluation's mean over seeds with its 95% interval, every
seed's value, and whether the task's criterion holds.
"""

import json
import sys
import tempfile

import numpy as np
import pandas as pd

from jaxecon import make
from jaxecon.sweeps import load_study, run_study
from jaxecon.sweeps.statistics import mean_interval

SEEDS = 10


def newsvendor_share(orders):
    """Expected profit of each order, by the closed form, as a share of the best order's."""
    env, params = make("Newsvendor-v0")
    best = env.expected_profit(env.optimal_order(params), params)
    return np.array([float(env.expected_profit(order, params) / best) for order in orders])


def cournot_nash():
    """Quantity per firm in equilibrium."""
    env, params = make("Cournot-v0")
    return float(env.nash_quantity(params))


# environment, or environment/algorithm where it is not PPO
# -> (steps, config, hparams, metric, criterion on the seeds' values, its text)
TASKS = {
    "CartPole-v1": (
        500_000,
        {"num_envs": 4},
        {"learning_rate": 2.5e-4, "ent_coef": 0.01, "anneal": 1.0},
        "return",
        lambda values: bool((values >= 475).all()),
        "at least 475 on every seed",
    ),
    "CartPole-v1/dqn": (
        200_000,
        {
            "num_envs": 10,
            "buffer_size": 131_072,
            "batch_size": 128,
            "num_updates": 4,
            "n_step": 3,
        },
        {"learning_rate": 1e-3, "tau": 0.01, "anneal": 1.0},
        "return",
        lambda values: bool((values >= 475).all()),
        "at least 475 on every seed",
    ),
    "Pendulum-v1": (
        1_000_000,
        {
            "num_envs": 16,
            "rollout_length": 128,
            "num_epochs": 10,
            "num_minibatches": 16,
            "normalise_observations": True,
            "normalise_rewards": True,
        },
        {"learning_rate": 1e-3, "gamma": 0.95, "anneal": 1.0},
        "return",
        lambda values: bool(values.mean() >= -200),
        "mean at least -200",
    ),
    "Pendulum-v1/sac": (
        20_000,
        {"num_envs": 10, "rollout_length": 40, "num_updates": 10, "batch_size": 128},
        {},
        "return",
        lambda values: bool((values >= -200).all()),
        "at least -200 on every seed",
    ),
    "Newsvendor-v0": (
        400_000,
        {"num_envs": 16, "rollout_length": 64},
        {"learning_rate": 3e-3, "gamma": 0.0, "anneal": 1.0},
        "order",
        lambda values: bool((newsvendor_share(values) >= 0.99).all()),
        "within 1% of the best expected profit on every seed",
    ),
    "Cournot-v0": (
        300_000,
        {"num_envs": 16, "rollout_length": 64},
        {"learning_rate": 3e-3, "gamma": 0.0, "anneal": 1.0},
        "quantity",
        lambda values: bool((np.abs(values / cournot_nash() - 1.0) <= 0.02).all()),
        "within 2% of the Nash quantity on every seed",
    ),
}


def run_task(name):
    """Train ten seeds and judge their last evaluation."""
    steps, config, hparams, metric, criterion, text = TASKS[name]
    env_id, _, algorithm_id = name.partition("/")
    study = load_study(
        {
            "study": {
                "name": name.replace("/", "-"),
                "num_seeds": SEEDS,
                "total_steps": steps,
                "num_evaluations": 5,
                "metric": metric,
            },
            "env": {"id": env_id},
            "algorithm": {"id": algorithm_id or "ppo", "config": config, "hparams": hparams},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        run_dir = run_study(study, folder + "/run")
        results = pd.read_parquet(run_dir / "results.parquet")
        record = json.loads((run_dir / "run.json").read_text())
    final = results[results.evaluation == results.evaluation.max()]
    values = final[f"test/{metric}"].to_numpy()
    interval = mean_interval(values)
    return {
        "bench": "learning",
        "task": name,
        "metric": metric,
        "env_steps": int(final.env_steps.max()),
        "mean": float(interval.estimate),
        "low": float(interval.low),
        "high": float(interval.high),
        "seeds": [round(float(value), 3) for value in values],
        "criterion": text,
        "passed": criterion(values),
        "seconds": record["wall_seconds"],
        "device": record["device"],
        "versions": record["versions"],
    }


if __name__ == "__main__":
    for task in sys.argv[1:] or TASKS:
        print(json.dumps(run_task(task)), flush=True)
