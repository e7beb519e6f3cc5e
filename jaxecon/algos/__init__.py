"""Algorithms: pure functions that compile, vmap and resume."""

from jaxecon.algos.applicability_store import (
    load_applicability,
    reuse_applicability,
    save_applicability,
)
from jaxecon.algos.base import Algorithm, train, train_iterations
from jaxecon.algos.dqn import make_dqn
from jaxecon.algos.dqn_config import DQNConfig, DQNHyperparams
from jaxecon.algos.mechanism_config import MechanismConfig, build_mechanism
from jaxecon.algos.mechanism_design import make_mechanism_designer
from jaxecon.algos.mechanism_penalty import MechanismHyperparams
from jaxecon.algos.mechanism_recipes import recipe
from jaxecon.algos.ppo import PPOConfig, PPOHyperparams, make_ppo
from jaxecon.algos.sac import make_sac
from jaxecon.algos.sac_config import SACConfig, SACHyperparams

__all__ = [
    "Algorithm",
    "DQNConfig",
    "DQNHyperparams",
    "MechanismConfig",
    "MechanismHyperparams",
    "PPOConfig",
    "PPOHyperparams",
    "SACConfig",
    "SACHyperparams",
    "build_mechanism",
    "load_applicability",
    "make_dqn",
    "make_mechanism_designer",
    "make_ppo",
    "make_sac",
    "recipe",
    "reuse_applicability",
    "save_applicability",
    "train",
    "train_iterations",
]
