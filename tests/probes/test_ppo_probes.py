"""PPO on environments whose value and best action are known by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest

from jaxecon.algos import PPOConfig, make_ppo, train
from jaxecon.algos.ppo import _network

CONFIG = PPOConfig(
    num_envs=8,
    rollout_length=16,
    num_epochs=4,
    num_minibatches=4,
    hidden_sizes=(16,),
    num_eval_episodes=32,
)
GAMMA = 0.9


@functools.cache
def program(env, iterations, config):
    """Compiled training; equal environments share it."""
    return jax.jit(functools.partial(train, make_ppo(env, config), num_iterations=iterations))


def learn(env, env_params=None, iterations=150, config=CONFIG, **hparams):
    """State, metrics and network after training on a probe."""
    env_params = env.default_params if env_params is None else env_params
    values = {"learning_rate": 5e-3, "gamma": GAMMA, "anneal": 1.0, "ent_coef": 0.0} | hparams
    total = float(iterations * config.batch_size)
    hparams = make_ppo(env, config).hparams.replace(**values, total_steps=total)
    run = program(env, iterations, config)
    state, metrics = run(jax.random.key(0), env_params, hparams)
    return state, metrics, _network(env, config, env.default_params)


def values_of(state, network, signals):
    features = jnp.asarray(signals, jnp.float32)[:, None]
    return np.asarray(network.value(state.policy.params, features))


@pytest.mark.parametrize(
    ("case", "limit", "expected"),
    [(0, 1, [1.0, 1.0]), (1, 1, [-1.0, 1.0]), (2, 100, [GAMMA, 1.0])],
    ids=["reward 1", "reward equal to the signal", "reward one step later"],
)
def test_the_critic_finds_the_value(case, limit, expected):
    params = probes.CaseParams(max_steps_in_episode=limit, case=case)
    state, _, network = learn(probes.Cases(), params)
    values = values_of(state, network, [-1.0, 1.0])
    np.testing.assert_allclose(values, expected, atol=0.05)  # stochastic gradient noise


@pytest.mark.parametrize("reset_mode", ["ahead", "on_demand"])
def test_a_truncated_future_is_bootstrapped(reset_mode):
    """Taking the time limit for an ending would give at most 1 + γ + ... + γ^4 = 4.1."""
    config = PPOConfig(**{**vars(CONFIG), "reset_mode": reset_mode})
    state, metrics, network = learn(probes.EndlessReward(), iterations=400, config=config)
    values = values_of(state, network, [-1.0, 1.0])
    np.testing.assert_allclose(values, 1.0 / (1.0 - GAMMA), rtol=0.05)
    assert metrics["train/episode_length"][-1] == 5.0
    assert metrics["train/episode_return"][-1] == 5.0


def test_the_policy_finds_the_action_for_each_signal():
    state, metrics, network = learn(probes.Cases(), probes.CaseParams(case=3))
    assert metrics["evaluation/return"][-1] == 1.0
    np.testing.assert_allclose(values_of(state, network, [-1.0, 1.0]), 1.0, atol=0.1)


def test_an_illegal_action_is_never_taken():
    state, metrics, network = learn(probes.ForbiddenBest())
    # -100 for each illegal choice would show in the mean of all training episodes
    assert metrics["train/episode_return"][-1] > 0.9
    np.testing.assert_allclose(values_of(state, network, [-1.0, 1.0]), [2.0, 1.0], atol=0.15)


def test_agents_with_shared_weights_reach_their_own_targets():
    state, metrics, _ = learn(probes.TwoTargets(), iterations=300)
    assert metrics["evaluation/return"][-1] > -0.005  # mean squared distance to the target
    assert state.rollout.episode_return.shape == (CONFIG.num_envs,)


def test_normalisation_options_still_learn():
    config = PPOConfig(
        **{**vars(CONFIG), "normalise_observations": True, "normalise_rewards": True}
    )
    state, metrics, _ = learn(probes.MatchSignal(), config=config)
    assert metrics["evaluation/return"][-1] == 1.0
    np.testing.assert_allclose(state.policy.obs_moments.variance, 1.0, atol=0.05)
