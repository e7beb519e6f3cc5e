"""Cournot: textbook quantities, no profitable deviation, and firms without names."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.envs import make
from jaxecon.envs.games.cournot import Cournot, EnvParams, market_price

KEY = jax.random.key(0)
intercepts = st.floats(5, 50, width=32)
slopes = st.floats(0.125, 5, width=32)
num_firms = st.integers(1, 4)


@functools.partial(jax.jit, static_argnums=0)
def play(env, env_params, action):
    _, state = env.reset_env(KEY, env_params)
    return env.step_env(KEY, state, action, env_params)


@pytest.mark.parametrize(
    ("num_firms", "quantity", "profit"), [(1, 4.5, 20.25), (2, 3.0, 9.0), (3, 2.25, 5.0625)]
)
def test_equilibrium_meets_the_textbook_numbers(num_firms, quantity, profit):
    env, env_params = make("Cournot-v0", num_firms=num_firms)
    nash = env.nash_quantity(env_params)
    assert nash == quantity  # exact in binary
    _, _, reward, terminated, info = play(env, env_params, jnp.full(num_firms, nash))
    np.testing.assert_array_equal(reward, np.full(num_firms, profit))
    assert info["price"] == 10.0 - num_firms * quantity
    assert not terminated


@given(intercept=intercepts, slope=slopes, num_firms=num_firms, limit=st.floats(0.5, 40, width=32))
def test_no_firm_gains_by_leaving_the_equilibrium(intercept, slope, num_firms, limit):
    env = Cournot(num_firms)
    env_params = EnvParams(intercept=intercept, slope=slope, max_quantity=limit)
    nash = env.nash_quantity(env_params)

    def profit(quantity):  # firm 0 deviates, the others stay
        action = jnp.full(num_firms, nash).at[0].set(quantity)
        return play(env, env_params, action)[2][0]

    gains = jax.vmap(profit)(jnp.linspace(0.0, limit, 81)) - profit(nash)
    assert gains.max() <= 1e-4 * profit(nash)  # float32 rounding on a flat optimum


@given(intercept=intercepts, slope=slopes, num_firms=num_firms)
def test_no_common_quantity_beats_the_cartel(intercept, slope, num_firms):
    env = Cournot(num_firms)
    env_params = EnvParams(intercept=intercept, slope=slope, max_quantity=500.0)
    cartel = env.cartel_quantity(env_params)

    def total(quantity):
        return play(env, env_params, jnp.full(num_firms, quantity))[2].sum()

    gains = jax.vmap(total)(cartel * jnp.linspace(0.0, 2.0, 41)) - total(cartel)
    assert gains.max() <= 1e-4 * total(cartel)  # as above
    monopoly = Cournot(1).nash_quantity(env_params)
    np.testing.assert_allclose(num_firms * cartel, monopoly, rtol=1e-6)  # float32


def test_quantities_stay_within_a_firms_bounds():
    env = Cournot(2)
    assert env.nash_quantity(EnvParams(max_quantity=1.0)) == 1.0
    assert env.nash_quantity(EnvParams(unit_cost=11.0)) == 0.0
    assert env.cartel_quantity(EnvParams(unit_cost=11.0)) == 0.0
    env_params = env.default_params
    outside = play(env, env_params, jnp.array([-1.0, 99.0]))
    inside = play(env, env_params, jnp.array([0.0, 10.0]))
    chex.assert_trees_all_equal(outside, inside)


def test_price_never_turns_negative():
    _, _, reward, _, info = play(Cournot(2), EnvParams(), jnp.array([8.0, 10.0]))
    assert info["price"] == 0.0
    np.testing.assert_array_equal(reward, [-8.0, -10.0])  # unit cost times output


@given(st.permutations(range(4)), st.lists(st.floats(0, 10, width=32), min_size=4, max_size=4))
def test_relabelling_firms_relabels_profits_and_observations(order, quantity):
    env, env_params = Cournot(4), EnvParams(slope=0.25)
    action, order = jnp.asarray(quantity, jnp.float32), jnp.asarray(order)
    obs, _, reward, _, info = play(env, env_params, action)
    obs_moved, _, reward_moved, _, info_moved = play(env, env_params, action[order])
    # The order of a float32 sum of four numbers below 10 moves its last digits.
    np.testing.assert_allclose(reward_moved, reward[order], atol=2e-4)
    np.testing.assert_allclose(obs_moved, obs[order], atol=1e-6)
    np.testing.assert_allclose(info_moved["price"], info["price"], atol=1e-5)


def test_observation_is_last_period_scaled_to_one():
    env, env_params = Cournot(2), EnvParams()
    obs, _ = env.reset_env(KEY, env_params)
    np.testing.assert_array_equal(obs, [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    obs, *_ = play(env, env_params, jnp.array([2.0, 4.0]))
    np.testing.assert_allclose(obs, [[0.2, 0.3, 0.4], [0.4, 0.3, 0.4]], rtol=1e-6)  # float32


def test_summary_is_the_mean_over_periods_and_firms():
    env, env_params = Cournot(2), EnvParams()
    _, state = env.reset_env(KEY, env_params)
    assert env.episode_summary(state, env_params)["price"] == 0.0
    for action in ([3.0, 3.0], [1.0, 4.0]):
        _, state, *_ = env.step_env(KEY, state, jnp.array(action), env_params)
    summary = env.episode_summary(state, env_params)
    expected = {"quantity": 2.75, "price": 4.5, "profit": (9.0 + 10.0) / 2}
    chex.assert_trees_all_close(summary, expected)


def test_the_limit_truncates_all_at_once():
    env, env_params = Cournot(3), EnvParams(max_steps_in_episode=2)
    assert env.ends_together
    assert env.num_agents == 3
    _, state = env.reset(KEY, env_params)
    ends = []
    for _ in range(4):
        _, state, reward, terminated, truncated, _ = env.step(KEY, state, jnp.ones(3), env_params)
        ends.append((bool(terminated), bool(truncated)))
        assert reward.shape == (3,)
    assert ends == [(False, False), (False, True)] * 2


def test_gradients_match_finite_differences():
    with jax.enable_x64(True):
        env = Cournot(3)

        def outcome(action, intercept, slope, unit_cost):
            env_params = EnvParams(intercept=intercept, slope=slope, unit_cost=unit_cost)
            obs, _, reward, *_ = play(env, env_params, action)
            return reward, obs, env.nash_quantity(env_params)

        inputs = (jnp.array([1.0, 2.0, 3.0]), *map(jnp.asarray, (10.0, 1.0, 1.5)))
        # Polynomials away from the price floor: central differences err by eps² and rounding/eps.
        jax.test_util.check_grads(outcome, inputs, 1, ("fwd", "rev"), eps=1e-5, rtol=1e-7)


def test_marginal_profit_is_zero_in_equilibrium():
    env, env_params = Cournot(3), EnvParams()
    nash = jnp.full(3, env.nash_quantity(env_params))
    marginal = jnp.diag(jax.jacobian(lambda action: play(env, env_params, action)[2])(nash))
    np.testing.assert_allclose(marginal, 0.0, atol=1e-6)  # float32 near 10


def test_one_compilation_serves_many_markets():
    env = Cournot(2)
    slopes = jnp.array([0.5, 1.0, 2.0])
    nash = jax.vmap(lambda slope: env.nash_quantity(EnvParams(slope=slope)))(slopes)
    np.testing.assert_allclose(nash, 3.0 / slopes, rtol=1e-6)  # float32


def test_structure_is_checked_and_hashable():
    with pytest.raises(ValueError, match=r"num_firms must be at least 1, got 0\."):
        Cournot(0)
    assert hash(Cournot(2)) == hash(Cournot(2))
    assert Cournot(2).name == "Cournot-v0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cournot(2).num_firms = 3
    with pytest.raises(AssertionError):
        play(Cournot(2), EnvParams(), jnp.ones(3))
    assert market_price(jnp.array([1.0]), EnvParams()) == 9.0


def test_a_fractional_number_of_firms_is_refused():
    with pytest.raises(
        ValueError, match=r"num_firms must be a whole number of at least 1, got 1\.5"
    ):
        Cournot(num_firms=1.5)
