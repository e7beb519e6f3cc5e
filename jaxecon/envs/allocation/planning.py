"""SAFFE's plan: solve the offline fair program with expected future demand, hand out today's part.

Source: Hassanzadeh, Kreačić, Zeng, Xiao and Ganesh (2023), Sequential Fair Resource Allocation
under a Markov Decision Process Framework, arXiv 2301.03758. The discount by λ standard deviations
follows its abstract; the exact form, and the "front" split, are our own.
"""

from typing import Literal, get_args

import jax.numpy as jnp

from jaxecon.solvers.waterfill import waterfill
from jaxecon.types import Array

Split = Literal["front", "proportional"]
SPLITS = get_args(Split)


def discounted_demand(mean: Array, deviation: Array, discount: Array) -> Array:
    """Future demand that SAFFE-D plans with, max(F - λ·S, 0), units.

    Args:
      mean, deviation: F and S, units, of one shape.
      discount: λ, broadcasts; 0 is SAFFE, negative values reserve more than is expected.
    """
    return jnp.maximum(mean - discount * deviation, 0.0)


def present_share(
    given: Array,
    request: Array,
    future: Array,
    weight: Array,
    budget: Array,
    split: Split = "proportional",
) -> Array:
    """What SAFFE hands out now, given the demand it reckons with later.

        y = waterfill(P, x + f, w, b),   a = y x / (x + f)  or, split "front",  a = min(x, y)

    With true future demand both splits reach the offline optimum over all steps. With uncertain
    demand, "proportional" reserves part of an agent's share for its own later requests, which may
    never come; "front" reserves for the other agents only.

    Args:
      given: P, [N, ...] units received so far; agents first, then episodes.
      request: x, [N, ...] units that may be given now.
      future: f, [N, ...] units.
      weight: w, [N, ...].
      budget: b, [...] units left.
      split: of an agent's share between now and later.

    Returns:
      a, [N, ...] units, 0 <= a <= x, summing to at most b up to rounding.
    """
    demand = request + future
    planned = waterfill(given, demand, weight, budget, axis=0).value
    if split == "front":
        return jnp.minimum(request, planned)
    is_wanted = demand > 0.0
    return planned * jnp.where(is_wanted, request / jnp.where(is_wanted, demand, 1.0), 0.0)
