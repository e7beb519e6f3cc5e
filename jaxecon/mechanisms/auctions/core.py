"""Core-selecting auctions in the local-local-global setting.

Two local bidders want one item each, a global bidder wants both. If the locals' bids together reach
the global one's, both win and together pay its bid: with less, the global bidder and the seller
would rather deal with each other (the payments would lie outside the core). The rules differ in how
the locals share it.

Source: Day & Cramton (2012), Quadratic Core-Selecting Payment Rules for Combinatorial Auctions,
Operations Research 60; Ausubel & Baranov (2020), Core-Selecting Auctions with Incomplete
Information, International Journal of Game Theory 49.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxecon.mechanisms.auctions.checks import bids_of
from jaxecon.mechanisms.base import AuctionTypes, Mechanism, Outcome
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, PyTree

CORE_RULES = ("nearest_bid", "nearest_vcg", "nearest_zero")


@dataclasses.dataclass(frozen=True)
class LocalLocalGlobal(Mechanism):
    """Bidders 0 and 1 are local, bidder 2 global; the one "item" is what each of them wants.

    Attributes:
      rule: the locals pay the amounts that sum to the global bid and lie nearest to their VCG
        payments ("nearest_vcg"), to their bids ("nearest_bid") or to zero ("nearest_zero").
    """

    rule: str = "nearest_vcg"

    def __post_init__(self):
        if self.rule not in CORE_RULES:
            raise ValueError(unknown_name("core rule", self.rule, CORE_RULES))

    def __call__(
        self, reports: AuctionTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., 3, 1], 1 for who wins what it wants, and payment [..., 3]."""
        bids = bids_of(reports)
        if bids.shape[-2:] != (3, 1):
            raise ValueError(f"valuations must have shape [..., 3, 1], got {bids.shape}.")
        first, second, whole = bids[..., 0, 0], bids[..., 1, 0], bids[..., 2, 0]
        locals_win = first + second >= whole
        paid = self._first_pays(first, second, whole)
        payment = jnp.stack([
            jnp.where(locals_win, paid, 0.0),
            jnp.where(locals_win, whole - paid, 0.0),
            jnp.where(locals_win, 0.0, first + second),
        ], axis=-1)  # fmt: skip
        wins = jnp.stack([locals_win, locals_win, ~locals_win], axis=-1)
        return Outcome(wins.astype(bids.dtype)[..., None], payment)

    def _first_pays(self, first: Array, second: Array, whole: Array) -> Array:
        """Payment of the first local where the locals win; the second pays the rest of `whole`."""
        low = jnp.maximum(whole - second, 0.0)  # its VCG payment
        high = jnp.minimum(first, whole)
        if self.rule == "nearest_vcg":
            target = 0.5 * (whole + low - jnp.maximum(whole - first, 0.0))
        elif self.rule == "nearest_bid":
            target = 0.5 * (whole + first - second)
        else:
            target = 0.5 * whole
        return jnp.clip(target, low, high)
