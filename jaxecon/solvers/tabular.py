"""Discounted decision problems as tables, and what a broken symmetry can cost in them.

    Q(s, a) = r(s, a) + γ Σ_s' P(s' | s, a) max_a' Q(s', a')

A group acts on the tables by permutations, given as arrays of images: element g moves state s to
`state_images[g, s]` and action a to `action_images[g, a]`.

Sources: Puterman (1994), Markov Decision Processes, ch. 6; Park et al. (2025), Approximate
Equivariance in Reinforcement Learning, arXiv 2411.04225, for the form of the bound, whose proof
here is our own (`q_bound`).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxecon.types import Array


class TabularMDP(NamedTuple):
    """A finite decision problem without an end."""

    reward: Array  # [S, A] expected reward
    transition: Array  # [S, A, S] probabilities of the next state


class Solution(NamedTuple):
    """A fixed point of a Bellman operator."""

    value: Array  # [S, A] of the best policy, or [S] of a given one
    residual: Array  # () largest change in the last iteration, in units of reward
    converged: Array  # () bool


class _Loop(NamedTuple):
    value: Array
    residual: Array
    step: Array


def _iterate(
    operator, start: Array, discount_factor: Array, tol: Array | float, max_steps: int
) -> Solution:
    """Iterate a contraction until the value is within `tol` of its fixed point."""
    discount_factor = jnp.asarray(discount_factor, start.dtype)
    tol = jnp.asarray(tol, start.dtype)
    is_far = lambda residual: residual * discount_factor > tol * (1.0 - discount_factor)

    def again(loop: _Loop) -> _Loop:
        value = operator(loop.value)
        return _Loop(value, jnp.abs(value - loop.value).max(), loop.step + 1)

    loop = _Loop(start, jnp.asarray(jnp.inf, start.dtype), jnp.int32(0))
    loop = jax.lax.while_loop(
        lambda loop: is_far(loop.residual) & (loop.step < max_steps), again, loop
    )
    return Solution(loop.value, loop.residual, ~is_far(loop.residual))


def value_iteration(
    mdp: TabularMDP, discount_factor: Array, *, tol: Array | float = 1e-5, max_steps: int = 20_000
) -> Solution:
    """Action values of the best policy.

    Args:
      mdp: tables; rows of `transition` sum to one.
      discount_factor: γ in [0, 1).
      tol: error of the values that is allowed, in units of reward; rounding sets a floor.
      max_steps: iterations, whether or not that is reached.

    Returns:
      Solution with values [S, A].
    """
    chex.assert_rank([mdp.reward, mdp.transition], [2, 3])

    def operator(value: Array) -> Array:
        return mdp.reward + discount_factor * mdp.transition @ value.max(axis=-1)

    return _iterate(operator, mdp.reward, discount_factor, tol, max_steps)


def policy_value(
    mdp: TabularMDP,
    policy: Array,
    discount_factor: Array,
    *,
    tol: Array | float = 1e-5,
    max_steps: int = 20_000,
) -> Solution:
    """Values of following a policy for ever.

    Args:
      mdp: tables.
      policy: int32 [S], the action taken in each state.
      discount_factor, tol, max_steps: as in `value_iteration`.

    Returns:
      Solution with values [S].
    """
    states = jnp.arange(policy.shape[0], dtype=jnp.int32)
    reward, transition = mdp.reward[states, policy], mdp.transition[states, policy]

    def operator(value: Array) -> Array:
        return reward + discount_factor * transition @ value

    return _iterate(operator, reward, discount_factor, tol, max_steps)


def carried(values: Array, state_images: Array, action_images: Array) -> Array:
    """Q(gs, ga) of every element g, [n, S, A], for Q [S, A] and images [n, S] and [n, A]."""
    return values[state_images[:, :, None], action_images[:, None, :]]


class SymmetryMismatch(NamedTuple):
    """How far tables are from a symmetry: the largest gaps over states, actions and the group."""

    reward: Array  # () ε_R, of expected rewards
    transition: Array  # () ε_P, total variation between g⁻¹·P(gs, ga) and P(s, a)


def symmetry_mismatch(
    mdp: TabularMDP, state_images: Array, action_images: Array
) -> SymmetryMismatch:
    """ε_R and ε_P of a problem under a group.

    Args:
      mdp: tables.
      state_images: int [n, S].
      action_images: int [n, A].
    """
    reward = carried(mdp.reward, state_images, action_images) - mdp.reward[None]

    def transition_gap(states: Array, actions: Array) -> Array:
        moved = mdp.transition[states[:, None, None], actions[None, :, None], states[None, None, :]]
        return 0.5 * jnp.abs(moved - mdp.transition).sum(axis=-1).max()

    transition = jax.vmap(transition_gap)(state_images, action_images)
    return SymmetryMismatch(jnp.abs(reward).max(), transition.max())


def q_bound(mismatch: SymmetryMismatch, value_range: Array, discount_factor: Array) -> Array:
    """Largest |Q*(gs, ga) - Q*(s, a)| that a mismatch allows, in units of reward, ().

        Δ <= (ε_R + γ ρ ε_P) / (1 - γ)

    By Bellman's equation Q*(gs, ga) - Q*(s, a) is the gap of rewards, plus γ times that of the
    expectations of V* under two laws at most ε_P apart, plus γ times an expectation of gaps of V*,
    each at most Δ because g permutes the actions.

    Args:
      mismatch: ε_R and ε_P.
      value_range: ρ = max V* - min V*, the most that a unit of total variation is worth.
      discount_factor: γ in [0, 1).
    """
    allowed = mismatch.reward + discount_factor * value_range * mismatch.transition
    return allowed / (1.0 - discount_factor)


def orbit_average(values: Array, state_images: Array, action_images: Array) -> Array:
    """Mean of Q(gs, ga) over the group, [S, A]: the nearest invariant values of Q.

    If no Q(gs, ga) is further than Δ from Q(s, a), the greedy policy of the average loses at most
    2 Δ / (1 - γ) in any state.
    """
    return carried(values, state_images, action_images).mean(axis=0)
