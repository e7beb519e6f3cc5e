"""dynamax on linear Gaussian models: the other side of bench/kalman_vs_dynamax.py."""

import importlib.metadata
import json
import sys
import time

import jax
import jax.numpy as jnp
from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_filter, lgssm_smoother
from lds_problem import HIDDEN, OBSERVED, problem, reply


def main():
    task = json.loads(sys.stdin.readline())
    jax.config.update("jax_enable_x64", True)
    x, (A, Q, C, R, m, P) = problem(task["num_times"], task["batch"])
    model = LinearGaussianSSM(HIDDEN, OBSERVED, has_dynamics_bias=False, has_emissions_bias=False)
    params, props = model.initialize(
        jax.random.PRNGKey(0),
        initial_mean=jnp.asarray(m),
        initial_covariance=jnp.asarray(P),
        dynamics_weights=jnp.asarray(A),
        dynamics_covariance=jnp.asarray(Q),
        emission_weights=jnp.asarray(C),
        emission_covariance=jnp.asarray(R),
    )

    def solve(series):
        def iterate(carry, _):
            params, m_step = carry
            stats, _ = model.e_step(params, series)
            batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], stats)
            params, m_step = model.m_step(params, props, batch, m_step)
            return (params, m_step), None

        first = (params, model.initialize_m_step_state(params, props))
        (fitted, _), _ = jax.lax.scan(iterate, first, length=task["num_iterations"])
        likelihood = lgssm_filter(fitted, series).marginal_loglik
        smoothed = lgssm_smoother(fitted, series)
        return (
            likelihood,
            smoothed.smoothed_means.sum(),
            smoothed.smoothed_cross_covariances.sum(),
        )

    x = jnp.asarray(x)
    start = time.perf_counter()
    program = jax.jit(jax.vmap(solve)).lower(x).compile()
    compile_s = time.perf_counter() - start
    versions = {f"peer_{name}": importlib.metadata.version(name) for name in ("dynamax", "jax")}
    print(json.dumps({"compile_s": compile_s, "versions": versions}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        likelihood, *_ = jax.block_until_ready(program(x))
        print(json.dumps(reply(time.perf_counter() - start, likelihood)), flush=True)


if __name__ == "__main__":
    main()
