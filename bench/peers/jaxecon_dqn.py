"""jaxecon's DQN on one task, run on request: our side of bench/dqn_vs_rejax.py.

The same protocol and the same shape of program as rejax_dqn.py: one compiled call that trains and
evaluates every seed, the seeds under vmap.
"""

import functools
import importlib.metadata
import json
import sys
import time

import jax

import jaxecon
from jaxecon import devices
from jaxecon.algos import DQNConfig, make_dqn, train


def main():
    task = json.loads(sys.stdin.readline())
    names = ("num_envs", "num_updates", "buffer_size", "batch_size", "activation")
    env, env_params = jaxecon.make(task["env"])
    algorithm = make_dqn(env, DQNConfig(rollout_length=50, **{name: task[name] for name in names}))
    names = ("learning_rate", "gamma", "tau", "epsilon_end", "epsilon_share")
    hparams = algorithm.hparams.replace(
        learning_starts=float(task["learning_starts"]),
        total_steps=float(task["total_steps"]),
        **{name: task[name] for name in names},
    )
    per_evaluation = algorithm.steps_per_iteration * task["num_evaluations"]
    lane = functools.partial(
        train,
        algorithm,
        num_iterations=task["total_steps"] // per_evaluation * task["num_evaluations"],
        num_evaluations=task["num_evaluations"],
    )
    over_seeds = lambda keys, *rest: (
        jax.vmap(lambda key: lane(key, *rest)[1]["evaluation/return"])(keys)
        if task["num_seeds"] > 1
        else lane(keys[0], *rest)[1]["evaluation/return"][None]
    )
    keys = jax.random.split(jax.random.key(0), task["num_seeds"])
    start = time.perf_counter()
    lowered = jax.jit(over_seeds).lower(keys, env_params, hparams)
    compiled = lowered.compile(compiler_options=devices.compiler_options(jax.default_backend()))
    reply = {"compile_s": time.perf_counter() - start, "versions": versions()}
    print(json.dumps(reply), flush=True)
    for index, _ in enumerate(sys.stdin):
        keys = jax.random.split(jax.random.key(index), task["num_seeds"])
        start = time.perf_counter()
        returns = jax.block_until_ready(compiled(keys, env_params, hparams))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "returns": returns.T.tolist()}), flush=True)


def versions():
    return {name: importlib.metadata.version(name) for name in ("jaxecon", "gymnax", "jax")}


if __name__ == "__main__":
    main()
