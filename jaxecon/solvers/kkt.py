"""Newton's equations of dense quadratic programmes, the batch in front.

Every inequality, bounds included, is a row of R x + s = h with s >= 0 and a multiplier z >= 0:

    Q x + q + Aᵀ y + Rᵀ z = 0,   A x = b,   R x + s = h,   s z = mu

Eliminating s and z, then y, leaves Cholesky factors of H = Q + Rᵀ W R + Aᵀ A, W = z / s, and of
A H⁻¹ Aᵀ. The term Aᵀ A changes no solution; it makes H definite where only equations hold x.
Rows with an infinite right side are absent: s = 1, z = W = 0 for ever.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.linear import (
    Cholesky,
    cholesky,
    cholesky_solve,
    identity_like,
    matmul,
    times,
    transposed_times,
)
from jaxecon.types import Array


class Problem(NamedTuple):
    """A problem; [n] variables, [p] equations, [m] rows of G, then 0 or n rows for each bound.

    Attributes:
      quadratic: Q, [n, n], symmetric.
      linear: q, [n].
      equality: A, [p, n].
      equality_rhs: b, [p].
      inequality: G, [m, n].
      rhs: h, [m + rows of bounds]: of G, then minus the lower bounds, then the upper ones; infinite
        where a row is absent.
    """

    quadratic: Array
    linear: Array
    equality: Array
    equality_rhs: Array
    inequality: Array
    rhs: Array


class Point(NamedTuple):
    """Primal and dual variables.

    Attributes:
      x: [n].
      y: [p], multipliers of the equations.
      z: [rows], multipliers of the inequalities.
      s: [rows], their slacks.
    """

    x: Array
    y: Array
    z: Array
    s: Array


class Unknowns(NamedTuple):
    """What Newton's equations are solved for, or their right sides: x [n], y [p] and z [rows]."""

    x: Array
    y: Array
    z: Array


PROBLEM_RANKS = (2, 1, 2, 1, 2, 1)


def rows(problem: Problem, x: Array) -> Array:
    """R x, [..., rows]."""
    values = times(problem.inequality, x)
    return jnp.concatenate([values, -x, x], -1) if has_bounds(problem) else values


def rows_transposed(problem: Problem, z: Array) -> Array:
    """Rᵀ z, [..., n]."""
    num_rows, size = problem.inequality.shape[-2:]
    total = transposed_times(problem.inequality, z[..., :num_rows])
    if not has_bounds(problem):
        return total
    return total - z[..., num_rows : num_rows + size] + z[..., num_rows + size :]


def has_bounds(problem: Problem) -> bool:
    """Whether the variables have bounds."""
    return problem.rhs.shape[-1] > problem.inequality.shape[-2]


class System(NamedTuple):
    """What solving with the Newton matrix needs.

    Attributes:
      weights: W, [..., rows].
      hessian: factor of H.
      coupling: H⁻¹ Aᵀ, [..., n, p].
      schur: factor of A H⁻¹ Aᵀ; None where there are no equations.
    """

    weights: Array
    hessian: Cholesky
    coupling: Array
    schur: Cholesky | None


def factorise(problem: Problem, transposed: Array, weights: Array) -> System:
    """Eliminate everything but x, then x.

    Args:
      problem: the problem.
      transposed: Gᵀ, [..., n, m]. The caller keeps it, so that no step transposes G again.
      weights: W, [..., rows].
    """
    quadratic, _, equality, _, inequality, _ = problem
    num_rows, size = inequality.shape[-2:]
    least = 10 * jnp.finfo(weights.dtype).eps  # where nothing else holds x
    diagonal = jnp.full((*weights.shape[:-1], size), least, weights.dtype)
    if has_bounds(problem):
        diagonal = diagonal + weights[..., num_rows : num_rows + size]
        diagonal = diagonal + weights[..., num_rows + size :]
    matrix = quadratic + identity_like(quadratic) * diagonal[..., None]
    if num_rows:
        weighted = transposed * weights[..., None, :num_rows]
        matrix = matrix + matmul(weighted, inequality)
    coupling = jnp.swapaxes(equality, -1, -2)
    if not equality.shape[-2]:
        return System(weights, cholesky(matrix), coupling, None)
    hessian = cholesky(matrix + matmul(coupling, equality))
    halfway = matmul(hessian.inverse, coupling)
    coupling = matmul(jnp.swapaxes(hessian.inverse, -1, -2), halfway)
    schur = cholesky(matmul(jnp.swapaxes(halfway, -1, -2), halfway))
    return System(weights, hessian, coupling, schur)


def _eliminated(problem: Problem, system: System, right: Unknowns) -> Unknowns:
    """`newton_solve` without refinement."""
    stationarity, equations, inequalities = right
    weights = system.weights
    target = stationarity + rows_transposed(problem, weights * inequalities)
    target = target + transposed_times(problem.equality, equations)
    x = cholesky_solve(system.hessian, target)
    y = equations
    if system.schur is not None:
        y = cholesky_solve(system.schur, times(problem.equality, x) - equations)
        x = x - times(system.coupling, y)
    z = weights * (rows(problem, x) - inequalities)
    return Unknowns(x, y, z)


def newton_solve(
    problem: Problem, system: System, right: Unknowns, weights: Array, num_refinements: int
) -> Unknowns:
    """Solves  Q x + Aᵀ y + Rᵀ z = right.x,  A x = right.y,  R x - z / W = right.z.

    Args:
      problem: the problem.
      system: from `factorise`, with W or smaller weights. Smaller ones condition the factors better
        and are made up for by refinement, each step of which is one of the method of multipliers.
      right: right sides.
      weights: W, [..., rows].
      num_refinements: steps of iterative refinement.
    """
    safe = jnp.where(weights > 0, weights, 1.0)
    solution = _eliminated(problem, system, right)

    def refine(_: Array, solution: Unknowns) -> Unknowns:
        x, y, z = solution
        slope = times(problem.quadratic, x) + rows_transposed(problem, z)
        missing = Unknowns(
            right.x - slope - transposed_times(problem.equality, y),
            right.y - times(problem.equality, x),
            jnp.where(weights > 0, right.z - rows(problem, x) + z / safe, 0.0),
        )
        step = _eliminated(problem, system, missing)
        return jax.tree.map(jnp.add, solution, step)

    return jax.lax.fori_loop(0, num_refinements, refine, solution)
