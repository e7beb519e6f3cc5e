"""Rules that need nothing but the past and a forecast: the interface, SAFFE, and simple heuristics.

A rule is two pure functions. `prepare` sees the economy before the first request and returns
whatever it wants to keep; `allocate` maps that, a `View` of the present and one tunable number to
amounts. Arrays have agents first and episodes behind, [N, *batch], so one program plays a single
episode or thousands.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxecon.envs.allocation.demand import Outlook
from jaxecon.envs.allocation.planning import Split, discounted_demand, present_share
from jaxecon.types import Array, PyTree

DISCOUNTS = (-1.0, -0.5, -0.25, 0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


class Problem(NamedTuple):
    """What is known before the first request.

    Attributes:
      budget: B, [*batch] units.
      expected: beliefs about the whole episode, [N, *batch].
      points: equally likely sizes of a request, [K, N, *batch] units.
      point_mean: mean size of a request, [N, *batch] units.
      num_steps: T, int32 scalar.
    """

    budget: Array
    expected: Outlook
    points: Array
    point_mean: Array
    num_steps: Array


class View(NamedTuple):
    """What a rule may use in a step. The last field is for oracles and for nobody else.

    Attributes:
      time: t, int32 scalar, from 0.
      budget: b, [*batch] units left.
      given: P, [N, *batch] units received so far.
      asked: C, [N, *batch] units asked for so far, this step included.
      request: x, [N, *batch] most that may be given now, units.
      weight: w, [N, *batch].
      future: beliefs about the steps after this one, [N, *batch].
      next_mean, next_deviation: of the sum of requests in the next step, [*batch] units.
      present_mean, present_deviation: of this step's sum, before it was seen, [*batch] units.
      least_fill: smallest share of a step's requests that was served so far, [*batch]; 1 at first.
      history: requests up to now, [T, N, *batch]; zeros later.
      true_future: demand that will still come, [N, *batch] units.
    """

    time: Array
    budget: Array
    given: Array
    asked: Array
    request: Array
    weight: Array
    future: Outlook
    next_mean: Array
    next_deviation: Array
    present_mean: Array
    present_deviation: Array
    least_fill: Array
    history: Array
    true_future: Array


class Rule(NamedTuple):
    """A way to hand out a budget.

    Attributes:
      allocate: (prepared, view, strength) -> [N, *batch] units. What exceeds the budget is scaled
        back by whoever plays the rule, a · min(1, b / Σ a).
      prepare: Problem -> pytree for `allocate`.
      strengths: values of the tunable number worth trying; the first is the default.
    """

    allocate: Callable[[PyTree, View, Array], Array]
    prepare: Callable[[Problem], PyTree] = lambda problem: problem
    strengths: tuple[float, ...] = (0.0,)


def saffe_rule(split: Split, *, tunable: bool = False) -> Rule:
    """SAFFE, or with `tunable` SAFFE-D, whose strength is the discount λ."""

    def allocate(problem: PyTree, view: View, strength: Array) -> Array:
        mean, deviation, _ = view.future
        future = discounted_demand(mean, deviation, strength) if tunable else mean
        return present_share(view.given, view.request, future, view.weight, view.budget, split)

    default = 0.1 if split == "front" else 0.25
    others = tuple(discount for discount in DISCOUNTS if discount != default)
    return Rule(allocate, strengths=(default, *others) if tunable else (0.0,))


def saffe_oracle(split: Split) -> Rule:
    """SAFFE that knows the demand to come: the offline optimum."""

    def allocate(problem: PyTree, view: View, strength: Array) -> Array:
        future = view.true_future
        return present_share(view.given, view.request, future, view.weight, view.budget, split)

    return Rule(allocate)


def greedy(problem: PyTree, view: View, strength: Array) -> Array:
    """Everything asked for, first come, first served: a = x."""
    return view.request


def scaling(problem: PyTree, view: View, strength: Array) -> Array:
    """The share of all demand that the budget covers, a = x min(1, b / (Σ x + Σ F))."""
    reckoned = jnp.sum(view.request + view.future.mean, axis=0)
    return view.request * _share(view.budget, reckoned)[None]


def projected_proportional(problem: PyTree, view: View, strength: Array) -> Array:
    """One fill ratio for the totals of all agents, as far as it can be projected.

        β = min(1, (Σ P + b) / (Σ C + Σ F)),    a = clip(β C - P, 0, x)

    Our reading of projected proportional allocation for agents who ask repeatedly; where each asks
    once, β is its fill ratio.

    Source: Manshadi, Niazadeh and Rodilitz (2021), Fair Dynamic Rationing, EC '21.
    """
    supply = jnp.sum(view.given, axis=0) + view.budget
    fill = _share(supply, jnp.sum(view.asked + view.future.mean, axis=0))
    return jnp.clip(fill[None] * view.asked - view.given, 0.0, view.request)


def max_min_heuristic(problem: PyTree, view: View, strength: Array) -> Array:
    """A portion of the budget for this step and the next, divided so that fills stay level.

    With X the sum of requests, m and sd of a step's sum, and medians taken as means:

        portion = b (m_t + m_{t+1}) / Σ_{τ>=t} m_τ
        δ = (m_t - m_{t+1}) / ((m_t + m_{t+1}) / 2)
        fill = min(portion / (X + m_{t+1} + δ sd_{t+1}), least fill so far, 1),    a = fill · x

    Source: Lien, Iravani and Smilowitz (2014), Sequential Resource Allocation for Nonprofit
    Operations, Operations Research 62; requests of a step are added up, which is our mapping.
    """
    now, following = view.present_mean, view.next_mean
    pair = now + following
    portion = view.budget * _share(pair, now + jnp.sum(view.future.mean, axis=0))
    tilt = jnp.where(pair > 0.0, 2.0 * (now - following) / jnp.where(pair > 0.0, pair, 1.0), 0.0)
    total = jnp.sum(view.request, axis=0)
    reckoned = total + jnp.maximum(following + tilt * view.next_deviation, 0.0)
    fill = jnp.minimum(_share(portion, reckoned), view.least_fill)
    return fill[None] * view.request


def _share(part: Array, whole: Array) -> Array:
    """min(1, part / whole), 1 where the whole is 0."""
    is_some = whole > 0.0
    return jnp.where(is_some, jnp.minimum(part / jnp.where(is_some, whole, 1.0), 1.0), 1.0)
