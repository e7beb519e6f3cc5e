"""Where types come from: laws of values and demands on a box, and the box of possible reports."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxecon.mechanisms.base import AllocationTypes
from jaxecon.solvers.checking import as_floats, common_dtype, require
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

BETA_SHAPE = (2.0, 5.0)
LOG_STD = 1.0  # of the lognormal law before truncation
CORRELATION = 0.5  # between two agents' normal scores of a resource
MOST_SCARCE = 0.999  # supply over total demand, at most: every resource is scarce


def draw_allocation_types(
    key: Key,
    num_agents: int,
    num_resources: int,
    *,
    family: str = "uniform",
    low: Any = 0.1,
    high: Any = 1.0,
    scarcity: Any = 0.5,
) -> AllocationTypes:
    """Types of one instance, leaves [N, M]; `vmap` over keys for more.

    Values and demands are drawn alike and independently on [low, high]:

        uniform      U(low, high)
        beta         low + (high - low) Beta(2, 5): mostly small, a few large
        lognormal    log v ~ N(log sqrt(low high), 1), truncated to the box
        correlated   uniform; agents' values of a resource share a Gaussian copula of correlation
                     0.5, demands are independent

    and the supply of each resource is b_m = min(scarcity · E[Σ_i x_im], 0.999 Σ_i x_im), so that
    every resource is scarce. Weights are 1. Numbers have the widest float dtype of low, high and
    scarcity, or JAX's default.

    Args:
      key: PRNG key.
      num_agents: N >= 1.
      num_resources: M >= 1.
      family: one of the laws above.
      low: least value [utils/unit] and demand [unit], > 0; traced.
      high: greatest value and demand, > low; traced.
      scarcity: supply over expected total demand, > 0; traced.

    Raises:
      ValueError: an unknown family, a count below 1, or concrete numbers that make no box.
    """
    if family not in FAMILIES:
        raise ValueError(unknown_name("family", family, FAMILIES))
    for name, count in (("num_agents", num_agents), ("num_resources", num_resources)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    low, high, scarcity = _numbers(low, high, scarcity)
    require("scarcity", scarcity, lambda x: x > 0.0, "above 0")
    shape = (num_agents, num_resources)
    key_values, key_demands = jax.random.split(key)
    draw_values, draw_demands, mean = FAMILIES[family]
    demands = draw_demands(key_demands, shape, low, high)
    expected = scarcity * num_agents * mean(low, high)
    return AllocationTypes(
        valuations=draw_values(key_values, shape, low, high),
        demands=demands,
        supplies=jnp.minimum(expected, MOST_SCARCE * jnp.sum(demands, 0)),
        weights=jnp.ones(num_agents, low.dtype),
    )


def report_space(low: Any = 0.1, high: Any = 1.0) -> dict[str, tuple[Array, Array]]:
    """Box of reports that a prior on [low, high] makes credible, whatever its family.

    Args:
      low, high: scalars, as for `draw_allocation_types`; may be traced.

    Returns:
      {"valuations": (low, high), "demands": (low, high)}.
    """
    low, high, _ = _numbers(low, high, 1.0)
    return {name: (low, high) for name in AllocationTypes.private}


def _numbers(low: Any, high: Any, scarcity: Any) -> tuple[Array, Array, Array]:
    """The box and the scarcity as floats of one dtype, checked as far as they are concrete."""
    require("low", low, lambda x: np.isfinite(x) & (x > 0.0), "finite and above 0")
    require("high", high, np.isfinite, "finite")
    if not any(isinstance(bound, jax.core.Tracer) for bound in (low, high)):
        require("high", high, lambda x: x > np.asarray(low), f"above low ({low:g})")
    numbers = (low, high, scarcity)
    return tuple(as_floats(common_dtype(*numbers), *numbers))  # type: ignore[return-value]


def _uniform(key: Key, shape: tuple[int, int], low: Array, high: Array) -> Array:
    return low + (high - low) * jax.random.uniform(key, shape, low.dtype)


def _uniform_mean(low: Array, high: Array) -> Array:
    return 0.5 * (low + high)


def _beta(key: Key, shape: tuple[int, int], low: Array, high: Array) -> Array:
    first, second = (jnp.asarray(x, low.dtype) for x in BETA_SHAPE)
    share = jax.random.beta(key, first, second, shape, low.dtype)
    return low + (high - low) * share


def _beta_mean(low: Array, high: Array) -> Array:
    return low + (high - low) * (BETA_SHAPE[0] / sum(BETA_SHAPE))


def _lognormal(key: Key, shape: tuple[int, int], low: Array, high: Array) -> Array:
    reach = 0.5 * jnp.log(high / low) / LOG_STD  # of the box, in standard deviations
    score = jax.random.truncated_normal(key, -reach, reach, shape, low.dtype)
    return jnp.clip(jnp.sqrt(low * high) * jnp.exp(LOG_STD * score), low, high)


def _lognormal_mean(low: Array, high: Array) -> Array:
    reach = 0.5 * jnp.log(high / low) / LOG_STD
    tilted = norm.cdf(reach - LOG_STD) - norm.cdf(-reach - LOG_STD)
    untilted = norm.cdf(reach) - norm.cdf(-reach)
    return (
        jnp.sqrt(low * high) * jnp.exp(jnp.asarray(0.5 * LOG_STD**2, low.dtype)) * tilted / untilted
    )


def _correlated(key: Key, shape: tuple[int, int], low: Array, high: Array) -> Array:
    key_own, key_common = jax.random.split(key)
    own = jax.random.normal(key_own, shape, low.dtype)
    common = jax.random.normal(key_common, (1, shape[1]), low.dtype)
    score = CORRELATION**0.5 * common + (1.0 - CORRELATION) ** 0.5 * own
    return low + (high - low) * norm.cdf(score)


FAMILIES = {  # name: law of values, law of demands, mean demand
    "uniform": (_uniform, _uniform, _uniform_mean),
    "beta": (_beta, _beta, _beta_mean),
    "lognormal": (_lognormal, _lognormal, _lognormal_mean),
    "correlated": (_correlated, _uniform, _uniform_mean),
}
