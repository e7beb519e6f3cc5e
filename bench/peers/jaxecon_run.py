"""What the peers that run jaxecon share: compile an algorithm, then train it once for each line.

The same protocol and the same shape of program as rejax_run.py: one compiled call that trains and
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
from jaxecon.algos import train


def serve(create):
    """Answer the task in the first line of standard input, then each further line.

    Args:
      create: (task, env) -> (algorithm, hparams).
    """
    task = json.loads(sys.stdin.readline())
    env, env_params = jaxecon.make(task["env"])
    algorithm, hparams = create(task, env)
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
    versions = {name: importlib.metadata.version(name) for name in ("jaxecon", "gymnax", "jax")}
    print(json.dumps({"compile_s": time.perf_counter() - start, "versions": versions}), flush=True)
    for index, _ in enumerate(sys.stdin):
        keys = jax.random.split(jax.random.key(index), task["num_seeds"])
        start = time.perf_counter()
        returns = jax.block_until_ready(compiled(keys, env_params, hparams))  # [seeds, evaluations]
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "returns": returns.T.tolist()}), flush=True)
