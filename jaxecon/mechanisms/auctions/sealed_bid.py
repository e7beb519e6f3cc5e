"""Sealed-bid auctions that sell each item by itself: first price, second price, all-pay; bundling.

The highest bid wins if it reaches the reserve, and of equal bids the first. The reserve is the
mechanism's parameter, a number or one per item [M], so that it can be traced and swept; () is none.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxecon.mechanisms.auctions.checks import bids_of, require
from jaxecon.mechanisms.base import AuctionTypes, Mechanism, Outcome
from jaxecon.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class FirstPrice(Mechanism):
    """The highest bid wins and is paid. Truth earns nothing: see `equilibria.first_price_bid`."""

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M], 0 or 1, and payment [..., N]; params: the reserve."""
        bids = bids_of(reports)
        wins = winners(bids, _reserve(params, bids))
        return Outcome(wins.astype(bids.dtype), _total(wins, bids))


@dataclasses.dataclass(frozen=True)
class SecondPrice(Mechanism):
    """The highest bid wins and pays the second highest or the reserve; truth is dominant.

    Source: Vickrey (1961), Counterspeculation, Auctions, and Competitive Sealed Tenders, Journal of
    Finance 16.
    """

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M], 0 or 1, and payment [..., N]; params: the reserve."""
        bids = bids_of(reports)
        reserve = _reserve(params, bids)
        wins = winners(bids, reserve)
        others = jnp.max(jnp.where(wins, 0.0, bids), axis=-2, keepdims=True)
        price = jnp.broadcast_to(jnp.maximum(others, reserve), bids.shape)
        return Outcome(wins.astype(bids.dtype), _total(wins, price))


@dataclasses.dataclass(frozen=True)
class AllPay(Mechanism):
    """The highest bid wins, and every bid that reaches the reserve is paid."""

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M], 0 or 1, and payment [..., N]; params: the reserve."""
        bids = bids_of(reports)
        reserve = _reserve(params, bids)
        wins = winners(bids, reserve)
        return Outcome(wins.astype(bids.dtype), _total(bids >= reserve, bids))


@dataclasses.dataclass(frozen=True)
class BundleSecondPrice(Mechanism):
    """All items as one bundle in a second-price auction: a bid is the sum of values.

    Truth is dominant. With one bidder it is a posted price for the bundle. The best reserve for
    independent uniform values, and its revenue, follow from `myerson.optimal_revenue` of
    `UniformSum`.
    """

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M], 0 or 1, and payment [..., N]; params: the bundle's reserve."""
        bids = bids_of(reports)
        bundle = AuctionTypes(jnp.sum(bids, axis=-1, keepdims=True))
        allocation, payment = SecondPrice()(bundle, params)
        return Outcome(jnp.broadcast_to(allocation, bids.shape), payment)


def winners(bids: Array, reserve: Array) -> Array:
    """Who wins each item, bool [..., N, M].

    Args:
      bids: [..., N, M] money.
      reserve: [..., 1, M] money, broadcast against the bids; an item that nobody bids so much for
        stays unsold.
    """
    bidders = jnp.reshape(jnp.arange(bids.shape[-2]), (1,) * (bids.ndim - 2) + (-1, 1))
    best = jnp.argmax(bids, axis=-2, keepdims=True)
    return (bidders == best) & (bids >= reserve)


def _reserve(params: PyTree, bids: Array) -> Array:
    """The reserve as [..., 1, M]."""
    reserve = jnp.zeros(()) if isinstance(params, tuple) and params == () else params
    require("reserve", reserve, lambda x: x >= 0.0, "be at least 0 money")
    if jnp.shape(reserve) not in ((), bids.shape[-1:]):
        raise ValueError(
            f"reserve must be a number or one for each of {bids.shape[-1]} items, got shape "
            f"{jnp.shape(reserve)}."
        )
    shape = (1,) * (bids.ndim - 1) + bids.shape[-1:]
    return jnp.broadcast_to(jnp.asarray(reserve, bids.dtype), shape)


def _total(counts: Array, price: Array) -> Array:
    """Sum over items of the price where it counts, [..., N]."""
    return jnp.sum(jnp.where(counts, price, 0.0), axis=-1)
