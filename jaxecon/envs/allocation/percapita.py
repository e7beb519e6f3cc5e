"""HOPE rules as published: one resource, one group of equal people per step, amounts per head.

Step t has n_t people with mean m_t; a rule chooses x_t per head, and the budget pays n_t x_t. The
mapping to agents who ask repeatedly is in `thresholds.py`.

Source: Sinclair, Jain, Banerjee and Yu (2022), Sequential Fair Allocation: Achieving the Optimal
Envy-Efficiency Trade-off Curve, Operations Research 71.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array, Metrics


class Heads(NamedTuple):
    """A step of E episodes.

    Attributes:
      budget: b left, [E] units.
      people: n_t, [E].
      later: expected people of later steps, scalar.
      seen: people so far, this step included, [E].
      steps_left: scalar.
      noise: max s · mean m, variance per step that the margins reckon with, scalar.
      low: the cautious level, [E] units per head.
      mean_level: B / f, [E]; f = n_1 + Σ_{t>1} m_t.
      confidence: relative deviation of the number of people, [E].
      num_steps: T.
      total: B, [E] units.
    """

    budget: Array
    people: Array
    later: Array
    seen: Array
    steps_left: Array
    noise: Array
    low: Array
    mean_level: Array
    confidence: Array
    num_steps: Array
    total: Array


def hope_online(heads: Heads) -> Array:
    """b / (n_t + expected later people)."""
    return heads.budget / (heads.people + heads.later)


def hope_full(heads: Heads) -> Array:
    """min(b / n_t, B / (people so far + expected later people))."""
    return jnp.minimum(heads.budget / heads.people, heads.total / (heads.seen + heads.later))


def fixed(heads: Heads) -> Array:
    """min(b / n_t, low)."""
    return jnp.minimum(heads.budget / heads.people, heads.low)


def guarded_hope(exponent: float) -> Callable[[Heads], Array]:
    """Guarded-Hope(L): a high level as long as the rest can still get the low one."""

    def rule(heads: Heads) -> Array:
        confidence = heads.confidence
        margin = heads.num_steps**-exponent * (1.0 + confidence) - confidence
        high = heads.mean_level / (1.0 - margin)
        each = heads.budget / heads.people
        reserve = heads.low * (heads.later + jnp.sqrt(heads.noise * heads.steps_left))
        is_last = (heads.steps_left == 0) & (heads.low <= each) & (each <= high)
        is_safe = heads.budget >= reserve + heads.people * high
        cautious = jnp.where(is_safe, high, heads.low)
        return jnp.where(is_last | (each < heads.low), each, cautious)

    return rule


PER_CAPITA_RULES: dict[str, Callable[[Heads], Array]] = {
    "fixed": fixed,
    "guarded_hope_1/2": guarded_hope(1.0 / 2.0),
    "guarded_hope_1/3": guarded_hope(1.0 / 3.0),
    "hope_online": hope_online,
    "hope_full": hope_full,
}


def play_per_capita(
    rule: Callable[[Heads], Array], people: Array, mean: Array, variance: Array, budget: Array
) -> Array:
    """Amounts per head that a rule hands out.

    Args:
      rule: one of `PER_CAPITA_RULES`.
      people: n, [T, E], at least 1.
      mean: m, [T] expected people.
      variance: s, [T] of the number of people.
      budget: B, [E] units.

    Returns:
      x, [T, E] units per head; n · x never exceeds the budget left.
    """
    num_steps = people.shape[0]
    later = jnp.sum(mean) - jnp.cumsum(mean)
    expected = people[0] + later[0]
    noise = jnp.max(variance) * jnp.mean(mean)
    confidence = jnp.sqrt(noise * num_steps) / expected
    low = budget / expected / (1.0 + confidence)
    steps_left = jnp.arange(num_steps - 1, -1, -1).astype(mean.dtype)
    count = jnp.asarray(num_steps, mean.dtype)

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        left, seen = carry
        present, later, steps_left = inputs
        seen = seen + present
        heads = Heads(
            left, present, later, seen, steps_left, noise, low, budget / expected, confidence,
            count, budget,
        )  # fmt: skip
        amount = jnp.clip(rule(heads), 0.0, left / present)
        return (jnp.maximum(left - present * amount, 0.0), seen), amount

    start = (budget, jnp.zeros_like(budget))
    amounts: Array
    _, amounts = jax.lax.scan(step, start, (people, later, steps_left))
    return amounts


def per_capita_measures(amounts: Array, people: Array, budget: Array) -> Metrics:
    """Means over episodes of the published measures, scalars.

        waste    B - Σ n x                      envy              max x - min x
        proportional    B/Σn - min x            envy_free         max_t |x - B/Σn|
        nash     (Π x^n)^(1/Σn)                 envy_free_plus    max_t E|x - B/Σn|

    Args:
      amounts: x, [T, E] units per head.
      people: n, [T, E].
      budget: B, [E] units.
    """
    total = jnp.sum(people, axis=0)
    fair = budget / total
    gap = jnp.abs(amounts - fair[None])
    logs = jnp.sum(people * jnp.log(amounts), axis=0) / total
    each = {
        "waste": budget - jnp.sum(people * amounts, axis=0),
        "proportional": fair - jnp.min(amounts, axis=0),
        "nash": jnp.exp(logs),
        "envy": jnp.max(amounts, axis=0) - jnp.min(amounts, axis=0),
        "envy_free": jnp.max(gap, axis=0),
    }
    means = {name: jnp.mean(x) for name, x in each.items()}
    return means | {"envy_free_plus": jnp.max(jnp.mean(gap, axis=1))}
