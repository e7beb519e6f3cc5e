"""Tiny environments whose value and best action are known by hand."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base


@struct.dataclass
class EnvState(base.EnvState):
    signal: jax.Array  # what the agent sees, -1 or 1


@struct.dataclass
class EnvParams(base.EnvParams):
    max_steps_in_episode: int = 1


class Probe(base.Environment):
    """A signal of -1 or 1, redrawn each step; subclasses say what it is worth."""

    default_params = EnvParams()

    def observation_space(self, params):
        return base.Box(-1.0, 1.0, (1,))

    def action_space(self, params):
        return base.Discrete(2)

    def draw(self, key):
        return jax.random.rademacher(key, (), jnp.float32)

    def observe(self, key, state, action, params):
        return state.signal[None]

    def reset_env(self, key, params):
        state = EnvState(time=jnp.int32(0), signal=self.draw(key))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state, action, params):
        reward, ended = self.outcome(state, action)
        state = EnvState(time=state.time + 1, signal=self.draw(key))
        return self.observe(key, state, action, params), state, reward, ended, {}


@struct.dataclass
class CaseParams(base.EnvParams):
    max_steps_in_episode: int = 1
    case: int = 0


@dataclasses.dataclass(frozen=True)
class Cases(Probe):
    """What an action is worth depends on a traced case, so that all cases share one program.

    0: reward 1. 1: the signal. 2: 1 one step after signal -1. 3: 1 for action 1 on signal 1 and
    0 on -1, else -1. 4: 1 for ever. 5: as 2. Signals start at -1 or 1; after a step they are 1,
    but redrawn in case 4.
    """

    default_params = CaseParams()

    def step_env(self, key, state, action, params):
        is_last = state.signal > 0
        match = jnp.where((action == 1) == is_last, 1.0, -1.0)
        late = jnp.where(is_last, 1.0, 0.0)
        reward = jnp.stack([1.0, state.signal, late, match, 1.0, late])
        ended = jnp.stack([True, True, is_last, True, False, is_last])
        following = jnp.where(params.case == 4, self.draw(key), 1.0)
        state = EnvState(time=state.time + 1, signal=following)
        obs = self.observe(key, state, action, params)
        return obs, state, reward[params.case], ended[params.case], {}


@dataclasses.dataclass(frozen=True)
class MatchSignal(Probe):
    """One step, reward 1 for choosing 1 on signal 1 and 0 on signal -1, else -1."""

    def outcome(self, state, action):
        is_match = (action == 1) == (state.signal > 0)
        return jnp.where(is_match, 1.0, -1.0), jnp.bool_(True)


@dataclasses.dataclass(frozen=True)
class EndlessReward(Probe):
    """Reward 1 for ever, cut off after 5 steps: V = 1 / (1 - γ), not the sum of 5."""

    default_params = EnvParams(max_steps_in_episode=5)
    ends_together = True

    def outcome(self, state, action):
        return jnp.float32(1.0), jnp.bool_(False)


@dataclasses.dataclass(frozen=True)
class ForbiddenBest(Probe):
    """Three choices worth 0, 1 and 2, of which the last is illegal on signal 1."""

    def action_space(self, params):
        return base.Discrete(3)

    def action_mask(self, state, params):
        return jnp.array([True, True, False]) | (state.signal < 0)

    def outcome(self, state, action):
        is_legal = self.action_mask(state, None)[action]
        return jnp.where(is_legal, action.astype(jnp.float32), -100.0), jnp.bool_(True)


@dataclasses.dataclass(frozen=True)
class TwoTargets(Probe):
    """Two agents with shared weights; each is paid for being near its own target, ±0.5."""

    num_agents = 2

    def observation_space(self, params):
        return base.Box(-1.0, 1.0, (2, 1))

    def action_space(self, params):
        return base.Box(-1.0, 1.0, (2,))

    def observe(self, key, state, action, params):
        return jnp.stack([state.signal, -state.signal])[:, None]

    def outcome(self, state, action):
        targets = 0.5 * jnp.stack([state.signal, -state.signal])
        return -jnp.square(action - targets), jnp.bool_(True)
