"""SAC on environments whose action values, entropies and best action are known by hand.

The probes on a box are cases of one environment whose case is a traced number, so that they are
compiled once.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest
from flax import struct

from jaxecon.algos import (
    PPOConfig,
    SACConfig,
    make_ppo,
    make_sac,
    normalise,
    train,
    train_iterations,
)
from jaxecon.algos.sac import _network
from jaxecon.envs import base

CONFIG = SACConfig(
    num_envs=8,
    rollout_length=16,
    num_updates=2,
    buffer_size=16_384,
    final_size=16_384,
    batch_size=32,
    hidden_sizes=(64,),
)
BLOCKS = dataclasses.replace(
    CONFIG, update_interval=4, num_updates=8, normalise_observations=True, reset_mode="ahead"
)
GAMMA, ITERATIONS = 0.9, 80


@struct.dataclass
class CaseParams(base.EnvParams):
    max_steps_in_episode: int = 1
    case: int = 0


@dataclasses.dataclass(frozen=True)
class Cases(probes.Probe):
    """A case of `CASES`; signals start at -1 or 1, and the case says what follows."""

    default_params = CaseParams()

    def action_space(self, params):
        return base.Box(-1.0, 3.0, (1,))  # unit action a is 1 + 2 a

    def step_env(self, key, state, action, params):
        is_last = state.signal > 0
        late = jnp.where(is_last, 1.0, 0.0)
        miss = 0.5 * (action[0] - 1.0) - 0.5 * state.signal
        reward = jnp.stack([1.0, state.signal, late, -jnp.square(miss), 1.0, late, 0.0])
        ended = jnp.stack([True, True, is_last, True, False, is_last, is_last])
        following = jnp.where(params.case == 4, self.draw(key), 1.0)
        state = probes.EnvState(time=state.time + 1, signal=following)
        obs = self.observe(key, state, action, params)
        return obs, state, reward[params.case], ended[params.case], {}


ACTIONS = np.array([-0.5, 0.0, 0.5], np.float32)
# case -> number, time limit, action values of signals -1 and 1, the same for all actions or [2, 3]
CASES = {
    "reward 1": (0, 1, [1.0, 1.0]),
    "reward equal to the signal": (1, 1, [-1.0, 1.0]),
    "reward one step later": (2, 100, [GAMMA, 1.0]),
    "reward for being near half the signal": (3, 1, [[0.0, -0.25, -1.0], [-1.0, -0.25, 0.0]]),
    # taking the time limit for an ending would give at most 1 + γ + ... + γ^4 = 4.1
    "reward 1 for ever, cut off after 5 steps": (4, 5, [10.0, 10.0]),
    # only the final observation shows signal 1; the next episode's first is -1 half of the time
    "cut off one step before the reward": (5, 1, [GAMMA, 1.0]),
}


def build(env, config):
    """A compiled training run: env_params, hparams -> (state, metrics)."""
    algorithm = make_sac(env, config)
    hparams = algorithm.hparams.replace(
        learning_rate=1e-2,
        gamma=GAMMA,
        anneal=1.0,
        tau=0.1,
        learning_starts=512.0,
        total_steps=float(ITERATIONS * algorithm.steps_per_iteration),
    )

    @jax.jit
    def run(env_params, hparams):
        key = jax.random.key(0)
        state = algorithm.init(key, env_params, hparams)
        return train_iterations(
            algorithm, key, state, env_params, hparams, first_iteration=0, num_iterations=ITERATIONS
        )

    return lambda env_params, **values: run(env_params, hparams.replace(**values))


def actions_of(state, env, config):
    """Best actions [2, ...] on the signals -1 and 1."""
    algorithm = make_sac(env, config)
    obs = jax.vmap(lambda signal: env.observe(None, probes.EnvState(0, signal), None, None))
    seen = obs(jnp.array([-1.0, 1.0]))
    return algorithm.act(None, algorithm.policy(state), seen, None, env.default_params)


def features_of_signals(state):
    """What the networks see of the signals -1 and 1, [2, 1]."""
    return normalise.normalise(state.obs_moments, jnp.array([[-1.0], [1.0]]))


def values_of(state, env, config):
    """Both critics' values [2, 2, K] of `ACTIONS` on the signals -1 and 1."""
    network = _network(env, config, env.default_params)
    shape = (2, len(ACTIONS), 1)
    features = jnp.broadcast_to(features_of_signals(state)[:, None], shape)
    actions = jnp.broadcast_to(ACTIONS[None, :, None], shape)
    return np.asarray(network.critics(state.learner.params["critics"], features, actions))


@pytest.fixture(scope="module")
def run_cases():
    return build(Cases(), BLOCKS)


@pytest.mark.parametrize("case", CASES)
def test_action_values_are_those_of_the_closed_form(run_cases, case):
    """At a temperature near zero, where entropy has no weight."""
    number, limit, expected = CASES[case]
    params = CaseParams(max_steps_in_episode=limit, case=number)
    state, metrics = run_cases(params, initial_temperature=1e-4, temperature_rate_share=0.0)
    expected = np.asarray(expected)
    expected = expected if expected.ndim == 2 else expected[:, None]
    values = values_of(state, Cases(), BLOCKS)
    np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), atol=0.05)
    assert metrics["known_share"] == 1.0
    if "near" in case:
        best = actions_of(state, Cases(), BLOCKS)
        np.testing.assert_allclose(best, [[0.0], [2.0]], atol=0.05)
    if "for ever" in case:
        assert metrics["episode_length"] == metrics["episode_return"] == 5.0


def test_without_reward_the_policy_is_even_and_its_entropy_is_the_value(run_cases):
    """The best Gaussian under tanh has σ = 0.87 and an entropy of 0.68; log 2 would be even."""
    params = CaseParams(max_steps_in_episode=100, case=6)
    state, _ = run_cases(params, initial_temperature=0.5, temperature_rate_share=0.0)
    network = _network(Cases(), BLOCKS, params)
    _, log_std = network.actor(state.learner.params["actor"], features_of_signals(state))
    entropy = 0.68
    np.testing.assert_allclose(jnp.exp(log_std), 0.87, atol=0.1)
    values = values_of(state, Cases(), BLOCKS)
    np.testing.assert_allclose(values[:, 1], 0.0, atol=0.02)
    np.testing.assert_allclose(values[:, 0], GAMMA * 0.5 * entropy, atol=0.03)


def test_the_temperature_settles_where_the_entropy_is_as_wanted(run_cases):
    params = CaseParams(max_steps_in_episode=1, case=3)
    state, _ = run_cases(params, target_entropy_share=0.5, initial_temperature=0.1)
    network = _network(Cases(), BLOCKS, params)
    features = jnp.tile(features_of_signals(state), (2000, 1))
    outputs = network.actor(state.learner.params["actor"], features)
    noise = network.head.noise(jax.random.key(1), (4000,))
    entropy = -network.head.draw(outputs, noise)[1].mean()
    assert abs(entropy + 0.5) < 0.1
    np.testing.assert_allclose(actions_of(state, Cases(), BLOCKS), [[0.0], [2.0]], atol=0.2)
    # exp(-(a - b)² / α) has this entropy at α = 2 e^(2 H) / (2 π e)
    temperature = jnp.exp(state.learner.params["log_temperature"])
    np.testing.assert_allclose(temperature, np.exp(-1.0) / (np.pi * np.e), rtol=0.3)


@dataclasses.dataclass(frozen=True)
class UnboundedTargets(probes.TwoTargets):
    """Two agents near their own targets, with nothing to squash."""

    def action_space(self, params):
        return base.Box(-jnp.inf, jnp.inf, (2,))


def test_agents_with_shared_weights_reach_their_own_targets():
    env = UnboundedTargets()
    state, _ = build(env, CONFIG)(env.default_params, target_entropy_share=2.0)
    best = actions_of(state, env, CONFIG)
    np.testing.assert_allclose(best, [[-0.5, 0.5], [0.5, -0.5]], atol=0.05)
    assert state.replay.reward.shape[-1] == 2
    assert state.replay.action.shape[2:] == (2, 1)


SPACES = {
    "ball": (base.Ball(2), [[-0.6, 0.3], [0.2, 0.5]]),
    "simplex": (base.Simplex(3), [[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]),
}


@dataclasses.dataclass(frozen=True)
class NearTarget(probes.Probe):
    """One step, paid minus the squared distance to the target of the signal."""

    kind: str

    def action_space(self, params):
        return SPACES[self.kind][0]

    def outcome(self, state, action):
        targets = jnp.array(SPACES[self.kind][1])
        target = jnp.where(state.signal > 0, targets[1], targets[0])
        return -jnp.square(action - target).sum(), jnp.bool_(True)


@pytest.mark.parametrize("kind", SPACES)
def test_the_mode_reaches_the_best_action_of_each_space(kind):
    env = NearTarget(kind)
    state, _ = build(env, CONFIG)(env.default_params, target_entropy_share=2.0)
    np.testing.assert_allclose(actions_of(state, env, CONFIG), SPACES[kind][1], atol=0.05)


def test_ppo_acts_on_a_ball_too():
    env = NearTarget("ball")
    config = PPOConfig(
        num_envs=8, rollout_length=16, num_epochs=4, hidden_sizes=(16,), num_eval_episodes=32
    )
    algorithm = make_ppo(env, config)
    hparams = algorithm.hparams.replace(learning_rate=1e-2, anneal=1.0, total_steps=19_200.0)
    run = jax.jit(functools.partial(train, algorithm, num_iterations=150))
    _, metrics = run(jax.random.key(0), env.default_params, hparams)
    assert metrics["evaluation/return"][-1] > -0.01
