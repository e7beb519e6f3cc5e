"""Policies, critics and the layers they are made of."""

from jaxecon.networks.continuous import ActorTwinCritic, make_actor_twin_critic
from jaxecon.networks.heads import (
    BallHead,
    CategoricalHead,
    Head,
    NormalHead,
    SimplexHead,
    SquashedNormalHead,
    make_head,
)
from jaxecon.networks.layers import Dense, dense
from jaxecon.networks.policy import ActorCritic, make_actor_critic

__all__ = [
    "ActorCritic",
    "ActorTwinCritic",
    "BallHead",
    "CategoricalHead",
    "Dense",
    "Head",
    "NormalHead",
    "SimplexHead",
    "SquashedNormalHead",
    "dense",
    "make_actor_critic",
    "make_actor_twin_critic",
    "make_head",
]
