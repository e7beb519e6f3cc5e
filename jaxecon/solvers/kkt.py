"""Newton's equations of dense quadratic programmes, the batch innermost.

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
    cholesky_of_panels,
    cholesky_solve,
    lower_panels,
    product,
    transposed_product,
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
    """R x, [rows, B]."""
    values = product(problem.inequality, x)
    return jnp.concatenate([values, -x, x]) if has_bounds(problem) else values


def rows_transposed(problem: Problem, z: Array) -> Array:
    """Rᵀ z, [n, B]."""
    num_rows, size = problem.inequality.shape[:2]
    total = transposed_product(problem.inequality, z[:num_rows])
    if not has_bounds(problem):
        return total
    return total - z[num_rows : num_rows + size] + z[num_rows + size :]


def has_bounds(problem: Problem) -> bool:
    """Whether the variables have bounds."""
    return problem.rhs.shape[0] > problem.inequality.shape[0]


class System(NamedTuple):
    """What solving with the Newton matrix needs.

    Attributes:
      weights: W, [rows, B].
      hessian: factor of H.
      coupling: H⁻¹ Aᵀ, [n, p, B].
      schur: factor of A H⁻¹ Aᵀ; None where there are no equations.
    """

    weights: Array
    hessian: Cholesky
    coupling: Array
    schur: Cholesky | None


def factorise(problem: Problem, weights: Array) -> System:
    """Eliminate everything but x, then x."""
    quadratic, _, equality, _, inequality, _ = problem
    num_rows, size = inequality.shape[:2]
    least = 10 * jnp.finfo(weights.dtype).eps  # where nothing else holds x
    diagonal = jnp.full((size, weights.shape[-1]), least, weights.dtype)
    if has_bounds(problem):
        diagonal = diagonal + weights[num_rows : num_rows + size] + weights[num_rows + size :]
    weighted = inequality * weights[:num_rows, None]
    panels = []
    for panel in lower_panels(quadratic):
        start, width = size - panel.shape[0], panel.shape[1]
        columns = slice(start, start + width)
        panel = panel + transposed_product(weighted[:, start:], inequality[:, columns])
        panel = panel + transposed_product(equality[:, start:], equality[:, columns])
        on_diagonal = jnp.eye(size - start, width, dtype=bool)[:, :, None]
        panels.append(panel + jnp.where(on_diagonal, diagonal[start:, None], 0.0))
    hessian = cholesky_of_panels(panels)
    coupling = jnp.swapaxes(equality, 0, 1)
    if not equality.shape[0]:
        return System(weights, hessian, coupling, None)
    coupling = cholesky_solve(hessian, coupling)
    return System(weights, hessian, coupling, cholesky(product(equality, coupling)))


def _eliminated(problem: Problem, system: System, right: Unknowns) -> Unknowns:
    """`newton_solve` without refinement."""
    stationarity, equations, inequalities = right
    weights = system.weights
    target = stationarity + rows_transposed(problem, weights * inequalities)
    target = target + transposed_product(problem.equality, equations)
    x = cholesky_solve(system.hessian, target)
    y = equations
    if system.schur is not None:
        y = cholesky_solve(system.schur, product(problem.equality, x) - equations)
        x = x - product(system.coupling, y)
    z = weights * (rows(problem, x) - inequalities)
    return Unknowns(x, y, z)


def newton_solve(
    problem: Problem, system: System, right: Unknowns, num_refinements: int = 1
) -> Unknowns:
    """Solves  Q x + Aᵀ y + Rᵀ z = right.x,  A x = right.y,  R x - z / W = right.z."""

    def refine(index: Array, solution: Unknowns) -> Unknowns:
        x, y, z = solution
        slope = product(problem.quadratic, x) + rows_transposed(problem, z)
        missing = Unknowns(
            right.x - slope - transposed_product(problem.equality, y),
            right.y - product(problem.equality, x),
            jnp.where(index == 0, right.z, 0.0),  # holds after the first elimination
        )
        step = _eliminated(problem, system, missing)
        return jax.tree.map(jnp.add, solution, step)

    zeros = jax.tree.map(jnp.zeros_like, right)
    return jax.lax.fori_loop(0, num_refinements + 1, refine, zeros)
