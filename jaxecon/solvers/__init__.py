"""Solvers of economic problems: batched, differentiable, and frank about failure."""

from jaxecon.solvers.proportional_fairness import Solution, proportional_fairness

__all__ = ["Solution", "proportional_fairness"]
