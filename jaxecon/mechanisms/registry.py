"""The one list of allocation rules that need no learning."""

from jaxecon.mechanisms.base import Mechanism
from jaxecon.mechanisms.rules import (
    EqualShare,
    PartialAllocation,
    ProportionalFairness,
    SerialRule,
)

RULES: dict[str, Mechanism] = {
    "proportional_fairness": ProportionalFairness(),
    "partial_allocation": PartialAllocation(),
    "equal_share": EqualShare(),
    "serial": SerialRule(),
}
