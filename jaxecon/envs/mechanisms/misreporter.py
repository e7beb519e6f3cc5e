"""Report to a known mechanism, truthfully or not: the player is one agent among truthful others."""

import dataclasses
import itertools
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.mechanisms.population import (
    AllocationEnvironment,
    AllocationParams,
    flatten_types,
)
from jaxecon.mechanisms.base import AllocationTypes
from jaxecon.mechanisms.exploitability import exploitability
from jaxecon.mechanisms.registry import RULES
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Action = Literal["report", "menu"]
NUM_BASELINE_TYPES = 256


@struct.dataclass
class EnvState(base.EnvState):
    """One instance, and what lying has brought."""

    types: AllocationTypes  # leaves [N, M]; the player is agent 0
    truthful_utility: Array  # [utils]
    utility: Array  # [utils], under the player's report; the truthful one before the step


@dataclasses.dataclass(frozen=True)
class Misreporter(AllocationEnvironment):
    """Agent 0 sees everyone's type and reports values and demands; the others tell the truth.

    Observation: true values and demands of all agents, the player's first, and the supplies,
    [2 N M + M].

    Action: "report" takes [2, M] in [0, 1], values above demands, scaled to the prior's box
    [low, high]. "menu" takes one of 1 + L^(2M) choices: 0 is the truth, the others are the points
    of a grid with L levels in each coordinate of that box.

    Reward: the relative gain in true utility, u(report) / u(truth) - 1. Its mean under the best
    policy is the exploitability of the mechanism to agent 0.

    Attributes:
      num_claimants: N; they are part of the environment, the player is one of them.
      num_resources: M.
      family: law of values and demands.
      mechanism: a name in `jaxecon.mechanisms.registry.RULES`.
      action: "report" or "menu".
      num_levels: L >= 2.
    """

    mechanism: str = "proportional_fairness"
    action: Action = "report"
    num_levels: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.mechanism not in RULES:
            raise ValueError(unknown_name("mechanism", self.mechanism, RULES))
        if self.action not in get_args(Action):
            raise ValueError(unknown_name("action", self.action, get_args(Action)))
        if self.num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {self.num_levels}.")

    @property
    def name(self) -> str:
        """The registry's id."""
        return "Misreporter-v0"

    def action_space(self, params: AllocationParams) -> base.Box | base.Discrete:
        """A report, [2, M] in [0, 1], or a choice on the menu."""
        if self.action == "menu":
            return base.Discrete(1 + self.num_levels ** (2 * self.num_resources))
        return base.Box(0.0, 1.0, (2, self.num_resources), jnp.result_type(float))

    def reset_env(self, key: Key, params: AllocationParams) -> tuple[Array, EnvState]:
        """Draw an instance, and run the mechanism on the truth."""
        types = self.draw_types(key, params)
        utility = types.utility(RULES[self.mechanism](types))[0]
        state = EnvState(jnp.int32(0), types, utility, utility)
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: AllocationParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Report; info has the player's true `utility`."""
        report = self.report(action, state.types, params)
        utility = self.utility_of(report, state.types)
        state = EnvState(state.time + 1, state.types, state.truthful_utility, utility)
        reward = relative_gain(state, params)
        info = {"utility": utility}
        return self.observe(key, state, action, params), state, reward, jnp.bool_(True), info

    def observe(
        self, key: Key, state: EnvState, action: Array | None, params: AllocationParams
    ) -> Array:
        """Everyone's type, [2 N M + M]."""
        return flatten_types(state.types)

    def report(self, action: Array, types: AllocationTypes, params: AllocationParams) -> Array:
        """Reported values and demands, [2, M], that an action stands for."""
        low, high = jnp.asarray(params.low, float), jnp.asarray(params.high, float)
        if self.action == "report":
            chex.assert_shape(action, (2, self.num_resources))
            return low + (high - low) * jnp.clip(jnp.asarray(action, float), 0.0, 1.0)
        chex.assert_shape(action, ())
        menu = low + (high - low) * jnp.asarray(self.menu(), float)  # [L^(2M), 2, M]
        truth = jnp.stack([types.valuations[0], types.demands[0]])
        return jnp.concatenate([truth[None], menu])[action]

    def menu(self) -> np.ndarray:
        """All lies of the menu, [L^(2M), 2, M] in [0, 1]."""
        levels = np.linspace(0.0, 1.0, self.num_levels)
        points = list(itertools.product(levels, repeat=2 * self.num_resources))
        return np.reshape(np.asarray(points), (-1, 2, self.num_resources))

    def utility_of(self, report: Array, types: AllocationTypes) -> Array:
        """True utility of the player, (), if it reports values and demands [2, M]."""
        reports = dataclasses.replace(
            types,
            valuations=types.valuations.at[0].set(report[0]),
            demands=types.demands.at[0].set(report[1]),
        )
        return types.utility(RULES[self.mechanism](reports))[0]

    def episode_summary(self, state: EnvState, params: AllocationParams) -> dict[str, Array]:
        """`utility` of the report and of the truth [utils], and the relative `gain`."""
        return {
            "utility": state.utility,
            "truthful_utility": state.truthful_utility,
            "gain": relative_gain(state, params),
        }

    def baselines(self, params: AllocationParams) -> dict[str, dict[str, float]]:
        """The truth, the best choice on the menu, and the best report that a search finds."""
        gains = jax.jit(self._baseline_gains)(params)
        return {name: {"return": float(gain), "gain": float(gain)} for name, gain in gains.items()}

    def _baseline_gains(self, params: AllocationParams) -> dict[str, Array]:
        """Mean relative gain of each baseline over 256 instances."""
        key_states, key_attack = jax.random.split(jax.random.key(0))
        keys = jax.random.split(key_states, NUM_BASELINE_TYPES)
        _, states = jax.vmap(self.reset_env, in_axes=(0, None))(keys, params)
        attack = exploitability(
            RULES[self.mechanism],
            states.types,
            key=key_attack,
            space=self.report_space(params),
            num_restarts=4,
        )
        gains = {
            "truthful": jnp.zeros(()),
            "best_response": jnp.mean(attack.relative_gain[:, 0]),
        }
        if self.action == "menu":
            gains["best_of_menu"] = jnp.mean(jax.vmap(self.best_of_menu, (0, None))(states, params))
        return gains

    def best_of_menu(self, state: EnvState, params: AllocationParams) -> Array:
        """Relative gain of the best choice, by trying them all."""

        def gain(choice: Array) -> Array:
            utility = self.utility_of(self.report(choice, state.types, params), state.types)
            return relative_gain(dataclasses.replace(state, utility=utility), params)

        return jnp.max(jax.vmap(gain)(jnp.arange(self.action_space(params).n)))


def relative_gain(state: EnvState, params: AllocationParams) -> Array:
    """u(report) / u(truth) - 1, with the denominator at least `utility_floor`."""
    floor = jnp.asarray(params.utility_floor, float)
    return (state.utility - state.truthful_utility) / jnp.maximum(state.truthful_utility, floor)
