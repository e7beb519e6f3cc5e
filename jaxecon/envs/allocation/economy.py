"""The numbers of a sequential allocation: who asks when for how much, and what there is to give."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.solvers.checking import concrete, require
from jaxecon.types import Array


@struct.dataclass
class EnvParams(base.EnvParams):
    """Demand, budget and forecast; every field may be traced.

    Agent i asks in step t with probability p[t,i], for a size with mean mu[t,i].
    """

    arrival_probability: Any = None  # p, [T, N]
    mean_size: Any = None  # mu, [T, N] units
    size_deviation: Any = None  # sigma, [T, N] units; Poisson laws have their own
    weight: Any = None  # w, [N] in the welfare Σ w log U
    budget: Any = 1.0  # B, units for the whole episode
    size_floor: float = 0.05  # least size, as a share of its mean
    least_size: float = 0.0  # least size, units
    forecast_scale: float = 1.0  # planners believe that sizes are this times what they are
    persistence: float = 0.0  # of the log of a common arrival intensity, per step
    volatility: float = 0.0  # standard deviation of its innovations; 0 leaves arrivals independent
    least_arrival: float = 1.0  # each episode thins agent i's arrivals by r_i ~ U(least_arrival, 1)
    common_arrival: float = 1.0  # and all agents' alike, by a log-uniform factor from this to 1
    size_spread: float = 0.0  # and scales its sizes by s_i ~ U(1 - spread, 1 + spread)
    budget_spread: float = 0.0  # and its budget over expected demand by U(1 - spread, 1 + spread)
    discount_centre: float = 0.0  # λ that "lambda" actions add to
    discount_reach: float = 2.0  # most that they add or take away
    max_steps_in_episode: int = 40


@struct.dataclass
class EnvState(base.EnvState):
    """Where an episode stands when the requests of step `time` are on the table."""

    budget: Array  # b, units left
    total_budget: Array  # B of this episode, units
    given: Array  # P, [N] units received so far
    asked: Array  # C, [N] units asked for so far, those of this step included
    request: Array  # x, [N] units asked for in this step
    thinning: Array  # r, [N] of this episode
    scale: Array  # s, [N] of this episode
    log_intensity: Array  # log of the common arrival intensity, before its mean is taken off


TABLES = ("arrival_probability", "mean_size", "size_deviation")


def check_params(params: EnvParams) -> None:
    """ValueError for concrete numbers that no economy has; traced ones pass.

    A budget of 0 (nothing is handed out) and an agent who never arrives (left out of the measures)
    are allowed.
    """
    require(
        "arrival_probability",
        params.arrival_probability,
        lambda p: (p >= 0.0) & (p <= 1.0),
        "between 0 and 1",
    )
    for name in ("mean_size", "size_deviation", "weight", "budget", "size_floor", "least_size"):
        require(name, getattr(params, name), _is_amount, "finite and at least 0")
    for name in ("forecast_scale", "volatility", "discount_reach"):
        require(name, getattr(params, name), _is_amount, "finite and at least 0")
    require("persistence", params.persistence, lambda x: np.abs(x) < 1.0, "between -1 and 1")
    for name in ("least_arrival", "size_spread", "budget_spread"):
        require(name, getattr(params, name), lambda x: (x >= 0.0) & (x <= 1.0), "between 0 and 1")
    above_0 = lambda x: (x > 0.0) & (x <= 1.0)
    require("common_arrival", params.common_arrival, above_0, "above 0 and at most 1")
    require("discount_centre", params.discount_centre, np.isfinite, "finite")
    weight = concrete(params.weight)
    if weight is not None and not np.any(weight > 0.0):
        raise ValueError("weight must be positive for some agent, got zeros. Use ones for equals.")


def check_shapes(numbers: dict[str, Any], num_steps: int, num_agents: int) -> None:
    """ValueError unless tables are [T, N], the weights [N], a word or absent, and the rest single.

    Args:
      numbers: values of EnvParams by name.
      num_steps, num_agents: T and N.
    """
    table = (num_steps, num_agents)
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(TABLES, table) | {"weight": table[1:]}
    for name, value in numbers.items():
        shape = wanted.get(name, ())
        if not isinstance(value, str) and np.shape(value) != shape:
            meant = "a single number" if not shape else f"of the shape {list(shape)}"
            raise ValueError(f"{name} must be {meant}, got the shape {list(np.shape(value))}.")
    if not numbers.get("max_steps_in_episode", 1) >= 1:
        raise ValueError("max_steps_in_episode must be at least 1.")


def _is_amount(x: np.ndarray) -> np.ndarray:
    return np.isfinite(x) & (x >= 0.0)


def as_float(x: Any) -> Array:
    """The number as an array of the default float dtype."""
    return jnp.asarray(x, float)
