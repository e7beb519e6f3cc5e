"""Refusing numbers that make no auction, as far as they are known before a program runs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxecon.mechanisms.base import AuctionTypes
from jaxecon.solvers.checking import as_floats, common_dtype
from jaxecon.types import Array


def require(name: str, value: Any, holds: Callable[[Any], Any], must: str) -> None:
    """Raise ValueError unless every number known now keeps a rule; traced numbers pass.

    Args:
      name: what the user calls it.
      value: a number or an array.
      holds: elementwise rule, such as `lambda x: x >= 0`; not-a-number must break it.
      must: the rest of "NAME must ...", with how to mend it.
    """
    if isinstance(value, jax.core.Tracer):
        return
    entries = np.asarray(value)
    kept = np.asarray(holds(entries))
    if not kept.all():
        wrong = entries if kept.ndim < entries.ndim else entries[~kept].flat[0]
        raise ValueError(f"{name} must {must}, got {wrong}.")


def require_count(name: str, value: Any) -> None:
    """Raise ValueError unless a structural setting is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")


def bids_of(reports: AuctionTypes, *, unit_demand: bool = False) -> Array:
    """The reported valuations, [..., N, M], once they have been looked at.

    Args:
      reports: what the bidders say.
      unit_demand: whether the auction is made for bidders who can use one item only.

    Raises:
      ValueError: fewer than two axes, a negative or missing bid, or bidders who can use one item
        only where the auction might sell them several.
    """
    (bids,) = as_floats(common_dtype(reports.valuations), reports.valuations)
    if bids.ndim < 2:
        raise ValueError(f"valuations must have shape [..., bidders, items], got {bids.shape}.")
    if reports.unit_demand and not unit_demand:
        raise ValueError(
            "unit_demand must be False: this auction sells every item by itself, so a bidder may "
            "win several. Use VCG or a learned mechanism for bidders who can use one item only."
        )
    require("valuations", bids, lambda x: x >= 0.0, "be at least 0 and not nan; clip the reports")
    return bids
