"""Bandits: hidden contexts, payoffs that remember, restless arms, strategies on prices."""

from jaxecon.envs.bandits.contextual import ContextualBandit
from jaxecon.envs.bandits.contract import REGRETS, Bandit, Oracle
from jaxecon.envs.bandits.dynamical import DynamicalLinearBandit, make_dynamical_bandit
from jaxecon.envs.bandits.partially_observed import (
    PartiallyObservedBandit,
    make_partially_observed_bandit,
)
from jaxecon.envs.bandits.restless import RestlessBandit, make_restless_bandit
from jaxecon.envs.bandits.strategies import StrategyBandit, make_strategy_bandit

__all__ = [
    "REGRETS",
    "Bandit",
    "ContextualBandit",
    "DynamicalLinearBandit",
    "Oracle",
    "PartiallyObservedBandit",
    "RestlessBandit",
    "StrategyBandit",
    "make_dynamical_bandit",
    "make_partially_observed_bandit",
    "make_restless_bandit",
    "make_strategy_bandit",
]
