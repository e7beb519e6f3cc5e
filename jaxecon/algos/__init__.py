"""Algorithms: pure functions that compile, vmap and resume."""

from jaxecon.algos.base import Algorithm, train, train_iterations
from jaxecon.algos.ppo import PPOConfig, PPOHyperparams, make_ppo

__all__ = [
    "Algorithm",
    "PPOConfig",
    "PPOHyperparams",
    "make_ppo",
    "train",
    "train_iterations",
]
