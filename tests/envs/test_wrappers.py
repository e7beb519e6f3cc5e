"""Wrappers are environments: they pass the contract and change only what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.algos import PPOConfig, make_ppo
from jaxecon.envs import wrappers
from jaxecon.testing import check_environment


@pytest.mark.parametrize("env_id", ["Cournot-v0", "Newsvendor-v0"])
def test_wrapped_environments_pass_the_contract(env_id):
    env, env_params = jaxecon.make(env_id)
    check_environment(wrappers.FlattenObservation(wrappers.ScaleReward(env, 0.5)), env_params)


def test_flattening_joins_every_part_of_an_image(standard_promotion, key):
    env, env_params = jaxecon.make("Breakout-MinAtar")
    flat = wrappers.FlattenObservation(env)

    @jax.jit
    def first_two(key):
        obs, state = env.reset_env(key, env_params)
        flat_obs, _ = flat.reset_env(key, env_params)
        return obs, flat_obs, flat.step_env(key, state, jnp.int32(1), env_params)[0]

    obs, flat_obs, stepped = first_two(key)
    np.testing.assert_array_equal(flat_obs, np.ravel(obs).astype(np.float32))
    assert flat.observation_space(env_params).shape == flat_obs.shape
    assert stepped.shape == flat_obs.shape
    config = PPOConfig(num_envs=2, rollout_length=4, num_minibatches=2, hidden_sizes=(4,))
    algorithm = make_ppo(flat, config)

    @jax.jit
    def iteration(key):
        state = algorithm.init(key, env_params, algorithm.hparams)
        return algorithm.step(key, state, env_params, algorithm.hparams)

    _, metrics = iteration(key)
    assert jnp.isfinite(metrics["value_loss"])


def test_scaling_multiplies_the_reward_alone(key):
    env, env_params = jaxecon.make("Cournot-v0")
    _, state = env.reset_env(key, env_params)
    action = jnp.array([1.0, 2.0])
    plain = env.step_env(key, state, action, env_params)
    scaled = wrappers.ScaleReward(env, 3.0).step_env(key, state, action, env_params)
    np.testing.assert_allclose(scaled[2], 3.0 * plain[2], rtol=1e-6)
    np.testing.assert_array_equal(scaled[0], plain[0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_scale_is_refused(scale):
    env, _ = jaxecon.make("Cournot-v0")
    with pytest.raises(ValueError, match="scale must be a positive number"):
        wrappers.ScaleReward(env, scale)


def test_algorithms_refuse_wrappers_that_they_would_step_around():
    from gymnax.wrappers import FlattenObservationWrapper

    env, _ = jaxecon.make("Cournot-v0")
    with pytest.raises(TypeError, match=r"jaxecon\.envs\.wrappers"):
        make_ppo(FlattenObservationWrapper(env))
