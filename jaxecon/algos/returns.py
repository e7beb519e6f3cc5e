"""Advantage estimates that keep "ended" and "cut off" apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array


class Advantages(NamedTuple):
    """Estimates for every step of a trajectory."""

    advantage: Array  # [T, B, ...]
    target: Array  # [T, B, ...] regression target of the value function


def generalised_advantage(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    done: Array,
    gamma: Array,
    gae_lambda: Array,
) -> Advantages:
    """Generalised advantage estimates and their value targets.

        δ_t = r_t + γ (1 - terminated_t) v'_t - v_t
        A_t = δ_t + γ λ (1 - done_t) A_{t+1},   target_t = A_t + v_t

    Args:
      reward: [T, B, ...].
      value: v_t, [T, B, ...].
      next_value: v'_t, [T, B, ...]: the value of the state that followed, which at a truncated
        step is the value of the final observation, never that of the next episode's start.
      terminated: [T, B, ...] bool: no future, so nothing is bootstrapped.
      done: [T, B, ...] bool: terminated or truncated, so the sum stops.
      gamma, gae_lambda: scalars in [0, 1].

    Source: Schulman et al. (2016), High-Dimensional Continuous Control Using GAE.
    """
    live = 1.0 - terminated.astype(value.dtype)
    delta = reward + gamma * live * next_value - value
    decay = gamma * gae_lambda * (1.0 - done.astype(value.dtype))
    advantage = discounted_sum(delta, decay)
    return Advantages(advantage, advantage + value)


def per_agent(x: Array, like: Array) -> Array:
    """One number per environment, [..., B], in the shape of `like`, [..., B] or [..., B, N]."""
    return jnp.broadcast_to(jnp.reshape(x, x.shape + (1,) * (like.ndim - x.ndim)), like.shape)


def discounted_sum(x: Array, decay: Array) -> Array:
    """Backward recursion y_t = x_t + decay_t y_{t+1} with y_T = 0, all [T, ...].

    A plain loop on CPUs, where it compiles to one kernel; log T vectorised passes on accelerators,
    where every iteration of a loop costs a launch (`bench/pieces.py`).
    """
    return jax.lax.platform_dependent(x, decay, cpu=_backward_loop, default=_backward_scan)


def _backward_loop(x: Array, decay: Array) -> Array:
    def step(later: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        x_t, decay_t = inputs
        total = x_t + decay_t * later
        return total, total

    return jax.lax.scan(step, jnp.zeros_like(x[0]), (x, decay), reverse=True)[1]


def _backward_scan(x: Array, decay: Array) -> Array:
    def combine(late: tuple[Array, Array], early: tuple[Array, Array]) -> tuple[Array, Array]:
        late_sum, late_decay = late
        early_sum, early_decay = early
        return early_sum + early_decay * late_sum, early_decay * late_decay

    return jax.lax.associative_scan(combine, (x, decay), reverse=True)[0]
