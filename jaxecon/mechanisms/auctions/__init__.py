"""Auctions: optimal, classic and learned ones, their equilibria and their exact revenues."""

from jaxecon.mechanisms.auctions.best_response import BestResponse, best_response
from jaxecon.mechanisms.auctions.core import LocalLocalGlobal
from jaxecon.mechanisms.auctions.distributions import (
    Distribution,
    Exponential,
    Uniform,
    UniformMixture,
    UniformSum,
)
from jaxecon.mechanisms.auctions.judging import Judgement, judge
from jaxecon.mechanisms.auctions.known_menus import KNOWN_MENUS, KnownMenu
from jaxecon.mechanisms.auctions.learned import ExchangeableRegretNet, RegretNet, RochetNet
from jaxecon.mechanisms.auctions.menus import Menu, Region, box, choose, uniform_revenue
from jaxecon.mechanisms.auctions.myerson import (
    optimal_revenue,
    optimal_revenue_unequal,
    second_price_revenue,
    virtual_value,
)
from jaxecon.mechanisms.auctions.objectives import revenue, welfare
from jaxecon.mechanisms.auctions.optimal_auction import (
    Myerson,
    VirtualValues,
    ironed_tables,
    ironed_virtual_values,
)
from jaxecon.mechanisms.auctions.sealed_bid import (
    AllPay,
    BundleSecondPrice,
    FirstPrice,
    SecondPrice,
)
from jaxecon.mechanisms.auctions.vcg import VCG, best_welfare

__all__ = [
    "KNOWN_MENUS",
    "VCG",
    "AllPay",
    "BestResponse",
    "BundleSecondPrice",
    "Distribution",
    "ExchangeableRegretNet",
    "Exponential",
    "FirstPrice",
    "Judgement",
    "KnownMenu",
    "LocalLocalGlobal",
    "Menu",
    "Myerson",
    "Region",
    "RegretNet",
    "RochetNet",
    "SecondPrice",
    "Uniform",
    "UniformMixture",
    "UniformSum",
    "VirtualValues",
    "best_response",
    "best_welfare",
    "box",
    "choose",
    "ironed_tables",
    "ironed_virtual_values",
    "judge",
    "optimal_revenue",
    "optimal_revenue_unequal",
    "revenue",
    "second_price_revenue",
    "uniform_revenue",
    "virtual_value",
    "welfare",
]
