"""Laws of demand: drawing requests, and what a planner expects of those still to come.

Arrays here have agents on axis 0 or, in tables over time, on axis 1; any axes of episodes follow.
One function draws for a single step and for whole tables, so that environment and simulation
cannot disagree.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxecon.envs.allocation.economy import EnvParams, as_float
from jaxecon.types import Array, Key

Law = Literal["gaussian", "poisson", "shifted_poisson"]
LAWS = get_args(Law)
NUM_POINTS = 16  # quantile points that stand for the law of a request's size


class Outlook(NamedTuple):
    """What a planner believes about each agent's requests after a step.

    Attributes:
      mean: F, expected demand, units.
      deviation: S, its standard deviation, units.
      number: expected number of requests.
    """

    mean: Array
    deviation: Array
    number: Array


def draw_requests(
    key: Key, law: Law, probability: Array, mean: Array, deviation: Array, params: EnvParams
) -> Array:
    """Requests: zero, or with some probability a size.

        gaussian           max(mu + sigma z, floor·mu, least)
        poisson            Poisson(mu)
        shifted_poisson    1 + Poisson(max(mu - 1, 0))

    Args:
      key: PRNG key.
      law: of the sizes.
      probability, mean, deviation: p, mu, sigma, of one shape.
      params: has the floors.

    Returns:
      Units, of the same shape.
    """
    key_arrival, key_size = jax.random.split(key)
    arrives = jax.random.uniform(key_arrival, mean.shape, mean.dtype) < probability
    return jnp.where(arrives, _sizes(key_size, law, mean, deviation, params), 0.0)


def _sizes(key: Key, law: Law, mean: Array, deviation: Array, params: EnvParams) -> Array:
    if law == "poisson":
        return jax.random.poisson(key, mean).astype(mean.dtype)
    if law == "shifted_poisson":
        return 1.0 + jax.random.poisson(key, jnp.maximum(mean - 1.0, 0.0)).astype(mean.dtype)
    normal = jax.random.normal(key, mean.shape, mean.dtype)
    least = jnp.maximum(as_float(params.size_floor) * mean, as_float(params.least_size))
    return jnp.maximum(mean + deviation * normal, least)


def size_moments(law: Law, params: EnvParams) -> tuple[Array, Array]:
    """(mean, variance) of a request's size before floors, [T, N] units and units squared."""
    mean = as_float(params.mean_size)
    if law == "poisson":
        return mean, mean
    if law == "shifted_poisson":
        return jnp.maximum(mean, 1.0), jnp.maximum(mean - 1.0, 0.0)
    return mean, jnp.square(as_float(params.size_deviation))


class Tables(NamedTuple):
    """Moments of requests by step, or their sums over steps; `outlook` turns them into beliefs.

    Attributes:
      mean: p mu.
      second: p (sigma² + mu²).
      squares: (p mu)².
      number: p.
    """

    mean: Array
    second: Array
    squares: Array
    number: Array


def step_tables(law: Law, params: EnvParams) -> Tables:
    """Moments of each step, [T, N], as planners believe them; 0 in steps past the limit.

    mu and sigma are taken times `forecast_scale`. Floors and the common intensity are left out.
    """
    mean, variance = size_moments(law, params)
    believed = as_float(params.forecast_scale)
    mean, variance = believed * mean, jnp.square(believed) * variance
    limit = jnp.asarray(params.max_steps_in_episode, jnp.int32)
    is_played = jnp.arange(mean.shape[0], dtype=jnp.int32)[:, None] < limit
    probability = jnp.where(is_played, as_float(params.arrival_probability), 0.0)
    expected = probability * mean
    second = probability * (variance + jnp.square(mean))
    return Tables(expected, second, jnp.square(expected), probability)


def sum_after(table: Array) -> Array:
    """Sums over the steps that follow each, [T, ...]; exactly 0 in the last."""
    later = jnp.cumsum(table[::-1], axis=0)[::-1][1:]
    return jnp.concatenate([later, jnp.zeros_like(table[:1])])


def future_tables(law: Law, params: EnvParams) -> Tables:
    """Moments summed over the steps that follow each, [T, N], demands independent over time."""
    return Tables(*(sum_after(table) for table in step_tables(law, params)))


def outlook(row: Tables, thinning: Array, scale: Array) -> Outlook:
    """Beliefs of an episode about the steps that went into a table, Var X = E X² - (E X)² each.

    Args:
      row: of `future_tables` or `step_tables`; arrays that broadcast against the others.
      thinning, scale: r and s, how this episode's agents differ from the economy's.

    Returns:
      Outlook with mean r s Σ p mu, variance s² (r Σ p (sigma² + mu²) - r² Σ (p mu)²).
    """
    variance = thinning * row.second - jnp.square(thinning) * row.squares
    is_random = variance > 0.0
    root = jnp.where(is_random, jnp.sqrt(jnp.where(is_random, variance, 1.0)), 0.0)
    return Outlook(thinning * scale * row.mean, scale * root, thinning * row.number)


def step_of_log_intensity(log_intensity: Array, normal: Array, params: EnvParams) -> Array:
    """Next log intensity of an AR(1), from a standard normal."""
    return as_float(params.persistence) * log_intensity + as_float(params.volatility) * normal


def stationary_deviation(params: EnvParams) -> Array:
    """Standard deviation of the log intensity in the long run."""
    return as_float(params.volatility) / jnp.sqrt(1.0 - jnp.square(as_float(params.persistence)))


def intensity(log_intensity: Array, params: EnvParams) -> Array:
    """What all arrival probabilities are multiplied by, mean 1; they are cut off at 1."""
    return jnp.exp(log_intensity - 0.5 * jnp.square(stationary_deviation(params)))


def size_points(law: Law, params: EnvParams) -> Array:
    """Equally likely sizes that stand for the law of a request of each agent, [16, N] units.

    Quantiles at (k - 1/2)/16 of a normal law of the sizes' mean and variance over time, weighted by
    arrival probability, not below the floors, times `forecast_scale`.
    """
    mean, variance = size_moments(law, params)
    share = as_float(params.arrival_probability)
    total = jnp.sum(share, axis=0, keepdims=True)
    share = jnp.where(total > 0.0, share, 1.0)
    share = share / jnp.sum(share, axis=0, keepdims=True)
    centre = jnp.sum(share * mean, axis=0, keepdims=True)  # [1, N]
    variance = jnp.sum(share * (variance + jnp.square(mean - centre)), axis=0, keepdims=True)
    quantile = (jnp.arange(NUM_POINTS, dtype=centre.dtype) + 0.5) / NUM_POINTS
    points = centre + jnp.sqrt(variance) * jax.scipy.special.ndtri(quantile)[:, None]
    least = jnp.maximum(as_float(params.size_floor) * centre, as_float(params.least_size))
    return as_float(params.forecast_scale) * jnp.maximum(points, least)
