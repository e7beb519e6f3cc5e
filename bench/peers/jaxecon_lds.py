"""jaxecon on linear Gaussian models: our side of bench/kalman_vs_dynamax.py."""

import importlib.metadata
import json
import sys

import jax
import jax.numpy as jnp
from lds_problem import problem, serve_program

from jaxecon import devices
from jaxecon.solvers.kalman import (
    LinearGaussian,
    expectation_maximisation,
    kalman_filter,
    kalman_smoother,
)


def main():
    task = json.loads(sys.stdin.readline())
    jax.config.update("jax_enable_x64", True)
    if task["num_devices"] > 1:
        devices.use_all_cores()
    x, guess = problem(task["num_times"], task["batch"])
    x, guess = jnp.asarray(x), LinearGaussian(*map(jnp.asarray, guess))

    def solve(x):
        fitted = expectation_maximisation(
            guess, x, num_iterations=task["num_iterations"], tol=0.0, covariance_floor=0.0
        )
        filtered = kalman_filter(fitted.value, x)
        smoothed = kalman_smoother(fitted.value, filtered)
        return filtered.log_likelihood, smoothed.mean.sum((1, 2)), smoothed.lag_one.sum((1, 2, 3))

    options = devices.compiler_options("cpu", one_thread_per_device=True)
    jitted = jax.jit(devices.over_devices(solve))
    versions = {name: importlib.metadata.version(name) for name in ("jaxecon", "jax")}
    serve_program(lambda: jitted.lower(x).compile(compiler_options=options), x, versions)


if __name__ == "__main__":
    main()
