"""Portfolio accounting and performance against closed forms and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.econ import performance as measures
from jaxecon.econ import portfolio
from jaxecon.envs.trading.baselines import minimum_variance_weights

COVARIANCE = np.array([[0.04, 0.006], [0.006, 0.09]])
MEAN = np.array([0.08, 0.12])
weight_lists = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4)


def random_returns(num_days, seed=0):
    return np.random.default_rng(seed).normal(5e-4, 0.01, num_days)


def run_performance(returns, traded=None):
    traded = np.zeros_like(returns) if traded is None else traded

    def day(past, inputs):
        number, log_return, value = inputs
        return measures.update_performance(past, number, log_return, value), None

    numbers = jnp.arange(1, len(returns) + 1, dtype=float)
    inputs = (numbers, jnp.asarray(returns, float), jnp.asarray(traded, float))
    return jax.lax.scan(day, measures.start_performance(), inputs)[0]


@given(weight_lists)
def test_normalised_weights_are_non_negative_and_sum_to_one(raw):
    weights = portfolio.normalise_weights(jnp.asarray(raw, jnp.float32))
    assert weights.min() >= 0.0
    assert abs(weights.sum() - 1.0) < 1e-6  # rounding of four float32 terms
    positive = np.maximum(np.asarray(raw, np.float64), 0.0)
    expected = positive / positive.sum() if positive.sum() > 0 else np.eye(4)[0]
    np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_nothing_positive_means_all_cash_with_finite_gradients():
    raw = jnp.array([-1.0, 0.0, -2.0])
    np.testing.assert_array_equal(portfolio.normalise_weights(raw), [1.0, 0.0, 0.0])
    gradient = jax.jacobian(portfolio.normalise_weights)(raw)
    assert np.isfinite(gradient).all()


def test_turnover_counts_risky_trades_and_cost_is_proportional():
    weights, target = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.1, 0.2, 0.7])
    assert np.isclose(portfolio.turnover(weights, target), 0.1 + 0.5)  # the cash move is free
    assert np.isclose(portfolio.proportional_cost(weights, target, 0.01), 0.006)
    switch = portfolio.turnover(jnp.array([0.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1.0]))
    assert switch == 2.0, "selling everything to buy another asset trades wealth twice"


def test_drift_follows_holdings():
    growth, weights = portfolio.drift(jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 1.2, 0.5]))
    assert np.isclose(growth, 1.1)
    np.testing.assert_allclose(weights, [0.5 / 1.1, 0.6 / 1.1, 0.0], rtol=1e-6)  # float32


def test_merton_weights_meet_the_textbook_numbers():
    one = portfolio.merton_weights(jnp.array([0.08]), jnp.array([[0.04]]), 0.02, 3.0)
    assert np.isclose(one[0], 0.5)
    tangency = portfolio.merton_weights(jnp.asarray(MEAN), jnp.asarray(COVARIANCE), 0.02, 1.0)
    shares = tangency / tangency.sum()
    np.testing.assert_allclose(shares, [0.568720, 0.431280], atol=1e-6)  # six printed digits
    ratio = (shares @ (MEAN - 0.02)) / np.sqrt(shares @ COVARIANCE @ shares)
    assert abs(ratio - 0.427715) < 1e-6


def test_log_growth_is_the_textbook_rate_and_greatest_at_merton():
    mean, covariance = jnp.array([0.08]), jnp.array([[0.04]])
    kelly = portfolio.merton_weights(mean, covariance, 0.02, 1.0)
    assert np.isclose(portfolio.log_growth_rate(kelly, mean, covariance, 0.02), 0.065)
    mean, covariance = jnp.asarray(MEAN, float), jnp.asarray(COVARIANCE, float)
    kelly = portfolio.merton_weights(mean, covariance, 0.02, 1.0)
    slope = jax.grad(portfolio.log_growth_rate)(kelly, mean, covariance, 0.02)
    np.testing.assert_allclose(slope, 0.0, atol=1e-7)  # float32 of numbers near 0.1


def test_minimum_variance_meets_markowitz():
    weights = minimum_variance_weights(COVARIANCE)
    np.testing.assert_allclose(weights, [0.711864, 0.288136], atol=1e-6)  # six printed digits
    assert abs(weights @ COVARIANCE @ weights - 0.0302034) < 1e-7
    scaled = minimum_variance_weights(COVARIANCE * 1e-8)
    np.testing.assert_allclose(scaled, weights, rtol=1e-12)  # float64 solve


def test_minimum_variance_satisfies_the_conditions_of_a_long_only_optimum():
    generator = np.random.default_rng(0)
    for _ in range(20):
        loadings = generator.normal(size=(8, 3))
        covariance = loadings @ loadings.T + np.diag(generator.uniform(0.1, 1.0, 8))
        weights = minimum_variance_weights(covariance)
        marginal = covariance @ weights
        variance = weights @ marginal
        assert weights.min() >= 0.0
        assert abs(weights.sum() - 1.0) < 1e-12
        # Held assets share one marginal variance; the others' is no lower (float64 rounding).
        np.testing.assert_allclose(marginal[weights > 0], variance, rtol=1e-9)
        assert (marginal >= variance * (1 - 1e-9)).all()
    assert (weights == 0.0).any(), "the bound must matter somewhere, or the test is idle"


def test_a_singular_covariance_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        minimum_variance_weights(np.ones((2, 2)))


def test_performance_day_by_day_equals_the_whole_series():
    returns, traded = random_returns(500), np.abs(random_returns(500, 1))
    summary = measures.summarise_performance(run_performance(returns, traded), 500, 0.0)
    wealth = np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    deviation = returns.std(ddof=1)
    expected = {
        "log_return": returns.sum(),
        "annual_return": np.exp(returns.sum() * 252 / 500) - 1,
        "volatility": deviation * np.sqrt(252),
        "sharpe": returns.mean() / deviation * np.sqrt(252),
        "max_drawdown": (1 - wealth / np.maximum.accumulate(wealth)).max(),
        "turnover": traded.mean(),
        "final_wealth": wealth[-1],
    }
    assert summary.keys() == expected.keys()
    for name, value in expected.items():  # 500 float32 additions
        np.testing.assert_allclose(summary[name], value, rtol=2e-5, err_msg=name)


def test_sharpe_is_in_excess_of_cash():
    returns = random_returns(300)
    summary = measures.summarise_performance(run_performance(returns), 300, 2e-4)
    excess = returns - np.log1p(2e-4)
    expected = np.sqrt(252) * excess.mean() / excess.std(ddof=1)
    np.testing.assert_allclose(summary["sharpe"], expected, rtol=1e-4)  # a difference of means


@pytest.mark.parametrize("value", [0.0, 1e-4, -3e-3])
def test_a_constant_return_has_no_volatility_and_no_sharpe(value):
    summary = measures.summarise_performance(run_performance(np.full(1000, value)), 1000, 0.0)
    assert summary["volatility"] == 0.0
    assert summary["sharpe"] == 0.0


def test_no_day_and_one_day_are_finite():
    none = measures.summarise_performance(measures.start_performance(), jnp.int32(0), 0.0)
    assert none["final_wealth"] == 1.0
    one = measures.summarise_performance(run_performance(np.array([-0.01])), jnp.int32(1), 0.0)
    assert all(np.isfinite(value) for value in [*none.values(), *one.values()])
    assert one["sharpe"] == 0.0
    np.testing.assert_allclose(one["max_drawdown"], -np.expm1(-0.01), rtol=1e-5)  # float32


def test_sharpe_ratio_and_drawdown_of_a_series():
    returns = random_returns(300)
    expected = np.sqrt(252) * returns.mean() / returns.std(ddof=1)
    np.testing.assert_allclose(measures.sharpe_ratio(jnp.asarray(returns, float)), expected, 1e-4)
    assert measures.sharpe_ratio(jnp.zeros(10)) == 0.0
    assert np.isfinite(jax.grad(measures.sharpe_ratio)(jnp.zeros(10))).all()
    wealth = jnp.array([1.0, 2.0, 1.5, 3.0, 1.2, 2.9])
    np.testing.assert_allclose(measures.max_drawdown(wealth), 0.6, rtol=1e-6)  # 3 to 1.2
    assert measures.max_drawdown(jnp.array([1.0, 1.1, 1.1])) == 0.0


def test_differential_sharpe_is_the_derivative_of_the_weighted_sharpe_ratio():
    with jax.enable_x64(True):
        moments, log_return = jnp.array([4e-4, 1e-4]), jnp.asarray(0.02)

        def weighted_sharpe(decay):
            _, (mean, square) = measures.differential_sharpe(log_return, moments, decay)
            return mean / jnp.sqrt(square - mean**2)

        value, _ = measures.differential_sharpe(log_return, moments, 0.1)
        # Moody and Saffell define it as dS/d(eta) at eta = 0; both are exact in float64.
        np.testing.assert_allclose(value, jax.grad(weighted_sharpe)(0.0), rtol=1e-9)


def test_differential_sharpe_stays_bounded_after_a_long_time_in_cash():
    moments = jnp.zeros(2)
    value, _ = measures.differential_sharpe(jnp.float32(0.05), moments, 0.01)
    assert np.isfinite(value)
