"""What a seller or a society gets out of an auction."""

import jax.numpy as jnp

from jaxecon.mechanisms.base import AuctionTypes, Outcome
from jaxecon.types import Array


def revenue(outcome: Outcome) -> Array:
    """Money the seller takes, [...]: the sum of payments over bidders.

    Args:
      outcome: payments [..., N] money.
    """
    return jnp.sum(outcome.payment, axis=-1)


def welfare(types: AuctionTypes, outcome: Outcome) -> Array:
    """Value of the items to those who get them, [...]: revenue plus the bidders' utilities.

    Args:
      types: true valuations [..., N, M] money per item.
      outcome: allocation [..., N, M].
    """
    return jnp.sum(types.valuations * outcome.allocation, axis=(-2, -1))
