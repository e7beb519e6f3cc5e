"""Sell a large holding at least cost: Almgren and Chriss (2000) as a differentiable QP.

    min  eta~/tau sum_k n_k^2 + lambda sigma^2 tau sum_k x_k^2    over trades n with sum_k n_k = X

Prints the schedule beside the closed form, the cost and its deviation, and how the expected cost
responds to risk aversion, from the layer's own gradient.

    python examples/optimal_execution.py
"""

import jax
import jax.numpy as jnp

from jaxecon.solvers import quadratic_programme

SHARES, NUM_TRADES, INTERVAL = 1e6, 5, 1.0
VOLATILITY, PERMANENT, FIXED = 0.95, 2.5e-7, 0.0625
TEMPORARY = 2.5e-6 - PERMANENT * INTERVAL / 2  # eta~


def schedule(risk_aversion, impact=None):
    """Trades [N], as shares of the holding; `impact` [N] is eta_k, constant if None."""
    impact = jnp.full(NUM_TRADES, TEMPORARY) if impact is None else impact
    later = jnp.tril(jnp.ones((NUM_TRADES, NUM_TRADES)))  # row k sums the trades up to k
    # holdings after trade k: x_k = 1 - sum_{j <= k} n_j, in units of X; costs in units of X
    risk = risk_aversion * VOLATILITY**2 * INTERVAL * SHARES
    quadratic = 2.0 * (jnp.diag(impact * SHARES / INTERVAL) + risk * later.T @ later)
    linear = -2.0 * risk * later.T @ jnp.ones(NUM_TRADES)
    return quadratic_programme(
        quadratic,
        linear,
        equality_matrix=jnp.ones((1, NUM_TRADES)),
        equality_rhs=jnp.ones(1),
    ).value


def expected_cost(trades):
    """E, money: gamma X^2/2 + epsilon X + eta~/tau sum n^2."""
    impact = TEMPORARY / INTERVAL * jnp.sum((SHARES * trades) ** 2)
    return PERMANENT * SHARES**2 / 2 + FIXED * SHARES + impact


def deviation(trades):
    """Standard deviation of the cost, money."""
    holdings = SHARES * (1.0 - jnp.cumsum(trades))
    return VOLATILITY * jnp.sqrt(INTERVAL * jnp.sum(holdings**2))


def closed_form(risk_aversion):
    """Holdings [N + 1] of the continuous solution at the trading times."""
    squared = risk_aversion * VOLATILITY**2 / TEMPORARY
    kappa = jnp.arccosh(1.0 + squared * INTERVAL**2 / 2) / INTERVAL
    left = INTERVAL * (NUM_TRADES - jnp.arange(NUM_TRADES + 1))
    return SHARES * jnp.sinh(kappa * left) / jnp.sinh(kappa * NUM_TRADES * INTERVAL)


def main():
    with jax.enable_x64(True):
        risk_aversion = jnp.asarray(1e-6)
        trades = schedule(risk_aversion)
        holdings = SHARES * (1.0 - jnp.concatenate([jnp.zeros(1), jnp.cumsum(trades)]))
        print("after trade   shares left   closed form")
        for k, (mine, exact) in enumerate(zip(holdings, closed_form(risk_aversion), strict=True)):
            print(f"{k:11d}   {mine:11,.1f}   {exact:11,.1f}")
        print(f"expected cost {expected_cost(trades):,.2f}, deviation {deviation(trades):,.2f}")
        slope = jax.grad(lambda aversion: expected_cost(schedule(aversion)))(risk_aversion)
        print(f"1% more risk aversion: {slope * 1e-8:+,.2f} of expected cost")


if __name__ == "__main__":
    main()
