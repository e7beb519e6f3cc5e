"""Judging a division of goods: Nash welfare, and how much of the supply is handed out."""

from typing import Any

import jax.numpy as jnp

from jaxecon.types import Array


def log_nash_welfare(utility: Array, weights: Array) -> Array:
    """Log of the weighted product of utilities.

        Σ_i w_i log u_i

    Args:
      utility: u, [..., N] utils.
      weights: w, [..., N] bargaining weights; 1 for each agent is the plain product.

    Returns:
      [...]; -inf where an agent of positive weight has nothing, nan where its utility is negative.
      Agents of weight 0 do not count, whatever they have.

    Source: Nash (1950), The Bargaining Problem, Econometrica 18.
    """
    is_counted = weights > 0.0
    log_utility = jnp.log(jnp.where(is_counted, utility, jnp.ones_like(utility)))
    return jnp.sum(weights * log_utility, axis=-1)


def nash_welfare(utility: Array, weights: Array) -> Array:
    """Weighted product of utilities, Π_i u_i^w_i; arguments and edges as `log_nash_welfare`."""
    return jnp.exp(log_nash_welfare(utility, weights))


def efficiency(outcome: Any, types: Any) -> Array:
    """Share of what could be used that is handed out, mean over goods.

        1/M Σ_m Σ_i a_im / min(b_m, Σ_i x_im)

    Args:
      outcome: has `allocation` a, [..., N, M] units.
      types: has `demands` x, [..., N, M] units, and `supplies` b, [..., M] units.

    Returns:
      [...], 1 where nothing usable is withheld. A good that nobody demands counts as fully used.
    """
    usable = jnp.minimum(types.supplies, jnp.sum(types.demands, axis=-2))
    given = jnp.sum(outcome.allocation, axis=-2)
    is_wanted = usable > 0.0
    share = given / jnp.where(is_wanted, usable, jnp.ones_like(usable))
    return jnp.mean(jnp.where(is_wanted, share, jnp.ones_like(share)), axis=-1)
