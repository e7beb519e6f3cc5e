"""Bandits: policies of one interface, and the compiled loop that plays them."""

from jaxecon.algos.bandits.harness import Run, play
from jaxecon.algos.bandits.policy import BanditConfig, BanditHyperparams, Policy, View
from jaxecon.algos.bandits.registry import POLICIES, make_bandit, make_policy
from jaxecon.algos.bandits.whittle import RESTLESS_POLICIES

__all__ = [
    "POLICIES",
    "RESTLESS_POLICIES",
    "BanditConfig",
    "BanditHyperparams",
    "Policy",
    "Run",
    "View",
    "make_bandit",
    "make_policy",
    "play",
]
