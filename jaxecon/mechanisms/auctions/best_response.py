"""How much a bidder could gain against given strategies: the check of a Bayes-Nash equilibrium."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.base import AuctionTypes, Mechanism
from jaxecon.types import Array, PyTree


class BestResponse(NamedTuple):
    """A sweep over the bids of one bidder.

    Attributes:
      gain: [K] expected utility of the best candidate bid less that of the strategy's bid.
      utility: [K] expected utility of the strategy's bid.
      bid: [K] the best candidate.
    """

    gain: Array
    utility: Array
    bid: Array


def best_response(
    mechanism: Mechanism,
    bidder: int,
    values: Array,
    strategy_bids: Array,
    candidates: Array,
    rival_bids: Array,
    params: PyTree = (),
    *,
    risk_exponent: Any = 1.0,
) -> BestResponse:
    """The best bids on a grid against the rivals' strategies, in an auction of one item.

    Args:
      mechanism: on `AuctionTypes` with valuations [..., N, 1].
      bidder: index of who deviates.
      values: [K] its valuations.
      strategy_bids: [K] what its strategy bids for them.
      candidates: [L] bids to try.
      rival_bids: [S, N] equally likely profiles of bids; the deviator's column is ignored. A grid
        of S profiles lets a bid overtake them one by one, which alone may gain O(1 / S) for two
        bidders.
      params: of the mechanism.
      risk_exponent: ρ of utility sign(x) |x|^ρ.

    Returns:
      A `BestResponse`; gains may be slightly negative where no candidate hits the best bid.
    """

    def utilities(bid: Array, values: Array) -> Array:
        """[K] expected utility of one bid at each value."""
        profile = rival_bids.at[:, bidder].set(bid)
        outcome = mechanism(AuctionTypes(profile[..., None]), params)
        won, paid = outcome.allocation[:, bidder, 0], outcome.payment[:, bidder]
        surplus = values[:, None] * won[None, :] - paid[None, :]
        return jnp.mean(jnp.sign(surplus) * jnp.abs(surplus) ** risk_exponent, axis=-1)

    own = jax.lax.map(lambda pair: utilities(*pair)[0], (strategy_bids, values[:, None]))
    tried = jax.lax.map(lambda bid: utilities(bid, values), candidates)  # [L, K]
    best = jnp.argmax(tried, axis=0)
    return BestResponse(jnp.max(tried, axis=0) - own, own, candidates[best])
