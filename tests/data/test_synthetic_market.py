"""The synthetic market: its moments within three standard errors, and its breaks one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.data import synthetic_market
from jaxecon.data.synthetic_market import (
    MarketLaw,
    borrow_fees,
    signal_deviation,
    simulate_market,
)

NUM_DAYS, NUM_ASSETS, NUM_PATHS = 2000, 4, 40


@functools.partial(jax.jit, static_argnums=0)
def simulate(num_days, key, law):
    return simulate_market(key, law, num_days=num_days, num_assets=NUM_ASSETS)


@functools.cache
def paths(**numbers):
    """Independent paths: log returns [P, T - 1, N], regimes and signals of their days, bars."""
    law = MarketLaw(**{"predictability": 0.2, **numbers})
    law = jax.tree.map(jnp.float32, law)
    keys = jax.random.split(jax.random.key(5), NUM_PATHS)
    path = jax.lax.map(lambda key: simulate(NUM_DAYS, key, law), keys)
    bars = np.asarray(path.bars, np.float64)
    returns = np.diff(np.log(bars[..., 3]), axis=1)
    regime, signal = np.asarray(path.regime)[:, :-1], np.asarray(path.signal, np.float64)[:, :-1]
    return law, returns, regime, signal, bars


def assert_mean(statistics, target, what):
    """The mean of one number per path is within three standard errors of its target."""
    statistics = np.asarray(statistics)
    error = statistics.std(ddof=1) / np.sqrt(len(statistics))
    assert abs(statistics.mean() - target) < 3 * error, (what, statistics.mean(), target, error)


def test_moments_in_each_regime():
    _, returns, regime, signal, _ = paths()
    daily = {0: 0.16 / np.sqrt(252), 1: 0.32 / np.sqrt(252)}
    for k, (drift, correlation) in enumerate(((0.10, 0.3), (-0.15, 0.6))):
        moves = returns - (signal - 0.5 * daily[k] ** 2)  # what the signal does not say
        inside = [x[r == k] for x, r in zip(moves, regime, strict=True) if (r == k).sum() > 50]
        assert_mean([(x**2).mean() for x in inside], daily[k] ** 2, f"variance {k}")
        pairs = [(x[:, 0] * x[:, 1]).mean() / daily[k] ** 2 for x in inside]
        assert_mean(pairs, correlation, f"correlation {k}")
        said = [
            s[r == k].mean() * 252 for s, r in zip(signal, regime, strict=True) if (r == k).any()
        ]
        assert_mean(said, drift, f"drift {k}")


def test_regimes_stay_and_leave_as_they_should():
    _, _, regime, _, _ = paths()
    for k, chance in enumerate((0.01, 0.03)):
        stays = [((r[:-1] == k) & (r[1:] != k)).sum() / max((r[:-1] == k).sum(), 1) for r in regime]
        weights = [(r[:-1] == k).sum() for r in regime]
        leaves = np.average(stays, weights=weights)
        error = np.sqrt(chance * (1 - chance) / sum(weights))
        assert abs(leaves - chance) < 3 * error
    assert_mean((regime == 0).mean(axis=1), 0.75, "share of calm days")


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_the_signal_explains_its_share(share):
    law, returns, _, signal, _ = paths(predictability=share, break_sign=0.0)
    alpha = signal - signal.mean(axis=1, keepdims=True)
    target = float(signal_deviation(law))
    np.testing.assert_allclose(
        target**2 / (target**2 + 0.0448 / 252), share, rtol=1e-5
    )  # mean variance 0.75·0.16² + 0.25·0.32²
    cross = (alpha * returns).mean(axis=(1, 2)) / (alpha**2).mean(axis=(1, 2))
    assert_mean(cross, 1.0, "slope of returns on the signal")
    steps = (alpha[:, 1:] * alpha[:, :-1]).mean(axis=(1, 2)) / (alpha**2).mean(axis=(1, 2))
    # The mean of each path is taken off: persistence falls by (1 + 3 φ)/T, Kendall (1954).
    assert_mean(steps, 0.97 - 3.91 / NUM_DAYS, "persistence")


def test_own_moves_have_fat_tails():
    _, returns, regime, signal, _ = paths(correlation=(0.0, 0.0))
    scale = np.where(regime == 0, 0.16, 0.32)[..., None] / np.sqrt(252)
    moves = (returns - signal) / scale
    # P(|t₅| √(3/5) > 3) from the Student-t distribution; a normal has 0.0027.
    from scipy import stats

    expected = 2 * stats.t.sf(3 / np.sqrt(3 / 5), 5)
    assert_mean((np.abs(moves) > 3).mean(axis=(1, 2)), expected, "tail")


def test_bars_hold_their_closes_and_volume_follows_moves():
    _, returns, regime, _, bars = paths()
    opening, high, low, close, volume = np.moveaxis(bars, -1, 0)
    ulp = 1.0 + 1e-6  # a compiled program may compute one exponential in two ways
    assert (low <= np.minimum(opening, close) * ulp).all()
    assert (high * ulp >= np.maximum(opening, close)).all()
    np.testing.assert_allclose(opening[:, 1:], close[:, :-1], rtol=1e-5)  # float32
    np.testing.assert_allclose(close[:, 0], 100.0, rtol=1e-6)
    scale = np.where(regime == 0, 0.16, 0.32)[..., None] / np.sqrt(252)
    size = np.abs(returns) / scale
    noise = np.log(volume[:, 1:] / 1e6) - 0.3 * size
    assert_mean(noise.mean(axis=(1, 2)), 0.0, "volume noise")
    assert_mean((noise**2).mean(axis=(1, 2)), 0.09, "its variance")
    # A Brownian path of variance 1 has E[(high - low)²] = 4 log 2; nine points see less of it.
    span = (np.log(high / low)[:, 1:] / scale) ** 2
    assert 1.0 < span.mean() < 4 * np.log(2)


def test_the_breaks_do_what_they_say():
    _, returns, _, _, _ = paths(break_sign=0.0, predictability=0.0)
    # No drift but that of the logarithm, -σ²/2.
    assert_mean(returns.mean(axis=(1, 2)) * 252, -0.5 * 0.0448, "drift without a sign")
    _, returns, _, _, _ = paths(break_scale=1.0, predictability=0.0, break_sign=0.0)
    recent = sum(returns[:, 4 - lag : -1 - lag] for lag in range(5)) / 5
    following = returns[:, 5:]
    slope = (recent * following).mean(axis=(1, 2)) / (recent**2).mean(axis=(1, 2))
    assert_mean(slope, -0.2, "five-day reversal")
    law, returns, *_ = paths(break_permutation=1.0, predictability=0.0)
    ratio = returns[..., 3].var(axis=1) / returns[..., 0].var(axis=1)
    assert_mean(np.log(ratio), np.log((1.3 / 0.7) ** 2), "spread of volatility")
    np.testing.assert_allclose(
        borrow_fees(law, 4), 0.02 * np.array([0.5, 5 / 6, 7 / 6, 1.5]), rtol=1e-6
    )


def test_a_market_is_data_and_comes_again():
    market = synthetic_market("hard", num_assets=3, num_days=100, seed=4)
    assert market is synthetic_market("hard", num_assets=3, num_days=100, seed=4)
    assert market.data.prices.shape == (100, 3, 5)
    assert market.data.tickers == ("A01", "A02", "A03")
    assert market.data.mask.all()
    assert market.signal.shape == (100, 3)
    assert market.regime.shape == (100,)
    assert str(market.data.dates[0]) == "2000-01-03"
    one = jax.eval_shape(
        functools.partial(simulate_market, num_days=20, num_assets=1),
        jax.random.key(0),
        MarketLaw(),
    )
    assert one.bars.shape == (20, 1, 5)
    fee = borrow_fees(MarketLaw(break_permutation=1.0), 1)
    np.testing.assert_allclose(fee, [0.02], rtol=1e-6)  # float32: a single asset is in the middle


def test_the_simulation_is_differentiable_in_its_numbers():
    def last_price(sigma):
        law = MarketLaw(volatility=(sigma, 2 * sigma))
        return simulate(100, jax.random.key(0), law).bars[-1, 0, 3]

    slope = jax.jit(jax.jacfwd(last_price))(0.16)
    assert np.isfinite(slope)
    assert slope != 0.0


@pytest.mark.parametrize(
    ("arguments", "evidence"),
    [
        ({"kind": "eazy"}, "Did you mean 'easy'"),
        ({"num_assets": 0}, "num_assets must be at least 1, got 0"),
        ({"num_days": 1}, "num_days must be at least 2, got 1"),
        ({"break_signs": 1.0}, "Did you mean 'break_sign'"),
    ],
)
def test_bad_arguments_say_what_is_right(arguments, evidence):
    with pytest.raises(ValueError, match=evidence):
        synthetic_market(**arguments)
