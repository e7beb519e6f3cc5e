"""Allocation rules without parameters: proportional fairness, partial allocation, equal and serial.

They divide M resources among N agents without money. What differs is the price of honesty:

    rule                    truthful in values   in demands   hands out all that can be used
    `ProportionalFairness`  no                   no           yes
    `PartialAllocation`     yes                  no           no
    `EqualShare`            yes                  yes          no
    `SerialRule`, ordered   yes                  yes          yes, up to the capacity
    `SerialRule`, eating    no                   yes*         yes, up to the capacity

* in sweeps over grids of demands, none of which found a gain; we know no proof.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.base import (
    AllocationTypes,
    Mechanism,
    Outcome,
    check_types,
    without_payment,
)
from jaxecon.solvers import proportional_fairness
from jaxecon.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class ProportionalFairness(Mechanism):
    """The division with the greatest weighted product of reported utilities.

        a = argmax Σ_i w_i log(v_i·a_i)  over  0 <= a <= x,  Σ_i a_im <= b_m

    Only the direction of an agent's values matters. With one resource it is water-filling,
    a_i = min(x_i, w_i L), which no report of values changes.

    Attributes:
      num_iterations: most Newton steps of the solver; None is its own choice.
      smoothing: barrier weight where a call gives none; None is the solver's own choice.

    Source: Eisenberg & Gale (1959), Consensus of Subjective Probabilities, Annals of Mathematical
    Statistics 30; Nash (1950) for the objective.
    """

    num_iterations: int | None = None
    smoothing: float | None = None

    def __post_init__(self):
        if self.num_iterations is not None and self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1, got {self.num_iterations}.")
        if self.smoothing is not None and not self.smoothing > 0.0:
            raise ValueError(f"smoothing must be above 0, got {self.smoothing}; None is the least.")

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """The fair allocation; agents of weight 0 get nothing."""
        return without_payment(self._solve(reports, reports.weights, smoothing))

    def _solve(self, reports: AllocationTypes, weights: Array, smoothing: Any) -> Array:
        """Allocation [..., N, M] under the given weights, whose leading axes broadcast."""
        options = {} if self.num_iterations is None else {"num_iterations": self.num_iterations}
        return proportional_fairness(
            reports.valuations,
            reports.demands,
            reports.supplies,
            weights,
            smoothing=self.smoothing if smoothing is None else smoothing,
            **options,
        ).value


@dataclasses.dataclass(frozen=True)
class PartialAllocation(ProportionalFairness):
    """The fair division, of which each agent keeps the share that its presence leaves the others.

        a_i = f_i a*_i,   f_i^w_i = Π_{j≠i} u_j(a*)^w_j / Π_{j≠i} u_j(a^-i)^w_j

    a* is the fair division and a^-i that without agent i. What i gives up pays for what it costs
    the others, so no report of values helps; over-reported demands do, because they are paid for
    with units beyond the true demand. Where no demand binds, everyone keeps at least 1/e of its
    fair utility. Takes N + 1 solves.

    Source: Cole, Gkatzelis & Goel (2013), Mechanism Design for Fair Division: Allocating Divisible
    Items without Payments, EC.
    """

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """The fair allocation times each agent's share."""
        weights = reports.weights
        fair = self._solve(reports, weights, smoothing)
        others = ~jnp.eye(weights.shape[-1], dtype=bool)  # [N, N], who is left without i
        weights_without = jnp.where(others, weights[..., None, :], 0.0)
        instance = AllocationTypes(
            valuations=reports.valuations[..., None, :, :],
            demands=reports.demands[..., None, :, :],
            supplies=reports.supplies[..., None, :],
            weights=weights_without,
        )
        is_alone = jnp.sum(weights_without, -1, keepdims=True) == 0.0  # then any problem will do
        present = jnp.where(is_alone, weights[..., None, :], weights_without)
        without = self._solve(instance, present, smoothing)  # [..., N, N, M]
        log_fair = _safe_log(jnp.sum(reports.valuations * fair, -1), weights)
        log_without = _safe_log(
            jnp.sum(instance.valuations * without, -1), weights_without
        )  # [..., N, N]
        cost = jnp.sum(weights_without * (log_fair[..., None, :] - log_without), -1)
        is_present = weights > 0.0
        log_share = cost / jnp.where(is_present, weights, jnp.ones_like(weights))
        share = jnp.exp(jnp.minimum(log_share, 0.0))
        return without_payment(fair * share[..., None])


def _safe_log(utility: Array, weights: Array) -> Array:
    """Logs of the utilities of those present, 0 for the others; finite where there is none."""
    some = jnp.maximum(utility, jnp.finfo(utility.dtype).tiny)
    return jnp.log(jnp.where(weights > 0.0, some, jnp.ones_like(utility)))


@dataclasses.dataclass(frozen=True)
class EqualShare(Mechanism):
    """Every agent's share of every resource, in proportion to the weights, up to its demand.

        a_im = min(b_m w_i / Σ_j w_j, x_im)

    What an agent does not want of its share goes to nobody: if others got it, what they report as
    their demand would matter to them. So no misreport helps, of values or demands.
    """

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """The shares; there is nothing to smooth."""
        check_types(reports)
        total = jnp.sum(reports.weights, -1, keepdims=True)
        share = reports.weights / jnp.where(total > 0.0, total, 1.0)
        offered = reports.supplies[..., None, :] * share[..., None]
        return without_payment(jnp.clip(reports.demands, 0.0, offered))


@dataclasses.dataclass(frozen=True)
class SerialRule(Mechanism):
    """Agents take the resources they value most, one after the other or all at the same time.

    With an order it is serial dictatorship: each agent in turn takes what is left of its most
    valued resource up to its demand, then of the next, until it has `capacity` units. Without one,
    all eat at once, at speeds in proportion to their weights, each from the most valued of the
    resources that are left and of which it wants more (the simultaneous-eating or probabilistic
    serial rule, where goods are shares of indivisible ones). Nobody takes what it values at 0. Of
    resources valued alike the first is taken first.

    Allocations are exact. They are differentiable in demands and supplies almost everywhere, and
    piecewise constant in values.

    Attributes:
      order: positions of the agents, first to last; None is all at once.
      capacity: most units that an agent may take in all, such as 1 for one indivisible good.

    Source: Bogomolnaia & Moulin (2001), A New Solution to the Random Assignment Problem, Journal of
    Economic Theory 100; Svensson (1999) for serial dictatorship.
    """

    order: tuple[int, ...] | None = None
    capacity: float = float("inf")

    def __post_init__(self):
        if self.order is not None:
            object.__setattr__(self, "order", tuple(self.order))
            if sorted(self.order) != list(range(len(self.order))):
                raise ValueError(
                    f"order must name each agent from 0 to {len(self.order) - 1} once, got "
                    f"{self.order}."
                )
        if not self.capacity > 0.0:
            raise ValueError(f"capacity must be above 0, got {self.capacity}.")

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """What everyone has taken in the end; there is nothing to smooth."""
        if self.order is None:
            return without_payment(_eat_together(reports, self.capacity))
        if len(self.order) != reports.num_agents:
            raise ValueError(
                f"order must name the {reports.num_agents} agents, got {len(self.order)}."
            )
        return without_payment(_take_in_turn(reports, self.order, self.capacity))


def _take_in_turn(reports: AllocationTypes, order: tuple[int, ...], capacity: float) -> Array:
    """Serial dictatorship, [..., N, M]."""
    left = reports.supplies
    taken: dict[int, Array] = {}
    for agent in order:
        values = reports.valuations[..., agent, :]
        wanted = jnp.where(values > 0.0, reports.demands[..., agent, :], 0.0)
        taken[agent] = _best_bundle(values, jnp.minimum(wanted, left), capacity)
        left = left - taken[agent]
    return jnp.stack([taken[agent] for agent in range(len(order))], axis=-2)


def _best_bundle(values: Array, available: Array, capacity: float) -> Array:
    """At most `capacity` units in all, the most valued first; everything is [..., M]."""
    order = jnp.argsort(-values, axis=-1, stable=True)
    by_rank = jnp.take_along_axis(available, order, axis=-1)
    room = jnp.asarray(capacity, available.dtype) - (jnp.cumsum(by_rank, axis=-1) - by_rank)
    taken = jnp.clip(room, 0.0, by_rank)
    return jnp.take_along_axis(taken, jnp.argsort(order, axis=-1), axis=-1)


class _Meal(NamedTuple):
    """Where the eating stands after some events."""

    eaten: Array  # [..., N, M] units
    wanted: Array  # [..., N, M] units that are still wanted
    left: Array  # [..., M] units
    room: Array  # [..., N] units that each may still take


def _eat_together(reports: AllocationTypes, capacity: float) -> Array:
    """Simultaneous eating, [..., N, M], from event to event.

    Each event ends a resource, an agent's demand for one or an agent's room, for good, so that
    there are at most N M + M + N of them.
    """
    v, weights, supplies = reports.valuations, reports.weights, reports.supplies
    num_agents, num_resources = v.shape[-2:]
    total = jnp.sum(supplies, -1, keepdims=True)
    room = jnp.minimum(total, capacity)  # finite, or gradients meet infinity times 0
    meal = _Meal(
        eaten=jnp.zeros_like(v),
        wanted=jnp.where(v > 0.0, jnp.minimum(reports.demands, supplies[..., None, :]), 0.0),
        left=supplies,
        room=jnp.broadcast_to(room, weights.shape),
    )
    num_events = num_agents * num_resources + num_resources + num_agents
    advance = lambda meal, _: (_next_event(meal, v, weights), None)
    return jax.lax.scan(advance, meal, length=num_events)[0].eaten


def _next_event(meal: _Meal, values: Array, weights: Array) -> _Meal:
    """Eat until something ends. What ends is set to 0, so that rounding leaves no crumbs."""
    is_open = (meal.wanted > 0.0) & (meal.left > 0.0)[..., None, :] & (meal.room > 0.0)[..., None]
    favourite = jnp.argmax(jnp.where(is_open, values, -jnp.inf), axis=-1)
    chosen = jax.nn.one_hot(favourite, values.shape[-1], dtype=values.dtype)
    rate = jnp.where(is_open, chosen * weights[..., None], 0.0)  # [..., N, M]
    until_wanted = _duration(meal.wanted, rate)
    until_left = _duration(meal.left, jnp.sum(rate, -2))
    until_room = _duration(meal.room, jnp.sum(rate, -1))
    shortest = jnp.minimum(
        jnp.min(until_wanted, (-2, -1)),
        jnp.minimum(jnp.min(until_left, -1), jnp.min(until_room, -1)),
    )
    elapsed = jnp.where(jnp.isfinite(shortest), shortest, 0.0)[..., None]  # nobody eats: no time
    portion = rate * elapsed[..., None]
    rest = lambda stock, duration, used, elapsed: jnp.where(
        duration <= elapsed, 0.0, jnp.maximum(stock - used, 0.0)
    )
    return _Meal(
        eaten=meal.eaten + portion,
        wanted=rest(meal.wanted, until_wanted, portion, elapsed[..., None]),
        left=rest(meal.left, until_left, jnp.sum(portion, -2), elapsed),
        room=rest(meal.room, until_room, jnp.sum(portion, -1), elapsed),
    )


def _duration(stock: Array, rate: Array) -> Array:
    """Time until a stock is eaten up; infinite where nobody eats of it."""
    is_eaten = rate > 0.0
    return jnp.where(is_eaten, stock / jnp.where(is_eaten, rate, 1.0), jnp.inf)
