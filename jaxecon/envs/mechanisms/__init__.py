"""One-step environments in which the player designs a mechanism, or lies to one."""

from jaxecon.envs.mechanisms.auction import AuctionDesigner, AuctionParams
from jaxecon.envs.mechanisms.designer import AllocationDesigner
from jaxecon.envs.mechanisms.misreporter import Misreporter
from jaxecon.envs.mechanisms.population import (
    AllocationParams,
    MechanismEnvironment,
)

__all__ = [
    "AllocationDesigner",
    "AllocationParams",
    "AuctionDesigner",
    "AuctionParams",
    "MechanismEnvironment",
    "Misreporter",
]
