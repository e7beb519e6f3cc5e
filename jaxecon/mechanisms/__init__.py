"""Mechanisms as functions of reports: rules, learned ones and auctions; what lying to them brings.

Auctions are in `jaxecon.mechanisms.auctions`.
"""

from jaxecon.mechanisms.base import (
    AllocationTypes,
    AuctionTypes,
    FunctionMechanism,
    Mechanism,
    Outcome,
    as_mechanism,
)
from jaxecon.mechanisms.deviations import Exploitability, default_space, deviation_utility
from jaxecon.mechanisms.exhaustive import (
    AttackGap,
    attack_gap,
    exhaustive_exploitability,
    grid_candidates,
    simplex_candidates,
)
from jaxecon.mechanisms.exploitability import ascend, exploitability
from jaxecon.mechanisms.intervals import gain_upper_bound, interval_bounds
from jaxecon.mechanisms.learned import ExPF, ExPFQuadratic, ExS, RegretNetAllocation
from jaxecon.mechanisms.priors import draw_allocation_types, report_space
from jaxecon.mechanisms.rules import (
    EqualShare,
    PartialAllocation,
    ProportionalFairness,
    SerialRule,
)

__all__ = [
    "AllocationTypes",
    "AttackGap",
    "AuctionTypes",
    "EqualShare",
    "ExPF",
    "ExPFQuadratic",
    "ExS",
    "Exploitability",
    "FunctionMechanism",
    "Mechanism",
    "Outcome",
    "PartialAllocation",
    "ProportionalFairness",
    "RegretNetAllocation",
    "SerialRule",
    "as_mechanism",
    "ascend",
    "attack_gap",
    "default_space",
    "deviation_utility",
    "draw_allocation_types",
    "exhaustive_exploitability",
    "exploitability",
    "gain_upper_bound",
    "grid_candidates",
    "interval_bounds",
    "report_space",
    "simplex_candidates",
]
