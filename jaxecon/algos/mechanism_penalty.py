"""What a gain from lying costs while a mechanism is trained: fixed weights and multipliers."""

from typing import Any

import jax.numpy as jnp
from flax import struct

from jaxecon.algos.mechanism_config import MechanismConfig
from jaxecon.types import Array, Metrics

LEAST_RATIO = (
    1e-12  # of gain and objective that a logarithm is taken of; bounds a multiplier's jump
)


@struct.dataclass
class MechanismHyperparams:
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size at the start; it falls along half a cosine.
      final_rate_share: share of the learning rate that is left at the end.
      exploitability_weight: λ at the end of a "penalty" run and the first multiplier of the
        others, in units of the objective per unit of gain.
      initial_weight: λ at the start of a "penalty" run where that is larger, see `weight_at`. It
        costs more than it gains where the pull of `ExPFQuadratic` is exp(.) and starts at 1: with
        two agents and resources, λ = 0.5 and 2,400 iterations, a start at 8 ended at an
        exploitability of 0.053, none at 0.031 (proportional fairness 0.105), welfare alike.
      warm_share: share of the run after which λ has fallen to `exploitability_weight`.
      target_exploitability: ε >= 0 that a multiplier tolerates: gain per agent, or in mode
        "log_ratio" the gain of all agents as a share of the objective.
      multiplier_step: rise of the multiplier per update and unit of excess exploitability, or of
        its logarithm in mode "log_ratio".
      multiplier_period: iterations between updates of the multiplier, rounded down.
      penalty: ρ > 0, weight of the quadratic term in mode "augmented".
      smoothing: of the mechanism in training, see its `__call__`; evaluations use its own choice.
      attack_learning_rate: step size of the misreports, in units of the report space's width.
      total_steps: instances over which the learning rate falls.
    """

    learning_rate: Any = 5e-3
    final_rate_share: Any = 0.0
    exploitability_weight: Any = 2.0
    initial_weight: Any = 0.0
    warm_share: Any = 0.5
    target_exploitability: Any = 0.01
    multiplier_step: Any = 0.1
    multiplier_period: Any = 1.0
    penalty: Any = 10.0
    smoothing: Any = 1e-3
    attack_learning_rate: Any = 0.1
    total_steps: Any = 1e5


def weight_at(progress: Array, hparams: MechanismHyperparams) -> Array:
    """λ of the penalty after a share `progress` of the run.

    A straight line from max(initial_weight, exploitability_weight) to exploitability_weight, which
    is reached at `warm_share`.
    """
    final = hparams.exploitability_weight
    start = jnp.maximum(hparams.initial_weight, final)
    remaining = jnp.clip(1.0 - progress / hparams.warm_share, 0.0, 1.0)
    return final + (start - final) * remaining


def positive_gain(utility: Array, deviating: Array, *, relative: bool) -> Array:
    """What a misreport brings each agent, [..., N]; 0 where it hurts.

    Args:
      utility: [..., N] under the truth, > 0 where gains are relative to it.
      deviating: [..., N] of each agent if it alone misreports.
      relative: divide by `utility`.
    """
    gain = jnp.maximum(deviating - utility, 0.0)
    return gain / jnp.maximum(utility, jnp.finfo(utility.dtype).tiny) if relative else gain


def excess_gain(gain: Array, config: MechanismConfig, hparams: MechanismHyperparams) -> Array:
    """What is charged for, (), of gains [B, N].

    The mean; less what is tolerated where a multiplier says so; in mode "log_ratio" the mean over
    instances of the sum over agents.
    """
    if config.mode == "log_ratio":
        return jnp.mean(jnp.sum(gain, -1))
    return jnp.mean(gain) - (0.0 if config.mode == "penalty" else hparams.target_exploitability)


def constraint_term(
    excess: Array, weight: Array, config: MechanismConfig, hparams: MechanismHyperparams
) -> Array:
    """What a gain beyond the tolerated one costs.

    λ·excess,  or in mode "augmented" (max(0, λ + ρ·excess)² - λ²) / (2 ρ)
    """
    if config.mode != "augmented":
        return weight * excess
    shifted = jnp.maximum(weight + hparams.penalty * excess, 0.0)
    return (jnp.square(shifted) - jnp.square(weight)) / (2.0 * hparams.penalty)


def next_multiplier(
    multiplier: Array,
    iteration: Array,
    metrics: Metrics,
    num_agents: int,
    config: MechanismConfig,
    hparams: MechanismHyperparams,
) -> Array:
    """The multiplier after an iteration; it moves every `multiplier_period` of them.

        λ <- max(0, λ + η (exploitability - ε)),  or in mode "log_ratio"
        λ <- max(0, λ + η (log(Σᵢ gain_i / objective) - log ε))

    Args:
      multiplier: λ, ().
      iteration: () int32, counted from 0.
      metrics: `exploitability`, the mean gain per agent, and `objective`, of the iteration.
      num_agents: N.
      config, hparams: settings. Ratios below 1e-12 count as 1e-12, so that λ stays finite where
        nothing was gained.
    """
    exploitability, target = metrics["exploitability"], hparams.target_exploitability
    if config.mode == "log_ratio":
        objective = jnp.maximum(metrics["objective"], jnp.finfo(multiplier.dtype).tiny)
        ratio = jnp.clip(num_agents * exploitability / objective, LEAST_RATIO, 1.0 / LEAST_RATIO)
        excess = jnp.log(ratio) - jnp.log(jnp.maximum(target, LEAST_RATIO))
    else:
        excess = exploitability - target
    period = jnp.maximum(jnp.asarray(hparams.multiplier_period, jnp.int32), 1)
    moved = jnp.maximum(multiplier + hparams.multiplier_step * excess, 0.0)
    return jnp.where((iteration + 1) % period == 0, moved, multiplier)
