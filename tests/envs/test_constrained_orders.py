"""Lot sizing and order placing: masks against effects, and the dynamic programme as a bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.applicability import check_mask
from jaxecon.envs.control.lot_sizing import LotSizing
from jaxecon.envs.trading.order_placing import OrderPlacing
from jaxecon.solvers.dynamic_programme import action_values, backward_induction

LOTS, ORDERS = LotSizing(), OrderPlacing()
ENVS = pytest.mark.parametrize("env", [LOTS, ORDERS], ids=lambda env: env.name)


def index_of(env, state):
    if isinstance(env, OrderPlacing):
        return env.index(state)
    return 2 * state.stock + state.is_ready.astype(jnp.int32)


@ENVS
def test_declared_masks_agree_with_what_actions_do(env):
    report = check_mask(env, env.default_params, jax.random.key(0), num_states=16, num_steps=20)
    assert report.agrees, report


@ENVS
def test_the_mask_changes_no_value(env):
    """Illegal choices equal the no-op, so the best policy needs no mask."""
    programme = jax.jit(env.programme)(env.default_params)
    free = programme._replace(legal=jnp.ones_like(programme.legal))
    masked = backward_induction(programme, 20)
    assert masked.legal.all()
    np.testing.assert_array_equal(masked.value, backward_induction(free, 20).value)
    noop = env.noop_action
    illegal = ~programme.legal[:, :, None]
    same = programme.successor == programme.successor[:, noop : noop + 1]
    assert jnp.all(same | ~jnp.broadcast_to(illegal, same.shape))


@ENVS
def test_playing_the_programme_earns_its_value(env):
    """The mean return of 4,000 episodes meets the value within five standard errors."""
    params, num_episodes = env.default_params, 4000
    periods = params.num_periods

    @jax.jit
    def play(key):
        programme = env.programme(params)

        def backward(value, _):
            worth = action_values(programme, value)
            return worth.max(axis=1), worth.argmax(axis=1).astype(jnp.int32)

        start = jnp.zeros(programme.reward.shape[0])
        _, plan = jax.lax.scan(backward, start, length=periods)

        def episode(key):
            _, state = env.reset_env(key, params)

            def step(state, inputs):
                action, key = inputs
                _, state, reward, *_ = env.step_env(
                    key, state, action[index_of(env, state)], params
                )
                return state, reward

            return jax.lax.scan(step, state, (plan[::-1], jax.random.split(key, periods)))

        state, reward = jax.vmap(episode)(jax.random.split(key, num_episodes))
        return state.num_inapplicable, reward.sum(axis=1), env.optimal_return(params)

    wasted, returns, value = play(jax.random.key(1))
    assert wasted.max() == 0
    assert abs(returns.mean() - value) < 5 * returns.std() / np.sqrt(num_episodes)
    assert value > 0.0
    assert env.baselines(params)["dynamic programme"]["return"] == pytest.approx(float(value))


def test_certain_demand_gives_a_return_by_hand():
    """One customer each period: set up once, then make one unit each period."""
    env = LotSizing(num_customers=1)
    params = env.default_params.replace(arrival=1.0, num_periods=5)
    # Set up for 3; then four periods of 4 - 1.
    assert env.optimal_return(params) == pytest.approx(4 * 3.0 - 3.0)


def test_an_account_of_one_coin_by_hand():
    env = OrderPlacing(prices=(1, 2), largest_order=1, max_inventory=1, start_budget=1)
    params = env.default_params.replace(move_chance=0.0, fee=0.0, num_periods=4)
    _, state = env.reset_env(jax.random.key(0), params)  # the price is 2, the budget 1
    np.testing.assert_array_equal(env.action_mask(state, params), [False, True, False])
    low = state.replace(level=jnp.int32(0))
    np.testing.assert_array_equal(env.action_mask(low, params), [False, True, True])
    after, reward = env.outcome(low, jnp.int32(2), jnp.int32(2), params)
    assert (after.budget, after.inventory, after.level) == (0, 1, 1)
    assert reward == -0.5  # one coin, in units of the middle price
    np.testing.assert_array_equal(env.action_mask(after, params), [True, True, False])
    _, reward = env.outcome(after, jnp.int32(0), jnp.int32(1), params)
    assert reward == 1.0


def test_price_law_sums_to_one_and_reverts():
    law = jax.vmap(ORDERS.price_law, (0, None))(
        jnp.arange(5, dtype=jnp.int32), ORDERS.default_params
    )
    np.testing.assert_allclose(law.sum(axis=1), 1.0, rtol=1e-6)  # float32
    assert (law >= 0.0).all()
    assert law[0, 2] > law[0, 0]
    assert law[4, 2] < law[4, 0]


def test_structure_is_checked():
    with pytest.raises(ValueError, match=r"capacity must be at least 1, got 0\."):
        LotSizing(capacity=0)
    with pytest.raises(ValueError, match="each above the last"):
        OrderPlacing(prices=(3, 3))
