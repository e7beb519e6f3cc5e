"""Every action mode and reward is lawful, and relabelled agents get relabelled amounts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.econ.allocation import log_nash_welfare
from jaxecon.envs.allocation.settings import make_sequential_allocation
from jaxecon.solvers.waterfill import waterfill
from jaxecon.testing import check_environment

N, T = 4, 6
SMALL = {"num_agents": N, "num_steps": T}
KEY = jax.random.key(0)
MODES = [("per_agent_lambda", "regret"), ("simplex", "regret"), ("levels", "welfare")]


@functools.partial(jax.jit, static_argnames="env")
def random_episode(env, params, key):
    """(states [T + 1, ...], rewards [T]) under random actions."""
    key_reset, key_act, key_play = jax.random.split(key, 3)
    _, state = env.reset_env(key_reset, params)
    actions = jax.vmap(env.action_space(params).sample)(jax.random.split(key_act, T))

    def step(state, inputs):
        action, key = inputs
        _, following, reward, _, _ = env.step_env(key, state, action, params)
        return following, (state, reward)

    last, (states, rewards) = jax.lax.scan(step, state, (actions, jax.random.split(key_play, T)))
    return jax.tree.map(lambda rows, end: jnp.concatenate([rows, end[None]]), states, last), rewards


def test_a_discount_for_each_agent_keeps_the_contract():
    check_environment(
        *make_sequential_allocation(**SMALL, action="per_agent_lambda", reward="regret")
    )


@pytest.mark.parametrize("action", ["simplex", "levels"])
def test_other_actions_fit_their_space(action):
    env, params = make_sequential_allocation(**SMALL, action=action)
    check_environment(env, params, checks=["spaces_contain", "sampled_action"])


@pytest.mark.parametrize(("action", "reward"), MODES)
@given(seed=st.integers(0, 2**20))
def test_random_actions_keep_the_accounts(action, reward, seed):
    env, params = make_sequential_allocation("family", **SMALL, action=action, reward=reward)
    states, rewards = random_episode(env, params, jax.random.key(seed))
    states = jax.tree.map(np.asarray, states)
    assert (states.budget >= 0.0).all()
    np.testing.assert_allclose(states.given.sum(1) + states.budget, states.total_budget, rtol=1e-5)
    handed = np.diff(states.given, axis=0)
    assert (handed >= 0.0).all()
    assert (handed <= states.request[:-1] + 1e-6).all(), "nobody gets more than it asked for"
    factor = states.thinning[0] * states.scale[0]
    floor = 1e-3 * np.mean(factor * np.sum(params.arrival_probability * params.mean_size, axis=0))
    welfare = log_nash_welfare(1.0 + states.given[-1] / floor, np.ones(N, np.float32))
    if reward == "regret":
        asked, ones = states.asked[-1], np.ones(N, np.float32)
        best = waterfill(0.0 * asked, asked, ones, states.total_budget[-1]).value
        welfare -= log_nash_welfare(1.0 + best / floor, ones)
        assert rewards.sum() <= 1e-4, "hindsight cannot be beaten"
    np.testing.assert_allclose(rewards.sum(), welfare, rtol=1e-4, atol=1e-3)  # rewards telescope


allocate = jax.jit(lambda env, *arguments: env.allocate(*arguments), static_argnums=0)
observe = jax.jit(
    lambda env, state, params: env.split_observation(env.observe(KEY, state, None, params)),
    static_argnums=0,
)


def some_state(env, params):
    state = random_episode(env, params, jax.random.key(5))[0]
    return jax.tree.map(lambda x: x[2], state)


def test_equal_discounts_are_one_discount():
    numbers = {"discount_centre": 0.25, "discount_reach": 0.5}
    one, params = make_sequential_allocation("dense_asymmetric", **SMALL, **numbers)
    each, _ = make_sequential_allocation(
        "dense_asymmetric", **SMALL, **numbers, action="per_agent_lambda"
    )
    state = some_state(one, params)
    for change in (-0.5, 0.0, 0.3):
        common = allocate(one, state, jnp.array([change]), params)
        own = allocate(each, state, jnp.full(N, change), params)
        np.testing.assert_array_equal(common, own)
    far, bound = (allocate(one, state, jnp.array([x]), params) for x in (9.0, 0.5))
    np.testing.assert_array_equal(far, bound)  # clipped to the reach
    plain, defaults = make_sequential_allocation("dense_asymmetric", **SMALL)
    tuned = allocate(plain, state, jnp.array([0.25]), defaults)
    np.testing.assert_array_equal(allocate(one, state, jnp.array([0.0]), params), tuned)


@pytest.mark.parametrize("action", ["per_agent_lambda", "simplex"])
def test_relabelled_agents_get_relabelled_amounts(action):
    order = np.array([2, 0, 3, 1])
    env, params = make_sequential_allocation("sparse_asymmetric", **SMALL, action=action)
    state = some_state(env, params)
    size = env.action_space(params).shape[0]
    chosen = jax.random.uniform(jax.random.key(1), (size,))
    moved = order if size == N else np.array([0, *(order + 1)])
    columns = ("arrival_probability", "mean_size", "size_deviation")
    other = params.replace(**{name: getattr(params, name)[:, order] for name in columns})
    agents = ("given", "asked", "request", "thinning", "scale")
    relabelled = state.replace(**{name: getattr(state, name)[order] for name in agents})
    amounts = allocate(env, state, chosen, params)
    np.testing.assert_allclose(
        allocate(env, relabelled, chosen[moved], other), amounts[order], rtol=1e-5, atol=1e-6
    )  # float32 sums in another order
    seen = observe(env, relabelled, other)
    plain = observe(env, state, params)
    np.testing.assert_allclose(seen[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(seen[1], plain[1][order], rtol=1e-5)
