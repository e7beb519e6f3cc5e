"""Divide resources among agents whose reports may be untrue: the player is the designer."""

import dataclasses
import functools
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.mechanisms.population import (
    AllocationEnvironment,
    AllocationParams,
    allocation_summary,
    flatten_types,
    unflatten_types,
)
from jaxecon.mechanisms.base import AllocationTypes, Mechanism, Outcome
from jaxecon.mechanisms.registry import RULES
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, Metrics

Action = Literal["shares", "blend"]
BASELINES = ("proportional_fairness", "partial_allocation", "equal_share")


@struct.dataclass
class EnvState(base.EnvState):
    """One instance, what was told about it and what was decided."""

    types: AllocationTypes  # the truth, leaves [N, M]
    reports: AllocationTypes  # what the designer sees
    allocation: Array  # [N, M] units; zeros before the step


@dataclasses.dataclass(frozen=True)
class AllocationDesigner(AllocationEnvironment):
    """See one instance's reports, divide its resources; the episode ends.

    Observation: reported values and demands and the supplies, [2 N M + M].

    Action: "shares" takes non-negative claims [N + 1, M], the last row on behalf of nobody. Each
    column is divided by its sum, agent i gets min(b_m s_im, reported demand), and a column of
    zeros is withheld. "blend" takes one of K choices, the mixture

        (1 - θ)·proportional fairness + θ·equal share,  θ = 0, 1/(K-1), ..., 1

    Reward: log of the geometric mean of true utilities, see `objective`. Each agent exaggerates
    with probability `misreport_fraction`; the designer's optimum moves from proportional fairness
    towards equal share as that grows.

    Attributes:
      num_claimants: N; they are part of the environment, the player is the designer alone.
      num_resources: M.
      family: law of values and demands.
      action: "shares" or "blend".
      num_blends: K >= 2.
    """

    action: Action = "shares"
    num_blends: int = 5

    def __post_init__(self):
        super().__post_init__()
        if self.action not in get_args(Action):
            raise ValueError(unknown_name("action", self.action, get_args(Action)))
        if self.num_blends < 2:
            raise ValueError(f"num_blends must be at least 2, got {self.num_blends}.")

    @property
    def name(self) -> str:
        """The registry's id."""
        return "AllocationDesigner-v0"

    def action_space(self, params: AllocationParams) -> base.Box | base.Discrete:
        """Claims, [N + 1, M] in [0, 1], or one of K blends."""
        if self.action == "blend":
            return base.Discrete(self.num_blends)
        shape = (self.num_claimants + 1, self.num_resources)
        return base.Box(0.0, 1.0, shape, jnp.result_type(float))

    def reset_env(self, key: Key, params: AllocationParams) -> tuple[Array, EnvState]:
        """Draw an instance and its reports."""
        key_types, key_reports = jax.random.split(key)
        types = self.draw_types(key_types, params)
        reports = self.draw_reports(key_reports, types, params)
        state = EnvState(jnp.int32(0), types, reports, jnp.zeros_like(types.valuations))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: AllocationParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Divide; info has the true `utility`, [N]."""
        allocation = self.allocate(action, state.reports)
        outcome = Outcome(allocation, jnp.zeros_like(state.types.weights))
        reward = self.objective(state.types, outcome, params)
        state = EnvState(state.time + 1, state.types, state.reports, allocation)
        info = {"utility": state.types.utility(outcome)}
        return self.observe(key, state, action, params), state, reward, jnp.bool_(True), info

    def observe(
        self, key: Key, state: EnvState, action: Array | None, params: AllocationParams
    ) -> Array:
        """What the designer is told, [2 N M + M]."""
        return flatten_types(state.reports)

    def allocate(self, action: Array, reports: AllocationTypes) -> Array:
        """The allocation [N, M] that an action stands for."""
        if self.action == "blend":
            chex.assert_shape(action, ())
            equal = jnp.asarray(action, float) / (self.num_blends - 1)
            fair = RULES["proportional_fairness"](reports).allocation
            return (1.0 - equal) * fair + equal * RULES["equal_share"](reports).allocation
        chex.assert_shape(action, (self.num_claimants + 1, self.num_resources))
        claims = jnp.maximum(jnp.asarray(action, float), 0.0)
        total = claims.sum(0, keepdims=True)
        is_empty = total == 0.0
        share = jnp.where(is_empty, 0.0, claims / jnp.where(is_empty, 1.0, total))[:-1]
        return jnp.minimum(reports.supplies[None, :] * share, reports.demands)

    def read_reports(self, obs: Array, params: AllocationParams) -> AllocationTypes:
        """Reports with leaves [..., N, M] from observations [..., 2 N M + M]."""
        return unflatten_types(obs, self.num_claimants, self.num_resources)

    def to_action(self, outcome: Outcome, reports: AllocationTypes) -> Array:
        """Claims [..., N + 1, M] that make `step` hand out the allocation of an outcome.

        Raises:
          TypeError: the action is a choice among blends, which cannot express it.
        """
        if self.action != "shares":
            raise TypeError(
                f"A mechanism's allocation is no action of {self.action!r}; use action='shares'."
            )
        share = outcome.allocation / reports.supplies[..., None, :]
        kept = jnp.maximum(1.0 - share.sum(-2, keepdims=True), 0.0)
        return jnp.concatenate([share, kept], axis=-2)

    def episode_summary(self, state: EnvState, params: AllocationParams) -> dict[str, Array]:
        """True welfare and efficiency of the decision, see `outcome_metrics`."""
        outcome = Outcome(state.allocation, jnp.zeros_like(state.types.weights))
        return allocation_summary(state.types, outcome)

    def baselines(self, params: AllocationParams) -> dict[str, dict[str, float]]:
        """Proportional fairness, partial allocation and equal share on 256 fresh instances."""
        return {
            name: {metric: float(x) for metric, x in _score(self, RULES[name], params).items()}
            for name in BASELINES
        }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(env: AllocationDesigner, rule: Mechanism, params: AllocationParams) -> Metrics:
    """Metrics of a rule without parameters; one program for all splits of a study."""
    return env.score(jax.random.key(0), rule, (), params)
