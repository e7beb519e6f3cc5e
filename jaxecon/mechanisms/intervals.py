"""Upper bounds on what misreporting can gain, for mechanisms that are networks.

A search shows that a gain is at least something. Here it is shown to be at most something: the box
of an agent's reports is cut into cells, its utility is bounded on each by affine arithmetic, and
the cells that could hold the maximum are cut further. Regrets of learned auctions are usually
reported from searches only; revenue means little without an upper bound beside it.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.mechanisms.affine_arithmetic import interval_bounds
from jaxecon.mechanisms.base import as_mechanism, check_types
from jaxecon.mechanisms.deviations import (
    Space,
    check_space,
    deviation_utility,
    num_leading_axes,
    require_counts,
    utility_alone,
)
from jaxecon.types import Array, PyTree

__all__ = ["gain_upper_bound", "interval_bounds"]

CELLS_AT_ONCE = 1024  # whose bounds are computed together
MOST_CELLS = 4096  # that wait to be cut further; of those beyond, only the largest bound is kept


def gain_upper_bound(
    mechanism: Any,
    types: Any,
    params: PyTree = (),
    *,
    private: Sequence[str] | None = None,
    space: Space | None = None,
    cells_per_axis: int = 16,
    num_refinements: int = 16,
) -> Array:
    """A number that no misreport of an agent gains more than, for each type and agent.

        max_q u_i(f(q, θ_-i); θ_i) - u_i(f(θ); θ_i)  <=  max over cells of a bound on u_i

    On each cell the utility as a function of the report, payments included, is bounded by affine
    arithmetic, so that what value and payment have in common cancels. The bound approaches the
    truth as the square of the cells' width; where a kink lies at the maximum, as the width.

    Args:
      mechanism: made of the operations of networks: a `Mechanism` or a function of reports with
        leaves [N, M]. Inner solvers and discrete choices have no interval rule.
      types: true types, with any leading axes.
      params: the mechanism's.
      private: fields to misreport; None is those of `space`, or all that are private.
      space: {field: (low, high)}, as for `exploitability`.
      cells_per_axis: C, cells along each of the D = M · number of fields coordinates of a report;
        C^D cells are looked at for each type and agent.
      num_refinements: rounds in which the cells with the largest bounds are halved along every
        coordinate, as many of them as make 1,024 new ones (or C^D, if that is less).

    Returns:
      [..., N] utils, >= 0; infinite where the arithmetic found no bound. Certain but for rounding,
      which is not counted: take float64 where bounds near 1e-5 matter.

    Raises:
      NotImplementedError: an operation without an interval rule, by name.
      ValueError: as for `exploitability`.
    """
    require_counts(cells_per_axis=(cells_per_axis, 1), num_refinements=(num_refinements, 0))
    check_types(types)
    bounds = check_space(types, private, space)
    return _gain_bounds(
        as_mechanism(mechanism), types, params, bounds, cells_per_axis, num_refinements
    )


class _Cells(NamedTuple):
    """Boxes of reports, and bounds on what is gained in them."""

    lower: Array  # [K, D]
    upper: Array  # [K, D]
    bound: Array  # [K]


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _gain_bounds(
    mechanism: Any,
    types: Any,
    params: PyTree,
    space: dict[str, tuple[Array, Array]],
    cells_per_axis: int,
    num_refinements: int,
) -> Array:
    """`gain_upper_bound` without its checks, as one program."""
    num_axes = num_leading_axes(types)
    *leading, num_agents, num_goods = getattr(types, types.private[0]).shape
    lower, upper = (
        jnp.concatenate([jnp.broadcast_to(bounds[end], num_goods) for bounds in space.values()])
        for end in (0, 1)
    )
    agents = jnp.arange(num_agents)

    def bound_agent(types: Any, agent: Array) -> Array:
        def utility(report: Array) -> Array:  # [D] -> scalar
            parts = dict(zip(space, jnp.split(report, len(space)), strict=True))
            shape = (num_agents, num_goods)
            told = {name: jnp.broadcast_to(part, shape) for name, part in parts.items()}
            return utility_alone(mechanism, types, told, agent, params)

        return _maximum_bound(utility, lower, upper, cells_per_axis, num_refinements)

    bound_instance = lambda types: jax.lax.map(functools.partial(bound_agent, types), agents)
    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[num_axes:])), types)
    bounds = jnp.reshape(jax.lax.map(bound_instance, flat), (*leading, num_agents))
    truth = {name: getattr(types, name) for name in space}
    return jnp.maximum(bounds - deviation_utility(mechanism, types, truth, params), 0.0)


def _maximum_bound(
    function: Callable[[Array], Array],
    lower: Array,
    upper: Array,
    cells_per_axis: int,
    num_refinements: int,
) -> Array:
    """Upper bound, (), on a function of a vector over the box [D]: branch and bound."""
    size = lower.shape[0]
    halves = np.array(list(itertools.product(range(2), repeat=size)), float)  # [2^D, D]
    places = np.array(list(itertools.product(range(cells_per_axis), repeat=size)), float)
    num_split = max(1, min(CELLS_AT_ONCE, len(places)) // len(halves))
    num_new = num_split * len(halves)
    num_first = -(-len(places) // num_new)  # rounds that look at the first cells
    places = places[np.minimum(np.arange(num_first * num_new), len(places) - 1)]
    first = _cut(lower[None], upper[None], places, cells_per_axis)
    capacity = max(num_first * num_new, MOST_CELLS)
    no_bound = jnp.full(capacity, -jnp.inf, lower.dtype)
    nowhere = jnp.zeros((capacity, size), lower.dtype)
    bound_cells = jax.vmap(lambda low, high: interval_bounds(function, low, high)[1])

    def look(state: tuple[_Cells, Array], index: Array) -> tuple[tuple[_Cells, Array], None]:
        cells, settled = state
        is_first = index < num_first
        top = jax.lax.top_k(cells.bound, num_split)[1]
        split = _cut(cells.lower[top], cells.upper[top], halves, 2)
        start = jnp.minimum(index, num_first - 1) * num_new
        fresh = (jax.lax.dynamic_slice_in_dim(end, start, num_new) for end in first)
        new_lower, new_upper = (
            jnp.where(is_first, *ends) for ends in zip(fresh, split, strict=True)
        )
        parents = jnp.where(is_first, jnp.inf, jnp.repeat(cells.bound[top], len(halves)))
        bound = jnp.minimum(bound_cells(new_lower, new_upper), parents)
        left = cells.bound.at[top].min(jnp.where(is_first, jnp.inf, -jnp.inf))
        merged = jax.tree.map(
            lambda *parts: jnp.concatenate(parts),
            cells._replace(bound=left),
            _Cells(new_lower, new_upper, bound),
        )
        order = jnp.argsort(-merged.bound)
        kept = jax.tree.map(lambda x: x[order[:capacity]], merged)
        return (kept, jnp.maximum(settled, merged.bound[order[capacity]])), None

    start = _Cells(nowhere, nowhere, no_bound), no_bound[0]
    (cells, settled), _ = jax.lax.scan(look, start, jnp.arange(num_first + num_refinements))
    return jnp.maximum(jnp.max(cells.bound), settled)


def _cut(lower: Array, upper: Array, places: np.ndarray, parts: int) -> tuple[Array, Array]:
    """Ends [K · P, D] of the cells at P places of each of K boxes, cut into `parts` per axis."""
    width = (upper - lower)[:, None, :]
    at = lambda step: (
        lower[:, None, :] + width * jnp.asarray((places + step) / parts, lower.dtype)[None]
    )
    flat = lambda x: jnp.reshape(x, (-1, lower.shape[1]))
    return flat(at(0)), flat(at(1))
