"""Menus: one bidder picks the bundle, or lottery over bundles, that it likes best at its price.

With one bidder every truthful auction is a menu. Taking nothing for nothing is always possible and
never listed. For two items and valuations that are uniform on a polygon, the revenue of a menu is
exact: each option is chosen on a polygon, whose area is known from its edges.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.auctions.checks import require
from jaxecon.mechanisms.base import Outcome
from jaxecon.types import Array


class Menu(NamedTuple):
    """K offers to one bidder.

    Attributes:
      allocations: [K, M] probability of each item, in [0, 1].
      prices: [K] money.
    """

    allocations: Array
    prices: Array


class Region(NamedTuple):
    """A convex polygon of valuations of two items, {v : n_e·v <= b_e for every edge e}.

    Attributes:
      normals: n, [E, 2].
      bounds: b, [E].
    """

    normals: Array
    bounds: Array


def box(low: Array, high: Array) -> Region:
    """The rectangle of valuations between `low` and `high`, [2] each, money."""
    above = lambda low: jnp.asarray(high) > low
    require("low", low, lambda x: x >= 0.0, "be at least 0")
    require("low", low, above, f"lie below high = {high}")
    low, high = jnp.asarray(low), jnp.asarray(high)
    axes = jnp.eye(2, dtype=low.dtype)
    return Region(jnp.concatenate([axes, -axes]), jnp.concatenate([high, -low]))


def below_sum(region: Region, total: Array) -> Region:
    """The part of a region where the two values sum to at most `total` money."""
    normal, bound = jnp.ones_like(region.normals[:1]), jnp.full_like(region.bounds[:1], total)
    return Region(
        jnp.concatenate([region.normals, normal]), jnp.concatenate([region.bounds, bound])
    )


def check_menu(menu: Menu) -> None:
    """Raise ValueError if a menu's numbers, as far as they are known, are no offers.

    Raises:
      ValueError: shapes that do not match, probabilities outside [0, 1], prices below 0.
    """
    allocations, prices = jnp.shape(menu.allocations), jnp.shape(menu.prices)
    if len(allocations) != 2 or prices != allocations[:1]:
        raise ValueError(
            "A menu must have allocations [options, items] and prices [options], got shapes "
            f"{allocations} and {prices}."
        )
    in_unit = lambda x: (x >= 0.0) & (x <= 1.0)
    require("allocations", menu.allocations, in_unit, "be probabilities in [0, 1]")
    require("prices", menu.prices, lambda x: x >= 0.0, "be at least 0; drop the option instead")


def choose(menu: Menu, valuations: Array, temperature: Array | None = None) -> Outcome:
    """What one bidder takes from a menu.

        k = argmax_k w_k·v - p_k,  or nothing where that is negative;
        with a temperature τ, each option with probability softmax_k((w_k·v - p_k) / τ)

    Args:
      menu: K options; taking nothing is added.
      valuations: v, [..., 1, M] money per item; the utility is additive.
      temperature: τ > 0 money, traced; None is the exact choice, the first of equals.

    Returns:
      Outcome with allocation [..., 1, M] and payment [..., 1]. Exact choices are truthful;
      softened ones are not, but have gradients with respect to the menu everywhere.
    """
    allocations = jnp.concatenate([menu.allocations, jnp.zeros_like(menu.allocations[:1])])
    prices = jnp.concatenate([menu.prices, jnp.zeros_like(menu.prices[:1])])
    surplus = _products(valuations, allocations.T)  # [..., 1, K + 1]
    surplus = surplus - jnp.broadcast_to(prices, surplus.shape)
    if temperature is None:
        chosen = jax.nn.one_hot(jnp.argmax(surplus, axis=-1), len(prices), dtype=surplus.dtype)
    else:
        chosen = jax.nn.softmax(surplus / jnp.asarray(temperature, surplus.dtype), axis=-1)
    return Outcome(_products(chosen, allocations), _products(chosen, prices[:, None])[..., 0])


def _products(rows: Array, matrix: Array) -> Array:
    """[..., I] times [I, J], as one product."""
    flat = jnp.reshape(rows, (-1, rows.shape[-1])) @ matrix
    return jnp.reshape(flat, (*rows.shape[:-1], matrix.shape[-1]))


def uniform_revenue(menu: Menu, region: Region) -> Array:
    """Expected revenue from a menu of two items if valuations are uniform on a region.

    Args:
      menu: K options; they may be traced, and the revenue has gradients.
      region: a polygon of positive area.

    Returns:
      Scalar, money; exact up to rounding, in O(K³).

    Raises:
      ValueError: a menu that is none, or one not of two items.
    """
    check_menu(menu)
    if jnp.shape(menu.allocations)[1] != 2:
        raise ValueError(
            f"A menu must have 2 items here, got {jnp.shape(menu.allocations)[1]}; average "
            "`choose` over draws instead."
        )
    chosen = choice_areas(menu, region)
    return chosen @ menu.prices / polygon_area(region)


@jax.jit
def choice_areas(menu: Menu, region: Region) -> Array:
    """Area of the valuations that choose each option, [K]; the first of equals is chosen."""
    allocations = jnp.concatenate([menu.allocations, jnp.zeros_like(menu.allocations[:1])])
    prices = jnp.concatenate([menu.prices, jnp.zeros_like(menu.prices[:1])])

    def area(k: Array) -> Array:
        earlier = jnp.arange(prices.shape[0]) < k
        normals = allocations - allocations[k][None, :]  # option k beats j where n_j·v <= b_j
        bounds = prices - prices[k]
        never = jnp.any(
            (normals == 0.0).all(axis=1) & ((bounds < 0.0) | (earlier & (bounds == 0.0)))
        )
        edges = Region(
            jnp.concatenate([region.normals, normals]), jnp.concatenate([region.bounds, bounds])
        )
        return jnp.where(never, 0.0, polygon_area(edges))

    return jax.vmap(area)(jnp.arange(prices.shape[0] - 1))


@jax.jit
def polygon_area(region: Region) -> Array:
    """Area of a bounded region, ½ Σ_e d_e · length_e with d_e the distance of edge e from zero.

    Edges with a zero normal are ignored; of edges on the same line the first counts. An empty
    region has area 0.
    """
    square = jnp.sum(region.normals**2, axis=1)
    is_edge = square > 0.0
    scale = jax.lax.rsqrt(jnp.where(is_edge, square, 1.0))
    normals, bounds = region.normals * scale[:, None], region.bounds * scale
    start = normals * bounds[:, None]  # the point of each line next to zero
    along = jnp.stack([-normals[:, 1], normals[:, 0]], axis=1)
    # Line e is cut by half-plane j where slack_ej - t · speed_ej >= 0.
    slack = bounds[None, :] - start @ normals.T
    speed = along @ normals.T
    rounding = 8.0 * jnp.finfo(speed.dtype).eps
    is_parallel = jnp.abs(speed) <= rounding
    cut = slack / jnp.where(is_parallel, 1.0, speed)
    crosses = ~is_parallel & is_edge[None, :]
    upper = jnp.min(jnp.where(crosses & (speed > 0.0), cut, jnp.inf), axis=1)
    lower = jnp.max(jnp.where(crosses & (speed < 0.0), cut, -jnp.inf), axis=1)
    same_line = jnp.abs(slack) <= rounding * jnp.max(jnp.abs(bounds))
    same_way = normals @ normals.T > 0.0
    order = jnp.arange(square.shape[0])
    repeats = same_line & same_way & (order[None, :] < order[:, None])
    excludes = is_parallel & is_edge[None, :] & (repeats | (~same_line & (slack < 0.0)))
    counts = is_edge & ~jnp.any(excludes, axis=1) & (upper > lower)
    length = jnp.where(counts, upper - lower, 0.0)
    return 0.5 * jnp.sum(bounds * length)
