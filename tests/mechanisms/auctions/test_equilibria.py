"""Bayes-Nash strategies: the book's revenues and utilities, and no bid that does better."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.mechanisms.auctions import (
    AllPay,
    FirstPrice,
    LocalLocalGlobal,
    SecondPrice,
    best_response,
    equilibria,
)
from jaxecon.mechanisms.auctions.core import CORE_RULES
from jaxecon.mechanisms.base import AuctionTypes

NUM_PROFILES = 2000
VALUES = np.linspace(0.05, 1.0, 12)


def middles(num):
    return jnp.asarray((np.arange(num) + 0.5) / num)


@functools.partial(jax.jit, static_argnums=(0, 1))
def sweep(mechanism, bidder, values, bids, candidates, rivals, params=(), risk_exponent=1.0):
    return best_response(
        mechanism, bidder, values, bids, candidates, rivals, params, risk_exponent=risk_exponent
    )


def symmetric_sweep(mechanism, bid, num_bidders, params=(), risk_exponent=1.0):
    """Against the best of n - 1 rivals, who all use the same increasing strategy."""
    rival = bid(middles(NUM_PROFILES) ** (1.0 / (num_bidders - 1)))
    rivals = jnp.stack([jnp.zeros_like(rival), rival], axis=1)
    values = jnp.asarray(VALUES)
    candidates = jnp.linspace(0.0, 1.0, 401)
    return sweep(mechanism, 0, values, bid(values), candidates, rivals, params, risk_exponent)


@pytest.mark.parametrize(
    ("num_bidders", "risk_exponent", "reserve"), [(2, 1.0, 0.0), (3, 1.0, 0.0), (2, 0.5, 0.0),
    (2, 1.0, 0.5), (3, 0.6, 0.3)],
)  # fmt: skip
def test_no_bid_beats_the_first_price_strategy(num_bidders, risk_exponent, reserve):
    with jax.enable_x64(True):
        bid = functools.partial(
            equilibria.first_price_bid,
            num_bidders=num_bidders, risk_exponent=risk_exponent, reserve=reserve,
        )  # fmt: skip
        # With a reserve, those below it stay out; rivals who bid 0 never win against one that bids.
        found = symmetric_sweep(FirstPrice(), bid, num_bidders, reserve, risk_exponent)
        np.testing.assert_allclose(found.gain, 0.0, atol=2.0 / NUM_PROFILES)


def test_a_wrong_strategy_is_beaten():
    with jax.enable_x64(True):
        found = symmetric_sweep(FirstPrice(), lambda v: 0.7 * v, 2)
        assert found.gain.max() > 0.01
        truthful = symmetric_sweep(SecondPrice(), lambda v: v, 3)
        assert truthful.gain.max() <= 2.0 / NUM_PROFILES


def test_all_pay_strategy():
    with jax.enable_x64(True):
        for num_bidders in (2, 3):
            bid = functools.partial(equilibria.all_pay_bid, num_bidders=num_bidders)
            found = symmetric_sweep(AllPay(), bid, num_bidders)
            assert found.gain.max() <= 2.0 / NUM_PROFILES
        assert equilibria.all_pay_summary(2).revenue == pytest.approx(1 / 3)


def test_first_price_numbers():
    with jax.enable_x64(True):
        summary = equilibria.first_price_summary
        v = jnp.linspace(0.0, 1.0, 5)
        np.testing.assert_allclose(equilibria.first_price_bid(v, 4), 0.75 * v)
        np.testing.assert_allclose(
            equilibria.first_price_bid(v, 3, risk_exponent=0.5), 2.0 / 2.5 * v
        )
        with_reserve = equilibria.first_price_bid(v[2:], 2, reserve=0.5)
        np.testing.assert_allclose(with_reserve, (v[2:] ** 2 + 0.25) / (2.0 * v[2:]))
        assert equilibria.first_price_bid(v, 2, reserve=0.5)[1] == 0.0
        assert summary(2, reserve=0.5).revenue == pytest.approx(5 / 12, abs=1e-12)
        for n in (2, 5, 10):
            assert summary(n).revenue == pytest.approx((n - 1) / (n + 1), abs=1e-12)
            np.testing.assert_allclose(summary(n).utilities, 1 / (n * (n + 1)), atol=1e-12)
        averse = summary(3, risk_exponent=0.5).revenue
        assert averse == pytest.approx(2.0 / 2.5 * 3 / 4, abs=1e-12)


def test_unequal_bidders():
    with jax.enable_x64(True):
        summary = equilibria.unequal_first_price_summary()
        assert summary.revenue == pytest.approx(0.45901, abs=1e-5)
        # The oracle's utilities are good to 1e-4: they and its revenue sum to 1.06289, but the
        # winner's expected value, a one-dimensional integral, is 1.062836.
        assert summary.revenue + summary.utilities.sum() == pytest.approx(1.0628359, abs=1e-6)
        np.testing.assert_allclose(summary.utilities, [0.09691, 0.50697], atol=1e-4)
        top = equilibria.unequal_first_price_bids(jnp.array([1.0, 2.0]))
        np.testing.assert_allclose(top, 2 / 3)
        equal = equilibria.unequal_first_price_summary(1.0, 1.0)
        assert equal.revenue == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("strong_high", [2.0, 3.5])
def test_unequal_bidders_by_play(strong_high):
    with jax.enable_x64(True):
        highs = jnp.array([1.0, strong_high])
        strategy = lambda values: equilibria.unequal_first_price_bids(values, 1.0, strong_high)
        all_bids = strategy(middles(NUM_PROFILES)[:, None] * highs[None, :])
        values = jnp.asarray(VALUES)[:, None] * highs[None, :]
        for bidder in (0, 1):
            found = sweep(
                FirstPrice(), bidder, values[:, bidder], strategy(values)[:, bidder],
                jnp.linspace(0.0, 1.0, 401), all_bids,
            )  # fmt: skip
            assert found.gain.max() <= 2.0 * strong_high / NUM_PROFILES
        share = middles(400)
        grid = jnp.stack(jnp.meshgrid(share, share, indexing="ij"), -1).reshape(-1, 2) * highs[None]
        outcome = FirstPrice()(AuctionTypes(strategy(grid)[..., None]))
        summary = equilibria.unequal_first_price_summary(1.0, strong_high)
        # Midpoints on both axes: the step at equal bids costs less than a cell, 1 / 400.
        paid = outcome.payment.sum(-1).mean()
        assert paid == pytest.approx(float(summary.revenue), abs=1e-3)
        utility = AuctionTypes(grid[..., None]).utility(outcome).mean(0)
        np.testing.assert_allclose(utility, summary.utilities, atol=2e-3)


@pytest.mark.parametrize(
    ("rule", "local", "whole"),
    [
        ("nearest_vcg", 0.133166, 0.467341),
        ("nearest_bid", 0.125, 0.5),
        ("nearest_zero", 0.133994, 0.464032),
    ],
)
def test_core_auctions(rule, local, whole):
    with jax.enable_x64(True):
        summary = equilibria.core_summary(rule)
        # The oracle's last digits are those of a simulation: 2e-6 off.
        np.testing.assert_allclose(summary.utilities, [local, local, whole], atol=3e-6)
        strategy = functools.partial(equilibria.core_bid, rule=rule)
        share = middles(80)
        grid = jnp.meshgrid(share, share, 2.0 * share, indexing="ij")
        values = jnp.stack(grid, axis=-1).reshape(-1, 3)
        bids = jnp.concatenate([strategy(values[:, :2]), values[:, 2:]], axis=1)
        outcome = LocalLocalGlobal(rule)(AuctionTypes(bids[..., None]))
        utility = AuctionTypes(values[..., None]).utility(outcome).mean(0)
        np.testing.assert_allclose(utility, summary.utilities, atol=2e-3)  # grid of 80 a side
        assert outcome.payment.sum(-1).mean() == pytest.approx(float(summary.revenue), abs=4e-3)
        rivals = bids.reshape(80, 80, 80, 3)[0].reshape(-1, 3)
        own = jnp.asarray(VALUES[::3])
        found = sweep(
            LocalLocalGlobal(rule), 0, own, strategy(own), jnp.linspace(0.0, 1.0, 61), rivals
        )
        assert found.gain.max() <= 1.0 / 80**1.5  # steps of both rivals, partly cancelling


@pytest.mark.parametrize("rule", CORE_RULES)
def test_core_payments_lie_in_the_core(rule, key):
    bids = jax.random.uniform(key, (1000, 3)) * jnp.array([[1.0, 1.0, 2.0]])
    outcome = LocalLocalGlobal(rule)(AuctionTypes(bids[..., None]))
    paid, won = outcome.payment, outcome.allocation[..., 0]
    assert (paid <= bids * won + 1e-6).all()
    assert (paid >= 0.0).all()
    losing = jnp.where(won[:, 2] == 1.0, bids[:, 0] + bids[:, 1], bids[:, 2])
    np.testing.assert_allclose(paid.sum(-1), losing, atol=1e-6)  # nobody could pay more instead


def test_core_payments_by_hand():
    bids = AuctionTypes(jnp.array([[0.9], [0.3], [0.8]]))
    expected = {"nearest_vcg": [0.65, 0.15], "nearest_bid": [0.7, 0.1], "nearest_zero": [0.5, 0.3]}
    for rule, payment in expected.items():
        paid = LocalLocalGlobal(rule)(bids).payment
        np.testing.assert_allclose(paid, [*payment, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equilibria.first_price_bid(jnp.ones(1), 1), "num_bidders must be at least 2"),
        (lambda: equilibria.first_price_summary(2, reserve=-0.5), r"reserve must lie in \[0, 1\)"),
        (lambda: equilibria.first_price_bid(jnp.ones(1), 2, risk_exponent=0.0), r"lie in \(0, 1\]"),
        (lambda: equilibria.unequal_first_price_summary(2.0, 1.0), "at least 1; swap the bidders"),
        (lambda: equilibria.core_bid(jnp.ones(1), "nearest_vgc"), "Did you mean 'nearest_vcg'"),
        (lambda: LocalLocalGlobal("proxy"), "Unknown core rule 'proxy'"),
        (lambda: LocalLocalGlobal()(AuctionTypes(jnp.ones((2, 1)))), r"shape \[\.\.\., 3, 1\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
