"""gymnax's own wrappers take jaxecon environments as they are."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.wrappers import (
    FlattenObservationWrapper,
    GymnaxToGymWrapper,
    LogWrapper,
    StickyActionWrapper,
)

from jaxecon.envs import base
from jaxecon.testing import check_environment

KEY = jax.random.key(0)


@struct.dataclass
class StockState(base.EnvState):
    stock: jax.Array  # [2] units of two goods


@dataclasses.dataclass(frozen=True)
class Stock(base.Environment):
    """Buy one unit of one of two goods each period; being greedy pays one."""

    @property
    def default_params(self):
        return base.EnvParams(max_steps_in_episode=4)

    def reset_env(self, key, params):
        state = StockState(time=jnp.int32(0), stock=jax.random.uniform(key, (2,)))
        return state.stock[None, :], state

    def step_env(self, key, state, action, params):
        stock = state.stock + jnp.asarray(jnp.arange(2) == action, jnp.float32)
        state = StockState(time=state.time + 1, stock=stock)
        return stock[None, :], state, jnp.float32(1.0), jnp.bool_(False), {"total": stock.sum()}

    def observation_space(self, params):
        return base.Box(0.0, 10.0, (1, 2))

    def action_space(self, params):
        return base.Discrete(2)


def rollout(env, num_steps, action=1):
    obs, state = env.reset(KEY, Stock().default_params)

    def body(state, key):
        out = env.step(key, state, jnp.int32(action), Stock().default_params)
        return out[1], out

    return obs, jax.lax.scan(body, state, jax.random.split(KEY, num_steps))[1]


@pytest.mark.usefixtures("standard_promotion")
def test_log_wrapper_counts_returns_and_lengths():
    _, (_, state, _, _, truncated, info) = rollout(LogWrapper(Stock()), 8)
    np.testing.assert_array_equal(np.flatnonzero(truncated), [3, 7])
    np.testing.assert_array_equal(info["returned_episode"], truncated)
    np.testing.assert_array_equal(state.returned_episode_returns[3:], 4.0)
    np.testing.assert_array_equal(state.returned_episode_lengths[3:], 4)


def test_flatten_observation_wrapper_flattens_final_observations_too():
    env = FlattenObservationWrapper(Stock())
    first, (obs, *_, info) = rollout(env, 5)
    assert first.shape == (2,)
    assert env.observation_space(Stock().default_params).shape == (2,)
    chex.assert_equal_shape([obs, info["final_observation"]])
    assert not np.array_equal(obs[3], info["final_observation"][3]), "the ending is not lost"


def test_sticky_action_wrapper_repeats_the_last_action():
    env = StickyActionWrapper(Stock(), sticky_action_prob=1.0)
    _, (obs, *_) = rollout(env, 2, action=1)  # the first action to repeat is 0
    reference, (_, *_) = rollout(Stock(), 2)
    np.testing.assert_allclose(obs[1, 0] - reference[0], [2.0, 0.0], rtol=1e-6)


def test_gymnax_to_gym_wrapper_steps_a_jaxecon_environment():
    env = GymnaxToGymWrapper(Stock(), seed=0)
    obs, _ = env.reset(seed=1)
    assert np.asarray(obs) in env.observation_space
    obs, reward, terminated, truncated, info = env.step(1)
    assert np.asarray(obs) in env.observation_space
    assert float(reward) == 1.0
    assert not terminated
    assert not truncated
    assert "final_observation" in info


def test_wrappers_stack_and_the_contract_accepts_what_it_can_ask():
    env = LogWrapper(FlattenObservationWrapper(Stock()))
    checks = ["six_values", "spaces_contain", "scans", "vmap_equals_loop", "time_limit"]
    assert check_environment(env, num_steps=8, checks=checks).passed
