"""Selling two items to one bidder: menus with known revenues, most of them optimal.

A bidder with unit demand can use one item only; its menus sell single items or lotteries over them.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from jaxecon.mechanisms.auctions.menus import Menu, Region, below_sum, box


class KnownMenu(NamedTuple):
    """A menu for valuations uniform on a rectangle, or on a corner of it.

    Attributes:
      low: of the two valuations, money.
      high: of the two valuations, money.
      options: (probability of item 0, of item 1, price) of each.
      revenue: expected, money.
      unit_demand: whether the bidder can use one item only.
      is_optimal: whether no truthful auction earns more.
      total: the most that both valuations may sum to.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    options: tuple[tuple[float, float, float], ...]
    revenue: float
    unit_demand: bool = False
    is_optimal: bool = True
    total: float = math.inf

    def menu(self) -> Menu:
        """The options as arrays of the default float."""
        table = jnp.asarray(self.options, float)
        return Menu(table[:, :2], table[:, 2])

    def region(self) -> Region:
        """The valuations as a polygon."""
        region = box(jnp.asarray(self.low, float), jnp.asarray(self.high, float))
        return (
            region if self.total == math.inf else below_sum(region, jnp.asarray(self.total, float))
        )


def _singles(price: float) -> tuple[tuple[float, float, float], ...]:
    return ((1.0, 0.0, price), (0.0, 1.0, price))


_UNIT = ((0.0, 0.0), (1.0, 1.0))
_BUNDLE = (4.0 - math.sqrt(2.0)) / 3.0
_LOTTERY = 2.115069

KNOWN_MENUS = {
    # Manelli & Vincent (2006), Bundling as an Optimal Selling Mechanism for a Multiple-Good
    # Monopolist, Journal of Economic Theory 127.
    "additive": KnownMenu(
        *_UNIT, (*_singles(2.0 / 3.0), (1.0, 1.0, _BUNDLE)), (12.0 + 2.0 * math.sqrt(2.0)) / 27.0
    ),
    "additive, bundle only": KnownMenu(
        *_UNIT, ((1.0, 1.0, math.sqrt(2.0 / 3.0)),), 2.0 / 3.0 * math.sqrt(2.0 / 3.0),
        is_optimal=False,
    ),
    "additive, items separately": KnownMenu(
        *_UNIT, (*_singles(0.5), (1.0, 1.0, 1.0)), 0.5, is_optimal=False
    ),
    # Haghpanah & Hartline (2015), Reverse Mechanism Design, EC.
    "additive, values that sum to at most 1": KnownMenu(
        *_UNIT, ((1.0, 1.0, math.sqrt(1.0 / 3.0)),), 2.0 / (3.0 * math.sqrt(3.0)), total=1.0
    ),
    # Daskalakis, Deckelbaum & Tzamos (2017), Strong Duality for a Multiple-Good Monopolist,
    # Econometrica 85.
    "additive, unequal ranges": KnownMenu(
        (4.0, 4.0), (16.0, 7.0), ((0.5, 1.0, 8.0), (1.0, 1.0, 12.0)), 88.0 / 9.0
    ),
    "additive, bundle of U[0, 4] and U[0, 3]": KnownMenu(
        (0.0, 0.0), (4.0, 3.0), ((1.0, 1.0, 2.0 * math.sqrt(2.0)),), 4.0 * math.sqrt(2.0) / 3.0,
        is_optimal=False,
    ),
    "additive, U[0, 4] and U[0, 3] separately": KnownMenu(
        (0.0, 0.0), (4.0, 3.0), ((1.0, 0.0, 2.0), (0.0, 1.0, 1.5), (1.0, 1.0, 3.5)), 1.75,
        is_optimal=False,
    ),
    "unit demand": KnownMenu(
        *_UNIT, _singles(1.0 / math.sqrt(3.0)), 2.0 / (3.0 * math.sqrt(3.0)), unit_demand=True
    ),
    # Thanassoulis (2004), Haggling over Substitutes, Journal of Economic Theory 117. The price of
    # the lottery is known to six decimals, and so is the revenue.
    "unit demand, lottery": KnownMenu(
        (2.0, 2.0), (3.0, 3.0), ((0.5, 0.5, _LOTTERY), *_singles(_LOTTERY + 1.0 / 6.0)), 2.133132,
        unit_demand=True,
    ),
}  # fmt: skip
