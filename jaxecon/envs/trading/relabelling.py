"""Groups that shift assets around a circle, and what they do to a market's data."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxecon.envs.trading.planted_symmetry import signed_shifts
from jaxecon.symmetry import Representation, act, cyclic, permutation
from jaxecon.types import Array


@functools.cache
def relabelling(num_assets: int, is_signed: bool) -> Representation:
    """Shifts of N assets around a circle, C_N, or with changes of all signs Z2 x C_N; d = N."""
    return signed_shifts(num_assets) if is_signed else permutation(cyclic(num_assets))


def carried_market(rep: Representation, element: Array | int, params: Any) -> Any:
    """The history of prices, relabelled, and inverted where signs change.

    Args:
      rep: `relabelling` of the market's N assets.
      element: g, a number from 0 to n - 1 that may be traced.
      params: with `prices` and `mask` [T, N], `borrow_fee`, one or [N], and `signal` [T, N] or
        None, see `stocks.EnvParams`.

    Returns:
      The same with log prices and signal moved by ρ(g), mask and fees by |ρ(g)|.
    """
    relabel = dataclasses.replace(rep, matrices=np.abs(rep.matrices))
    fee = jnp.broadcast_to(jnp.asarray(params.borrow_fee, float), (rep.dimension,))
    signal = None if params.signal is None else act(rep, element, params.signal)
    return params.replace(
        prices=jnp.exp(act(rep, element, jnp.log(params.prices))),
        mask=act(relabel, element, params.mask.astype(fee.dtype)) > 0.5,
        borrow_fee=act(relabel, element, fee),
        signal=signal,
    )
