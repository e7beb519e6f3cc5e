"""Newsvendor: critical fractiles and expected profits against SciPy and simulation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.envs import make
from jaxecon.envs.control.newsvendor import EnvParams, Newsvendor, realised_profit

KEY = jax.random.key(0)
ECONOMIES = {
    "uniform": EnvParams(location=1.0, scale=2.0),
    "exponential": EnvParams(location=0.5, scale=1.5, unit_cost=0.75),
    "lognormal": EnvParams(location=0.25, scale=0.5, price=3.0),
}
LAWS = sorted(ECONOMIES)


def scipy_law(demand, env_params):
    location, scale = env_params.location, env_params.scale
    if demand == "lognormal":
        return scipy.stats.lognorm(s=scale, scale=np.exp(location))
    return {"uniform": scipy.stats.uniform, "exponential": scipy.stats.expon}[demand](
        loc=location, scale=scale
    )


def expected_profit_by_quadrature(demand, env_params, order):
    """p·E min(q, D) + s·E max(q - D, 0) - c·q, with E min(q, D) the integral of P(D > x)."""
    survival = scipy_law(demand, env_params).sf
    sold = scipy.integrate.quad(survival, 0.0, order, limit=200, epsabs=1e-12)[0]
    leftover = order - sold
    return env_params.price * sold + env_params.salvage * leftover - env_params.unit_cost * order


@pytest.mark.parametrize("demand", LAWS)
def test_the_best_order_is_the_critical_fractile(demand):
    env_params = ECONOMIES[demand]
    fractile = (env_params.price - env_params.unit_cost) / (env_params.price - env_params.salvage)
    expected = scipy_law(demand, env_params).ppf(fractile)
    np.testing.assert_allclose(Newsvendor(demand).optimal_order(env_params), expected, rtol=1e-5)


def test_the_default_economy_orders_two_thirds():
    env, env_params = make("Newsvendor-v0")
    np.testing.assert_allclose(env.optimal_order(env_params), 2 / 3, rtol=1e-6)  # float32
    # q/2·(p - c) at the fractile of a uniform law: (p - c)·κ/2 = 1/3
    profit = env.expected_profit(env.optimal_order(env_params), env_params)
    np.testing.assert_allclose(profit, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("demand", LAWS)
def test_expected_profit_is_the_integral(demand):
    env, env_params = Newsvendor(demand), ECONOMIES[demand]
    with jax.enable_x64(True):
        for order in (0.0, 0.3, 1.2, 2.5, 3.5, 8.0):
            expected = expected_profit_by_quadrature(demand, env_params, order)
            # quadrature over the kink of the uniform law is good to about 1e-9
            assert abs(env.expected_profit(order, env_params) - expected) < 1e-8


@pytest.mark.parametrize("demand", LAWS)
def test_simulated_profit_is_the_expected_one(demand):
    env, env_params = Newsvendor(demand), ECONOMIES[demand]
    order = 1.1 * env.optimal_order(env_params)
    _, state = env.reset_env(KEY, env_params)
    step = jax.vmap(env.step_env, in_axes=(0, None, None, None))
    keys = jax.random.split(KEY, 20_000)
    _, _, reward, _, info = step(keys, state, order[None], env_params)
    error = reward.mean() - env.expected_profit(order, env_params)
    assert abs(error) < 4 * reward.std() / np.sqrt(20_000)  # four standard errors
    sample = np.asarray(info["demand"], np.float64)
    # Kolmogorov-Smirnov: 1.95/sqrt(n) is passed with probability 0.001 by the right law.
    law = scipy_law(demand, env_params)
    assert scipy.stats.kstest(sample, law.cdf).statistic < 1.95 / np.sqrt(20_000)


@pytest.mark.parametrize("demand", LAWS)
def test_expected_profit_is_flat_at_the_optimum_and_concave(demand):
    env, env_params = Newsvendor(demand), ECONOMIES[demand]
    with jax.enable_x64(True):
        best = env.optimal_order(env_params)
        slope = jax.grad(env.expected_profit)
        np.testing.assert_allclose(slope(best, env_params), 0.0, atol=1e-12)  # float64 rounding
        slopes = jax.vmap(slope, in_axes=(0, None))(jnp.linspace(0.0, 6.0, 50), env_params)
        assert (np.diff(slopes) <= 1e-12).all()
        assert np.isfinite(slopes).all()


@given(
    demand=st.sampled_from(LAWS),
    cost=st.floats(0.625, 1.875, width=32),
    scale=st.floats(0.25, 2, width=32),
    trial=st.floats(0, 5, width=32),
)
def test_no_order_beats_the_best_one(demand, cost, scale, trial):
    env, env_params = Newsvendor(demand), EnvParams(unit_cost=cost, scale=scale)
    best = env.expected_profit(env.optimal_order(env_params), env_params)
    assert env.expected_profit(trial, env_params) <= best + 1e-5  # float32 of numbers near 5


def test_corner_economies_order_nothing_or_everything():
    env = Newsvendor("exponential")
    assert env.optimal_order(EnvParams(unit_cost=2.0)) == 0.0
    assert env.optimal_order(EnvParams(unit_cost=3.0)) == 0.0
    assert env.optimal_order(EnvParams(salvage=1.0)) == 5.0
    assert env.optimal_order(EnvParams(unit_cost=0.51, max_order=2.0)) == 2.0
    for env_params in (EnvParams(unit_cost=2.0), EnvParams(salvage=1.0), EnvParams()):
        gradient = jax.grad(env.optimal_order, allow_int=True)(env_params)
        assert all(np.isfinite(x) for x in jax.tree.leaves(gradient) if x.dtype == jnp.float32)


@pytest.mark.parametrize(("order", "demand", "profit"), [(3.0, 2.0, 1.5), (2.0, 3.0, 2.0)])
def test_one_period_by_hand(order, demand, profit):
    assert realised_profit(jnp.float32(order), jnp.float32(demand), EnvParams()) == profit


def test_orders_are_clipped_and_rewards_scaled():
    env, env_params = Newsvendor(), EnvParams(reward_scale=0.5)
    _, state = env.reset_env(KEY, env_params)

    def step(order):
        return env.step_env(KEY, state, jnp.array([order]), env_params)

    chex.assert_trees_all_equal(step(99.0), step(5.0))
    chex.assert_trees_all_equal(step(-1.0), step(0.0))
    *_, reward, _, info = step(1.0)
    assert reward == 0.5 * info["profit"]
    assert info["order"] == 1.0
    assert step(0.0)[2] == 0.0, "no order, no profit"


def test_observation_is_the_economy():
    env, env_params = Newsvendor(), EnvParams(location=0.25, scale=3.0)
    obs, state = env.reset_env(KEY, env_params)
    np.testing.assert_array_equal(obs, [2.0, 1.0, 0.5, 0.25, 3.0])
    again = env.step_env(KEY, state, jnp.ones(1), env_params)[0]
    np.testing.assert_array_equal(again, obs)


def test_summary_is_the_mean_over_periods():
    env, env_params = Newsvendor(), EnvParams(max_steps_in_episode=3)
    assert env.ends_together
    _, state = env.reset_env(KEY, env_params)
    assert env.episode_summary(state, env_params) == {"order": 0.0, "profit": 0.0}
    profits = []
    for index, order in enumerate((0.5, 1.0, 1.5)):
        key = jax.random.key(index)
        _, state, reward, *_ = env.step_env(key, state, jnp.array([order]), env_params)
        profits.append(float(reward))
    summary = env.episode_summary(state, env_params)
    np.testing.assert_allclose(summary["order"], 1.0)
    np.testing.assert_allclose(summary["profit"], np.mean(profits), rtol=1e-5)  # float32 sum
    assert env.is_truncated(state, env_params)


@pytest.mark.parametrize("demand", LAWS)
def test_gradients_match_finite_differences(demand):
    with jax.enable_x64(True):
        env = Newsvendor(demand)

        def outcome(order, price, cost, salvage, location, scale):
            env_params = EnvParams(
                price=price, unit_cost=cost, salvage=salvage, location=location, scale=scale
            )
            _, state = env.reset_env(KEY, env_params)
            reward = env.step_env(KEY, state, order[None], env_params)[2]
            best = env.optimal_order(env_params)
            return reward, best, env.expected_profit(order, env_params)

        inputs = tuple(map(jnp.asarray, (1.1, 2.0, 1.0, 0.5, 0.25, 0.75)))
        # Smooth where order and demand differ: error eps² plus rounding/eps, near 1e-9.
        jax.test_util.check_grads(outcome, inputs, 1, ("fwd", "rev"), eps=1e-5, rtol=1e-6)


def test_an_unknown_law_names_the_nearest():
    with pytest.raises(ValueError, match=r"demand law 'log-normal'.*'lognormal'"):
        Newsvendor("log-normal")
    assert Newsvendor().name == "Newsvendor-v0"


def test_an_order_without_its_axis_is_refused():
    env, env_params = make("Newsvendor-v0")
    _, state = env.reset_env(KEY, env_params)
    with pytest.raises(AssertionError):
        env.step_env(KEY, state, jnp.float32(1.0), env_params)
