"""Threshold rules: everyone gets what it asks for, up to a level that balances the budget.

The level l of requests x seen and requests still expected (n_j of agent j, of K equally likely
sizes s_jk) solves

    Σ_i min(x_i, l) + Σ_j n_j mean_k min(s_jk, l) = b

which is a water-filling: an expected request of agent j weighs n_j/K at each of its sizes.

Source: Sinclair, Jain, Banerjee and Yu (2022), Sequential Fair Allocation: Achieving the Optimal
Envy-Efficiency Trade-off Curve, Operations Research 71. There each step has one group of equal
people; the mapping to many agents who ask repeatedly is our own.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxecon.envs.allocation.rules import Problem, Rule, View
from jaxecon.solvers.waterfill import waterfill
from jaxecon.types import Array, PyTree


class Thresholds(NamedTuple):
    """What threshold rules compute before the first request.

    Attributes:
      points: equally likely sizes of a request, [K, N, *batch] units.
      budget: B, [*batch] units.
      low: level that holds if demand is one standard deviation above its mean, [*batch] units.
      high: level reached if demand falls short by Guarded-Hope's margin, [*batch] units.
    """

    points: Array
    budget: Array
    low: Array
    high: Array


def expected_level(requests: Array, count: Array, points: Array, budget: Array) -> Array:
    """Level l at which requests seen and expected use up a budget.

    Args:
      requests: x, [M, *batch] units.
      count: n, [N, *batch] expected number of later requests of each agent.
      points: s, [K, N, *batch] units; K = 1 takes each request for its mean.
      budget: b, [*batch] units.

    Returns:
      [*batch] units; the largest size where all of it fits.
    """
    counts = jnp.broadcast_to(count / points.shape[0], points.shape)
    flat = lambda x: jnp.reshape(x, (-1, *points.shape[2:]))
    demand = jnp.concatenate([requests, flat(counts * points)])
    weight = jnp.concatenate([jnp.ones_like(requests), flat(counts)])
    return waterfill(jnp.zeros_like(demand), demand, weight, budget, axis=0).level


def _prepare(problem: Problem, exponent: float = 0.5, *, use_mean: bool = False) -> Thresholds:
    """Levels for demand above and below its mean.

    With conf = std / mean of total demand and L the exponent, counts of requests are taken times
    1 + conf for the low level and times 1 - c, c = T^(-L) (1 + conf) - conf, for the high one.
    """
    mean, deviation, count = problem.expected
    points = problem.point_mean[None] if use_mean else problem.points
    nothing = jnp.zeros_like(count[:1])
    total = jnp.sum(mean, axis=0)
    spread = jnp.sqrt(jnp.sum(jnp.square(deviation), axis=0))
    confidence = spread / jnp.where(total > 0.0, total, 1.0)
    steps = problem.num_steps.astype(count.dtype)
    margin = steps**-exponent * (1.0 + confidence) - confidence
    low = expected_level(nothing, count * (1.0 + confidence)[None], points, problem.budget)
    high = expected_level(nothing, count * (1.0 - margin)[None], points, problem.budget)
    return Thresholds(points, problem.budget, low, jnp.maximum(high, low))


def fixed_threshold(plan: PyTree, view: View, strength: Array) -> Array:
    """The low level throughout, a = min(x, low)."""
    return jnp.minimum(view.request, plan.low[None])


def adaptive_threshold(plan: PyTree, view: View, strength: Array) -> Array:
    """What is left over the number of requests now and expected, a = min(x, b / (n + E n))."""
    now = jnp.sum(view.request > 0.0, axis=0).astype(view.budget.dtype)
    number = now + jnp.sum(view.future.number, axis=0)
    level = view.budget / jnp.where(number > 0.0, number, 1.0)
    return jnp.minimum(view.request, level[None])


def hope_online(plan: PyTree, view: View, strength: Array) -> Array:
    """The level that uses up what is left on requests now and expected."""
    level = expected_level(view.request, view.future.number, plan.points, view.budget)
    return jnp.minimum(view.request, level[None])


def hope_full(plan: PyTree, view: View, strength: Array) -> Array:
    """The level that uses up the original budget on all requests seen and expected."""
    seen = jnp.reshape(view.history, (-1, *view.history.shape[2:]))
    level = expected_level(seen, view.future.number, plan.points, plan.budget)
    return jnp.minimum(view.request, level[None])


def guarded_hope(plan: PyTree, view: View, strength: Array) -> Array:
    """The high level where enough is left to serve later requests up to the low one, else the low.

    The reserve is the mean of later requests cut off at the low level, plus one standard deviation
    if their number is Poisson.
    """
    high = jnp.minimum(view.request, plan.high[None])
    low = jnp.minimum(view.request, plan.low[None])
    cut = jnp.minimum(plan.points, plan.low[None, None])
    mean = jnp.sum(view.future.number * jnp.mean(cut, axis=0), axis=0)
    variance = jnp.sum(view.future.number * jnp.mean(jnp.square(cut), axis=0), axis=0)
    is_safe = view.budget >= jnp.sum(high, axis=0) + mean + jnp.sqrt(variance)
    return jnp.where(is_safe[None], high, low)


def guarded_rule(exponent: float) -> Rule:
    """Guarded-Hope(L), L in (0, 1/2]: smaller is more generous."""
    return Rule(guarded_hope, lambda problem: _prepare(problem, exponent))


def threshold_rule(allocate, *, use_mean: bool = False) -> Rule:
    """A rule on prepared thresholds; `use_mean` takes unknown requests for their mean (ET)."""
    return Rule(allocate, lambda problem: _prepare(problem, use_mean=use_mean))
