"""Welfare, inequality and fairness of an outcome, agent by agent on the last axis.

Nash welfare and efficiency of allocations with several goods are in `econ/allocation.py`.
"""

import jax
import jax.numpy as jnp

from jaxecon.types import Array


def power_mean(utility: Array, weights: Array, exponent: Array) -> Array:
    """Weighted power mean of utilities, a welfare between the worst-off agent and the best-off.

        M_p(u) = (Σ_i s_i u_i^p)^(1/p),    s_i = w_i / Σ_j w_j

    p = 1 is utilitarian, p = 0 the geometric mean (Nash), p = -∞ the minimum (Rawls), p = ∞ the
    maximum; all are exact, and M is smooth in p through 0.

    Args:
      utility: u, [..., N] utils, >= 0.
      weights: w, [..., N] >= 0; agents of weight 0 do not count.
      exponent: p, scalar; may be ±inf.

    Returns:
      [...] utils. 0 where a counted agent has nothing and p <= 0.

    Source: Moulin (2003), Fair Division and Collective Welfare, ch. 3.
    """
    counts = weights > 0.0
    share = weights / jnp.sum(weights, axis=-1, keepdims=True)
    exponent = jnp.asarray(exponent, utility.dtype)
    kept = jnp.where(counts, utility, 1.0)
    has_nothing = kept <= 0.0
    log_utility = jnp.log(jnp.where(has_nothing, 1.0, kept))
    finite = jnp.where(jnp.isinf(exponent), 1.0, exponent)
    mean = jnp.where(
        jnp.any(has_nothing, axis=-1),
        _mean_with_zeros(log_utility, jnp.where(has_nothing, 0.0, share), finite),
        _mean_of_positives(log_utility, share, finite),
    )
    extreme = jnp.where(
        exponent > 0.0,
        jnp.max(jnp.where(counts, utility, -jnp.inf), axis=-1),
        jnp.min(jnp.where(counts, utility, jnp.inf), axis=-1),
    )
    return jnp.where(jnp.isinf(exponent), extreme, mean)


def _mean_of_positives(log_utility: Array, share: Array, exponent: Array) -> Array:
    """exp(m + log(Σ s e^{p d}) / p) with d = log u - m: no cancellation for small p."""
    middle = jnp.sum(share * log_utility, axis=-1, keepdims=True)
    away = log_utility - middle
    is_small = jnp.abs(exponent) <= 1.0
    is_zero = exponent == 0.0
    small = jnp.where(is_zero | ~is_small, 1.0, exponent)
    near = jnp.log1p(jnp.sum(share * jnp.expm1(small * jnp.clip(away, -80.0, 80.0)), axis=-1))
    tangent = 0.5 * exponent * jnp.sum(share * jnp.square(away), axis=-1)  # slope at p = 0
    large = jnp.where(is_small, 2.0, exponent)
    far = jax.scipy.special.logsumexp(large * away, axis=-1, b=share) / large
    log_ratio = jnp.where(is_zero, tangent, jnp.where(is_small, near / small, far))
    return jnp.exp(middle[..., 0] + log_ratio)


def _mean_with_zeros(log_utility: Array, share: Array, exponent: Array) -> Array:
    """The mean where agents of share 0 here have nothing: 0 unless p > 0."""
    positive = jnp.where(exponent > 0.0, exponent, 1.0)
    is_any = jnp.any(share > 0.0, axis=-1) & (exponent > 0.0)
    safe = jnp.where(is_any[..., None], share, jnp.ones_like(share))
    total = jax.scipy.special.logsumexp(positive * log_utility, axis=-1, b=safe)
    return jnp.where(is_any, jnp.exp(total / positive), 0.0)


def gini(amount: Array, weights: Array, *, corrected: bool = False) -> Array:
    """Gini coefficient of a population whose members may have fractional weight.

        G = Σ_ij s_i s_j |x_i - x_j| / (2 Σ_i s_i x_i),    s_i = w_i / Σ_j w_j

    Weights make it continuous in the number of agents: one who fades out (w -> 0) ends up not
    counted, and splitting an agent in two equal halves changes nothing.

    Args:
      amount: x, [..., N] goods, >= 0.
      weights: w, [..., N] >= 0, such as household sizes.
      corrected: divide by 1 - Σ s², which is n/(n-1) times more for n equal weights, so that one
        agent who has everything gives 1. One agent alone has 0.

    Returns:
      [...] in [0, 1); 0 where nobody has anything. Costs O(N²).

    Source: Gini (1912), Variabilità e mutabilità.
    """
    share = weights / jnp.sum(weights, axis=-1, keepdims=True)
    mean = jnp.sum(share * amount, axis=-1)
    gaps = jnp.abs(amount[..., :, None] - amount[..., None, :])
    spread = jnp.sum(share[..., :, None] * share[..., None, :] * gaps, axis=(-2, -1))
    scale = 2.0 * mean
    if corrected:
        scale = scale * (1.0 - jnp.sum(jnp.square(share), axis=-1))
    is_some = scale > 0.0
    return jnp.where(is_some, spread / jnp.where(is_some, scale, 1.0), 0.0)


def jain_index(amount: Array) -> Array:
    """Jain's fairness index, (Σ x)² / (n Σ x²).

    Args:
      amount: x, [..., N] goods or fill ratios, >= 0.

    Returns:
      [...] in [1/n, 1], 1 for equal amounts and where nobody has anything; k of n agents with equal
      amounts and the others with nothing give k/n.

    Source: Jain, Chiu and Hawe (1984), A Quantitative Measure of Fairness, DEC-TR-301.
    """
    scaled = amount / jnp.maximum(
        jnp.max(amount, axis=-1, keepdims=True), jnp.finfo(amount.dtype).tiny
    )
    squares = amount.shape[-1] * jnp.sum(jnp.square(scaled), axis=-1)
    is_some = squares > 0.0
    index = jnp.square(jnp.sum(scaled, axis=-1)) / jnp.where(is_some, squares, 1.0)
    return jnp.where(is_some, index, 1.0)


def envy(utility_of: Array) -> Array:
    """How much each agent would rather have another's bundle, max_j u_ij - u_ii.

    Args:
      utility_of: u, [..., N, N] utils, row i agent i's utility of every agent's bundle.

    Returns:
      [..., N] utils, >= 0: one does not envy oneself.

    Source: Foley (1967), Resource Allocation and the Public Sector.
    """
    own = jnp.diagonal(utility_of, axis1=-2, axis2=-1)
    return jnp.max(utility_of, axis=-1) - own


def fill_envy(allocation: Array, demand: Array) -> Array:
    """Envy in shares of one's own demand, min(max_j a_j / d_i, 1) - min(a_i / d_i, 1).

    Args:
      allocation: a, [..., N] units of one good.
      demand: d, [..., N] units; an agent without demand envies nobody.

    Returns:
      [..., N] in [0, 1].

    Source: Sinclair, Jain, Banerjee and Yu (2022), Sequential Fair Allocation: Achieving the
    Optimal Envy-Efficiency Trade-off Curve, Operations Research 71.
    """
    most = jnp.max(allocation, axis=-1, keepdims=True)
    is_wanted = demand > 0.0
    safe = jnp.where(is_wanted, demand, 1.0)
    gap = jnp.minimum(most / safe, 1.0) - jnp.minimum(allocation / safe, 1.0)
    return jnp.where(is_wanted, gap, 0.0)


def proportional_shortfall(utility: Array, utility_of_all: Array, weights: Array) -> Array:
    """What each agent lacks of a proportional share, max(s_i u_i(everything) - u_i, 0).

    Args:
      utility: u, [..., N] utils reached.
      utility_of_all: [..., N] utils of having everything.
      weights: w, [..., N] claims; s = w / Σ w, so equal weights ask for 1/n each.

    Returns:
      [..., N] utils, 0 where the share is met.

    Source: Steinhaus (1948), The Problem of Fair Division, Econometrica 16.
    """
    share = weights / jnp.sum(weights, axis=-1, keepdims=True)
    return jnp.maximum(share * utility_of_all - utility, 0.0)


def waste(allocation: Array, demand: Array, supply: Array) -> Array:
    """Supply that somebody wanted and nobody got, max(min(b, Σ d) - Σ min(a, d), 0).

    Args:
      allocation: a, [..., N] units.
      demand: d, [..., N] units; what exceeds it is of no use and counts as wasted.
      supply: b, [...] units.

    Returns:
      [...] units.
    """
    useful = jnp.sum(jnp.minimum(allocation, demand), axis=-1)
    wanted = jnp.minimum(supply, jnp.sum(demand, axis=-1))
    return jnp.maximum(wanted - useful, 0.0)
