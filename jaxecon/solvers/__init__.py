"""Solvers of economic problems: batched, differentiable, and frank about failure."""

from jaxecon.solvers.interior_point import Status
from jaxecon.solvers.lp import linear_programme
from jaxecon.solvers.proportional_fairness import Solution, proportional_fairness
from jaxecon.solvers.qp import quadratic_programme
from jaxecon.solvers.waterfill import waterfill

__all__ = [
    "Solution",
    "Status",
    "linear_programme",
    "proportional_fairness",
    "quadratic_programme",
    "waterfill",
]
