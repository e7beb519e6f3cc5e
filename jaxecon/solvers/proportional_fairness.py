"""Proportionally fair allocation of divisible resources, by the million and with gradients.

    max_a  sum_i w_i log(v_i . a_i) - <c, a> - 1/2 sum_im k_im a_im^2
    s.t.   0 <= a <= x,  sum_i a_im <= b_m

With c = k = 0 this is the proportional-fairness (maximum Nash welfare, Eisenberg-Gale) mechanism.
Solved by a primal-dual interior point (`central_path.py`): the Newton matrix has a rank-one block
per agent and a coupling per resource, so a step costs O(N M^2 + M^3) instead of O((N M)^3). The
derivative is that of the barrier-smoothed optimum, by one more solve with the same matrix.

Sources: Eisenberg and Gale (1959); Nesterov and Nemirovskii (1994) for the barrier; the elimination
is our own.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers.batching import broadcast_leading
from jaxecon.solvers.central_path import Problem, central_point, duality_gap
from jaxecon.solvers.checking import as_floats, common_dtype, concrete, require
from jaxecon.types import Array

LEAST_DEMAND = 1e-6  # of the supply; smaller demands are solved at this size and scaled
NO_CAP = 2.0  # of the supply; a larger demand never binds


class Solution(NamedTuple):
    """An allocation, and what is certain about it.

    Attributes:
      value: a, [..., N, M] units, within its bounds.
      price: p, [..., M] objective per unit, shadow prices of the supplies, >= 0.
      residual: [...] largest excess of the allocation over a supply or demand, in units of the
        resource's supply.
      gap: [...] certified bound on the distance to the optimal objective, by duality; it needs no
        reference solver and holds whatever the iteration did.
      converged: [...] bool; the gap is what the smoothing allows and the allocation is feasible.
        False for problems without a meaning (negative valuations, an empty supply, nan), whose
        other fields are then zeros, with the largest float as gap and residual.
    """

    value: Array
    price: Array
    residual: Array
    gap: Array
    converged: Array


def default_smoothing(dtype: Any) -> float:
    """Barrier weight at which a dtype still converges everywhere."""
    return 1e-5 if jnp.finfo(dtype).bits <= 32 else 1e-9


def proportional_fairness(
    valuations: Any,
    demands: Any = None,
    supplies: Any = None,
    weights: Any = None,
    *,
    linear_cost: Any = None,
    quadratic_cost: Any = None,
    smoothing: Any = None,
    num_iterations: int = 60,
) -> Solution:
    """Allocation that maximises weighted Nash welfare, less optional costs.

    All arguments may have leading batch axes, which broadcast; `jit`, `vmap`, `grad` and `jvp`
    compose, to any order, in all six arrays. Utilities and prices of scarce resources are unique;
    where the allocation is not, this is the analytic centre of the optimal ones.

    Args:
      valuations: v, [..., N, M] utils per unit, >= 0. Each row's scale is irrelevant without costs.
      demands: x, [..., N, M] units, >= 0; None for no caps.
      supplies: b, [..., M] units, > 0; None for 1 of each.
      weights: w, [..., N], >= 0; None for 1. An agent with weight 0 is absent and gets nothing.
      linear_cost: c, [..., N, M] objective per unit, any sign; None for 0.
      quadratic_cost: k, [..., N, M] objective per unit squared, >= 0; None for 0.
      smoothing: mu, [...] or scalar, weight of the logarithmic barrier where weights have mean 1;
        the objective is then up to (2 N + 1) M mu from its optimum. Traced. None for 1e-5 in
        float32, 1e-9 in float64.
      num_iterations: most Newton steps; every problem stops when it has converged.

    Returns:
      `Solution`. Its derivatives are exact for the smoothed problem, at every mu > 0, and tend to
      those of the unsmoothed one where that is differentiable.

    Raises:
      ValueError: shapes that do not match; or, in concrete arrays, a negative or non-finite number,
        an agent of positive weight who values nothing, or a supply of zero.
    """
    given = {
        "valuations": valuations,
        "demands": demands,
        "supplies": supplies,
        "weights": weights,
        "linear_cost": linear_cost,
        "quadratic_cost": quadratic_cost,
    }
    given = {name: value for name, value in given.items() if value is not None}
    dtype = common_dtype(*given.values())
    given["smoothing"] = default_smoothing(dtype) if smoothing is None else smoothing
    events = _event_shapes(valuations)
    for name, value in given.items():
        event = events[name]
        if np.shape(value)[np.ndim(value) - len(event) :] != event:
            raise ValueError(
                f"{name} must be [..., {', '.join(map(str, event))}] to match valuations "
                f"{list(np.shape(valuations))}, got the shape {list(np.shape(value))}."
            )
    _check_numbers(given)
    ranks = [len(events[name]) for name in given]
    try:
        arrays = broadcast_leading(as_floats(dtype, *given.values()), ranks)
    except ValueError as error:
        raise ValueError(f"The leading axes of the arguments do not broadcast: {error}") from None
    return _solve(dict(zip(given, arrays, strict=True)), num_iterations=num_iterations)


def _event_shapes(valuations: Any) -> dict[str, tuple[int, ...]]:
    """Trailing axes of every argument."""
    shape = np.shape(valuations)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ValueError(
            f"valuations must be [..., N, M] with at least one agent and one resource, got the "
            f"shape {list(shape)}."
        )
    pairs, agents, resources = shape[-2:], shape[-2:-1], shape[-1:]
    return {
        "valuations": pairs,
        "demands": pairs,
        "supplies": resources,
        "weights": agents,
        "linear_cost": pairs,
        "quadratic_cost": pairs,
        "smoothing": (),
    }


def _check_numbers(given: dict[str, Any]) -> None:
    """Raise ValueError for concrete numbers that make no allocation problem."""
    at_least_zero = (lambda x: np.isfinite(x) & (x >= 0), "finite and at least 0")
    above_zero = (lambda x: np.isfinite(x) & (x > 0), "finite and above 0")
    rules: dict[str, tuple[Any, str]] = {
        "demands": (lambda x: x >= 0, "at least 0"),  # infinity is no cap
        "supplies": above_zero,
        "linear_cost": (np.isfinite, "finite"),
        "smoothing": above_zero,
    }
    for name, value in given.items():
        require(name, value, *rules.get(name, at_least_zero))
    values, weights = concrete(given["valuations"]), concrete(given.get("weights", 1.0))
    if weights is not None and "weights" in given:
        require("the sum of the weights", weights.sum(-1), lambda x: x > 0, "above 0")
    if values is None or weights is None:
        return
    require(
        "the sum of each agent's valuations",
        np.where(weights > 0, values.sum(-1), 1.0),
        lambda x: x > 0,
        "above 0",
        "Give an absent agent the weight 0.",
    )


class _Scaled(NamedTuple):
    """A scaled problem and what leads back."""

    problem: Problem
    supplies: Array  # [..., 1, M]
    mean_weight: Array  # [..., 1]
    is_counted: Array  # [..., N, M], False where the agent is absent
    wanted: Array  # [..., N, M] demands in units of the supply


def _is_valid(given: dict[str, Array]) -> Array:
    """[...] whether a traced problem has a meaning."""
    events: dict[str, tuple[int, ...]] = {name: (-2, -1) for name in given}
    events |= {"supplies": (-1,), "weights": (-1,), "smoothing": ()}
    has_value = given["valuations"].sum(-1) > 0
    is_absent = given["weights"] <= 0 if "weights" in given else jnp.zeros_like(has_value)
    valid = jnp.all(has_value | is_absent, -1) & ~jnp.all(is_absent, -1)
    for name, array in given.items():
        fine = ~jnp.isnan(array) if name == "demands" else jnp.isfinite(array)
        if name != "linear_cost":
            fine &= array > 0 if name in ("supplies", "smoothing") else array >= 0
        valid &= jnp.all(fine, events[name])
    return valid


def _scale(given: dict[str, Array], is_valid: Array) -> _Scaled:
    """Supplies of 1, weights of mean 1, rows of valuations that sum to 1; junk made harmless."""
    leading, dtype = is_valid.shape, given["valuations"].dtype
    events = _event_shapes(given["valuations"])

    def safe(name: str, default: float) -> Array:
        neutral = jnp.full(leading + events[name], default, dtype)
        flag = jnp.reshape(is_valid, leading + (1,) * len(events[name]))
        return jnp.where(flag, given[name], neutral) if name in given else neutral

    weights, supplies = safe("weights", 1.0), safe("supplies", 1.0)[..., None, :]
    is_present = weights > 0
    is_counted = jnp.broadcast_to(is_present[..., None], given["valuations"].shape)
    present = is_present.sum(-1, keepdims=True).astype(weights.dtype)
    mean_weight = weights.sum(-1, keepdims=True) / present
    per_unit = supplies / mean_weight[..., None]
    most = safe("valuations", 1.0).max(-1, keepdims=True)
    relative = safe("valuations", 1.0) / jnp.where(most > 0, most, 1.0)
    values = relative * (supplies / supplies.max(-1, keepdims=True))
    values = jnp.where(is_counted, values, jnp.ones_like(values))
    wanted = jnp.minimum(safe("demands", np.inf), NO_CAP * supplies) / supplies
    problem = Problem(
        valuations=values / values.sum(-1, keepdims=True),
        demands=jnp.maximum(jnp.where(is_counted, wanted, 0.0), LEAST_DEMAND),
        weights=weights / mean_weight,
        linear=safe("linear_cost", 0.0) * per_unit,
        quadratic=safe("quadratic_cost", 0.0) * supplies * per_unit,
        smoothing=safe("smoothing", 1.0),
    )
    return _Scaled(problem, supplies, mean_weight, is_counted, wanted)


@functools.partial(jax.jit, static_argnames="num_iterations")
def _solve(given: dict[str, Array], *, num_iterations: int) -> Solution:
    """Scale the problems, find their central points, certify these and scale back."""
    is_valid = _is_valid(given)
    scaled = _scale(given, is_valid)
    problem = scaled.problem
    point = central_point(num_iterations, problem)
    share = point.allocation * jnp.minimum(scaled.wanted / problem.demands, 1.0)
    share = jnp.where(scaled.is_counted, share, 0.0)
    gap = duality_gap(problem, point)
    excess = jnp.maximum(share.sum(-2).max(-1) - 1.0, jnp.max(share - scaled.wanted, (-2, -1)))
    residual = jnp.maximum(excess, 0.0)
    num_agents, num_resources = share.shape[-2:]
    info = jnp.finfo(share.dtype)
    rounding = 20 * info.eps * num_agents
    allowed = 1.5 * (2 * num_agents + 1) * num_resources * problem.smoothing + rounding
    valid = is_valid[..., None]
    return Solution(
        value=jnp.where(valid[..., None], share * scaled.supplies, 0.0),
        price=jnp.where(valid, point.price * scaled.mean_weight / scaled.supplies[..., 0, :], 0.0),
        residual=jnp.where(is_valid, residual, info.max),
        gap=jnp.where(is_valid & jnp.isfinite(gap), gap * scaled.mean_weight[..., 0], info.max),
        converged=is_valid & (gap <= allowed) & (residual <= rounding),
    )
