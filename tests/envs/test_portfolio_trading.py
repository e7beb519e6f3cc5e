"""PortfolioTrading: books that balance, no look ahead, and episodes that stay in the data."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.data import Prices, synthetic_prices
from jaxecon.envs import make
from jaxecon.envs.trading import PortfolioTrading, make_portfolio_trading, run_baselines
from jaxecon.envs.trading.baselines import (
    BASELINES,
    equal_weights,
    minimum_variance_weights,
    training_covariance,
)
from jaxecon.envs.trading.economy import split_params, whole_range_params

KEY = jax.random.key(0)
PANEL = synthetic_prices(3, 120, seed=2)
NUM_ASSETS, NUM_DAYS, LOOKBACK = 3, 120, 5
DATES = {"train_end": PANEL.dates[59], "validation_end": PANEL.dates[89]}  # 60, 30 and 30 days
METRICS = {
    *("log_return", "annual_return", "volatility", "sharpe"),
    *("max_drawdown", "turnover", "final_wealth"),
}


def build(**settings):
    return make_portfolio_trading(PANEL, lookback=LOOKBACK, **settings)


@functools.partial(jax.jit, static_argnums=0)
def play(env, env_params, actions, key=KEY):
    """Steps without reset: (first obs, first state, stacked outputs of step_env)."""
    obs, state = env.reset_env(key, env_params)

    def step(state, action):
        obs, state, reward, terminated, info = env.step_env(KEY, state, action, env_params)
        truncated = env.is_truncated(state, env_params)
        return state, (obs, state, reward, terminated, truncated, info)

    return obs, state, jax.lax.scan(step, state, actions)[1]


def random_actions(length, seed=1):
    return jax.random.dirichlet(jax.random.key(seed), jnp.ones(NUM_ASSETS + 1), (length,))


def count_shares(prices, first_day, targets, rate, cash_return):
    """Wealth after every day, from a book of shares and cash in plain float64."""
    cash, shares, wealth = 1.0, np.zeros(prices.shape[1]), []
    for day, target in enumerate(np.asarray(targets, np.float64), start=first_day):
        target = target / target.sum()
        held = shares * prices[day]
        total = cash + held.sum()
        orders = target[1:] * total - held
        commission = rate * np.abs(orders).sum()
        after = total - commission
        shares = target[1:] * after / prices[day]
        cash = target[0] * after * (1.0 + cash_return)
        wealth.append(cash + (shares * prices[day + 1]).sum())
    return np.array(wealth)


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.05])
def test_wealth_is_that_of_a_book_of_shares_and_cash(rate):
    env, env_params = build(transaction_cost=rate, cash_return=1e-4, random_start=0)
    actions = random_actions(100)
    *_, (_, state, reward, _, _, _) = play(env, env_params, actions)
    expected = count_shares(PANEL.values, LOOKBACK, actions, rate, 1e-4)
    # 100 products in float32, from prices rounded to float32
    np.testing.assert_allclose(state.wealth, expected, rtol=3e-5)
    np.testing.assert_allclose(np.exp(np.cumsum(reward)), expected, rtol=3e-5)


def test_wealth_agrees_to_rounding_in_double_precision():
    with jax.enable_x64(True):
        env, env_params = build(random_start=0)
        env_params = env_params.replace(prices=jnp.asarray(PANEL.values))
        actions = random_actions(100)
        *_, (_, state, _, _, _, _) = play(env, env_params, actions)
        expected = count_shares(PANEL.values, LOOKBACK, actions, 1e-3, 0.0)
        np.testing.assert_allclose(state.wealth, expected, rtol=1e-12)  # float64 rounding
        assert state.weights.dtype == jnp.float64


def test_weights_drift_with_prices_and_holding_them_costs_nothing():
    env, env_params = build(random_start=0, transaction_cost=0.01)
    _, state = env.reset_env(KEY, env_params)
    buy = jnp.array([0.0, 0.5, 0.25, 0.25])
    _, state, *_ = env.step_env(KEY, state, buy, env_params)
    values = np.asarray(buy)[1:] * PANEL.values[LOOKBACK + 1] / PANEL.values[LOOKBACK]
    np.testing.assert_allclose(state.weights[1:], values / values.sum(), rtol=1e-5)  # float32
    *_, info = env.step_env(KEY, state, state.weights, env_params)
    assert info["turnover"] < 1e-6  # rounding of the normalisation


def test_cash_earns_its_rate_and_nothing_else():
    env, env_params = build(random_start=0, cash_return=2e-4)
    actions = jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), (50, 1))
    *_, (_, state, reward, _, _, _) = play(env, env_params, actions)
    np.testing.assert_allclose(reward, np.log1p(2e-4), rtol=1e-3)  # float32 of 1.0002
    last = jax.tree.map(lambda x: x[-1], state)
    summary = env.episode_summary(last, env_params)
    assert summary["volatility"] == 0.0
    assert summary["sharpe"] == 0.0
    assert summary["turnover"] == 0.0


def test_any_action_is_made_legal():
    env, env_params = build(random_start=0)
    _, state = env.reset_env(KEY, env_params)

    def step(action):
        return env.step_env(KEY, state, jnp.asarray(action, jnp.float32), env_params)

    chex.assert_trees_all_close(step([0.0, 2.0, -3.0, 2.0]), step([0.0, 0.5, 0.0, 0.5]))
    chex.assert_trees_all_equal(step([0.0] * 4), step([1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(AssertionError):
        step([0.5, 0.5])


def test_future_prices_change_nothing_seen_today():
    env, env_params = build(random_start=0)
    actions = random_actions(30)
    crash = env_params.prices.at[LOOKBACK + 21 :].multiply(0.1)  # row after 20 steps' last price
    *_, calm = play(env, env_params, actions)
    *_, wild = play(env, env_params.replace(prices=crash), actions)
    past = [jax.tree.map(lambda x: x[:20], outputs) for outputs in (calm, wild)]
    chex.assert_trees_all_equal(*past)
    assert not np.allclose(calm[0][20], wild[0][20]), "today's price must be seen today"


def test_the_observation_is_the_last_log_returns_and_the_weights():
    env, env_params = build(random_start=0)
    obs, state, (later, states, *_) = play(env, env_params, random_actions(3))
    returns = np.diff(np.log(PANEL.values), axis=0)
    for day, seen, weights in (
        (LOOKBACK, obs, state.weights),
        (LOOKBACK + 3, later[2], states.weights[2]),
    ):
        window = 50.0 * returns[day - LOOKBACK : day]
        expected = np.concatenate([window.ravel(), np.asarray(weights)])
        np.testing.assert_allclose(seen, expected, atol=2e-5)  # 50 x float32 rounding of a ratio


def test_random_starts_cover_their_range_and_give_equal_lengths():
    env, env_params = build(max_steps_in_episode=100)
    reset = jax.vmap(env.reset_env, in_axes=(0, None))
    _, state = reset(jax.random.split(KEY, 500), env_params)
    # Rows 5 to 119 hold 114 steps, so 15 starts leave room for 100.
    assert sorted(set(state.day.tolist())) == list(range(5, 20))
    *_, (_, _, _, _, truncated, _) = play(env, env_params, random_actions(100))
    assert truncated.tolist() == [False] * 99 + [True]


def test_an_episode_longer_than_the_data_is_truncated_at_the_last_day():
    env, env_params = build(max_steps_in_episode=1000)
    *_, (_, state, reward, terminated, truncated, _) = play(env, env_params, random_actions(130))
    assert truncated.tolist() == [False] * 113 + [True] * 17
    assert not terminated.any()
    assert state.day.max() == NUM_DAYS - 1
    assert reward.dtype == jnp.float32
    assert np.isfinite(reward).all()
    cash = env.step_env(KEY, jax.tree.map(lambda x: x[-1], state), state.weights[-1], env_params)[2]
    assert abs(cash) < 1e-6, "past the end, prices stand still"


def test_step_hands_back_a_fresh_episode_at_the_end():
    env, env_params = build(max_steps_in_episode=1, random_start=0)
    obs, state = env.reset(KEY, env_params)
    again, fresh, _, terminated, truncated, info = env.step(
        KEY, state, jnp.array([0.0, 1.0, 0.0, 0.0]), env_params
    )
    assert truncated
    assert not terminated
    chex.assert_trees_all_equal((again, fresh), (obs, state))
    assert info["final_observation"][-4:].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_splits_share_prices_and_meet_end_to_end():
    env, env_params = build()
    splits = split_params(env_params, PANEL, **DATES, lookback=LOOKBACK)
    rows = {name: (p.first_day, p.last_day) for name, p in splits.items()}
    assert rows == {"train": (0, 59), "validation": (60, 89), "test": (90, 119)}
    assert all(p.prices is env_params.prices for p in splits.values())
    assert all(p.train_last_day == 59 for p in splits.values())
    assert [p.random_start for p in splits.values()] == [1.0, 0.0, 0.0]
    assert splits["train"].max_steps_in_episode == env_params.max_steps_in_episode
    for name in ("validation", "test"):
        *_, (_, _, _, _, truncated, _) = play(env, splits[name], random_actions(29))
        assert truncated.tolist() == [False] * 28 + [True]
        built, chosen = build(**DATES, split=name)
        assert built == env
        chex.assert_trees_all_equal(chosen, splits[name])


def test_training_never_sees_a_price_after_its_last_day():
    env, env_params = build(**DATES, max_steps_in_episode=20)
    spoilt = env_params.replace(prices=env_params.prices.at[60:].set(jnp.nan))
    reset = jax.vmap(env.reset, in_axes=(0, None))
    obs, state = reset(jax.random.split(KEY, 64), spoilt)
    step = jax.vmap(env.step, in_axes=(0, 0, None, None))
    for index in range(25):  # past the end of every episode
        keys = jax.random.split(jax.random.key(index), 64)
        obs, state, reward, *_ = step(keys, state, jnp.full(4, 0.25), spoilt)
        assert np.isfinite(obs).all()
        assert np.isfinite(reward).all()


def test_a_test_split_looks_back_into_the_validation_days():
    env, env_params = build(**DATES, split="test")
    obs, _ = env.reset(KEY, env_params)
    window = 50.0 * np.diff(np.log(PANEL.values[85:91]), axis=0)
    np.testing.assert_allclose(obs[:15], window.ravel(), atol=2e-5)  # as above


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lookback": 0}, ValueError, "lookback must be at least 1, got 0."),
        ({"lookback": 119}, ValueError, "has 120 days, too few"),
        ({"reward": "log_retrun"}, ValueError, "Did you mean 'log_return'"),
        ({"assets": ["S9"]}, ValueError, "Unknown asset 'S9'"),
        ({"split": "test"}, ValueError, "needs the dates"),
        ({"train_end": "1990-03-01"}, ValueError, "both train_end and validation_end"),
        ({**DATES, "split": "tset"}, ValueError, "Did you mean 'test'"),
        ({**DATES, "lookback": 70}, ValueError, "The train split has 60 days"),
        ({"transaction_cost": 0.5}, ValueError, r"transaction_cost must be in \[0, 0.5\), got 0.5"),
        ({"transaction_cost": float("nan")}, ValueError, "transaction_cost must be"),
        ({"cash_return": -1.0}, ValueError, "cash_return must be above -1"),
        ({"random_start": 0.5}, ValueError, "random_start must be 0 or 1"),
        ({"sharpe_decay": 0.0}, ValueError, "sharpe_decay must be"),
        ({"max_steps_in_episode": 0}, ValueError, "max_steps_in_episode must be"),
        ({"transaction_costs": 0.0}, TypeError, "Did you mean 'transaction_cost'"),
    ],
)
def test_bad_settings_say_what_is_right(settings, error, message):
    with pytest.raises(error, match=message):
        make_portfolio_trading(PANEL, **{"lookback": LOOKBACK, **settings})


def test_structure_and_panels_are_checked():
    with pytest.raises(ValueError, match="num_assets must be at least 1, got 0"):
        PortfolioTrading(num_assets=0)
    _, env_params = build()
    with pytest.raises(ValueError, match=r"must be the panel in env_params, of shape \(120, 3\)"):
        split_params(env_params, synthetic_prices(3, 99), **DATES)


def test_numbers_win_over_what_a_split_sets():
    _, env_params = build(**DATES, split="test", random_start=1, max_steps_in_episode=7)
    assert (env_params.random_start, env_params.max_steps_in_episode) == (1, 7)


def test_default_params_are_synthetic_and_equal_environments_hash_alike():
    env = PortfolioTrading(num_assets=2, lookback=3)
    assert env.default_params.prices.shape == (2520, 2)
    assert env == PortfolioTrading(2, 3)
    assert hash(env) == hash(PortfolioTrading(2, 3))
    made, made_params = make("PortfolioTrading-v0", prices="synthetic", lookback=10)
    assert made.name == "PortfolioTrading-v0"
    assert made_params.prices.shape == (2520, 20)


def test_the_differential_sharpe_reward_follows_the_recursion():
    env, env_params = build(reward="differential_sharpe", random_start=0, sharpe_decay=0.05)
    *_, (_, _, reward, _, _, info) = play(env, env_params, random_actions(40))
    mean, square = 0.0, 1e-4
    for value, log_return in zip(np.asarray(reward), np.asarray(info["log_return"]), strict=True):
        delta_mean, delta_square = log_return - mean, log_return**2 - square
        expected = (square * delta_mean - 0.5 * mean * delta_square) / (square - mean**2) ** 1.5
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)  # float32 differences
        mean, square = mean + 0.05 * delta_mean, square + 0.05 * delta_square


@pytest.mark.parametrize("reward", ["log_return", "differential_sharpe"])
def test_gradients_of_wealth_match_finite_differences(reward):
    with jax.enable_x64(True):
        env, env_params = build(reward=reward, random_start=0)
        env_params = env_params.replace(prices=jnp.asarray(PANEL.values))
        actions = random_actions(6)

        def total(actions, rate):
            *_, (_, state, rewards, _, _, _) = play(
                env, env_params.replace(transaction_cost=rate), actions
            )
            return rewards.sum() + state.wealth[-1]

        # Central differences at 1e-6 of a smooth float64 function: error near 1e-9, relative
        # to gradients near 0.1; no |a - w| crosses zero within the step at random actions.
        jax.test_util.check_grads(
            total, (actions, jnp.asarray(1e-3)), order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-6
        )


def test_more_cost_is_less_wealth():
    env, env_params = build(random_start=0)

    def wealth(rate):
        env_params_at = env_params.replace(transaction_cost=rate)
        *_, (_, state, _, _, _, _) = play(env, env_params_at, random_actions(20))
        return state.wealth[-1]

    assert jax.grad(wealth)(1e-3) < 0.0


def test_baselines_trade_through_the_same_books():
    env, env_params = build(**DATES, split="test", transaction_cost=0.01)
    table = run_baselines(env, env_params)
    assert tuple(table) == BASELINES
    prices = PANEL.values[90:]
    equal = np.concatenate([[0.0], equal_weights(NUM_ASSETS)])
    daily = count_shares(prices, 0, np.tile(equal, (29, 1)), 0.01, 0.0)
    held = (1 - 0.01) * (prices[-1] / prices[0]).mean()
    train = PANEL.values[:60]
    minimum = minimum_variance_weights(np.cov(train[1:] / train[:-1] - 1, rowvar=False))
    target = np.concatenate([[0.0], minimum])
    steady = count_shares(prices, 0, np.tile(target, (29, 1)), 0.01, 0.0)
    expected = dict(zip(BASELINES, (daily[-1], held, steady[-1]), strict=True))
    for name, summary in table.items():
        assert summary.keys() == METRICS
        # 29 float32 products; the training prices are rounded to float32 too
        np.testing.assert_allclose(summary["final_wealth"], expected[name], rtol=1e-5)
    np.testing.assert_allclose(table["buy_and_hold"]["turnover"], 1 / 29, rtol=1e-4)  # one purchase


def test_minimum_variance_reads_training_prices_only():
    env, env_params = build(**DATES, split="test")
    spoilt = env_params.replace(prices=env_params.prices.at[60:].multiply(3.0))
    np.testing.assert_array_equal(training_covariance(spoilt), training_covariance(env_params))
    with pytest.raises(ValueError, match="more than 3 training returns, got 3"):
        training_covariance(env_params.replace(train_last_day=3))
    short = run_baselines(env, env_params.replace(max_steps_in_episode=1))
    np.testing.assert_allclose(short["equal_weight"]["turnover"], 1.0, rtol=1e-6)  # float32


def test_one_asset_works_from_data_to_baselines():
    panel = Prices(PANEL.values[:, :1], PANEL.dates, ("ONE",), "by hand")
    env, env_params = make_portfolio_trading(panel, lookback=LOOKBACK)
    wealth = {name: row["final_wealth"] for name, row in run_baselines(env, env_params).items()}
    expected = (1 - 1e-3) * panel.values[-1, 0] / panel.values[LOOKBACK, 0]
    # with one asset and no cash, the three are one purchase
    np.testing.assert_allclose(list(wealth.values()), expected, rtol=1e-4)  # 114 float32 products


def test_whole_range_parameters_keep_the_last_day():
    env_params = whole_range_params(PANEL, lookback=LOOKBACK)
    assert (env_params.first_day, env_params.last_day) == (0, NUM_DAYS - 1)
    assert env_params.prices.dtype == jnp.float32
