"""Environments: the contract, the registry and the families."""

from jaxecon.envs.base import Ball, Environment, EnvParams, EnvState, MultiDiscrete, Simplex
from jaxecon.envs.registry import ENVIRONMENTS, list_environments, make

__all__ = [
    "ENVIRONMENTS",
    "Ball",
    "EnvParams",
    "EnvState",
    "Environment",
    "MultiDiscrete",
    "Simplex",
    "list_environments",
    "make",
]
