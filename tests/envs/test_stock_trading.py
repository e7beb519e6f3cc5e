"""StockTrading: books that balance long and short, no look ahead, symmetries, splits, baselines."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tomli_w

from jaxecon.algos import PPOConfig, make_ppo
from jaxecon.cli.running import parse_assignments
from jaxecon.data import MarketData, Prices, synthetic_market, synthetic_prices
from jaxecon.data.market import FIELDS
from jaxecon.envs import make
from jaxecon.envs.registry import make_splits
from jaxecon.envs.trading import make_stock_trading
from jaxecon.envs.trading.baselines import run_oracle
from jaxecon.envs.trading.stocks import StockTrading
from jaxecon.envs.trading.windows import history_length, normalised_windows
from jaxecon.networks.sets import SETS
from jaxecon.sweeps.study import load_study

KEY = jax.random.key(0)
NUM_ASSETS, NUM_DAYS, FIRST = 3, 180, 60
PANEL = synthetic_prices(NUM_ASSETS, NUM_DAYS, seed=2)
DATES = {"train_end": PANEL.dates[99], "validation_end": PANEL.dates[139]}
NUM_STEPS = 40


def build(prices=PANEL, **settings):
    return make_stock_trading(prices, **{"window": 4, "scale_window": 2, **settings})


@functools.partial(jax.jit, static_argnums=0)
def play(env, env_params, actions):
    """Steps without reset: first obs and state, and stacked (obs, state, reward, ended, info)."""
    obs, state = env.reset_env(KEY, env_params)

    def step(state, action):
        obs, state, reward, terminated, info = env.step_env(KEY, state, action, env_params)
        return state, (obs, state, reward, terminated, info)

    return obs, state, jax.lax.scan(step, state, actions)[1]


def random_actions(length=NUM_STEPS, num_assets=NUM_ASSETS, seed=1):
    return jax.random.uniform(jax.random.key(seed), (length, num_assets), minval=-1.5, maxval=1.5)


def keep_books(prices, actions, *, first=FIRST, rate=0.0, fee=0.0, cash_return=0.0, limit=1.0):
    """Wealth, weights and turnover of each day, from shares and cash in plain float64."""
    cash, shares = 1.0, np.zeros(prices.shape[1])
    wealth, weights, traded = [], [], []
    for day, action in enumerate(np.clip(np.asarray(actions, np.float64), -1, 1), start=first):
        total = cash + shares @ prices[day]
        target = limit * action / max(1.0, np.abs(action).sum())
        orders = target * total - shares * prices[day]
        shares = target * total / prices[day]
        short = np.maximum(-target, 0.0) * total
        cash = total - target.sum() * total
        cash -= rate * np.abs(orders).sum() + (fee * short).sum() / 252
        cash *= 1.0 + cash_return
        after = cash + shares @ prices[day + 1]
        wealth.append(after)
        weights.append(np.append(cash, shares * prices[day + 1]) / after)
        traded.append(np.abs(orders).sum() / total)
    return np.array(wealth), np.array(weights), np.array(traded)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"transaction_cost": 2e-3, "borrow_fee": [0.1, 0.5, 2.0], "cash_return": 1e-4},
        {"transaction_cost": 0.0, "gross_limit": 2.0},
    ],
    ids=["costs", "fees", "leverage"],
)
def test_wealth_is_that_of_a_book_of_shares_and_cash(numbers):
    env, env_params = build(random_start=0, **numbers)
    actions = random_actions()
    _, _, (_, state, reward, _, info) = play(env, env_params, actions)
    wealth, weights, traded = keep_books(
        PANEL.values,
        actions,
        rate=numbers.get("transaction_cost", 1e-3),
        fee=np.asarray(numbers.get("borrow_fee", 0.0)),
        cash_return=numbers.get("cash_return", 0.0),
        limit=numbers.get("gross_limit", 1.0),
    )
    # 40 products in float32, from prices rounded to float32
    np.testing.assert_allclose(state.wealth, wealth, rtol=2e-5)
    np.testing.assert_allclose(np.exp(np.cumsum(reward) / 100.0), wealth, rtol=5e-5)
    np.testing.assert_allclose(state.weights, weights, atol=1e-5)
    np.testing.assert_allclose(state.weights.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(info["turnover"], traded, atol=1e-5)


def test_buying_once_without_cost_is_holding():
    """Zero cost and no trade: wealth is 1 + Σ w (P_T/P_0 - 1), whatever the sign of w."""
    env, env_params = build(random_start=0, transaction_cost=0.0)
    _, state = env.reset_env(KEY, env_params)
    weights = jnp.array([0.0, 0.5, -0.2, 0.3])

    def hold(state, _):
        target = jnp.where(state.time == 0, weights, state.weights)
        state, _, info = env.hold(state, target, env_params)
        return state, info["turnover"]

    state, traded = jax.lax.scan(hold, state, length=NUM_STEPS)
    gain = PANEL.values[FIRST + NUM_STEPS] / PANEL.values[FIRST] - 1.0
    np.testing.assert_allclose(state.wealth, 1.0 + np.array([0.5, -0.2, 0.3]) @ gain, rtol=2e-5)
    np.testing.assert_allclose(traded[0], 1.0, rtol=1e-6)  # float32
    assert traded[1:].max() < 1e-6


def test_cost_is_rate_times_turnover_and_fee_is_on_shorts_alone():
    env, env_params = build(random_start=0)
    _, state = env.reset_env(KEY, env_params)
    still = env_params.replace(prices=jnp.ones_like(env_params.prices))
    action = jnp.array([0.5, -0.3, 0.1])
    for rate, fee in ((0.01, 0.0), (0.0, 0.252), (0.01, 0.252)):
        params = still.replace(transaction_cost=rate, borrow_fee=fee)
        after, _, info = turn(env, state, action, params)
        expected = 1.0 - rate * 0.9 - fee * 0.3 / 252
        np.testing.assert_allclose(after.wealth, expected, rtol=1e-6)  # float32
        np.testing.assert_allclose(info["turnover"], 0.9, rtol=1e-6)


def test_rewards_are_log_or_mean_variance():
    actions = random_actions(5)
    env, env_params = build(random_start=0, reward="mean_variance", risk_aversion=3.0)
    _, _, (_, _, reward, _, info) = play(env, env_params, actions)
    gain = np.expm1(np.asarray(info["log_return"], np.float64))
    np.testing.assert_allclose(reward, 100.0 * (gain - 1.5 * gain**2), rtol=1e-3, atol=1e-4)


def test_long_only_weights_are_a_softmax_with_cash():
    env, env_params = build(random_start=0, mode="long_only", transaction_cost=0.0)
    _, state = env.reset_env(KEY, env_params)
    still = env_params.replace(prices=jnp.ones_like(env_params.prices))
    after = turn(env, state, jnp.array([0.5, -3.0, 0.2]), still)[0]
    shares = np.exp([0.0, 0.5, -1.0, 0.2])
    np.testing.assert_allclose(after.weights, shares / shares.sum(), rtol=1e-5)  # float32


def test_what_cannot_be_traded_is_sold_and_earns_nothing():
    env, env_params = build(random_start=0, transaction_cost=0.0)
    row = FIRST + 2
    jump = env_params.prices.at[row:, 1].multiply(5.0)  # as at a new listing
    shut = env_params.replace(mask=env_params.mask.at[row : row + 3, 1].set(False), prices=jump)
    actions = jnp.tile(jnp.array([0.0, 1.0, 0.0]), (8, 1))
    _, _, (obs, state, reward, _, info) = play(env, shut, actions)
    assert (reward[1:5] == 0.0).all(), "rows 62 to 64 are shut, and so are moves from and to them"
    assert (reward[5:] != 0.0).all()
    assert (state.weights[2:5, 2] == 0.0).all()
    np.testing.assert_allclose(info["turnover"][2], 1.0, rtol=1e-5)  # sold at the last price
    assert np.isfinite(obs).all()
    newest = obs[:, 3 * NUM_ASSETS + 1]  # today's return of asset 1
    assert (newest[1:5] == 0.0).all()
    env, long_only = build(mode="long_only", random_start=0)
    _, _, (_, state, _, _, _) = play(env, long_only.replace(mask=shut.mask), actions)
    assert (state.weights[2:5, 2] == 0.0).all()


def test_ruin_terminates_and_stays_finite():
    env, env_params = build(random_start=0, gross_limit=3.0)
    boom = env_params.replace(prices=env_params.prices.at[FIRST + 2 :, 0].multiply(2.0))
    actions = jnp.tile(jnp.array([-1.0, 0.0, 0.0]), (4, 1))
    _, _, (obs, state, reward, terminated, _) = play(env, boom, actions)
    assert terminated.tolist() == [False, True, True, True]
    np.testing.assert_allclose(reward[1], 100.0 * np.log(0.01), rtol=1e-5)  # float32
    np.testing.assert_array_equal(state.weights[1], [1.0, 0.0, 0.0, 0.0])
    assert np.isfinite(obs).all()

    def total(actions):
        return play(env, boom, actions)[2][2].sum()

    assert np.isfinite(jax.grad(total)(actions)).all()
    obs, state, _, terminated, truncated, _ = env.step(
        KEY, jax.tree.map(lambda x: x[0], state), actions[0], boom
    )
    assert terminated
    assert not truncated
    assert state.time == 0


def test_future_prices_change_nothing_seen_today_bit_for_bit():
    env, env_params = build(random_start=0)
    actions = random_actions()
    row = FIRST + 20
    crash = env_params.replace(
        prices=env_params.prices.at[row + 1 :].multiply(0.1),
        mask=env_params.mask.at[row + 1 :, 0].set(False),
    )
    calm, wild = play(env, env_params, actions), play(env, crash, actions)
    chex.assert_trees_all_equal(calm[:2], wild[:2])
    past = [jax.tree.map(lambda x: x[:20], outputs[2]) for outputs in (calm, wild)]
    chex.assert_trees_all_equal(*past)
    assert not np.allclose(calm[2][0][20], wild[2][0][20]), "today's price must be seen today"
    # A policy that reads the observation hence acts alike too: prices enter nowhere else.
    reader = jax.jit(env.observe)
    state = jax.tree.map(lambda x: x[19], calm[2][1])
    seen = [reader(KEY, state, None, params) for params in (env_params, crash)]
    np.testing.assert_array_equal(*seen)


def test_the_observation_by_hand():
    env, env_params = build(random_start=0)
    obs, _, (later, states, *_) = play(env, env_params, random_actions(7))
    returns = np.diff(np.log(PANEL.values), axis=0)
    for day, seen, weights in ((FIRST, obs, np.zeros(3)), (FIRST + 7, later[6], None)):
        past = returns[day - 60 : day]
        decay = 0.5 ** (np.arange(60)[::-1] / 20)
        volatility = np.sqrt((decay[:, None] * past**2).sum(axis=0) / decay.sum())
        rows = [past[-4:]]
        for s in (1, 2, 4, 8):
            sums = [past[-2 * s : -s].sum(axis=0), past[-s:].sum(axis=0)]
            rows.append(np.stack(sums) / np.sqrt(s))
        windows = np.concatenate(rows) / volatility
        np.testing.assert_allclose(seen[:36], windows.ravel(), atol=2e-4)  # float32 prices
        held = states.weights[6, 1:] if weights is None else weights
        np.testing.assert_array_equal(seen[36:39], held)
        steps = day - FIRST
        market = [50 * volatility.mean(), 1 - np.abs(held).sum(), 1 - steps / 252]
        np.testing.assert_allclose(seen[39:], market, atol=1e-5)
    assert obs.shape == env.observation_space(env_params).shape
    shared, rows = env.split_observation(later[5:7])
    np.testing.assert_array_equal(shared, later[5:7, 39:])
    np.testing.assert_array_equal(rows[1, 2], [*later[6, 2:36:3], held[2]])


def test_windows_do_not_depend_on_the_unit_of_prices_and_shift_with_time():
    length = history_length(4, 2)
    moves = np.random.default_rng(0).normal(size=(length, 2)) * 0.01
    prices = np.exp(np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)]))
    mask = jnp.ones(prices.shape, bool)
    windows = jax.jit(functools.partial(normalised_windows, window=4, scale_window=2))
    with jax.enable_x64(True):
        one, _ = windows(jnp.asarray(prices), mask)
        other, _ = windows(jnp.asarray(prices * [7.0, 0.1]), mask)
        np.testing.assert_allclose(one, other, atol=1e-9)  # float64
        # Sums of two days over √2 are the next scale's rows made from this one's.
        days, pairs, fours = one[4:6], one[6:8], one[8:10]
        np.testing.assert_allclose(pairs[1], days.sum(axis=0) / np.sqrt(2), atol=1e-12)
        np.testing.assert_allclose(fours[1], pairs.sum(axis=0) / np.sqrt(2), atol=1e-12)
    still, volatility = windows(jnp.ones((length + 1, 2)), mask)
    np.testing.assert_array_equal(still, 0.0)
    np.testing.assert_allclose(volatility, 1e-4, rtol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def turn(env, state, action, params):
    return env.transition(state, action, (), params)


@functools.partial(jax.jit, static_argnums=0)
def carried(env, params, element, state, action):
    """(reward and obs of the carried step, reward and carried obs of the step)."""
    spec = env.symmetry()
    moved = env.act_on_params(element, params)
    start = env.act_on_state(element, state)
    there, first, _ = env.transition(start, spec.act_on_action(element, action), (), moved)
    here, second, _ = env.transition(state, action, (), params)
    seen = env.observe(KEY, there, None, moved)
    return (first, seen), (second, spec.act_on_obs(element, env.observe(KEY, here, None, params)))


def mid_episode(env, params):
    _, _, (_, states, *_) = play(env, params, random_actions(5))
    return jax.tree.map(lambda x: x[4], states)


@pytest.mark.parametrize("mode", ["long_short", "long_only"])
def test_relabelling_assets_is_exact(mode):
    with jax.enable_x64(True):
        env, params = build(mode=mode, random_start=0, borrow_fee=[0.1, 0.2, 0.3])
        params = params.replace(prices=jnp.asarray(PANEL.values))
        state, action = mid_episode(env, params), jnp.array([0.4, -0.8, 0.3])
        for shift in (1, 2):
            (first, seen), (second, expected) = carried(env, params, shift, state, action)
            np.testing.assert_allclose(first, second, atol=1e-9)  # float64
            np.testing.assert_allclose(seen, expected, atol=1e-9)


@pytest.mark.parametrize("kind", SETS)
def test_ppo_reads_the_assets_as_a_set(kind):
    mode = "long_only" if kind == "shared" else "long_short"
    env, env_params = build(mode=mode)
    algorithm = make_ppo(env, PPOConfig(2, 4, 1, 1, hidden_sizes=(4,), network=kind))

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(key, env_params):
        state = algorithm.init(key, env_params, algorithm.hparams)
        after, metrics = algorithm.step(key, state, env_params, algorithm.hparams)
        return state.policy.params, after.policy.params, metrics

    before, after, metrics = run(KEY, env_params)
    assert jnp.isfinite(metrics["policy_loss"])
    assert not np.array_equal(*(x["actor"]["Dense_1"]["kernel"] for x in (before, after)))
    assert after["log_std"].shape == (1,)


def test_changing_signs_breaks_by_convexity_fee_and_drifted_weights_alone():
    with jax.enable_x64(True):
        env, params = build(
            random_start=0, transaction_cost=0.0, reward="mean_variance", risk_aversion=0.0
        )
        params = params.replace(prices=jnp.asarray(PANEL.values))
        state, action = mid_episode(env, params), jnp.array([0.4, -0.3, 0.2])
        fees = jnp.array([0.1, 0.2, 0.3])
        moves = np.log(PANEL.values[FIRST + 6] / PANEL.values[FIRST + 5])
        for fee in (jnp.zeros(3), fees):
            charged = params.replace(borrow_fee=fee)
            (first, seen), (second, expected) = carried(env, charged, 3, state, action)
            held = np.asarray(action)
            # Σ w [(1 - e^-x) - (e^x - 1)], and the fees of the longs less those of the shorts
            convexity = -(held * 2.0 * (np.cosh(moves) - 1.0)).sum()
            gap = 100.0 * (convexity - (np.asarray(fee) * held).sum() / 252)
            np.testing.assert_allclose(first - second, gap, atol=1e-9)  # float64
            np.testing.assert_allclose(seen[:36], expected[:36], atol=1e-9)  # log returns
        for side, weights in ((1.0, -expected[36:39]), (-1.0, seen[36:39])):
            gain = held * np.exp(side * moves)
            paid = (np.asarray(fees) * np.maximum(-side * held, 0.0)).sum() / 252
            drifted = side * gain / (1.0 + side * (gain - held).sum() - paid)
            np.testing.assert_allclose(weights, drifted, atol=1e-9)


def test_the_fee_of_one_asset_breaks_relabelling_by_its_difference():
    env, params = build(reward="mean_variance", risk_aversion=0.0, transaction_cost=0.0)
    params = params.replace(prices=jnp.ones_like(params.prices), borrow_fee=jnp.array([0, 0, 2.52]))
    _, state = env.reset_env(KEY, params)
    spec, action = env.symmetry(), jnp.array([-1.0, 0.0, 0.0])
    rewards = [
        turn(env, env.act_on_state(g, state), spec.act_on_action(g, action), params)[1]
        for g in range(3)
    ]
    np.testing.assert_allclose(rewards, [0.0, 0.0, -1.0], atol=2e-5)  # 100 · 2.52 / 252


def test_a_batch_of_1024_agrees_with_a_loop():
    env, env_params = build()
    keys = jax.random.split(KEY, 1024)
    actions = random_actions(1024)

    def first_day(key, action):
        _, state = env.reset_env(key, env_params)
        return env.step_env(key, state, action, env_params)

    batched = jax.jit(jax.vmap(first_day))(keys, actions)
    looped = jax.jit(lambda k, a: jax.lax.map(lambda x: first_day(*x), (k, a)))(keys, actions)
    # float32 of ratios of prices near 100, times 100 in the reward and 1/0.02 in what is seen
    chex.assert_trees_all_close(batched, looped, atol=1e-4)


def test_gradients_of_wealth_match_finite_differences():
    with jax.enable_x64(True):
        env, env_params = build(random_start=0, borrow_fee=0.1)
        env_params = env_params.replace(prices=jnp.asarray(PANEL.values))
        actions = 0.3 * random_actions(4)  # inside the limits, away from their kinks

        def total(actions, rate):
            _, _, (_, state, rewards, _, _) = play(
                env, env_params.replace(transaction_cost=rate), actions
            )
            return rewards.sum() + state.wealth[-1]

        jax.test_util.check_grads(
            total, (actions, jnp.asarray(1e-3)), order=1, modes=("rev",), eps=1e-6, rtol=1e-5
        )  # central differences of a smooth float64 function


def test_splits_by_date_and_baselines():
    env, splits = make_splits("StockTrading-v0", prices=PANEL, window=4, scale_window=2, **DATES)
    rows = {name: (p.first_day, p.last_day) for name, p in splits.items()}
    assert rows == {"train": (0, 99), "validation": (100, 139), "test": (140, 179)}
    table = env.baselines(splits["test"])
    assert set(table) == {"equal_weight", "buy_and_hold", "minimum_variance"}
    prices = PANEL.values[140:]
    held = 1.0 - 1e-3 + (prices[-1] / prices[0] - 1.0).mean()
    np.testing.assert_allclose(table["buy_and_hold"]["final_wealth"], held, rtol=1e-4)
    equal = np.full((39, 3), 1 / 3)
    wealth, _, _ = keep_books(PANEL.values, equal, first=140, rate=1e-3)
    np.testing.assert_allclose(table["equal_weight"]["final_wealth"], wealth[-1], rtol=2e-5)


def test_the_oracle_of_an_easy_market_beats_all_who_do_not_know():
    market = synthetic_market("easy")
    dates = {"train_end": "2012-12-31", "validation_end": "2018-06-30"}
    env, params = build(market, **dates, split="test")
    table = env.baselines(params)
    oracle = table.pop("oracle")
    assert oracle["sharpe"] > max(row["sharpe"] for row in table.values())
    long_only = build(market, mode="long_only", **dates, split="test")[0]
    bound = run_oracle(long_only, params)
    assert max(row["sharpe"] for row in table.values()) < bound["sharpe"] < oracle["sharpe"]
    np.testing.assert_array_equal(params.borrow_fee, market.borrow_fee)


def test_data_come_in_many_forms(tmp_path):
    env, params = build("easy", assets=["A03", "A01"], max_steps_in_episode=10)
    assert env.num_assets == 2
    assert params.signal.shape == (5040, 2)
    assert params.max_steps_in_episode == 10
    bars = np.repeat(PANEL.values[:, :, None], 5, axis=2)
    mask = np.ones(bars.shape[:2], bool)
    mask[70, 1] = False
    data = MarketData(bars, mask, PANEL.dates, PANEL.assets, "by hand")
    _, params = build(data)
    np.testing.assert_array_equal(params.mask, mask)
    rows = [
        (date, name, *bars[t, i])
        for t, date in enumerate(PANEL.dates)
        for i, name in enumerate(PANEL.assets)
    ]
    path = tmp_path / "bars.csv"
    pd.DataFrame(rows, columns=["date", "ticker", *FIELDS]).drop(index=200).to_csv(path)
    env, params = build(None, ohlcv=path, assets=["S01", "S03"])
    np.testing.assert_allclose(params.prices[:, 1], PANEL.values[:, 2], rtol=0.2)  # one gap filled
    assert params.mask.all()
    made, made_params = make("StockTrading-v0", prices="synthetic")
    assert made.name == "StockTrading-v0"
    assert made_params.prices.shape == (2520, 20)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"mode": "long_shrot"}, ValueError, "Did you mean 'long_short'"),
        ({"reward": "logs"}, ValueError, "Did you mean 'log'"),
        ({"ohlcv": "bars.csv"}, ValueError, "Give prices or ohlcv, not both"),
        ({"borrow_fee": -0.1}, ValueError, "borrow_fee must be 0 or more, got -0.1"),
        ({"borrow_fee": [0.1, 0.2]}, ValueError, "one for each of the 3 assets, got shape"),
        ({"gross_limit": 0.0}, ValueError, "gross_limit must be above 0"),
        ({"ruin_level": 1.0}, ValueError, r"ruin_level must be in \[0, 1\), got 1.0"),
        ({"sharpe_decay": 0.1}, TypeError, "Unknown keyword of StockTrading-v0"),
        ({"xyz": 0.1}, TypeError, "Valid: assets, borrow_fee, .*columns.*max_fill.*mode.*ohlcv"),
        ({"column": {}}, TypeError, "Did you mean 'columns'"),
        ({"columns": {"date": "Datum"}}, ValueError, "columns says how to read ohlcv, got none"),
        ({"max_fill": 3}, ValueError, "max_fill says how to read ohlcv, got none"),
        ({"prices": "eassy"}, ValueError, "Did you mean 'easy'"),
        ({"prices": "xyz"}, ValueError, "Valid: easy, hard, sp500, synthetic"),
        ({"split": "test"}, ValueError, "needs the dates"),
        ({"assets": ["S9"]}, ValueError, "Unknown asset 'S9'"),
    ],
)
def test_bad_settings_say_what_is_right(settings, error, message):
    with pytest.raises(error, match=message):
        build(**settings)


def test_bars_are_read_by_their_own_names(tmp_path):
    """As keywords of `make`, in a study's [env.static] table, and after --env."""
    closes = pd.DataFrame(PANEL.values, pd.Index(PANEL.dates, name="Datum"), PANEL.assets)
    frame = closes.melt(var_name="ticker", value_name="px", ignore_index=False).assign(volume=1.0)
    path = tmp_path / "closes.csv"
    frame.loc[PANEL.dates[100:104], "px"] = np.nan
    frame.to_csv(path)
    columns = {"date": "Datum", **dict.fromkeys(FIELDS[:4], "px")}
    static = {"ohlcv": str(path), "columns": columns, "max_fill": 2}
    _, params = make("StockTrading-v0", **static)
    np.testing.assert_array_equal(params.mask[99:105, 0], [True] * 3 + [False] * 2 + [True])
    tables = {
        "study": {"name": "x", "total_steps": 1},
        "env": {"id": "StockTrading-v0", "static": static},
    }
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tables))
    assert load_study(tmp_path / "study.toml").env.static == static
    assert parse_assignments(['columns={date="Datum"}']) == {"columns": {"date": "Datum"}}


def test_an_asset_that_never_trades_in_training_is_named():
    bars = np.repeat(PANEL.values[:, :, None], 5, axis=2)
    mask = np.ones(bars.shape[:2], bool)
    mask[FIRST:100, 1] = False  # listed for the lookback alone, and again in validation
    data = MarketData(bars, mask, PANEL.dates, PANEL.assets, "by hand")
    with pytest.raises(ValueError, match=f"'S02' cannot be traded .*, {PANEL.dates[FIRST]} to"):
        build(data, **DATES, split="test")
    assert build(data, **DATES, assets=["S01", "S03"])[0].num_assets == 2
    delisted = np.ones_like(mask)
    delisted[100:, 1] = False
    data = MarketData(bars, delisted, PANEL.dates, PANEL.assets, "by hand")
    assert not build(data, **DATES, split="test")[1].mask[140:, 1].any()


def test_a_short_panel_and_equal_environments():
    short = Prices(PANEL.values[:61], PANEL.dates[:61], PANEL.assets, "short")
    with pytest.raises(ValueError, match="has 61 days, too few to trade once after lookback=60"):
        build(short)
    env = StockTrading(2, 4, 2)
    assert hash(env) == hash(dataclasses.replace(env))
    assert env.default_params.mask.shape == env.default_params.prices.shape
    assert env.symmetry().group.order == 4
    assert StockTrading(2, mode="long_only").symmetry().group.order == 2
