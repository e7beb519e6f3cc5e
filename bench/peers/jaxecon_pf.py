"""jaxecon on proportional fairness: our side of bench/pf_vs_cvxpylayers.py."""

import importlib.metadata
import json
import sys
import time

import jax
import jax.numpy as jnp
from pf_problem import problem, reply

from jaxecon import devices
from jaxecon.solvers import proportional_fairness


def main():
    task = json.loads(sys.stdin.readline())
    if task["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    if task["num_devices"] > 1:
        devices.use_all_cores()
    arrays = problem(task["num_agents"], task["num_resources"], task["batch"])
    *inputs, cotangent = (jnp.asarray(x, task["dtype"]) for x in arrays)
    solve = lambda v, x, b: proportional_fairness(v, x, b, smoothing=task["smoothing"]).value

    def both(v, x, b, weight):
        allocation, pull = jax.vjp(solve, v, x, b)
        return allocation, pull(weight)

    def compiled(function, *arguments):
        spread = devices.over_devices(function)
        options = devices.compiler_options("cpu", one_thread_per_device=task["num_devices"] > 1)
        start = time.perf_counter()
        program = jax.jit(spread).lower(*arguments).compile(compiler_options=options)
        return program, time.perf_counter() - start

    forward, _ = compiled(solve, *inputs)
    backward, compile_s = compiled(both, *inputs, cotangent)
    versions = {name: importlib.metadata.version(name) for name in ("jaxecon", "jax")}
    print(json.dumps({"compile_s": compile_s, "versions": versions}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "forward":
            allocation = jax.block_until_ready(forward(*inputs))
            gradient = allocation
        else:
            allocation, (gradient, *_) = jax.block_until_ready(backward(*inputs, cotangent))
        print(json.dumps(reply(time.perf_counter() - start, allocation, gradient)), flush=True)


if __name__ == "__main__":
    main()
