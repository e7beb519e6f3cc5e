"""Quadratic programmes by the thousand, differentiable in every number.

    min_x  1/2 x·Q x + q·x    s.t.   A x = b,   G x <= h,   l <= x <= u

Solved by the interior point of `interior_point.py`. The derivative is that of the optimality
conditions at the answer, one more solve with the same matrix; no iteration is differentiated.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers import implicit
from jaxecon.solvers.batching import broadcast_leading
from jaxecon.solvers.checking import as_floats, common_dtype, concrete, require
from jaxecon.solvers.interior_point import Limits, Status
from jaxecon.solvers.kkt import PROBLEM_RANKS, Problem
from jaxecon.types import Array

EVENTS = {
    "quadratic": "nn",
    "linear": "n",
    "equality_matrix": "pn",
    "equality_rhs": "p",
    "inequality_matrix": "mn",
    "inequality_rhs": "m",
    "lower": "n",
    "upper": "n",
}  # axes of each argument behind the batch


class Solution(NamedTuple):
    """An optimum, or why there is none. Every field is finite, whatever the problem.

    Attributes:
      value: x, [..., n]. Where unbounded: a direction along which the objective falls for ever.
      equality_multipliers: y, [..., p], objective per unit of b: raising b changes the optimum by
        -y. Where infeasible, all multipliers together are a proof of it: Aᵀ y + Gᵀ z - z_l + z_u is
        zero up to rounding while b·y + h·z - l·z_l + u·z_u < 0.
      inequality_multipliers: z, [..., m] >= 0.
      lower_multipliers: z_l, [..., n] >= 0, 0 where a bound is infinite.
      upper_multipliers: z_u, [..., n] >= 0, 0 where a bound is infinite.
      residual: [...] largest of infeasibility, slope of the Lagrangian and gap, each relative to
        the largest term in its equations after rows and columns were scaled to norms near 1 (and
        to the right sides or objective where all terms vanish). The largest float if invalid.
      gap: [...] objective units, sum of slacks times multipliers: the distance to the optimal
        objective, up to the residual.
      status: [...] int32, one of `Status`.
      converged: [...] bool, status is OPTIMAL: the residual is at most `tolerance`, by default
        1e-8 in float64 and 1e-4 in float32.
    """

    value: Array
    equality_multipliers: Array
    inequality_multipliers: Array
    lower_multipliers: Array
    upper_multipliers: Array
    residual: Array
    gap: Array
    status: Array
    converged: Array


def quadratic_programme(
    quadratic: Any,
    linear: Any,
    *,
    equality_matrix: Any = None,
    equality_rhs: Any = None,
    inequality_matrix: Any = None,
    inequality_rhs: Any = None,
    lower: Any = None,
    upper: Any = None,
    smoothing: Any = 0.0,
    num_iterations: int = 60,
    tolerance: float | None = None,
) -> Solution:
    """Minimum of a convex quadratic function on a polyhedron.

    All arguments may have leading batch axes, which broadcast; `jit`, `vmap`, `grad` and `jvp`
    compose in all of them but `smoothing`. Meant for many small problems, n up to about 100.

    Args:
      quadratic: Q, [..., n, n], positive semidefinite; its symmetric part counts.
      linear: q, [..., n].
      equality_matrix: A, [..., p, n], with `equality_rhs` b, [..., p]; None for no equations.
        Redundant equations are fine.
      equality_rhs: see `equality_matrix`.
      inequality_matrix: G, [..., m, n], with `inequality_rhs` h, [..., m]; None for none. Rows with
        h = inf do not bind.
      inequality_rhs: see `inequality_matrix`.
      lower: l, [..., n] or scalar; None or -inf where there is none.
      upper: u, [..., n] or scalar; None or inf where there is none.
      smoothing: mu >= 0, [...] objective units: every slack times its multiplier ends at mu instead
        of 0. The answer is then a smooth function of the problem, and up to mu times the number of
        inequalities from the optimal objective.
      num_iterations: most interior-point steps; each problem stops by itself, usually at 8 to 20.
      tolerance: relative residual at which a problem's steps end and up to which it counts as
        converged. None ends them at 1e-11 in float64 and 1e-6 in float32, and counts 1e-8 and 1e-4
        as converged. Looser ones save steps.

    Returns:
      `Solution`. Its derivatives are exact for mu > 0 and tend, for mu to 0, to those of the
      unsmoothed answer where it has any; at a kink (an inequality that binds with multiplier 0)
      they lie between those of its two sides. They are zero where no optimum was found.

    Raises:
      ValueError: shapes that do not match; in concrete arrays also nan, an infinite coefficient or
        an indefinite Q. Traced, the same numbers give the status INVALID.
    """
    given = {
        "quadratic": quadratic,
        "linear": linear,
        "equality_matrix": equality_matrix,
        "equality_rhs": equality_rhs,
        "inequality_matrix": inequality_matrix,
        "inequality_rhs": inequality_rhs,
        "lower": lower,
        "upper": upper,
    }
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, or be None, got {tolerance}.")
    has_bounds = lower is not None or upper is not None
    arrays = _complete(given)
    _check_numbers(arrays, smoothing)
    dtype = common_dtype(*given.values())
    ranks = [*(len(axes) for axes in EVENTS.values()), 0]
    floats = as_floats(dtype, *arrays.values(), smoothing)
    try:
        full = broadcast_leading(floats, ranks)
    except ValueError as error:
        raise ValueError(f"The leading axes of the arguments do not broadcast: {error}") from None
    return _solve(*full, has_bounds=has_bounds, limits=Limits(num_iterations, tolerance))


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    """Arrays of the right event shapes for everything that may be left out."""
    size = np.shape(given["linear"])[-1:]
    if not size or not size[0]:
        raise ValueError(f"linear must be [..., n] with n >= 1, got {np.shape(given['linear'])}.")
    counts = {"n": size[0]}
    for kind, axis in (("equality", "p"), ("inequality", "m")):
        matrix, rhs = given[f"{kind}_matrix"], given[f"{kind}_rhs"]
        if (matrix is None) != (rhs is None):
            raise ValueError(f"{kind}_matrix and {kind}_rhs must be given together or not at all.")
        counts[axis] = 0 if rhs is None else (np.shape(rhs) or (-1,))[-1]
    arrays = {}
    for name, axes in EVENTS.items():
        event = tuple(counts[axis] for axis in axes)
        fill = {"lower": -np.inf, "upper": np.inf}.get(name, 0.0)
        value = np.full(event, fill) if given[name] is None else given[name]
        if name in ("lower", "upper") and np.ndim(value) == 0:
            value = jnp.full(event, value)
        if np.shape(value)[max(np.ndim(value) - len(event), 0) :] != event:
            raise ValueError(
                f"{name} must be [..., {', '.join(axes)}] with the sizes {list(event)} to match "
                f"the other arguments, got the shape {list(np.shape(value))}."
            )
        arrays[name] = value
    return arrays


def _check_numbers(arrays: dict[str, Any], smoothing: Any) -> None:
    """Raise ValueError for concrete numbers that make no convex programme."""
    for name in ("quadratic", "linear", "equality_matrix", "equality_rhs", "inequality_matrix"):
        require(name, arrays[name], np.isfinite, "finite")
    for name in ("inequality_rhs", "upper"):
        require(name, arrays[name], lambda x: x > -np.inf, "a number above -inf")
    require("lower", arrays["lower"], lambda x: x < np.inf, "a number below inf")
    require("smoothing", smoothing, lambda x: np.isfinite(x) & (x >= 0), "finite and at least 0")
    quadratic = concrete(arrays["quadratic"])
    if quadratic is None:
        return
    symmetric = 0.5 * (quadratic + np.swapaxes(quadratic, -1, -2))
    curvature = np.linalg.eigvalsh(symmetric)  # ascending
    eps = np.finfo(np.result_type(quadratic.dtype, np.float32)).eps
    slack = 100 * eps * quadratic.shape[-1] * np.abs(curvature).max(-1)
    require(
        "the smallest eigenvalue of quadratic",
        np.where(curvature[..., 0] >= -slack, 0.0, curvature[..., 0]),
        lambda x: x >= 0,
        "at least 0",
        "The problem is not convex; a multiple of the identity added to quadratic makes it so.",
    )


@functools.partial(jax.jit, static_argnames=("has_bounds", "limits"))
def _solve(
    quadratic: Array,
    linear: Array,
    equality: Array,
    equality_rhs: Array,
    inequality: Array,
    inequality_rhs: Array,
    lower: Array,
    upper: Array,
    smoothing: Array,
    *,
    has_bounds: bool,
    limits: Limits,
) -> Solution:
    """Stack the inequalities, solve, and take the answer apart."""
    symmetric = 0.5 * (quadratic + jnp.swapaxes(quadratic, -1, -2))
    bounds = [-lower, upper] if has_bounds else []
    rhs = jnp.concatenate([inequality_rhs, *bounds], -1)
    problem = Problem(symmetric, linear, equality, equality_rhs, inequality, rhs)
    is_valid = _is_valid(problem, smoothing)
    optimum = implicit.optimum(limits, *_made_harmless(problem, smoothing, is_valid))
    x, y, z, s = optimum.point
    status = jnp.where(is_valid, optimum.status, Status.INVALID)
    has_point = (status != Status.INVALID)[..., None]
    num_rows, size = inequality.shape[-2:]
    keep = lambda array: jnp.where(has_point, array, 0.0)
    of_bounds = keep(z[..., num_rows:]) if has_bounds else jnp.zeros_like(x)
    return Solution(
        value=keep(x),
        equality_multipliers=keep(y),
        inequality_multipliers=keep(z[..., :num_rows]),
        lower_multipliers=of_bounds[..., :size],
        upper_multipliers=of_bounds[..., -size:],
        residual=jnp.where(has_point[..., 0], optimum.residual, jnp.finfo(x.dtype).max),
        gap=jnp.sum(keep(s * z), -1),
        status=status,
        converged=status == Status.OPTIMAL,
    )


def _is_valid(problem: Problem, smoothing: Array) -> Array:
    """[...] whether the numbers make a programme; whether it is convex, the solver finds out."""
    valid = jnp.isfinite(smoothing) & (smoothing >= 0)
    for array, rank in zip(problem[:-1], PROBLEM_RANKS[:-1], strict=True):
        valid &= jnp.all(jnp.isfinite(array), tuple(range(-rank, 0)))
    return valid & jnp.all(problem.rhs > -jnp.inf, -1)


def _made_harmless(problem: Problem, smoothing: Array, is_valid: Array) -> tuple[Problem, Array]:
    """The same where valid, elsewhere a problem whose answer is zero."""

    def safe(array: Array, rank: int, default: float) -> Array:
        return jnp.where(jnp.reshape(is_valid, is_valid.shape + (1,) * rank), array, default)

    ranks = zip(problem, PROBLEM_RANKS, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0), strict=True)
    return Problem(*(safe(*triple) for triple in ranks)), safe(smoothing, 0, 0.0)
