"""Water-filling: the fair division of one resource among agents with caps and head starts.

    max_y  Σ_i w_i log(P_i + y_i)    s.t.  0 <= y_i <= Y_i,  Σ_i y_i <= b

The optimum raises everyone to one level L per unit of weight, y_i = clip(w_i L - P_i, 0, Y_i), and
the level solves the piecewise linear, non-decreasing equation g(L) = Σ_i y_i = b. "newton" walks it
with Newton steps inside a bracket and lands on the answer once it is on the right segment; "sort"
finds the segment among the 2N sorted breakpoints. Both are exact up to rounding. On CPUs sorting
short rows took 30 to 110 times as long (`bench/seqalloc.py`, 20 to 340 agents), so "newton" is the
default at every width.

Source: Eisenberg and Gale (1959), Consensus of Subjective Probabilities, Annals of Mathematical
Statistics 30; the conditions of optimality give the rest.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers.batching import batch_last, broadcast_leading
from jaxecon.solvers.checking import as_floats, common_dtype, require
from jaxecon.suggest import unknown_name
from jaxecon.types import Array

METHODS = ("newton", "sort")
RANKS = (1, 1, 1, 0)  # event axes of head start, demand, weight and budget
MAX_STEPS = 200  # far beyond the dozen that it takes; every fourth step halves the bracket


class WaterfillSolution(NamedTuple):
    """A fair division, and what is certain about it.

    Attributes:
      value: y, [..., N] units on top of the head start.
      level: L, [...] units per weight that everyone unsaturated reaches.
      residual: [...] |Σ_i y_i - min(b, Σ_i Y_i)|, in units.
      converged: [...] bool, the residual is within rounding; false where an input is nan.
    """

    value: Array
    level: Array
    residual: Array
    converged: Array


def waterfill(
    head_start: Any,
    demand: Any,
    weight: Any,
    budget: Any,
    *,
    axis: int = -1,
    method: str = "newton",
) -> WaterfillSolution:
    """Amounts that maximise weighted log Nash welfare, max Σ_i w_i log(P_i + y_i).

    Args:
      head_start: P, [..., N] units that each agent has already, >= 0.
      demand: Y, [..., N] most that each can still use, units, >= 0.
      weight: w, [..., N] bargaining weights >= 0; an agent of weight 0 is given nothing.
      budget: b, [...] units to hand out, >= 0.
      axis: where N is, -1 or 0. With 0 the batch comes last, which saves transposing it.
      method: "newton" or "sort", equal up to rounding.

    Returns:
      WaterfillSolution. If all demands fit, y = Y and the level is the one at which the last agent
      saturates; at b = 0, y = 0 and the level is the lowest at which water would start to flow. If
      nobody demands anything the level is 0. Derivatives in all four arguments are exact away from
      the kinks of the clip; at a kink they are those of a neighbouring segment.

    Raises:
      ValueError: a negative or infinite number among concrete arguments, or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(unknown_name("method", method, METHODS))
    if axis not in (-1, 0):
        raise ValueError(f"axis must be -1 or 0, got {axis}.")
    named = {"head_start": head_start, "demand": demand, "weight": weight, "budget": budget}
    for name, numbers in named.items():
        require(name, numbers, lambda x: np.isfinite(x) & (x >= 0.0), "finite and at least 0")
    arrays = as_floats(common_dtype(*named.values()), *named.values())
    _check_shapes(dict(zip(named, arrays, strict=True)), axis)
    if axis == 0:
        arrays = [jnp.moveaxis(x, 0, -1) for x in arrays[:3]] + arrays[3:]
    full = broadcast_leading(arrays, RANKS)
    is_valid = functools.reduce(jnp.logical_and, map(_are_amounts, full, RANKS))
    harmless = (
        jnp.where(_beside(is_valid, rank), x, 0.0) for x, rank in zip(full, RANKS, strict=True)
    )
    given, demand, weight, budget = harmless
    value, level = _solve(method, given, demand, weight, budget)
    usable = jnp.sum(jnp.where(weight > 0.0, demand, 0.0), axis=-1)
    residual = jnp.abs(jnp.sum(value, axis=-1) - jnp.minimum(budget, usable))
    converged = is_valid & (residual <= _tolerance(given + demand, axis=-1))
    if axis == 0:
        value = jnp.moveaxis(value, -1, 0)
    return WaterfillSolution(value, level, residual, converged)


def _check_shapes(arrays: dict[str, Array], axis: int) -> None:
    """ValueError unless head start, demand and weight have N entries each."""
    counts = {}
    for name, array in list(arrays.items())[:3]:
        if not array.ndim:
            raise ValueError(f"{name} must have an axis of agents, got a single number.")
        counts[name] = array.shape[axis]
    if len(set(counts.values())) > 1:
        raise ValueError(f"head_start, demand and weight must have equally many agents: {counts}.")


def _are_amounts(array: Array, rank: int) -> Array:
    """[...] whether numbers are finite and at least 0."""
    return jnp.all(jnp.isfinite(array) & (array >= 0.0), axis=tuple(range(-rank, 0)))


def _beside(flag: Array, rank: int) -> Array:
    return jnp.reshape(flag, flag.shape + (1,) * rank)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(
    method: str, given: Array, demand: Array, weight: Array, budget: Array
) -> tuple[Array, Array]:
    """(y [..., N], level [...]) of arguments with equal leading axes."""
    core = _newton if method == "newton" else _by_sorting
    row_bytes = 8 * demand.shape[-1] * demand.dtype.itemsize
    run = batch_last(functools.partial(_fill, core), RANKS, bytes_per_problem=row_bytes)
    return run(given, demand, weight, budget)


@_solve.defjvp
def _solve_jvp(method: str, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    """Differentiate w L - P on the agents between empty and full, whose sum is fixed by b."""
    given, demand, weight, _ = primals
    d_given, d_demand, d_weight, d_budget = tangents
    value, level = _solve(method, *primals)
    starts, fills = _breakpoints(given, demand, weight)
    at = level[..., None]
    is_free = (starts < at) & (at < fills)
    is_full = (fills <= at) & (weight > 0.0)
    part = lambda where, x: jnp.sum(jnp.where(where, x, 0.0), axis=-1)
    slope = part(is_free, weight)
    change = d_budget - part(is_full, d_demand) + part(is_free, d_given - at * d_weight)
    d_level = jnp.where(slope > 0.0, change / jnp.where(slope > 0.0, slope, 1.0), 0.0)
    d_free = weight * d_level[..., None] + at * d_weight - d_given
    d_value = jnp.where(is_free, d_free, jnp.where(is_full, d_demand, 0.0))
    return (value, level), (d_value, d_level)


def _fill(core: Any, given: Array, demand: Array, weight: Array, budget: Array) -> tuple:
    """(y [N, B], level [B]) of [N, B] and [B]."""
    counts = weight > 0.0
    demand = jnp.where(counts, demand, 0.0)
    weight = jnp.where(counts, weight, 1.0)
    starts, fills = _breakpoints(given, demand, weight)
    is_open = demand > 0.0
    least = jnp.min(jnp.where(is_open, starts, jnp.inf), axis=0)
    most = jnp.max(jnp.where(is_open, fills, -jnp.inf), axis=0)
    total = jnp.sum(demand, axis=0)
    is_scarce = total > budget
    level = core(given, demand, weight, jnp.minimum(budget, total), least, most)
    level = jnp.where(is_scarce, jnp.where(budget > 0.0, level, least), most)
    level = jnp.where(jnp.any(is_open, axis=0), level, 0.0)
    value = jnp.clip(weight * level[None] - given, 0.0, demand)
    nobody = jnp.isnan(total + budget)
    value = jnp.where(nobody[None], jnp.nan, jnp.where(is_scarce[None], value, demand))
    return value, jnp.where(nobody, jnp.nan, level)


def _breakpoints(given: Array, demand: Array, weight: Array) -> tuple[Array, Array]:
    """Levels at which each agent starts to fill, and at which it is full; inf at weight 0."""
    safe = jnp.where(weight > 0.0, weight, 1.0)
    ends = (given / safe, (given + demand) / safe)
    return ends[0], jnp.where(weight > 0.0, ends[1], jnp.inf)


def _tolerance(amounts: Array, axis: int) -> Array:
    """Rounding error of a sum of amounts, in units."""
    return 8.0 * jnp.finfo(amounts.dtype).eps * jnp.sum(amounts, axis=axis)


class _Search(NamedTuple):
    step: Array  # () int32
    low: Array  # [B] a level with g <= b
    high: Array  # [B] a level with g >= b
    level: Array  # [B]
    is_off: Array  # [B] bool, g(level) is not yet b


def _newton(
    given: Array, demand: Array, weight: Array, budget: Array, low: Array, high: Array
) -> Array:
    """Level [B] with g = b: Newton steps, kept inside a bracket that shrinks.

    Once both ends of the bracket lie on one linear segment, the next Newton step is the answer, so
    the search ends after finitely many steps without a sort.
    """
    tolerance = 0.5 * _tolerance(demand + given, axis=0)

    def improve(search: _Search) -> _Search:
        raised = weight * search.level[None] - given
        given_out = jnp.sum(jnp.clip(raised, 0.0, demand), axis=0)
        slope = jnp.sum(jnp.where((raised > 0.0) & (raised < demand), weight, 0.0), axis=0)
        missing = budget - given_out
        low = jnp.where(missing >= 0.0, search.level, search.low)
        high = jnp.where(missing <= 0.0, search.level, search.high)
        newton = search.level + missing / jnp.where(slope > 0.0, slope, 1.0)
        is_safe = (slope > 0.0) & (newton >= low) & (newton <= high) & (search.step % 4 != 3)
        level = jnp.where(is_safe, newton, 0.5 * (low + high))
        is_off = search.is_off & (jnp.abs(missing) > tolerance)
        level = jnp.where(is_off | is_safe, level, search.level)
        return _Search(search.step + 1, low, high, level, is_off)

    def goes_on(search: _Search) -> Array:
        return (search.step < MAX_STEPS) & jnp.any(search.is_off)

    start = _Search(jnp.int32(0), low, high, 0.5 * (low + high), jnp.isfinite(low + high))
    return jax.lax.while_loop(goes_on, improve, start).level


def _by_sorting(
    given: Array, demand: Array, weight: Array, budget: Array, low: Array, high: Array
) -> Array:
    """Level [B] with g = b: slopes summed along the sorted breakpoints, then interpolation."""
    starts, fills = _breakpoints(given, demand, weight)
    levels, changes = jax.lax.sort(
        (jnp.concatenate([starts, fills]), jnp.concatenate([weight, -weight])),
        dimension=0,
        num_keys=1,
    )  # [2N, B]
    slopes = jnp.cumsum(changes, axis=0)[:-1]
    rises = jnp.cumsum(slopes * jnp.diff(levels, axis=0), axis=0)
    reached = jnp.concatenate([jnp.zeros_like(levels[:1]), rises])
    segment = jnp.sum(reached[1:-1] <= budget[None], axis=0)[None]
    at = lambda table: jnp.take_along_axis(table, segment, axis=0)[0]
    slope = at(slopes)
    step = (budget - at(reached)) / jnp.where(slope > 0.0, slope, 1.0)
    return jnp.clip(at(levels) + jnp.where(slope > 0.0, step, 0.0), low, high)
