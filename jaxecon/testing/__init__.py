"""The environment contract as tests anyone can run on their own environment."""

from jaxecon.testing.contract import (
    CHECKS,
    CheckResult,
    ContractError,
    ContractReport,
    check_environment,
    list_checks,
)

__all__ = [
    "CHECKS",
    "CheckResult",
    "ContractError",
    "ContractReport",
    "check_environment",
    "list_checks",
]
