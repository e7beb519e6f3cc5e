"""Portfolio accounting: weights, trading costs and drift, and what Merton would hold.

Weights are shares of wealth, [K] = cash first, then the risky assets. One day goes

    drifted weights  --trade, pay cost-->  target weights  --prices move-->  drifted weights
"""

import jax.numpy as jnp

from jaxecon.types import Array


def normalise_weights(weights: Array) -> Array:
    """Weights made legal: negative parts become 0 and the rest is scaled to sum to one.

        w = max(a, 0) / Σ max(a, 0),  and all cash, (1, 0, ..., 0), where nothing is positive

    Args:
      weights: [..., K] any real numbers, cash first.

    Returns:
      [..., K] non-negative, sums to one up to rounding; nan where an entry is nan.
    """
    positive = jnp.maximum(weights, 0.0)
    total = jnp.sum(positive, axis=-1, keepdims=True)
    cash = jnp.zeros_like(weights).at[..., 0].set(1.0)
    is_empty = total == 0.0
    return jnp.where(is_empty, cash, positive / jnp.where(is_empty, 1.0, total))


def long_short_weights(action: Array, gross_limit: Array) -> Array:
    """Risky weights, long or short, within a limit on their absolute sum.

        w = G a / max(1, Σ_i |a_i|),  a clipped to [-1, 1]

    Relabelling assets or changing all signs of `action` does the same to the weights.

    Args:
      action: a, [..., N] any real numbers.
      gross_limit: G > 0, largest Σ_i |w_i|, in units of wealth; a scalar.

    Returns:
      [..., N] shares of wealth; the rest, 1 - Σ_i w_i, is cash.
    """
    action = jnp.clip(action, -1.0, 1.0)
    gross = jnp.sum(jnp.abs(action), axis=-1, keepdims=True)
    return gross_limit * action / jnp.maximum(gross, 1.0)


def borrow_cost(weights: Array, annual_fee: Array, periods_per_year: int) -> Array:
    """Fraction of wealth paid in one period to borrow what is held short, Σ_i b_i max(-w_i, 0) / P.

    Args:
      weights: w, [..., N] risky shares of wealth.
      annual_fee: b, [..., N] per year and unit of value.
      periods_per_year: P.

    Returns:
      [...] fraction of wealth.
    """
    return jnp.sum(annual_fee * jnp.maximum(-weights, 0.0), axis=-1) / periods_per_year


def turnover(weights: Array, target: Array) -> Array:
    """Value traded to move between two portfolios, as a fraction of wealth before the trade.

        τ = Σ_{i>=1} |target_i - weights_i|     (risky assets; moving cash is free)

    Args:
      weights: [..., K] shares of wealth held now, cash first.
      target: [..., K] shares of wealth wanted.

    Returns:
      [...] in [0, 2]: selling one asset to buy another counts twice.
    """
    return jnp.sum(jnp.abs(target - weights)[..., 1:], axis=-1)


def proportional_cost(weights: Array, target: Array, rate: Array) -> Array:
    """Fraction of wealth paid to move between two portfolios, ε·τ.

    The order list is priced at wealth before the trade, and the cost is taken from all positions in
    proportion, so cash never turns negative and wealth after the trade is W·(1 - ε·τ). Charging
    each traded dollar exactly once (Jiang, Xu and Liang 2017, arXiv 1706.10059) differs by O(ε²·τ).

    Args:
      weights: [..., K] shares of wealth held now, cash first.
      target: [..., K] shares of wealth wanted.
      rate: ε, cost per unit of value traded, in [0, 0.5).

    Returns:
      [...] fraction of wealth.
    """
    return rate * turnover(weights, target)


def drift(weights: Array, gross_returns: Array) -> tuple[Array, Array]:
    """Growth of wealth over one day without trade, and the weights at its end.

        G = Σ_i w_i R_i,    w'_i = w_i R_i / G

    Args:
      weights: [..., K] shares of wealth at the start of the day.
      gross_returns: [..., K] price ratios R > 0, that of cash first.

    Returns:
      (growth [...], drifted weights [..., K]).
    """
    values = weights * gross_returns
    growth = jnp.sum(values, axis=-1)
    return growth, values / growth[..., None]


def merton_weights(mean: Array, covariance: Array, risk_free: Array, risk_aversion: Array) -> Array:
    """Risky weights that a CRRA investor keeps in continuous time without costs.

        π = Σ⁻¹ (μ - r) / γ,  and the rest, 1 - Σ_i π_i, in cash

    Args:
      mean: μ, [A] expected simple returns per year.
      covariance: Σ, [A, A] per year, positive definite.
      risk_free: r, return of cash per year.
      risk_aversion: γ > 0; 1 is log utility (the Kelly portfolio).

    Returns:
      [A] weights; negative is short, a sum above one is borrowing.

    Source: Merton (1969), Lifetime Portfolio Selection under Uncertainty, Review of Economics and
    Statistics 51.
    """
    return jnp.linalg.solve(covariance, mean - risk_free) / risk_aversion


def log_growth_rate(weights: Array, mean: Array, covariance: Array, risk_free: Array) -> Array:
    """Expected growth of log wealth per year at constant risky weights, without costs.

        g(π) = r + π·(μ - r) - π·Σπ / 2

    Args:
      weights: π, [A] risky weights, rebalanced continuously.
      mean: μ, [A] expected simple returns per year.
      covariance: Σ, [A, A] per year.
      risk_free: r, return of cash per year.

    Returns:
      Scalar, per year; greatest at `merton_weights` with risk aversion 1.
    """
    return risk_free + weights @ (mean - risk_free) - 0.5 * weights @ covariance @ weights
