"""Restless bandits: arms that move whether or not they are played, and a budget of plays."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.econ.whittle import Arm, average_bound, whittle_indices
from jaxecon.envs import base
from jaxecon.envs.bandits.contract import REGRETS, Bandit, regret_info
from jaxecon.solvers.checking import require
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """One arm's laws, the same for all."""

    passive_transition: Any = None  # P0, [S, S]
    passive_reward: Any = None  # r0, [S]
    active_transition: Any = None  # P1, [S, S]
    active_reward: Any = None  # r1, [S]
    discount: float = 0.9  # of the index
    max_steps_in_episode: int = 200


@struct.dataclass
class EnvState(base.EnvState):
    """Where the arms are."""

    arms: Array  # [N] int32 states
    bound: Array  # () average reward that no policy exceeds; found once, as it takes a search
    regret_sum: Array  # [3]


@dataclasses.dataclass(frozen=True)
class RestlessBandit(Bandit):
    """N arms, each a Markov chain of two actions; each round the m of highest priority are active.

    Action: priorities, [N]; only their order counts, the lower index wins ties. Observation: the
    states of the arms, [N]. Reward: the sum over arms. The three regrets coincide: a round's reward
    below `average_bound`, which lets the budget hold on average only. No policy's regret per round
    is negative in the long run, though single rounds' can be; the best one's need not vanish.

    Attributes:
      num_arms: N.
      num_active: m, from 1 to N.
      num_states: S, of each arm.
    """

    num_arms: int = 5
    num_active: int = 2
    num_states: int = 2

    _supports_transition_gradients = False  # priorities count by their order alone

    def __post_init__(self):
        for name in ("num_arms", "num_active", "num_states"):
            base.require_count(name, getattr(self, name))
        if self.num_active > self.num_arms:
            raise ValueError(
                f"num_active must be at most num_arms = {self.num_arms}, got {self.num_active}."
            )

    @property
    def name(self) -> str:
        """The registry's id."""
        return "RestlessBandit-v0"

    @property
    def latent_dim(self) -> int:
        """N, the arms' states."""
        return self.num_arms

    @property
    def default_params(self) -> EnvParams:
        """Two states worth 0 and 1, better kept up by play; a drawn-out line of more states."""
        if self.num_states == 2:
            passive = jnp.array([[0.9, 0.1], [0.4, 0.6]])
            active = jnp.array([[0.3, 0.7], [0.1, 0.9]])
        else:
            up = jnp.eye(self.num_states, k=1).at[-1, -1].set(1.0)
            down = jnp.eye(self.num_states, k=-1).at[0, 0].set(1.0)
            passive, active = 0.3 * up + 0.7 * down, 0.7 * up + 0.3 * down
        reward = jnp.linspace(0.0, 1.0, self.num_states)
        return EnvParams(
            passive_transition=passive,
            passive_reward=reward,
            active_transition=active,
            active_reward=reward,
        )

    def check(self, params: EnvParams) -> None:
        """Raise ValueError for a discount out of range."""
        require("discount", params.discount, lambda x: (x >= 0.0) & (x < 1.0), "in [0, 1)")

    def action_space(self, params: EnvParams) -> base.Box:
        """Priorities, [N] in [0, 1]."""
        return base.Box(0.0, 1.0, (self.num_arms,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """States, [N] whole numbers as floats."""
        top = max(self.num_states - 1.0, 1.0)
        return base.Box(0.0, top, (self.num_arms,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """Arms in states drawn evenly."""
        arms = jax.random.randint(key, (self.num_arms,), 0, self.num_states, jnp.int32)
        state = EnvState(jnp.int32(0), arms, self.bound(params), jnp.zeros(3, float))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Play the arms of highest priority and move all; info has regrets and `num_active`."""
        chex.assert_shape(action, (self.num_arms,))
        is_active = self.chosen(action)
        reward = self._reward(state.arms, is_active, params)
        rows = jnp.where(
            is_active[:, None],
            jnp.asarray(params.active_transition, float)[state.arms],
            jnp.asarray(params.passive_transition, float)[state.arms],
        )
        uniform = jax.random.uniform(key, (self.num_arms, 1))
        later = jnp.sum(uniform >= jnp.cumsum(rows, axis=1)[:, :-1], axis=1).astype(jnp.int32)
        regret = jnp.broadcast_to(state.bound - reward, (3,))
        state = EnvState(state.time + 1, later, state.bound, state.regret_sum + regret)
        info = regret_info(regret) | {"num_active": jnp.sum(is_active).astype(jnp.int32)}
        obs = self.observe(key, state, action, params)
        return obs, state, reward, jnp.bool_(False), info

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """States, [N]."""
        return state.arms.astype(jnp.result_type(float))

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """The regrets, summed over the rounds."""
        return dict(zip(REGRETS, state.regret_sum, strict=True))

    def chosen(self, priorities: Array) -> Array:
        """Which arms are active under priorities [N], bool [N] with m of them True."""
        order = jnp.argsort(priorities, descending=True, stable=True)
        return jnp.zeros(self.num_arms, bool).at[order[: self.num_active]].set(True)

    def indices(self, params: EnvParams) -> Array:
        """Whittle indices of the states, [S]."""
        return whittle_indices(self.arm(params), jnp.asarray(params.discount, float))

    def myopic_indices(self, params: EnvParams) -> Array:
        """States ranked by what being active gains at once, then by their number, [S]."""
        arm = self.arm(params)
        gain = arm.active_reward - arm.passive_reward
        order = jnp.argsort(gain, stable=True)
        ranks = jnp.arange(self.num_states, dtype=gain.dtype)
        return jnp.zeros_like(gain).at[order].set(ranks)

    def bound(self, params: EnvParams) -> Array:
        """Average reward per round that no policy exceeds in the long run, ()."""
        return average_bound(self.arm(params), float(self.num_arms), float(self.num_active))

    def arm(self, params: EnvParams) -> Arm:
        """The laws of an arm."""
        fields = (getattr(params, name) for name in Arm._fields)
        return Arm(*(jnp.asarray(value, float) for value in fields))

    def _reward(self, arms: Array, is_active: Array, params: EnvParams) -> Array:
        active = jnp.asarray(params.active_reward, float)[arms]
        passive = jnp.asarray(params.passive_reward, float)[arms]
        return jnp.sum(jnp.where(is_active, active, passive))


def make_restless_bandit(
    *,
    num_arms: int = 5,
    num_active: int = 2,
    passive_transition: Any = None,
    passive_reward: Any = None,
    active_transition: Any = None,
    active_reward: Any = None,
    discount: float = 0.9,
    num_rounds: int = 200,
) -> tuple[RestlessBandit, EnvParams]:
    """The bandit and its parameters, checked; what is None keeps its default.

    Raises:
      ValueError: no arms, rows that are no probabilities, shapes that differ, or a bad discount.
    """
    base.require_count("num_rounds", num_rounds)
    given = dict(
        zip(
            Arm._fields,
            (passive_transition, passive_reward, active_transition, active_reward),
            strict=True,
        )
    )
    given = {name: np.asarray(value, float) for name, value in given.items() if value is not None}
    for name, value in given.items():
        rank = 1 if name.endswith("reward") else 2
        if value.ndim != rank:
            kind = "vector" if rank == 1 else "matrix"
            raise ValueError(f"{name} must be a {kind}, got the shape {value.shape}.")
        require(name, value, np.isfinite, "finite")
    num_states = next((value.shape[0] for value in given.values()), 2)
    env = RestlessBandit(num_arms, num_active, num_states)
    for name, value in given.items():
        shape = (num_states,) if name.endswith("reward") else (num_states, num_states)
        if value.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {value.shape}.")
        rows = value.sum(axis=-1)
        if name.endswith("transition") and not (
            np.allclose(rows, 1.0, atol=1e-5) and value.min() >= 0.0
        ):
            raise ValueError(
                f"{name} must have rows of probabilities that sum to 1, got rows that sum to "
                f"{rows.tolist()}."
            )
    arrays = {name: jnp.asarray(value, float) for name, value in given.items()}
    params = env.default_params.replace(
        **arrays, discount=discount, max_steps_in_episode=num_rounds
    )
    env.check(params)
    return env, params
