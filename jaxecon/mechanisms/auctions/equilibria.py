"""Bayes-Nash strategies in closed form, and what bidders and the seller expect from them.

Valuations are independent and uniform, on [0, 1] unless said otherwise. Strategies map valuations
to bids of the mechanisms in `sealed_bid` and `core`; summaries are exact up to rounding (Gauss-
Legendre quadrature of smooth integrands).

Source: Krishna (2010), Auction Theory, for the symmetric ones; others at their functions.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxecon.mechanisms.auctions.checks import require, require_count
from jaxecon.suggest import unknown_name
from jaxecon.types import Array

NUM_NODES = 64


class Summary(NamedTuple):
    """Expectations in an equilibrium.

    Attributes:
      revenue: [] money.
      utilities: [N] of each bidder; money where bidders are risk-neutral.
    """

    revenue: Array
    utilities: Array


def first_price_bid(
    value: Array, num_bidders: int, *, risk_exponent: Any = 1.0, reserve: Any = 0.0
) -> Array:
    """Bid in a first-price auction of one item among equal bidders.

        β(v) = v - (v^(k+1) - r^(k+1)) / ((k + 1) v^k),   k = (n - 1) / ρ

    which is (n - 1) / (n - 1 + ρ) · v without a reserve.

    Args:
      value: v, [...] in [0, 1].
      num_bidders: n >= 2.
      risk_exponent: ρ of utility x^ρ, in (0, 1]; 1 is risk-neutral.
      reserve: r, least price, in [0, 1).

    Returns:
      [...] money; 0 for v < r, who stay out.
    """
    _check_symmetric(num_bidders, reserve)
    require("risk_exponent", risk_exponent, lambda x: (x > 0.0) & (x <= 1.0), "lie in (0, 1]")
    power = (num_bidders - 1) / risk_exponent
    ratio = reserve / jnp.where(value > 0.0, jnp.maximum(value, reserve), 1.0)
    bid = value * (power + ratio ** (power + 1.0)) / (power + 1.0)
    return jnp.where(value >= reserve, bid, 0.0)


def first_price_summary(
    num_bidders: int, *, risk_exponent: Any = 1.0, reserve: Any = 0.0
) -> Summary:
    """Revenue and expected utilities where all bid `first_price_bid`.

    revenue = n ∫_r^1 β(v) v^(n-1) dv,   U = ∫_r^1 v^(n-1) (v - β(v))^ρ dv
    """
    v, weights = _nodes(reserve, 1.0)
    bid = first_price_bid(v, num_bidders, risk_exponent=risk_exponent, reserve=reserve)
    win = v ** (num_bidders - 1)
    utility = weights @ (win * (v - bid) ** risk_exponent)
    revenue = num_bidders * (weights @ (win * bid))
    return Summary(revenue, jnp.broadcast_to(utility, (num_bidders,)))


def all_pay_bid(value: Array, num_bidders: int) -> Array:
    """Bid in an all-pay auction of one item among equal bidders, (n - 1) / n · v^n.

    Args:
      value: v, [...] in [0, 1].
      num_bidders: n >= 2.
    """
    _check_symmetric(num_bidders, 0.0)
    return (num_bidders - 1) / num_bidders * value**num_bidders


def all_pay_summary(num_bidders: int) -> Summary:
    """Revenue (n - 1) / (n + 1) and utilities 1 / (n (n + 1)), as in any efficient auction."""
    _check_symmetric(num_bidders, 0.0)
    revenue = jnp.asarray((num_bidders - 1) / (num_bidders + 1), float)
    return Summary(revenue, jnp.full(num_bidders, 1.0 / (num_bidders * (num_bidders + 1)), float))


def unequal_first_price_bids(values: Array, weak_high: Any = 1.0, strong_high: Any = 2.0) -> Array:
    """Bids of two different bidders in a first-price auction of one item.

        weak:  β(v) = v / (1 + √(1 - k v²)),   strong:  β(v) = v / (1 + √(1 + k v²))
        k = 1 / weak_high² - 1 / strong_high²

    Both bid at most 1 / (1 / weak_high + 1 / strong_high).

    Args:
      values: [..., 2] of the weak bidder, uniform on [0, weak_high], and the strong one.
      weak_high: highest value of the weak bidder, > 0 money.
      strong_high: that of the strong bidder, at least weak_high.

    Returns:
      [..., 2] money.

    Source: Griesmer, Levitan & Shubik (1967), Toward a Study of Bidding Processes, Part IV, Naval
    Research Logistics Quarterly 14.
    """
    k = _asymmetry(weak_high, strong_high)
    weak, strong = values[..., 0], values[..., 1]
    roots = jnp.stack([1.0 - k * weak**2, 1.0 + k * strong**2], axis=-1)
    return values / (1.0 + jnp.sqrt(jnp.maximum(roots, 0.0)))


def unequal_first_price_summary(weak_high: Any = 1.0, strong_high: Any = 2.0) -> Summary:
    """Revenue and utilities where both bid `unequal_first_price_bids`: integrals over bids b.

        revenue = top - ∫ G_w G_s db,   U_i = ∫ (v_i(b) - b) G_j(b) dG_i(b)

    with v_w = 2b / (1 + k b²) and v_s = 2b / (1 - k b²) who bids b, and G_i = v_i / high_i.
    """
    k = _asymmetry(weak_high, strong_high)
    top = 1.0 / (1.0 / weak_high + 1.0 / strong_high)
    b, weights = _nodes(0.0, top)
    signs = jnp.asarray([[1.0], [-1.0]], b.dtype) * k * (b**2)[None, :]  # [2, B]
    highs = jnp.stack([jnp.asarray(high, b.dtype) for high in (weak_high, strong_high)])[:, None]
    value = 2.0 * b[None, :] / (1.0 + signs)
    share = value / highs
    density = 2.0 * (1.0 - signs) / (1.0 + signs) ** 2 / highs
    utilities = ((value - b[None, :]) * share[::-1] * density) @ weights
    return Summary(top - weights @ jnp.prod(share, axis=0), utilities)


def core_bid(value: Array, rule: str) -> Array:
    """Bid of a local bidder in `LocalLocalGlobal`; the global one, uniform on [0, 2], is truthful.

        nearest_vcg:   max(0, v - (3 - 2√2))
        nearest_bid:   log 2 - log(2 - v)
        nearest_zero:  max(0, 1 + log v)

    Args:
      value: v, [...] in [0, 1].
      rule: of the payments.

    Source: Ausubel & Baranov (2020), Core-Selecting Auctions with Incomplete Information,
    International Journal of Game Theory 49.
    """
    threshold = _core_threshold(rule)
    if rule == "nearest_vcg":
        return jnp.maximum(value - threshold, 0.0)
    if rule == "nearest_bid":
        return -jnp.log1p(-0.5 * value)
    return 1.0 + jnp.log(jnp.maximum(value, threshold))


def core_summary(rule: str) -> Summary:
    """Revenue and utilities (local, local, global) where locals bid `core_bid`.

    Winning locals together pay the global bid and share it alike in expectation. With bids b, and
    s the sum of both locals' bids, integrating the global value out leaves

        local = E[(v₁ + v₂) s - s² / 2] / 4,   global = E[(2 - s)²] / 4,   revenue = E[s - s² / 4]
    """
    threshold = _core_threshold(rule)
    v, weights = _nodes(threshold, 1.0)
    bid = core_bid(v, rule)
    mean, square, cross = weights @ bid, weights @ bid**2, weights @ (v * bid)
    sum_square = 2.0 * (square + mean**2)
    local_ = (2.0 * cross + mean - 0.5 * sum_square) / 4.0
    global_ = (4.0 - 8.0 * mean + sum_square) / 4.0
    return Summary(2.0 * mean - sum_square / 4.0, jnp.stack([local_, local_, global_]))


def _core_threshold(rule: str) -> float:
    """Values up to this bid zero."""
    thresholds = {
        "nearest_bid": 0.0,
        "nearest_vcg": 3.0 - 2.0 * math.sqrt(2.0),
        "nearest_zero": math.exp(-1.0),
    }
    if rule not in thresholds:
        raise ValueError(unknown_name("core rule", rule, thresholds))
    return thresholds[rule]


def _asymmetry(weak_high: Any, strong_high: Any) -> Any:
    require("weak_high", weak_high, lambda x: x > 0.0, "be a positive amount of money")
    ratio = strong_high / weak_high
    require("strong_high / weak_high", ratio, lambda x: x >= 1.0, "be at least 1; swap the bidders")
    return 1.0 / weak_high**2 - 1.0 / strong_high**2


def _check_symmetric(num_bidders: int, reserve: Any) -> None:
    require_count("num_bidders", num_bidders)
    if num_bidders < 2:
        raise ValueError(f"num_bidders must be at least 2, got {num_bidders}: one bids nothing.")
    require("reserve", reserve, lambda x: (x >= 0.0) & (x < 1.0), "lie in [0, 1)")


def _nodes(low: Any, high: Any) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on [low, high]."""
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    half = jnp.asarray(0.5 * (high - low), float)
    return low + half * jnp.asarray(1.0 + nodes, float), half * jnp.asarray(weights, float)
