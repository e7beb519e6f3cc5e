"""Bandit environments: regret accounting, long-run payoffs, index play, strategies on prices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.envs.bandits import (
    REGRETS,
    ContextualBandit,
    PartiallyObservedBandit,
    RestlessBandit,
    make_dynamical_bandit,
    make_partially_observed_bandit,
    make_restless_bandit,
    make_strategy_bandit,
)
from jaxecon.envs.bandits.strategies import strategy_payoffs

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnames=("env", "rule", "num_rounds"))
def rollout(env, env_params, rule, num_rounds, key=KEY):
    """(states before each round, rewards, infos) under action = rule(env, state, t)."""
    key_reset, key_steps = jax.random.split(key)
    _, state = env.reset_env(key_reset, env_params)

    def step(state, t):
        action = rule(env, env_params, state, t)
        key = jax.random.fold_in(key_steps, t)
        _, after, reward, _, info = env.step_env(key, state, action, env_params)
        return after, (state, reward, info)

    return jax.lax.scan(step, state, jnp.arange(num_rounds, dtype=jnp.int32))[1]


def in_turn(env, env_params, state, t):
    return t % env.num_arms


def one_of_three(env, env_params, state, t):
    """By the payoff noise's sign and size: in turn, greedy under the filter, greedy under x."""
    filtered = jnp.argmax(state.loadings @ env.oracle(state, env_params).filtered)
    seen = jnp.argmax(state.loadings @ (state.projection @ state.seen))
    which = (env_params.payoff_noise - 1.0).astype(jnp.int32)
    return jnp.stack([t % env.num_arms, filtered.astype(jnp.int32), seen.astype(jnp.int32)])[which]


def market(rule, *, drift=0.0):
    env, env_params = make_partially_observed_bandit()
    numbers = {"payoff_noise": jnp.float32(1 + rule), "drift": jnp.float32(drift)}
    return rollout(env, env_params.replace(**numbers), one_of_three, 400)


def test_regret_against_the_clairvoyant_is_never_negative_and_rules_have_none_of_their_own():
    _, _, info = market(0)
    assert (info["regret_clairvoyant"] >= 0.0).all()
    assert info["regret_clairvoyant"].mean() > 0.1
    np.testing.assert_array_equal(market(1)[2]["regret_feasible"], 0.0)
    _, _, seen = market(2)
    np.testing.assert_array_equal(seen["regret_observable"], 0.0)
    assert seen["regret_feasible"].mean() > 0.0  # a rule of x alone loses to the filter's


def test_the_states_filter_is_the_kalman_filter():
    from jaxecon.solvers.kalman import LinearGaussian, kalman_filter, stationary_covariance

    states, _, _ = market(0)
    A, C = states.transition[0], states.observation[0]
    noise = 0.1 * jnp.eye(4)
    start = stationary_covariance(A, noise)
    model = LinearGaussian(A, noise, C, 0.5 * jnp.eye(2), jnp.zeros(4), start)
    filtered = kalman_filter(model, states.seen)
    np.testing.assert_allclose(states.filtered_mean, filtered.mean, atol=1e-4)  # float32
    error = np.square(np.asarray(states.latent) - states.filtered_mean).sum(1).mean()
    trace = jnp.trace(filtered.covariance[-1])
    assert 0.7 * trace < error < 1.4 * trace  # 400 correlated draws
    eigenvalues = np.linalg.eigvalsh(np.asarray(A))
    np.testing.assert_allclose(eigenvalues, np.linspace(0.665, 0.95, 4), atol=1e-5)


def test_drift_turns_the_dynamics_and_keeps_their_eigenvalues():
    states, _, _ = market(0, drift=0.002)
    first, last = (np.asarray(states.transition[t]) for t in (0, -1))
    assert np.abs(last - first).max() > 0.01
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(last).real), np.sort(np.linalg.eigvals(first).real), atol=1e-4
    )


def test_student_shocks_have_the_same_variance_and_fatter_tails():
    env = PartiallyObservedBandit(student_dof=5)
    draw = lambda key: env._shocks(key, env.default_params)[1]
    shocks = np.asarray(jax.vmap(draw)(jax.random.split(KEY, 20_000))).ravel()
    assert abs(shocks.var() - 1.0) < 0.05
    assert (shocks**4).mean() > 4.5  # 9 in the limit, 3 if Gaussian


def test_shared_parameters_come_with_features():
    env = PartiallyObservedBandit(num_features=3)
    env_params = env.default_params
    _, state = jax.eval_shape(env.reset_env, KEY, env_params)
    assert env.arm_features(state, env_params).shape == (5, 3, 4)
    assert PartiallyObservedBandit().arm_features(state, env_params) is None
    assert PartiallyObservedBandit().known_observation(state, env_params) is None
    known = PartiallyObservedBandit(observes_subset=True, observation_known=True)
    _, state = jax.jit(known.reset_env)(KEY, env_params)
    np.testing.assert_array_equal(known.known_observation(state, env_params), np.eye(2, 4))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"transition": 1.1 * np.eye(4)}, "transition must have a spectral radius below 1"),
        ({"observation_noise": 0.0}, "observation_noise must be positive, a variance, got 0"),
        ({"observation": np.ones((2, 3))}, r"observation must have the shape \(2, 4\)"),
        ({"num_arms": 0}, "num_arms must be at least 1, got 0"),
        ({"loadings": np.ones((0, 4))}, "num_arms must be at least 1, got 0"),
        ({"student_dof": 2}, "student_dof must be 0 or at least 3"),
        ({"student_dof": 3.5}, "a whole number, got 3.5"),
        ({"observation_noise": np.inf}, "observation_noise must be positive, a variance, got inf"),
        ({"payoff_noise": np.nan}, "payoff_noise must be at least 0 and finite, got nan"),
        ({"drift": np.nan}, "drift must be finite, got nan"),
        ({"radius": 0.9}, "radius must be a pair"),
        ({"transition": 0.9}, "transition must be a matrix"),
        ({"loadings": np.full((5, 4), np.nan)}, "loadings must be finite, got nan"),
        ({"num_arm": 3}, "Unknown keyword of the bandit 'num_arm'"),
        ({"observes_subset": True, "observation_dim": 5}, "observation_dim must be at most"),
    ],
)
def test_bad_partially_observed_bandits_are_explained(keywords, message):
    with pytest.raises(ValueError, match=message):
        jaxecon.make("PartiallyObservedLinearBandit-v0", **keywords)


def test_the_long_run_payoff_of_a_constant_arm():
    """h = (1.55, 1.5), best on the unit square 3.05 and on the unit ball 2.156965."""
    env, env_params = make_dynamical_bandit(state_noise=0.0, payoff_noise=0.0)
    h = env.steady_payoff(env_params)
    np.testing.assert_allclose(h, [1.55, 1.5], rtol=1e-6)
    np.testing.assert_allclose(jnp.max(env_params.arms @ h), 3.05, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(h), 2.156965, rtol=1e-6)
    best = lambda env, env_params, state, t: jnp.int32(3)
    _, reward, info = rollout(env, env_params, best, 60)
    gap = np.abs(np.asarray(reward) - 3.05)
    np.testing.assert_allclose(reward[-1], 3.05, rtol=1e-6)
    assert (gap[10:30] <= 0.55**10 * gap[0] + 1e-5).all()  # geometric, at the radius .5
    np.testing.assert_allclose(info["regret_feasible"], 0.0, atol=1e-6)


def test_bad_dynamical_bandits_are_explained():
    with pytest.raises(ValueError, match="transition must have a spectral radius below 1"):
        make_dynamical_bandit(transition=np.eye(2))
    with pytest.raises(ValueError, match=r"inputs must have the shape \(2, 2\)"):
        make_dynamical_bandit(inputs=np.ones((2, 3)))
    with pytest.raises(ValueError, match="transition must be a matrix"):
        make_dynamical_bandit(transition=0.9)
    with pytest.raises(ValueError, match="state_noise must be at least 0 and finite, got -1"):
        make_dynamical_bandit(state_noise=-1.0)
    with pytest.raises(ValueError, match="readout must be finite, got nan"):
        make_dynamical_bandit(readout=[np.nan, 1.0])
    with pytest.raises(ValueError, match="num_arms must be at least 1"):
        make_dynamical_bandit(num_arms=0)


def test_whittle_play_beats_fixed_play_and_activates_the_budget():
    env, env_params = make_restless_bandit(num_arms=5, num_active=2)
    whittle = lambda env, env_params, state, t: env.indices(env_params)[state.arms]
    fixed = lambda env, env_params, state, t: jnp.arange(5.0)
    _, reward, info = rollout(env, env_params, whittle, 300)
    _, other, _ = rollout(env, env_params, fixed, 300)
    assert (info["num_active"] == 2).all()
    bound = float(env.bound(env_params))
    assert other.mean() + 0.05 < reward.mean() < bound
    np.testing.assert_allclose(info["regret_feasible"], bound - np.asarray(reward), atol=1e-5)


def test_the_myopic_index_ranks_gains_and_breaks_ties_by_state():
    env, env_params = make_restless_bandit(active_reward=[0.0, 3.0, 2.0], num_arms=2, num_active=1)
    np.testing.assert_array_equal(env.myopic_indices(env_params), [0.0, 2.0, 1.0])
    even = make_restless_bandit()
    np.testing.assert_array_equal(even[0].myopic_indices(even[1]), [0.0, 1.0])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"num_active": 6}, "num_active must be at most num_arms = 5, got 6"),
        ({"num_arms": 0}, "num_arms must be at least 1"),
        ({"discount": 1.0}, r"discount must be in \[0, 1\), got 1"),
        ({"passive_transition": [[0.5, 0.6], [0.5, 0.5]]}, "rows of probabilities"),
        ({"passive_reward": [0.0, np.nan]}, "passive_reward must be finite, got nan at"),
        ({"active_reward": 1.0}, "active_reward must be a vector"),
        ({"active_reward": [1.0, 2.0, 3.0]}, None),
    ],
)
def test_bad_restless_bandits_are_explained(keywords, message):
    if message is None:  # three states where the rest has two: a line of three is built instead
        assert make_restless_bandit(**keywords)[0].num_states == 3
        return
    with pytest.raises(ValueError, match=message):
        make_restless_bandit(**keywords)


@pytest.mark.parametrize("payoff", ["gaussian", "bernoulli"])
def test_contexts_in_full_view_pay_their_expectation(payoff):
    env = ContextualBandit(payoff=payoff)
    _, reward, info = rollout(env, env.default_params, in_turn, 2000)
    expected = np.asarray(info["expected_reward"])
    assert abs(np.mean(np.asarray(reward) - expected)) < 0.05  # se about .01
    for name in REGRETS[1:]:
        np.testing.assert_array_equal(info[name], info["regret_clairvoyant"])
    if payoff == "bernoulli":
        assert set(np.unique(reward)) == {0.0, 1.0}
    with pytest.raises(ValueError, match="Did you mean 'gaussian'"):
        ContextualBandit(payoff="gausian")


def test_strategies_on_prices_use_the_past_alone_and_stake_one_unit():
    from jaxecon.data import synthetic_prices

    prices = synthetic_prices(num_assets=6, num_days=300)
    payoffs, proxies = strategy_payoffs(prices)
    returns = prices.values[1:] / prices.values[:-1] - 1.0
    assert payoffs.shape == (179, 5)
    np.testing.assert_allclose(payoffs[:, 2], 100.0 * returns[120:].mean(axis=1))
    np.testing.assert_array_equal(payoffs[:, 4], 0.0)
    assert np.abs(payoffs).max() <= 100.0 * np.abs(returns).max()
    np.testing.assert_allclose(proxies.mean(axis=0), 0.0, atol=1e-12)
    cut = type(prices)(prices.values[:250], prices.dates[:250], prices.assets, "cut")
    np.testing.assert_allclose(strategy_payoffs(cut)[0], payoffs[:129])
    with pytest.raises(ValueError, match="at least 123 days, got 100"):
        strategy_payoffs(synthetic_prices(num_assets=2, num_days=100))


def test_the_trading_bandit_pays_what_the_strategies_paid():
    env, env_params = make_strategy_bandit("sp500", num_rounds=500)
    _, reward, info = rollout(env, env_params, in_turn, 500)
    payoffs = np.asarray(env_params.payoff)
    rows = np.arange(500)
    np.testing.assert_allclose(reward, payoffs[rows, rows % 5], rtol=1e-6)
    clairvoyant = payoffs[:500].max(axis=1) - payoffs[rows, rows % 5]
    np.testing.assert_allclose(info["regret_clairvoyant"], clairvoyant, atol=1e-5)
    synthetic, numbers = make_strategy_bandit()
    assert isinstance(synthetic, PartiallyObservedBandit)
    assert synthetic.name == "StrategyBandit-v0"
    np.testing.assert_array_equal(synthetic.default_params.loadings, numbers.loadings)


def test_restless_priorities_break_ties_by_index():
    np.testing.assert_array_equal(RestlessBandit(3, 1).chosen(jnp.zeros(3)), [True, False, False])
