"""DQN on environments whose action values and best action are known by hand.

The probes with two actions are cases of one environment whose case is a traced number, so that a
configuration is compiled once for all of them.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest

from jaxecon.algos import DQNConfig, make_dqn, train
from jaxecon.algos.dqn import _network
from jaxecon.envs import base

CONFIG = DQNConfig(
    num_envs=8,
    rollout_length=16,
    buffer_size=4096,
    final_size=4096,
    batch_size=32,
    hidden_sizes=(16,),
    num_eval_episodes=32,
)
CONFIGS = {
    "double": CONFIG,
    "plain": dataclasses.replace(CONFIG, double=False, n_step=7, update_interval=4, num_updates=4),
    "everything": dataclasses.replace(
        CONFIG,
        dueling=True,
        prioritised=True,
        n_step=3,
        normalise_observations=True,
        reset_mode="ahead",
    ),
}
GAMMA, ITERATIONS = 0.9, 80


# case -> number, time limit, action values of signals -1 and 1
CASES = {
    "reward 1": (0, 1, [[1.0, 1.0], [1.0, 1.0]]),
    "reward equal to the signal": (1, 1, [[-1.0, -1.0], [1.0, 1.0]]),
    "reward one step later": (2, 100, [[GAMMA, GAMMA], [1.0, 1.0]]),
    "reward for the action that matches": (3, 1, [[1.0, -1.0], [-1.0, 1.0]]),
    # taking the time limit for an ending would give at most 1 + γ + ... + γ^4 = 4.1
    "reward 1 for ever, cut off after 5 steps": (4, 5, [[10.0, 10.0], [10.0, 10.0]]),
    # only the final observation shows signal 1; the next episode's first is -1 half of the time
    "cut off one step before the reward": (5, 1, [[GAMMA, GAMMA], [1.0, 1.0]]),
}


def build(env, config):
    """A compiled training run: env_params, hparams -> (state, metrics)."""
    algorithm = make_dqn(env, config)
    hparams = algorithm.hparams.replace(
        learning_rate=1e-2,
        gamma=GAMMA,
        anneal=1.0,
        tau=0.1,
        learning_starts=64.0,
        total_steps=float(ITERATIONS * algorithm.steps_per_iteration),
    )
    run = jax.jit(functools.partial(train, algorithm, num_iterations=ITERATIONS))
    return lambda env_params, **values: run(
        jax.random.key(0), env_params, hparams.replace(**values)
    )


def values_of(state, env, config):
    """Action values [2, K] on the signals -1 and 1."""
    features = np.array([[-1.0], [1.0]], np.float32)
    if config.normalise_observations:
        moments = jax.tree.map(np.asarray, state.obs_moments)
        features = (features - moments.mean) / np.sqrt(moments.variance)
    network = _network(env, config, env.default_params)
    return np.asarray(network.values(state.learner.params, jnp.asarray(features)))


@functools.cache
def run_cases(name):
    return build(probes.Cases(), CONFIGS[name])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", CONFIGS)
def test_action_values_are_those_of_the_closed_form(name, case):
    number, limit, expected = CASES[case]
    params = probes.CaseParams(max_steps_in_episode=limit, case=number)
    state, metrics = run_cases(name)(params)
    values = values_of(state, probes.Cases(), CONFIGS[name])
    np.testing.assert_allclose(values, expected, rtol=0.01, atol=0.01)  # gradient noise
    assert metrics["train/known_share"][-1] == 1.0
    if "matches" in case:
        assert metrics["evaluation/return"][-1] == 1.0
    if "for ever" in case:
        assert metrics["train/episode_length"][-1] == metrics["train/episode_return"][-1] == 5.0


@dataclasses.dataclass(frozen=True)
class ForbiddenAfterwards(probes.ForbiddenBest):
    """Signal -1 leads to signal 1, by a step or by the time limit; there the best is illegal."""

    def step_env(self, key, state, action, params):
        reward, _ = self.outcome(state, action)
        ended = state.signal > 0
        state = probes.EnvState(time=state.time + 1, signal=jnp.float32(1.0))
        return self.observe(key, state, action, params), state, reward, ended, {}


@pytest.fixture(scope="module")
def run_forbidden():
    # too few places for the final observations of episodes that are cut off after every step
    config = dataclasses.replace(CONFIG, final_size=512)
    return build(ForbiddenAfterwards(), config), config


@pytest.mark.parametrize("limit", [1, 2])
def test_an_illegal_action_is_neither_taken_nor_bootstrapped_from(run_forbidden, limit):
    """The value that follows is 1, of the best legal choice, in a final observation as well."""
    run, config = run_forbidden
    params = probes.EnvParams(max_steps_in_episode=limit)
    state, metrics = run(params, epsilon_end=0.5)
    values = values_of(state, ForbiddenAfterwards(), config)
    np.testing.assert_allclose(values[0], np.arange(3.0) + GAMMA, atol=0.03)
    np.testing.assert_allclose(values[1, :2], [0.0, 1.0], atol=0.02)
    # -100 for each illegal choice would show in the mean of all training episodes
    assert metrics["train/episode_return"][-1] > 0.5
    known_share = metrics["train/known_share"][-1]
    assert 0.4 < known_share < 0.9 if limit == 1 else known_share == 1.0


@dataclasses.dataclass(frozen=True)
class TwoMatches(probes.Probe):
    """Two agents see opposite signals; each is paid 1 for choosing 1 on signal 1, 0 on -1."""

    num_agents = 2

    def observation_space(self, params):
        return base.Box(-1.0, 1.0, (2, 1))

    def action_space(self, params):
        return base.MultiDiscrete(2, 2)

    def observe(self, key, state, action, params):
        return jnp.stack([state.signal, -state.signal])[:, None]

    def outcome(self, state, action):
        wanted = (jnp.stack([state.signal, -state.signal]) > 0).astype(jnp.int32)
        return (action == wanted).astype(jnp.float32), jnp.bool_(True)


def test_agents_share_weights_and_learn_from_their_own_rewards():
    config = dataclasses.replace(CONFIG, prioritised=True)
    state, metrics = build(TwoMatches(), config)(TwoMatches().default_params)
    assert metrics["evaluation/return"][-1] == 1.0
    values = values_of(state, TwoMatches(), config)
    np.testing.assert_allclose(values, [[1.0, 0.0], [0.0, 1.0]], atol=0.01)
    assert state.replay.reward.shape[-1] == 2
