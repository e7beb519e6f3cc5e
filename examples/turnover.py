"""Rebalance only when it pays: mean-variance choice with a cost of turnover, as a QP.

    max  mu.w - gamma/2 w.S w - cost sum_i |w_i - w0_i|    over w >= 0, sum w = 1

Trades are split into buying and selling, w = w0 + b - s. Prints the weights for several costs: with
a high cost the old ones are kept, which is the no-trade region.

    python examples/turnover.py
"""

import jax
import jax.numpy as jnp

from jaxecon.solvers import quadratic_programme

COVARIANCE = ((0.04, 0.006), (0.006, 0.09))
MEAN = (0.08, 0.12)


def rebalance(mean, covariance, held, risk_aversion, cost):
    """New weights [n] from those held.

    Args:
      mean: [n] expected returns.
      covariance: [n, n].
      held: [n] weights that sum to 1.
      risk_aversion: gamma > 0.
      cost: per unit of turnover, >= 0.
    """
    size = mean.shape[0]
    curvature = risk_aversion * covariance
    quadratic = jnp.block([[curvature, -curvature], [-curvature, curvature]])
    slope = mean - curvature @ held
    linear = jnp.concatenate([cost - slope, cost + slope])
    trade = jnp.concatenate([jnp.ones(size), -jnp.ones(size)])
    solution = quadratic_programme(
        quadratic,
        linear,
        equality_matrix=trade[None],
        equality_rhs=jnp.zeros(1),
        inequality_matrix=jnp.concatenate([-jnp.eye(size), jnp.eye(size)], axis=1),
        inequality_rhs=held,  # nothing is sold short
        lower=0.0,
    )
    bought, sold = jnp.split(solution.value, 2)
    return held + bought - sold


def main():
    mean, covariance = jnp.asarray(MEAN), jnp.asarray(COVARIANCE)
    held = jnp.asarray([0.8, 0.2])
    print("cost      weights          slope of the first weight in its mean return")
    for cost in (0.0, 0.002, 0.01, 0.05):
        choose = lambda mean, cost=cost: rebalance(mean, covariance, held, 2.0, cost)
        slope = jax.jacobian(choose)(mean)[0, 0]
        weights = ", ".join(f"{weight:.4f}" for weight in choose(mean))
        print(f"{cost:<7}   {weights}   {slope:+.3f}")


if __name__ == "__main__":
    main()
