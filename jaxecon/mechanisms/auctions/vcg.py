"""The Vickrey-Clarke-Groves auction for additive and for unit-demand bidders.

It chooses the allocation of greatest welfare W, and bidder i pays what its presence costs the
others, W without i less the others' share of W. Truth is a dominant strategy. The allocation is the
gradient of W in the valuations; where several are best, that is an average of them.

Sources: Vickrey (1961); Clarke (1971), Multipart Pricing of Public Goods, Public Choice 11; Groves
(1973), Incentives in Teams, Econometrica 41.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.mechanisms.auctions.checks import bids_of
from jaxecon.mechanisms.base import AuctionTypes, Mechanism, Outcome
from jaxecon.types import Array, PyTree

MAX_SIDE = 12  # the matching looks at all subsets of the shorter side


@dataclasses.dataclass(frozen=True)
class VCG(Mechanism):
    """Efficient and truthful; exact for additive bidders of any number and for small matchings.

    For unit demand it takes N M 2^min(N, M) steps per bidder; min(N, M) may be at most 12.
    """

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M] and payment [..., N]."""
        bids = bids_of(reports, unit_demand=True)
        welfare = lambda bids: best_welfare(bids, unit_demand=reports.unit_demand)
        allocation = jax.grad(lambda bids: jnp.sum(welfare(bids)))(bids)
        received = jnp.sum(bids * allocation, axis=-1)  # [..., N]
        without = jax.vmap(lambda i: welfare(bids.at[..., i, :].set(0.0)), out_axes=-1)
        others = jnp.sum(received, axis=-1, keepdims=True) - received
        externality = without(jnp.arange(bids.shape[-2])) - others
        return Outcome(allocation, jnp.maximum(externality, 0.0))  # rounding, where it is zero


def best_welfare(valuations: Array, *, unit_demand: bool = False) -> Array:
    """Greatest welfare of any allocation, [...].

        additive:     Σ_m max_i v_im
        unit demand:  the greatest weight of a matching of bidders and items

    Args:
      valuations: v, [..., N, M] money, >= 0.
      unit_demand: whether a bidder can use one item only.

    Raises:
      ValueError: both sides of a matching have more than 12 members.
    """
    if not unit_demand:
        return jnp.sum(jnp.max(valuations, axis=-2), axis=-1)
    rows = valuations if valuations.shape[-2] >= valuations.shape[-1] else valuations.mT
    if rows.shape[-1] > MAX_SIDE:
        raise ValueError(
            f"valuations must have at most {MAX_SIDE} bidders or items for unit demand, got "
            f"{valuations.shape[-2:]}; solve larger matchings as linear programmes."
        )
    return _best_matching(rows)


def _best_matching(rows: Array) -> Array:
    """Greatest weight of a matching, by dynamic programming over sets of columns.

    W_i(S) = max(W_{i-1}(S), max_{m in S} W_{i-1}(S without m) + v_im)
    """
    num_columns = rows.shape[-1]
    subsets = np.arange(2**num_columns)
    bits = 2 ** np.arange(num_columns)
    holds = (subsets[:, None] & bits) > 0  # [S, M]
    smaller = subsets[:, None] & ~bits  # [S, M]

    def add_row(best: Array, row: Array) -> tuple[Array, None]:
        gains = best[..., smaller] + row[..., None, :]  # [..., S, M]
        allowed = jnp.broadcast_to(jnp.asarray(holds), gains.shape)
        gains = jnp.where(allowed, gains, -jnp.inf)
        return jnp.maximum(best, jnp.max(gains, axis=-1)), None

    start = jnp.zeros((*rows.shape[:-2], subsets.size), rows.dtype)
    best, _ = jax.lax.scan(add_row, start, jnp.moveaxis(rows, -2, 0))
    return best[..., -1]
