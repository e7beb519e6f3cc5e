"""The one list of algorithms, with the ranges of their hyperparameters."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxecon.algos.bandits.policy import BanditConfig, BanditHyperparams
from jaxecon.algos.bandits.registry import make_bandit
from jaxecon.algos.base import Algorithm
from jaxecon.algos.dqn import make_dqn
from jaxecon.algos.dqn_config import DQNConfig, DQNHyperparams
from jaxecon.algos.mechanism_config import MechanismConfig
from jaxecon.algos.mechanism_design import make_mechanism_designer
from jaxecon.algos.mechanism_penalty import MechanismHyperparams
from jaxecon.algos.ppo import PPOConfig, PPOHyperparams, make_ppo
from jaxecon.algos.sac import make_sac
from jaxecon.algos.sac_config import SACConfig, SACHyperparams


class Bounds(NamedTuple):
    """Range of a number: low <= x <= high, or low < x where `above`, x < high where `below`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: Any) -> bool:
        is_high_enough = value > self.low if self.above else value >= self.low
        return is_high_enough and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        lower = f"{'above' if self.above else 'at least'} {self.low:g}"
        upper = f"{'below' if self.below else 'at most'} {self.high:g}"
        return lower if self.high == math.inf else f"{lower} and {upper}"


POSITIVE, UNIT, NON_NEGATIVE = Bounds(0.0, above=True), Bounds(0.0, 1.0), Bounds(0.0)
APPLICABILITY = {
    "applicability_rate": NON_NEGATIVE,
    "applicability_threshold": UNIT,
    "applicability_eps": UNIT,
    "applicability_min_labels": NON_NEGATIVE,
}
SYMMETRY = {
    "relax_rate": NON_NEGATIVE,
    "relax_penalty": NON_NEGATIVE,
    "exact_decay": NON_NEGATIVE,
    "free_decay": NON_NEGATIVE,
}


class AlgorithmEntry(NamedTuple):
    """How to build an algorithm, and what its settings may be."""

    make: Callable[[Any, Any], Algorithm]  # (env, config) -> Algorithm
    config: type  # static settings, a frozen dataclass
    hparams: type  # traced settings, a pytree dataclass
    bounds: Mapping[str, Bounds]


ALGORITHMS: dict[str, AlgorithmEntry] = {
    "bandit": AlgorithmEntry(
        make_bandit,
        BanditConfig,
        BanditHyperparams,
        {
            "exploration": NON_NEGATIVE,
            "prior_scale": POSITIVE,
            "noise_variance": POSITIVE,
            "learn_noise": UNIT,
            "discount": UNIT,
            "em_prior": NON_NEGATIVE,
            "max_radius": Bounds(0.0, 1.0, above=True, below=True),
            "total_steps": POSITIVE,
        },
    ),
    "dqn": AlgorithmEntry(
        make_dqn,
        DQNConfig,
        DQNHyperparams,
        {
            "learning_rate": POSITIVE,
            "gamma": UNIT,
            "tau": UNIT,
            "target_period": Bounds(1.0),
            "epsilon_start": UNIT,
            "epsilon_end": UNIT,
            "epsilon_share": UNIT,
            "learning_starts": NON_NEGATIVE,
            "huber_delta": POSITIVE,
            "max_grad_norm": POSITIVE,
            "priority_exponent": NON_NEGATIVE,
            "importance_exponent": UNIT,
            "anneal": UNIT,
            "total_steps": POSITIVE,
            **APPLICABILITY,
            **SYMMETRY,
        },
    ),
    "mechanism": AlgorithmEntry(
        make_mechanism_designer,
        MechanismConfig,
        MechanismHyperparams,
        {
            "learning_rate": POSITIVE,
            "final_rate_share": UNIT,
            "exploitability_weight": NON_NEGATIVE,
            "initial_weight": NON_NEGATIVE,
            "warm_share": POSITIVE,
            "target_exploitability": NON_NEGATIVE,
            "multiplier_step": NON_NEGATIVE,
            "multiplier_period": Bounds(1.0),
            "penalty": POSITIVE,
            "smoothing": POSITIVE,
            "attack_learning_rate": POSITIVE,
            "total_steps": POSITIVE,
        },
    ),
    "ppo": AlgorithmEntry(
        make_ppo,
        PPOConfig,
        PPOHyperparams,
        {
            "learning_rate": POSITIVE,
            "gamma": UNIT,
            "gae_lambda": UNIT,
            "clip_eps": POSITIVE,
            "ent_coef": NON_NEGATIVE,
            "vf_coef": NON_NEGATIVE,
            "max_grad_norm": POSITIVE,
            "anneal": UNIT,
            "total_steps": POSITIVE,
            **APPLICABILITY,
            **SYMMETRY,
        },
    ),
    "sac": AlgorithmEntry(
        make_sac,
        SACConfig,
        SACHyperparams,
        {
            "learning_rate": POSITIVE,
            "actor_rate_share": NON_NEGATIVE,
            "temperature_rate_share": NON_NEGATIVE,
            "gamma": UNIT,
            "tau": UNIT,
            "initial_temperature": POSITIVE,
            "target_entropy_share": Bounds(),
            "learning_starts": NON_NEGATIVE,
            "anneal": UNIT,
            "total_steps": POSITIVE,
            **SYMMETRY,
        },
    ),
}


def check_hparams(algorithm_id: str, values: Mapping[str, Any]) -> None:
    """Raise ValueError for a hyperparameter (scalar or array) outside its range."""
    bounds = ALGORITHMS[algorithm_id].bounds
    for name, value in values.items():
        for number in np.ravel(value):
            if not math.isfinite(number) or number not in bounds[name]:
                raise ValueError(f"{name} must be {bounds[name]}, got {number:g}.")
