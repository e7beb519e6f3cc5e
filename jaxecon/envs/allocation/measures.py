"""How fair and how efficient the totals of an episode are, against the offline optimum."""

import jax.numpy as jnp

from jaxecon.econ.allocation import log_nash_welfare
from jaxecon.solvers.waterfill import waterfill
from jaxecon.types import Array

LEAST_FILL = 1e-3  # fill ratios are floored here before a logarithm
METRICS = (
    "max_deviation",
    "mean_deviation",
    "utilisation",
    "log_nash_gap",
    "min_log_fill",
    "max_distance",
    "mean_distance",
)


def episode_measures(given: Array, asked: Array, weight: Array, budget: Array) -> dict[str, Array]:
    """Measures of one episode or of many.

    With A* the offline water-filling of realised totals D, over agents with D > 0:

        max_deviation, mean_deviation    max and mean of |A - A*| / D
        utilisation                      Σ A / min(B, Σ D), 1 where nothing could be used
        log_nash_gap                     mean of w (log(A/D) - log(A*/D)), at most 0
        min_log_fill                     min of log(A/D)
        max_distance, mean_distance      max and mean of |A - A*|, units

    Fill ratios are floored at 0.001 in logarithms. Where nobody asked, all are 0 and utilisation 1.

    Args:
      given: A, [N, ...] units; agents first, then episodes.
      asked: D, [N, ...] units.
      weight: w, [N, ...].
      budget: B, [...] units.

    Returns:
      {metric: [...]}.
    """
    best = waterfill(jnp.zeros_like(asked), asked, weight, budget, axis=0).value
    asks = asked > 0.0
    safe = jnp.where(asks, asked, 1.0)
    distance = jnp.where(asks, jnp.abs(given - best), 0.0)
    number = jnp.maximum(jnp.sum(asks, axis=0), 1).astype(given.dtype)
    fill, best_fill = (
        jnp.where(asks, jnp.maximum(total / safe, LEAST_FILL), 1.0) for total in (given, best)
    )  # an agent who never asked has log fill 0 under both
    welfare = [
        log_nash_welfare(jnp.moveaxis(x, 0, -1), jnp.moveaxis(weight, 0, -1))
        for x in (fill, best_fill)
    ]
    usable = jnp.minimum(budget, jnp.sum(asked, axis=0))
    is_usable = usable > 0.0
    share = jnp.sum(given, axis=0) / jnp.where(is_usable, usable, 1.0)
    return {
        "max_deviation": jnp.max(distance / safe, axis=0),
        "mean_deviation": jnp.sum(distance / safe, axis=0) / number,
        "utilisation": jnp.where(is_usable, share, 1.0),
        "log_nash_gap": (welfare[0] - welfare[1]) / number,
        "min_log_fill": jnp.min(jnp.log(fill), axis=0),
        "max_distance": jnp.max(distance, axis=0),
        "mean_distance": jnp.sum(distance, axis=0) / number,
    }
