"""Myerson's optimal auction as a mechanism, on tables of ironed virtual values.

Source: Myerson (1981), Optimal Auction Design, Mathematics of Operations Research 6.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.auctions.checks import bids_of
from jaxecon.mechanisms.auctions.distributions import Distribution
from jaxecon.mechanisms.auctions.myerson import RevenueCurve, revenue_curve, virtual_value
from jaxecon.mechanisms.base import AuctionTypes, Mechanism, Outcome
from jaxecon.types import Array, PyTree


class VirtualValues(NamedTuple):
    """Ironed virtual values at K valuations, linear between them.

    Attributes:
      values: [..., K] money, increasing. Nothing is sold below the first, and the last piece goes
        on beyond the last.
      virtual: [..., K] money, never decreasing.
    """

    values: Array
    virtual: Array


def ironed_virtual_values(distribution: Distribution, *, num_cells: int = 1024) -> VirtualValues:
    """Table of ironed virtual values, the parameters of `Myerson`.

    Values are exact at the middles of cells outside ironed intervals, the hull's slope inside.

    Args:
      distribution: of one bidder's valuation.
      num_cells: equal steps of √q.

    Returns:
      Tables [num_cells + number of kinks].
    """
    return _virtual_values(distribution, revenue_curve(distribution, num_cells=num_cells))


@jax.jit
def _virtual_values(distribution: Distribution, curve: RevenueCurve) -> VirtualValues:
    middle = 0.5 * (curve.sale[1:] + curve.sale[:-1])
    values = distribution.price(middle)
    # A cell is ironed where the slopes differ by more than rounding of R can explain.
    rounding = 8.0 * jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(curve.revenue)
    is_ironed = jnp.abs(curve.slope - curve.ironed) > rounding
    plain = virtual_value(distribution, values)
    virtual = jnp.where(is_ironed | (plain == -jnp.inf), curve.ironed, plain)
    return VirtualValues(values[::-1], jax.lax.cummax(virtual[::-1]))


def ironed_tables(distributions: Sequence[Distribution], *, num_cells: int = 1024) -> VirtualValues:
    """Tables [N, K] of different bidders, for `Myerson`; shorter ones repeat their first entry."""
    tables = [ironed_virtual_values(each, num_cells=num_cells) for each in distributions]
    length = max(table.values.shape[0] for table in tables)
    fill = lambda x: jnp.pad(x, (length - x.shape[0], 0), mode="edge")
    return jax.tree.map(lambda *rows: jnp.stack([fill(row) for row in rows]), *tables)


@dataclasses.dataclass(frozen=True)
class Myerson(Mechanism):
    """Each item goes to the highest ironed virtual value, if that is at least zero.

    The winner pays the least bid that would have won, and of equals the first wins; so truth is a
    dominant strategy whatever the tables say. With one item the revenue is the greatest possible if
    the tables are those of the bidders. Several items are sold separately (additive bidders).

    Parameters are `VirtualValues`, [K], [N, K] or [N, M, K], from `ironed_virtual_values` or
    `ironed_tables`.
    """

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M], 0 or 1, and payment [..., N]."""
        bids = bids_of(reports)
        tables = _tables_per_item(params, bids)
        virtual = _per_item(_virtual_of, bids, tables)
        earlier, later = _best_rivals(virtual)
        wins = (virtual > earlier) & (virtual >= jnp.maximum(later, 0.0))
        price = jnp.maximum(
            _per_item(_first_above, earlier, tables),
            _per_item(_first_at_least, jnp.maximum(later, 0.0), tables),
        )
        price = jnp.minimum(price, bids)  # rounding of the table's inverse must not cost a winner
        return Outcome(wins.astype(bids.dtype), jnp.sum(jnp.where(wins, price, 0.0), axis=-1))


def _tables_per_item(params: PyTree, bids: Array) -> VirtualValues:
    """The tables as [N, M, K]."""
    if not isinstance(params, VirtualValues):
        raise ValueError(
            f"params must be VirtualValues, as ironed_virtual_values gives them, got {params!r}."
        )
    size = bids.shape[-2:]
    missing = 3 - params.values.ndim
    shape = params.values.shape[:-1] + (1,) * missing + params.values.shape[-1:]
    if missing == 2:
        shape = (1, 1, *params.values.shape)
    widen = lambda x: jnp.broadcast_to(jnp.reshape(x, shape), (*size, x.shape[-1]))
    return VirtualValues(widen(params.values), widen(params.virtual))


def _per_item(function: Callable, x: Array, tables: VirtualValues) -> Array:
    """function(x, values, virtual) of entries [..., N, M] with the table of each."""
    over_items = jax.vmap(function, in_axes=(-1, 0, 0), out_axes=-1)
    return jax.vmap(over_items, in_axes=(-2, 0, 0), out_axes=-2)(x, *tables)


def _best_rivals(virtual: Array) -> tuple[Array, Array]:
    """Highest virtual value among bidders before and after each, [..., N, M]; -inf for none."""
    none = jnp.full_like(virtual[..., :1, :], -jnp.inf)
    axis = virtual.ndim - 2
    before = jax.lax.cummax(jnp.concatenate([none, virtual[..., :-1, :]], axis), axis)
    after = jnp.concatenate([virtual[..., 1:, :], none], axis)
    return before, jax.lax.cummax(after, axis, reverse=True)


def _virtual_of(x: Array, values: Array, virtual: Array) -> Array:
    """Ironed virtual value of bids x."""
    inner = jnp.interp(x, values, virtual) + _last_slope(values, virtual) * jnp.maximum(
        x - values[-1], 0.0
    )
    return jnp.where(x < values[0], -jnp.inf, inner)


def _first_at_least(level: Array, values: Array, virtual: Array) -> Array:
    """Least bid whose virtual value is at least `level`; infinite if there is none."""
    return _inverse(level, values, virtual, "left")


def _first_above(level: Array, values: Array, virtual: Array) -> Array:
    """Least bid beyond which virtual values exceed `level`; infinite if there is none."""
    return _inverse(level, values, virtual, "right")


def _inverse(level: Array, values: Array, virtual: Array, side: str) -> Array:
    after = jnp.searchsorted(virtual, level, side=side)
    i = jnp.clip(after, 1, values.shape[0] - 1)
    rise = virtual[i] - virtual[i - 1]
    share = (level - virtual[i - 1]) / jnp.where(rise > 0.0, rise, 1.0)
    inner = values[i - 1] + jnp.clip(share, 0.0, 1.0) * (values[i] - values[i - 1])
    slope = _last_slope(values, virtual)
    beyond = values[-1] + (level - virtual[-1]) / jnp.where(slope > 0.0, slope, 1.0)
    beyond = jnp.where(slope > 0.0, beyond, jnp.inf)
    inner = jnp.where(after == values.shape[0], beyond, inner)
    return jnp.where(after == 0, values[0], inner)


def _last_slope(values: Array, virtual: Array) -> Array:
    """Slope with which a table goes on beyond its last entry; 0 where that is repeated."""
    run = values[-1] - values[-2]
    return jnp.where(run > 0.0, (virtual[-1] - virtual[-2]) / jnp.where(run > 0.0, run, 1.0), 0.0)
