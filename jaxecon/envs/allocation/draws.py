"""Drawing whole episodes: who asks when for how much, and what there is to give.

Episodes are the last axis of every array and come in blocks that fit a core's cache, so that a
step of a rule is a few dozen vector operations whatever the number of agents (see
`solvers.batching`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.envs.allocation import demand as laws
from jaxecon.envs.allocation.economy import EnvParams, as_float
from jaxecon.types import Array, Key

EPISODES_PER_BLOCK = 256


class Episodes(NamedTuple):
    """Draws of whole episodes, E of them.

    Attributes:
      requests: x, [T, N, E] units.
      budget: B, [E] units.
      thinning, scale: r and s, [N, E].
    """

    requests: Array
    budget: Array
    thinning: Array
    scale: Array


def draw_traits(key: Key, params: EnvParams, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """(r, s, u) of episodes: thinning and scale of agents, `shape`, and what the budget varies by.

    All are exactly 1 in an economy without spread. u has `shape` without its first axis.
    """
    key_thinning, key_scale, key_budget, key_common = jax.random.split(key, 4)
    uniform = lambda key, shape: jax.random.uniform(key, shape, float)
    least = as_float(params.least_arrival)
    thinning = 1.0 - (1.0 - least) * uniform(key_thinning, shape)
    rarity = jnp.log(as_float(params.common_arrival)) * uniform(key_common, shape[1:])
    thinning = thinning * jnp.exp(rarity)[None]
    either = lambda key, shape, spread: 1.0 + as_float(spread) * (2.0 * uniform(key, shape) - 1.0)
    scale = either(key_scale, shape, params.size_spread)
    return thinning, scale, either(key_budget, shape[1:], params.budget_spread)


def episode_budget(params: EnvParams, thinning: Array, scale: Array, factor: Array) -> Array:
    """B of an episode: the economy's, in proportion to the demand its agents lead one to expect.

    Args:
      params: the economy.
      thinning, scale, factor: from `draw_traits`.

    Returns:
      [...] units.
    """
    expected = jnp.sum(as_float(params.arrival_probability) * as_float(params.mean_size), axis=0)
    expected = jnp.reshape(expected, expected.shape + (1,) * (scale.ndim - 1))
    total = jnp.sum(expected, axis=0)
    ratio = jnp.sum(expected * thinning * scale, axis=0) / jnp.where(total > 0.0, total, 1.0)
    return as_float(params.budget) * factor * jnp.where(total > 0.0, ratio, 1.0)


def draw_episodes(key: Key, env: Any, params: EnvParams, num_episodes: int) -> Episodes:
    """Requests and budgets of E episodes, of the same law as the environment's.

    Args:
      key: PRNG key.
      env: a SequentialAllocation.
      params: its economy.
      num_episodes: E.
    """
    key_traits, key_first, key_path, key_requests = jax.random.split(key, 4)
    num_steps, num_agents = env.num_steps, env.num_agents_served
    thinning, scale, factor = draw_traits(key_traits, params, (num_agents, num_episodes))
    normals = jax.random.normal(key_path, (num_steps, num_episodes), float)
    first = laws.stationary_deviation(params) * jax.random.normal(key_first, (num_episodes,), float)

    def advance(log_intensity: Array, normal: Array) -> tuple[Array, Array]:
        return laws.step_of_log_intensity(log_intensity, normal, params), log_intensity

    path: Array
    _, path = jax.lax.scan(advance, first, normals)
    common = laws.intensity(path, params)[:, None, :]  # [T, 1, E]
    is_played = jnp.arange(num_steps) < jnp.asarray(params.max_steps_in_episode)
    shape = (num_steps, num_agents, num_episodes)
    table = lambda x: jnp.broadcast_to(as_float(x)[:, :, None], shape)
    probability = jnp.minimum(table(params.arrival_probability) * common, 1.0) * thinning[None]
    requests = laws.draw_requests(
        key_requests,
        env.law,
        jnp.where(is_played[:, None, None], probability, 0.0),
        table(params.mean_size),
        table(params.size_deviation),
        params,
    )
    budget = episode_budget(params, thinning, scale, factor)
    return Episodes(requests * scale[None], budget, thinning, scale)


def draw_blocks(key: Key, env: Any, params: EnvParams, num_episodes: int) -> Episodes:
    """Draws of at least E episodes in blocks, leaves [num_blocks, ..., block]."""
    size = min(num_episodes, EPISODES_PER_BLOCK)
    keys = jax.random.split(key, -(-num_episodes // size))
    return jax.lax.map(lambda key: draw_episodes(key, env, params, size), keys)
