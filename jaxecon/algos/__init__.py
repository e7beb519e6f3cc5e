"""Algorithms: pure functions that compile, vmap and resume."""

from jaxecon.algos.base import Algorithm, train, train_iterations
from jaxecon.algos.dqn import DQNConfig, DQNHyperparams, make_dqn
from jaxecon.algos.mechanism_config import MechanismConfig, build_mechanism
from jaxecon.algos.mechanism_design import MechanismHyperparams, make_mechanism_designer
from jaxecon.algos.ppo import PPOConfig, PPOHyperparams, make_ppo

__all__ = [
    "Algorithm",
    "DQNConfig",
    "DQNHyperparams",
    "MechanismConfig",
    "MechanismHyperparams",
    "PPOConfig",
    "PPOHyperparams",
    "build_mechanism",
    "make_dqn",
    "make_mechanism_designer",
    "make_ppo",
    "train",
    "train_iterations",
]
