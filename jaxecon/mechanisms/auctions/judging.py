"""What a learned auction earns, and how far from truthful it is: no revenue without both.

An auction that bidders can lie to earns more on truthful reports than any honest one could, so its
revenue says little by itself. A search for lies gives a lower estimate of the regret, interval
arithmetic an upper one.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.auctions.objectives import revenue
from jaxecon.mechanisms.base import AuctionTypes, Mechanism
from jaxecon.mechanisms.deviations import Space, require_counts
from jaxecon.mechanisms.exploitability import exploitability
from jaxecon.mechanisms.intervals import gain_upper_bound
from jaxecon.types import Array, Key, PyTree

TYPES_AT_ONCE = 10_000  # whose payments are computed together
MOST_FIRST_CELLS = 4096  # that a bidder's reports are cut into before any refinement


class Judgement(NamedTuple):
    """Revenue and regret of an auction; everything is a scalar in money.

    Attributes:
      revenue: mean over types, with truthful reports.
      standard_error: of the revenue.
      regret_found: what the best misreports found gain a bidder, mean over bidders and types; the
        true mean is at least that.
      regret_found_max: the largest over bidders and types.
      regret_bound: what no misreport gains more than, mean over the same bidders and types.
      regret_bound_max: the largest of these bounds.
    """

    revenue: Array
    standard_error: Array
    regret_found: Array
    regret_found_max: Array
    regret_bound: Array
    regret_bound_max: Array


def judge(
    mechanism: Mechanism,
    types: AuctionTypes,
    params: PyTree = (),
    *,
    key: Key,
    space: Space,
    num_judged: int = 128,
    num_restarts: int = 16,
    num_steps: int = 200,
    cells_per_axis: int = 16,
    num_refinements: int = 64,
) -> Judgement:
    """An auction's revenue on all types, and both estimates of regret on the first of them.

    Args:
      mechanism: an auction made of the operations of networks, or one that `is_truthful`, whose
        bound is 0.
      types: [B, N, M] valuations in money; take float64, whose rounding no bound counts.
      params: the mechanism's.
      key: PRNG key of the search.
      space: {"valuations": (low, high)} of reports.
      num_judged: types on which regret is estimated, at most B; the bound takes most of the time.
      num_restarts, num_steps: size of the search, see `exploitability`.
      cells_per_axis, num_refinements: fineness of the bound, see `gain_upper_bound`; with more than
        3 items, there are fewer cells per axis, so that the first are at most 4,096.

    Raises:
      NotImplementedError: the mechanism is neither, such as a first-price auction.
      ValueError: no types, or a count below its least.
    """
    require_counts(num_judged=(num_judged, 1), cells_per_axis=(cells_per_axis, 1))
    few = jax.tree.map(lambda x: x[:num_judged], types)
    if mechanism.is_truthful:
        bound = jnp.zeros_like(few.valuations[..., 0])
    else:
        bound = gain_upper_bound(
            mechanism,
            few,
            params,
            space=space,
            cells_per_axis=_affordable_cells(cells_per_axis, types.valuations.shape[-1]),
            num_refinements=num_refinements,
        )
    found = exploitability(
        mechanism, few, params, key=key, space=space, num_restarts=num_restarts, num_steps=num_steps
    ).gain
    paid = _payments(mechanism, types, params)
    return Judgement(
        revenue=paid.mean(),
        standard_error=paid.std() / paid.shape[0] ** 0.5,
        regret_found=found.mean(),
        regret_found_max=found.max(),
        regret_bound=bound.mean(),
        regret_bound_max=bound.max(),
    )


def _affordable_cells(cells_per_axis: int, num_items: int) -> int:
    """The most cells per axis, up to a number, whose grid has no more than 4,096."""
    fitting = (c for c in range(cells_per_axis, 1, -1) if c**num_items <= MOST_FIRST_CELLS)
    return next(fitting, 1)


@functools.partial(jax.jit, static_argnums=0)
def _payments(mechanism: Mechanism, types: AuctionTypes, params: PyTree) -> Array:
    """Revenue from each of B types, [B], in chunks that bound the memory."""
    pay = lambda one: revenue(mechanism(one, params))
    return jax.lax.map(pay, types, batch_size=TYPES_AT_ONCE)
