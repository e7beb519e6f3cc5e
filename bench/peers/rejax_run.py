"""What the peers that run rejax share: compile an algorithm, then train it once for each line.

Runs in an environment of its own with rejax==0.1.3 and gymnax==0.0.9.
"""

import importlib.metadata
import json
import sys
import time

import jax


def serve(create):
    """Answer the task in the first line of standard input, then each further line.

    Args:
      create: makes a rejax algorithm of a task. How often to evaluate is added here.
    """
    task = json.loads(sys.stdin.readline())
    algorithm = create(
        task,
        total_timesteps=task["total_steps"],
        eval_freq=task["total_steps"] // task["num_evaluations"],
        skip_initial_evaluation=True,
    )
    run = jax.jit(jax.vmap(lambda key: algorithm.train(key)[1][1].mean(axis=-1)))
    keys = jax.random.split(jax.random.key(0), task["num_seeds"])
    start = time.perf_counter()
    compiled = run.lower(keys).compile()
    versions = {name: importlib.metadata.version(name) for name in ("rejax", "gymnax", "jax")}
    print(json.dumps({"compile_s": time.perf_counter() - start, "versions": versions}), flush=True)
    for index, _ in enumerate(sys.stdin):
        keys = jax.random.split(jax.random.key(index), task["num_seeds"])
        start = time.perf_counter()
        returns = jax.block_until_ready(compiled(keys))  # [seeds, evaluations]
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "returns": returns.T.tolist()}), flush=True)
