"""HOPE rules for several resources and types of people, by proportional fairness per head.

Step t has n_tk people of type k, whose utility is linear, v_k · x, and M resources with budgets b.
An Eisenberg-Gale program divides a budget among counts of people,

    max_x  Σ_k n_k log(v_k · x_k)    s.t.  Σ_k n_k x_km <= b_m

and with totals a_k = n_k x_k it is `solvers.proportional_fairness` with weights n. Counts that are
all c times as large give everybody 1/c as much, which is how the cautious and the generous level of
Guarded-Hope follow from one program. With one resource and one type these are the rules of
`percapita.py`.

Source: Sinclair, Jain, Banerjee and Yu (2022), Sequential Fair Allocation: Achieving the Optimal
Envy-Efficiency Trade-off Curve, Operations Research 71. How margins combine over types, and what is
left is divided in proportion, is our reading.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.proportional_fairness import proportional_fairness
from jaxecon.types import Array, Metrics


class Heads(NamedTuple):
    """A step of E episodes.

    Attributes:
      budget: b left, [E, M] units.
      people: n_t, [E, K].
      seen: people so far, this step included, [E, K].
      later: expected people of later steps, [K].
      noise: deviation of the number of later people, [K].
      is_last: bool scalar.
      low, high: the cautious and the generous level of Guarded-Hope, [E, K, M] units per head.
      is_solved: whether the program behind them was solved, [E] bool.
      valuations: v, [K, M].
      total: B, [E, M] units.
    """

    budget: Array
    people: Array
    seen: Array
    later: Array
    noise: Array
    is_last: Array
    low: Array
    high: Array
    is_solved: Array
    valuations: Array
    total: Array


class PerHead(NamedTuple):
    """What is handed out, and whether the programs behind it were solved.

    Attributes:
      amounts: x, [..., K, M] units per head.
      converged: [...] bool.
    """

    amounts: Array
    converged: Array


def fair_per_head(people: Array, valuations: Array, budget: Array) -> PerHead:
    """What an Eisenberg-Gale program gives each type, per head.

    Args:
      people: n, [..., K], >= 0; a type without people gets nothing.
      valuations: v, [K, M] utils per unit, >= 0 and some of them positive in every row.
      budget: b, [..., M] units, > 0.

    Returns:
      x, [..., K, M], within the solver's accuracy of the optimum and of using up the budget.
    """
    solution = proportional_fairness(valuations, None, budget, people)
    count = jnp.where(people > 0.0, people, 1.0)
    return PerHead(solution.value / count[..., None], solution.converged)


def needed(amounts: Array, people: Array) -> Array:
    """Σ_k n_k x_k, [..., M] units, for x [..., K, M] and n [..., K]."""
    return jnp.sum(amounts * people[..., None], axis=-2)


def scaled_to(amounts: Array, people: Array, budget: Array) -> Array:
    """Amounts x, [..., K, M], with each resource scaled so that it is used up."""
    total = needed(amounts, people)
    ratio = jnp.where(total > 0.0, budget / jnp.where(total > 0.0, total, 1.0), 0.0)
    return amounts * ratio[..., None, :]


def hope_online(heads: Heads) -> PerHead:
    """The program for what is left, and people now and expected."""
    return fair_per_head(heads.people + heads.later[None], heads.valuations, _some(heads.budget))


def hope_full(heads: Heads) -> PerHead:
    """The program for the original budget, and all people seen and expected."""
    return fair_per_head(heads.seen + heads.later[None], heads.valuations, heads.total)


def fixed(heads: Heads) -> PerHead:
    """The cautious level."""
    return PerHead(heads.low, heads.is_solved)


def guarded_hope(heads: Heads) -> PerHead:
    """The generous amounts of each resource from which later people still get the cautious ones."""
    low, high = (needed(level, heads.people) for level in (heads.low, heads.high))
    rest = scaled_to(heads.low, heads.people, heads.budget)
    fits = heads.is_last & (low <= heads.budget) & (heads.budget <= high)
    reserve = needed(heads.low, jnp.broadcast_to(heads.later + heads.noise, heads.people.shape))
    is_safe = heads.budget >= reserve + high
    amounts = jnp.where(is_safe[..., None, :], heads.high, heads.low)
    amounts = jnp.where((fits | (heads.budget < low))[..., None, :], rest, amounts)
    return PerHead(amounts, heads.is_solved)


# name -> (rule, exponent L of Guarded-Hope's margin)
MULTI_RESOURCE_RULES: dict[str, tuple[Callable[[Heads], PerHead], float]] = {
    "fixed": (fixed, 0.5),
    "guarded_hope_1/2": (guarded_hope, 1.0 / 2.0),
    "guarded_hope_1/3": (guarded_hope, 1.0 / 3.0),
    "hope_online": (hope_online, 0.5),
    "hope_full": (hope_full, 0.5),
}


def play_multi_resource(
    rule: str, people: Array, mean: Array, variance: Array, valuations: Array, budget: Array
) -> PerHead:
    """Amounts per head that a rule hands out.

    With expected people f_k, the margin of type k is sqrt(max_t s_tk · mean_t m_tk · T)/f_k; the
    levels take the largest, γ: low = x(f)/(1 + γ), high = x(f)/(1 - c), c = T^(-L) (1 + γ) - γ.

    Args:
      rule: one of `MULTI_RESOURCE_RULES`.
      people: n, [T, E, K], >= 0.
      mean: m, [T, K] expected people.
      variance: s, [T, K] of the number of people.
      valuations: v, [K, M] utils per unit, see `fair_per_head`.
      budget: B, [E, M] units, > 0.

    Returns:
      x, [T, E, K, M], and convergence, [T, E]; Σ_k n x never exceeds the budget left.
    """
    allocate, exponent = MULTI_RESOURCE_RULES[rule]
    num_steps = people.shape[0]
    later = jnp.sum(mean, axis=0, keepdims=True) - jnp.cumsum(mean, axis=0)  # [T, K]
    expected = people[0] + later[0][None]  # [E, K]
    spread = jnp.max(variance, axis=0) * jnp.mean(mean, axis=0)  # [K]
    known = jnp.where(expected > 0.0, expected, jnp.inf)  # a type nobody expects has no margin
    margin = jnp.max(jnp.sqrt(spread * num_steps)[None] / known, axis=1)[:, None, None]
    shortfall = num_steps**-exponent * (1.0 + margin) - margin
    level, is_solved = fair_per_head(expected, valuations, budget)
    low, high = level / (1.0 + margin), level / (1.0 - shortfall)
    steps_left = jnp.arange(num_steps - 1, -1, -1)
    noise = jnp.sqrt(spread[None] * steps_left.astype(mean.dtype)[:, None])

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, PerHead]:
        left, seen = carry
        present, later, noise, steps_left = inputs
        seen = seen + present
        heads = Heads(
            left, present, seen, later, noise, steps_left == 0, low, high, is_solved, valuations,
            budget,
        )  # fmt: skip
        amounts, converged = allocate(heads)
        amounts = _within(amounts, present, left)
        left = jnp.maximum(left - needed(amounts, present), 0.0)
        return (left, seen), PerHead(amounts, converged)

    start = (budget, jnp.zeros_like(people[0]))
    handed: PerHead
    _, handed = jax.lax.scan(step, start, (people, later, noise, steps_left))
    return handed


def multi_resource_measures(
    amounts: Array, people: Array, valuations: Array, budget: Array
) -> Metrics:
    """Means over episodes of waste, in units, and of fairness, in utils; scalars.

    With u_k(x) = v_k · x and x* the program for all people who came:

        waste         Σ_m (B_m - Σ n x)
        proportional  max over k, t of u_k(B/Σn) - u_k(x_tk)
        envy          max over k, t, t', k' of u_k(x_t'k') - u_k(x_tk)
        envy_free     max over k, t of |u_k(x_tk) - u_k(x*_k)|

    Args:
      amounts: x, [T, E, K, M] units per head.
      people: n, [T, E, K], some of each type in every step.
      valuations: v, [K, M].
      budget: B, [E, M] units.
    """
    count = jnp.sum(people, axis=0)  # [E, K]
    equal = budget / jnp.sum(count, axis=1, keepdims=True)  # [E, M]
    own = jnp.einsum("tekm,km->tek", amounts, valuations)
    others = jnp.einsum("tejm,km->tejk", amounts, valuations)
    best = jnp.max(others, axis=(0, 2))  # [E, K] the bundle that type k would like most
    fair = jnp.sum(fair_per_head(count, valuations, budget).amounts * valuations[None], axis=-1)
    worst = jnp.min(own, axis=0)
    each = {
        "waste": jnp.sum(budget - jnp.sum(needed(amounts, people), axis=0), axis=1),
        "proportional": jnp.max(equal @ valuations.T - worst, axis=1),
        "envy": jnp.max(best - worst, axis=1),
        "envy_free": jnp.max(jnp.abs(own - fair[None]), axis=(0, 2)),
    }
    return {name: jnp.mean(x) for name, x in each.items()}


def _within(amounts: Array, people: Array, budget: Array) -> Array:
    """Amounts with each resource scaled back where it exceeds the budget."""
    is_over = needed(amounts, people) > budget
    return jnp.where(is_over[..., None, :], scaled_to(amounts, people, budget), amounts)


def _some(budget: Array) -> Array:
    """A budget that the solver accepts where nothing is left."""
    return jnp.maximum(budget, jnp.finfo(budget.dtype).tiny)
