"""Backward induction over finitely many states, actions and shocks: exact values of small tasks.

    V_t(s) = max over legal a of Σ_w P(w | s) (r(s, a, w) + V_{t+1}(s'(s, a, w))),   V_T = 0

Source: Puterman (1994), Markov Decision Processes, ch. 4.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxecon.types import Array


class Programme(NamedTuple):
    """A finite decision problem as tables."""

    reward: Array  # [S, A, W]
    successor: Array  # [S, A, W] int32, index of the next state
    probability: Array  # [S, W] of the shocks
    legal: Array  # [S, A] bool


class Solution(NamedTuple):
    """What the best policy earns and does from each state, T periods before the end."""

    value: Array  # [S] expected sum of rewards
    action: Array  # [S] int32, the best first action; of equal ones the first
    legal: Array  # [S] bool, False where a state offers no action: its value is then -inf


def action_values(programme: Programme, value: Array) -> Array:
    """Expected reward plus value to come of each action, [S, A]; -inf where it is illegal.

    Args:
      programme: tables.
      value: [S] of the states one period on.
    """
    ahead = programme.reward + value[programme.successor]  # [S, A, W]
    expected = jnp.sum(programme.probability[:, None, :] * ahead, axis=-1)
    return jnp.where(programme.legal, expected, -jnp.inf)


def backward_induction(programme: Programme, num_periods: Array | int) -> Solution:
    """Exact values of a task of T periods.

    Args:
      programme: tables; rows of `probability` sum to one.
      num_periods: T >= 1; may be traced.

    Returns:
      Solution. The action is the first of the T.
    """
    chex.assert_rank([programme.reward, programme.probability], [3, 2])
    chex.assert_equal_shape([programme.reward, programme.successor])
    periods = jnp.asarray(num_periods, jnp.int32)

    def earlier(_: Array, value: Array) -> Array:
        return jnp.max(action_values(programme, value), axis=-1)

    later = jax.lax.fori_loop(0, periods - 1, earlier, jnp.zeros_like(programme.reward[:, 0, 0]))
    value = action_values(programme, later)
    best = jnp.argmax(value, axis=-1).astype(jnp.int32)
    return Solution(value.max(axis=-1), best, programme.legal.any(axis=-1))
