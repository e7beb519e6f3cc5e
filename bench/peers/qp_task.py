"""The quadratic programmes, the score and the loop that both sides of bench/qp_vs_qpax.py share."""

import importlib.metadata
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np


def problem(size, num_rows, num, dtype):
    """(Q, q, G, h, cotangent) of min x.Qx/2 + q.x, Gx <= h: the same in every process."""
    draw = np.random.default_rng(0)
    root = draw.normal(size=(num, size, size))
    quadratic = root @ np.swapaxes(root, 1, 2) / size + 0.1 * np.eye(size)
    rows = draw.normal(size=(num, num_rows, size))
    point = draw.normal(size=(num, size))
    rhs = np.einsum("bmn,bn->bm", rows, point) + draw.uniform(0.0, 1.0, (num, num_rows))
    linear, weight = draw.normal(size=(num, size)), draw.normal(size=(num, size))
    return [jnp.asarray(x, dtype) for x in (quadratic, linear, rows, rhs, weight)]


def residual(quadratic, linear, rows, rhs, x, z):
    """Largest entry of the optimality conditions, in float64: slope, excess and complementarity."""
    double = lambda array: np.asarray(array, np.float64)
    quadratic, linear, rows, rhs, x, z = map(double, (quadratic, linear, rows, rhs, x, z))
    slope = np.einsum("bij,bj->bi", quadratic, x) + linear + np.einsum("bmn,bm->bn", rows, z)
    slack = rhs - np.einsum("bmn,bn->bm", rows, x)
    parts = (np.abs(slope), np.maximum(-slack, 0.0), np.abs(slack * z), np.maximum(-z, 0.0))
    return float(max(part.max() for part in parts))


def serve(solve, solve_both, name):
    """Answer a task.

    `solve` maps a batch (Q, q, G, h) to x and is timed with its gradient; `solve_both` gives (x, z)
    and is used once, to see how exact the answers are.
    """
    task = json.loads(sys.stdin.readline())
    jax.config.update("jax_enable_x64", task["dtype"] == "float64")
    *inputs, weight = problem(task["size"], task["num_rows"], task["batch"], task["dtype"])

    def both(weight, *inputs):
        x, pull = jax.vjp(solve, *inputs)
        return x, pull(weight)

    options = {
        "xla_cpu_enable_concurrency_optimized_scheduler": False,
        "xla_cpu_prefer_vector_width": "512",
    }
    start = time.perf_counter()
    program = jax.jit(both).lower(weight, *inputs).compile(compiler_options=options)
    compile_s = time.perf_counter() - start
    _, gradient = program(weight, *inputs)
    x, z = jax.jit(solve_both)(*inputs)
    versions = {package: importlib.metadata.version(package) for package in (name, "jax")}
    first = lambda array: np.asarray(array, np.float64)[:8].ravel().tolist()
    about = {"compile_s": compile_s, "versions": versions, "residual": residual(*inputs, x, z)}
    print(json.dumps(about | {"gradient": first(gradient[1])}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        jax.block_until_ready(program(weight, *inputs))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
