"""rejax's DQN on one task, run on request: the peer's side of bench/dqn_vs_rejax.py.

Runs in an environment of its own with rejax==0.1.3 and gymnax==0.0.9. Reads a task as JSON from
the first line of standard input, compiles, and then runs once for each further line.
"""

import importlib.metadata
import json
import sys
import time

import jax
from rejax.algos.dqn import DQN


def main():
    task = json.loads(sys.stdin.readline())
    algorithm = DQN.create(
        env=task["env"],
        agent_kwargs={"activation": task["activation"]},  # 64 x 64 is fixed
        num_envs=task["num_envs"],
        num_epochs=task["num_updates"],
        buffer_size=task["buffer_size"],
        fill_buffer=task["learning_starts"],
        batch_size=task["batch_size"],
        learning_rate=task["learning_rate"],
        gamma=task["gamma"],
        max_grad_norm=10.0,
        target_update_freq=task["num_envs"],
        polyak=1.0 - task["tau"],
        eps_start=1.0,
        eps_end=task["epsilon_end"],
        exploration_fraction=task["epsilon_share"],
        ddqn=True,
        total_timesteps=task["total_steps"],
        eval_freq=task["total_steps"] // task["num_evaluations"],
        skip_initial_evaluation=True,
    )
    run = jax.jit(jax.vmap(lambda key: algorithm.train(key)[1][1].mean(axis=-1)))
    keys = jax.random.split(jax.random.key(0), task["num_seeds"])
    start = time.perf_counter()
    compiled = run.lower(keys).compile()
    reply = {"compile_s": time.perf_counter() - start, "versions": versions()}
    print(json.dumps(reply), flush=True)
    for index, _ in enumerate(sys.stdin):
        keys = jax.random.split(jax.random.key(index), task["num_seeds"])
        start = time.perf_counter()
        returns = jax.block_until_ready(compiled(keys))  # [seeds, evaluations]
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "returns": returns.T.tolist()}), flush=True)


def versions():
    return {name: importlib.metadata.version(name) for name in ("rejax", "gymnax", "jax")}


if __name__ == "__main__":
    main()
