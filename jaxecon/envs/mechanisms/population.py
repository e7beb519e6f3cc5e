"""What the one-step mechanism environments share: a prior over types, and how mechanisms score.

A learner of mechanisms (`jaxecon.algos.make_mechanism_designer`) needs from an environment:

    draw_types(key, env_params)             types of one instance
    draw_reports(key, types, env_params)    what its agents tell the designer
    report_space(env_params)                {private field: (low, high)} of possible reports
    objective(types, outcome, env_params)   what the designer wants, [...] for types [..., N, M]
    relative_gain                           whether a misreport's gain counts relative to utility
    score(key, mechanism, params, env_params, ...)   metrics of a mechanism on fresh types
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.econ.allocation import efficiency, log_nash_welfare
from jaxecon.envs import base
from jaxecon.mechanisms.base import AllocationTypes, Mechanism, Outcome
from jaxecon.mechanisms.exploitability import Exploitability, exploitability
from jaxecon.mechanisms.priors import FAMILIES, draw_allocation_types, report_space
from jaxecon.mechanisms.rules import ProportionalFairness
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, Metrics, PyTree


@struct.dataclass
class AllocationParams(base.EnvParams):
    """The prior over N agents who share M resources; every field may be traced."""

    low: float = 0.1  # least value [utils/unit] and demand [unit]
    high: float = 1.0  # greatest value and demand
    scarcity: float = 0.5  # supply over expected total demand
    misreport_fraction: float = 0.0  # probability that an agent exaggerates
    exaggeration: float = 1.0  # by how much, 0 is the truth; see `exaggerate`
    utility_floor: float = 1e-3  # below it, log utility goes on as a straight line [utils]
    max_steps_in_episode: int = 100  # each episode ends after one step anyway


class MechanismEnvironment(base.Environment):
    """An environment whose one step runs a mechanism on agents drawn from a prior."""

    relative_gain: bool = True

    def draw_types(self, key: Key, env_params: Any) -> Any:
        """True types of one instance, leaves [N, M]."""
        raise NotImplementedError

    def draw_reports(self, key: Key, types: Any, env_params: Any) -> Any:
        """What the agents of one instance tell; the truth unless the prior says otherwise."""
        return types

    def report_space(self, env_params: Any) -> dict[str, tuple[Array, Array]]:
        """Bounds of every private field."""
        raise NotImplementedError

    def objective(self, types: Any, outcome: Outcome, env_params: Any) -> Array:
        """What the designer maximises, [...] for types with leaves [..., N, M]."""
        raise NotImplementedError

    def outcome_metrics(
        self, types: Any, outcome: Outcome, attack: Exploitability, env_params: Any
    ) -> Metrics:
        """Scalars of a batch of outcomes and of the best misreports found."""
        raise NotImplementedError

    def score(
        self,
        key: Key,
        mechanism: Mechanism,
        params: PyTree,
        env_params: Any,
        *,
        num_types: int = 256,
        num_restarts: int = 4,
        num_steps: int = 60,
    ) -> Metrics:
        """Metrics of a mechanism on fresh types.

        Outcomes follow from the reports that the prior says; exploitability is that of a single
        liar among agents who tell the truth.

        Args:
          key: PRNG key.
          mechanism: a `jaxecon.mechanisms.Mechanism`.
          params: its parameters.
          env_params: the prior.
          num_types: instances drawn.
          num_restarts, num_steps: size of the attack, see `mechanisms.exploitability`.

        Returns:
          {"return": mean objective, ...}, the metrics of `outcome_metrics`.
        """
        key_types, key_reports, key_attack = jax.random.split(key, 3)
        draw = jax.vmap(self.draw_types, in_axes=(0, None))
        types = draw(jax.random.split(key_types, num_types), env_params)
        tell = jax.vmap(self.draw_reports, in_axes=(0, 0, None))
        reports = tell(jax.random.split(key_reports, num_types), types, env_params)
        attack = exploitability(
            mechanism,
            types,
            params,
            key=key_attack,
            space=self.report_space(env_params),
            num_restarts=num_restarts,
            num_steps=num_steps,
        )
        outcome = mechanism(reports, params)
        metrics = self.outcome_metrics(types, outcome, attack, env_params)
        return {"return": jnp.mean(self.objective(types, outcome, env_params))} | metrics


@dataclasses.dataclass(frozen=True)
class AllocationEnvironment(MechanismEnvironment):
    """Shared part of the environments in which resources are divided without money.

    Attributes:
      num_claimants: N, agents with claims on the resources; they are part of the environment.
      num_resources: M.
      family: law of values and demands, see `mechanisms.priors.draw_allocation_types`.
    """

    num_claimants: int = 2
    num_resources: int = 2
    family: str = "uniform"

    def __post_init__(self):
        base.require_count("num_claimants", self.num_claimants)
        base.require_count("num_resources", self.num_resources)
        if self.family not in FAMILIES:
            raise ValueError(unknown_name("family", self.family, FAMILIES))

    @property
    def default_params(self) -> AllocationParams:
        """Values and demands on [0.1, 1], and half of what is wanted to share."""
        return AllocationParams()

    @property
    def num_features(self) -> int:
        """Length of `flatten_types`: 2 N M + M."""
        return (2 * self.num_claimants + 1) * self.num_resources

    def observation_space(self, params: AllocationParams) -> base.Box:
        """Values, demands and supplies, [2 N M + M], non-negative."""
        return base.Box(0.0, jnp.inf, (self.num_features,), jnp.result_type(float))

    def draw_types(self, key: Key, env_params: AllocationParams) -> AllocationTypes:
        """True types of one instance, leaves [N, M]."""
        numbers = (env_params.low, env_params.high, env_params.scarcity)
        low, high, scarcity = (jnp.asarray(number, float) for number in numbers)
        return draw_allocation_types(
            key,
            self.num_claimants,
            self.num_resources,
            family=self.family,
            low=low,
            high=high,
            scarcity=scarcity,
        )

    def draw_reports(
        self, key: Key, types: AllocationTypes, env_params: AllocationParams
    ) -> AllocationTypes:
        """The truth, but for the agents who `exaggerate`, each with `misreport_fraction`."""
        fraction = jnp.asarray(env_params.misreport_fraction, float)
        lies = jax.random.uniform(key, (self.num_claimants, 1)) < fraction
        lie = exaggerate(types, env_params)
        return dataclasses.replace(
            types,
            valuations=jnp.where(lies, lie.valuations, types.valuations),
            demands=jnp.where(lies, lie.demands, types.demands),
        )

    def report_space(self, env_params: AllocationParams) -> dict[str, tuple[Array, Array]]:
        """Values and demands lie in the prior's box."""
        bounds = jnp.asarray(env_params.low, float), jnp.asarray(env_params.high, float)
        return report_space(*bounds)

    def objective(
        self, types: AllocationTypes, outcome: Outcome, env_params: AllocationParams
    ) -> Array:
        """Log of the weighted geometric mean of utilities, [...].

        Σᵢ wᵢ log uᵢ / Σᵢ wᵢ,  where log u is replaced by its tangent below `utility_floor`
        """
        floor = jnp.asarray(env_params.utility_floor, float)
        log_utility = tangent_log(types.utility(outcome), floor)
        return jnp.sum(types.weights * log_utility, -1) / jnp.sum(types.weights, -1)

    def outcome_metrics(
        self,
        types: AllocationTypes,
        outcome: Outcome,
        attack: Exploitability,
        env_params: AllocationParams,
    ) -> Metrics:
        """Means over instances: log Nash welfare, efficiency, exploitability and its worst agent.

        `geometric_mean_utility` is the exponential of the mean log utility [utils].
        `welfare_against_fair` is the log Nash welfare less that of proportional fairness on the
        same instances: at most 0 for a feasible rule and honest reports, and far less noisy than
        either.
        """
        summary = allocation_summary(types, outcome)
        fair = allocation_summary(types, ProportionalFairness()(types))
        return summary | {
            "welfare_against_fair": summary["log_nash_welfare"] - fair["log_nash_welfare"],
            "exploitability": jnp.mean(attack.relative_gain),
            "worst_exploitability": jnp.mean(jnp.max(attack.relative_gain, -1)),
        }


def allocation_summary(types: AllocationTypes, outcome: Outcome) -> Metrics:
    """Scalars of outcomes without an attack, means over leading axes."""
    welfare = log_nash_welfare(types.utility(outcome), types.weights)
    per_weight = jnp.mean(welfare / jnp.sum(types.weights, -1))
    return {
        "log_nash_welfare": jnp.mean(welfare),
        "geometric_mean_utility": jnp.exp(per_weight),
        "efficiency": jnp.mean(efficiency(outcome, types)),
    }


def tangent_log(x: Array, floor: Array) -> Array:
    """log x above the floor and its tangent there below: finite, with a slope, at zero too."""
    safe = jnp.maximum(x, floor)
    return jnp.log(safe) + (jnp.minimum(x, floor) - floor) / floor


def exaggerate(types: AllocationTypes, env_params: AllocationParams) -> AllocationTypes:
    """Reports of agents who ask for more and make their favourite resource look better.

    x' = min(x (1 + e), high),   v' = max(v (v / max_k v_k)^e, low)
    """
    exaggeration = jnp.asarray(env_params.exaggeration, float)
    low, high = jnp.asarray(env_params.low, float), jnp.asarray(env_params.high, float)
    v, x = types.valuations, types.demands
    sharpened = v * (v / v.max(-1, keepdims=True)) ** exaggeration
    return dataclasses.replace(
        types,
        valuations=jnp.maximum(sharpened, low),
        demands=jnp.minimum(x * (1.0 + exaggeration), high),
    )


def flatten_types(types: AllocationTypes) -> Array:
    """Values, demands and supplies in one row, [..., 2 N M + M]."""
    leading = types.supplies.shape[:-1]
    rows = [jnp.reshape(each, (*leading, -1)) for each in (types.valuations, types.demands)]
    return jnp.concatenate([*rows, types.supplies], axis=-1)


def unflatten_types(row: Array, num_agents: int, num_resources: int) -> AllocationTypes:
    """Undo `flatten_types`; weights are 1."""
    leading, size = row.shape[:-1], num_agents * num_resources
    table = lambda part: jnp.reshape(part, (*leading, num_agents, num_resources))
    return AllocationTypes(
        valuations=table(row[..., :size]),
        demands=table(row[..., size : 2 * size]),
        supplies=row[..., 2 * size :],
        weights=jnp.ones((*leading, num_agents), row.dtype),
    )
