"""cvxpylayers (JAX, diffcp) on proportional fairness: the peer of bench/pf_vs_cvxpylayers.py."""

import importlib.metadata
import json
import sys
import time

import cvxpy as cp
import jax
import jax.numpy as jnp
from cvxpylayers.jax import CvxpyLayer
from pf_problem import problem, reply

jax.config.update("jax_enable_x64", True)


def main():
    task = json.loads(sys.stdin.readline())
    num_agents, num_resources, num = task["num_agents"], task["num_resources"], task["batch"]
    shape = (num_agents, num_resources)
    v, x = cp.Parameter(shape, nonneg=True), cp.Parameter(shape, nonneg=True)
    b, a = cp.Parameter(num_resources, nonneg=True), cp.Variable(shape, nonneg=True)
    welfare = cp.sum(cp.log(cp.sum(cp.multiply(v, a), axis=1)))
    program = cp.Problem(cp.Maximize(welfare), [a <= x, cp.sum(a, axis=0) <= b])
    layer = CvxpyLayer(program, parameters=[v, x, b], variables=[a])
    *inputs, cotangent = map(jnp.asarray, problem(num_agents, num_resources, num))
    forward = lambda v, x, b: layer(v, x, b)[0]

    def score(v, x, b):
        allocation = forward(v, x, b)
        return (allocation * cotangent).sum(), allocation

    both = jax.value_and_grad(score, argnums=(0, 1, 2), has_aux=True)
    names = ("cvxpylayers", "diffcp", "cvxpy", "jax")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(json.dumps({"compile_s": 0.0, "versions": versions}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "forward":
            allocation = jax.block_until_ready(forward(*inputs))
            gradient = allocation
        else:
            (_, allocation), (gradient, *_) = jax.block_until_ready(both(*inputs))
        print(json.dumps(reply(time.perf_counter() - start, allocation, gradient)), flush=True)


if __name__ == "__main__":
    main()
