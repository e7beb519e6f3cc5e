"""rejax's PPO on one task, run on request: the peer's side of bench/ppo_vs_rejax.py.

Runs in an environment of its own with rejax==0.1.3 and gymnax==0.0.9. Reads a task as JSON from
the first line of standard input, compiles, and then runs once for each further line.
"""

import importlib.metadata
import json
import sys
import time

import jax
from rejax.algos.ppo import PPO


def main():
    task = json.loads(sys.stdin.readline())
    algorithm = PPO.create(
        env=task["env"],
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        num_envs=task["num_envs"],
        num_steps=128,
        num_epochs=4,
        num_minibatches=4,
        learning_rate=task["learning_rate"],
        gamma=0.99,
        gae_lambda=0.95,
        clip_eps=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
        max_grad_norm=0.5,
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
