"""dynamax on linear Gaussian models: the other side of bench/kalman_vs_dynamax.py."""

import importlib.metadata
import json
import sys

import jax
import jax.numpy as jnp
from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_filter, lgssm_smoother
from lds_problem import HIDDEN, OBSERVED, problem, serve_program


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
    versions = {f"peer_{name}": importlib.metadata.version(name) for name in ("dynamax", "jax")}
    serve_program(lambda: jax.jit(jax.vmap(solve)).lower(x).compile(), x, versions)


if __name__ == "__main__":
    main()
