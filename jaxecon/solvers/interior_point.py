"""Mehrotra's predictor-corrector method for quadratic programmes, the batch in front.

Problems are equilibrated first. The loop keeps the best point seen, stops once nothing improves,
and looks at every iterate for a proof that there is no solution:

    infeasible   y, z >= 0 with Aᵀ y + Rᵀ z = 0 and b·y + h·z < 0     (Farkas)
    unbounded    x with Q x = 0, A x = 0, R x <= 0 and q·x < 0

Source: Mehrotra (1992), On the implementation of a primal-dual interior point method, SIAM Journal
on Optimization 2.
"""

import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers import kkt
from jaxecon.solvers.equilibration import equilibrate, unscale
from jaxecon.solvers.kkt import Point, Problem, Unknowns
from jaxecon.solvers.linear import (
    cholesky,
    cholesky_solve,
    is_semidefinite,
    matmul,
    times,
    transposed_times,
)
from jaxecon.types import Array

TO_BOUNDARY = 0.99  # share of the way to the nearest bound that a step may go
NUM_REFINEMENTS = 1  # of each corrector
LARGEST_WEIGHT = -0.75  # power of eps: weights z / s above are lowered for the factors' sake
PATIENCE = 4  # steps without improvement until a problem is given up; 1 if accurate enough
GIVEN_UP = -1  # status inside the loop: no further steps, verdict by the residual


class Status(enum.IntEnum):
    """What a solver found out about a problem."""

    OPTIMAL = 0  # solved to the tolerance
    INFEASIBLE = 1  # the constraints contradict each other; the multipliers prove it
    UNBOUNDED = 2  # the objective falls for ever along `value`
    STALLED = 3  # neither, within the steps allowed
    INVALID = 4  # not a convex programme: nan, or an indefinite Q


class Limits(NamedTuple):
    """When to stop; static.

    Attributes:
      num_iterations: most steps.
      tolerance: relative residual at which a problem's steps end and up to which it counts as
        solved; None for `tolerances` of the dtype.
    """

    num_iterations: int
    tolerance: float | None


class Result(NamedTuple):
    """What the loop hands back.

    Attributes:
      point: the best one, or the proof that there is none.
      residual: [B] relative, see `qp.Solution`.
      status: [B] int32.
    """

    point: Point
    residual: Array
    status: Array


def solve(limits: Limits, *arrays: Array) -> Result:
    """Solve problems [B, ...], `Problem` and the barrier's weight [B] at which to stop."""
    *fields, smoothing = arrays
    given = Problem(*fields)
    is_convex = is_semidefinite(given.quadratic)
    problem, scaling = equilibrate(given)
    result = _iterate(problem, smoothing * scaling.objective, limits)
    status = jnp.where(is_convex, result.status, Status.INVALID)
    return Result(unscale(result.point, scaling), result.residual, status)


class _View(NamedTuple):
    """A point's images under the problem's matrices, and the residuals they leave."""

    quadratic: Array  # Q x, [B, n]
    equality: Array  # A x, [B, p]
    equality_dual: Array  # Aᵀ y, [B, n]
    inequality: Array  # R x, [B, rows]
    inequality_dual: Array  # Rᵀ z, [B, n]
    stationarity: Array  # [B, n]
    equations: Array  # [B, p]
    inequalities: Array  # [B, rows]


def _view(problem: Problem, point: Point) -> _View:
    x, y, z, s = point
    quadratic, equality = times(problem.quadratic, x), times(problem.equality, x)
    equality_dual = transposed_times(problem.equality, y)
    inequality, inequality_dual = kkt.rows(problem, x), kkt.rows_transposed(problem, z)
    return _View(
        quadratic,
        equality,
        equality_dual,
        inequality,
        inequality_dual,
        quadratic + problem.linear + equality_dual + inequality_dual,
        equality - problem.equality_rhs,
        jnp.where(jnp.isfinite(problem.rhs), inequality + s - problem.rhs, 0.0),
    )


def _norm(*arrays: Array) -> Array:
    """[B] largest magnitude in arrays [B, k]; zero where there is none."""
    return functools.reduce(jnp.maximum, [jnp.max(jnp.abs(a), -1, initial=0.0) for a in arrays])


def _residual(problem: Problem, point: Point, view: _View, smoothing: Array) -> Array:
    """[B] largest of infeasibility, slope and complementarity, each relative to its terms."""
    finite = jnp.isfinite(problem.rhs)
    rhs = jnp.where(finite, problem.rhs, 0.0)
    sides = jnp.concatenate([problem.equality_rhs, rhs], -1)
    least = jnp.min(jnp.where(sides == 0, 1.0, jnp.abs(sides)), -1, initial=1.0)
    slope = _norm(problem.linear)
    slope = jnp.minimum(1.0, jnp.where(slope > 0, slope, least))
    primal = _norm(view.equations, view.inequalities)
    primal_size = _norm(
        view.equality, problem.equality_rhs, jnp.where(finite, view.inequality, 0.0)
    )
    dual_size = _norm(view.quadratic, problem.linear, view.equality_dual, view.inequality_dual)
    products = point.s * point.z - smoothing[..., None]
    excess = jnp.sum(jnp.where(finite, jnp.maximum(products, 0.0), 0.0), -1)
    value = jnp.abs(jnp.sum(point.x * view.quadratic, -1))
    value = value + jnp.abs(jnp.sum(point.x * problem.linear, -1))
    return functools.reduce(
        jnp.maximum,
        [
            primal / (primal_size + least),
            _norm(view.stationarity) / (dual_size + slope),
            excess / (value + slope * least),
        ],
    )


def _proofs(problem: Problem, point: Point, view: _View) -> tuple[Array, Array]:
    """[B], [B]: how much the multipliers contradict the constraints, and x falls for ever.

    Each is 1 for a proof up to the dtype's tolerance and grows with its strength.
    """
    x, y, z, _ = point
    finite = jnp.isfinite(problem.rhs)
    trust = 1e-3 if jnp.finfo(x.dtype).bits <= 32 else 1e-6
    rhs = jnp.where(finite, problem.rhs, 0.0)
    contradiction = -jnp.sum(problem.equality_rhs * y, -1) - jnp.sum(rhs * z, -1)
    left_over = _norm(view.equality_dual + view.inequality_dual) * (1.0 + jnp.abs(x).sum(-1))
    descent = -jnp.sum(problem.linear * x, -1)
    beyond = jnp.where(finite, jnp.maximum(view.inequality, 0.0), 0.0)
    curved = _norm(view.quadratic, view.equality, beyond)
    curved = curved * (1.0 + jnp.abs(y).sum(-1) + jnp.abs(z).sum(-1))
    tiny = jnp.finfo(x.dtype).tiny
    return (
        trust * contradiction / jnp.maximum(left_over, tiny),
        trust * descent / jnp.maximum(curved, tiny),
    )


def _contradicting_equations(problem: Problem) -> tuple[Array, Array]:
    """([B] how much the equations contradict each other, on the scale of `_proofs`, y [B, p]).

    Where x is as near to A x = b as can be, y = A x - b has Aᵀ y = 0 and b·y = -|y|² < 0.
    """
    matrix, rhs = problem.equality, problem.equality_rhs
    factor = cholesky(matmul(jnp.swapaxes(matrix, -1, -2), matrix))
    x = cholesky_solve(factor, transposed_times(matrix, rhs))
    x = x + cholesky_solve(factor, transposed_times(matrix, rhs - times(matrix, x)))
    y = times(matrix, x) - rhs
    info = jnp.finfo(y.dtype)
    trust = 1e-3 if info.bits <= 32 else 1e-6
    left_over = _norm(transposed_times(matrix, y)) * (1.0 + jnp.abs(x).sum(-1))
    strength = trust * jnp.sum(jnp.square(y), -1) / jnp.maximum(left_over, info.tiny)
    return jnp.where(_norm(y) > trust * _norm(rhs), strength, 0.0), y


def tolerances(dtype: Any) -> tuple[float, float]:
    """Relative residuals: up to which a problem counts as solved, and at which steps end."""
    return (1e-4, 1e-6) if jnp.finfo(dtype).bits <= 32 else (1e-8, 1e-11)


def _start(problem: Problem) -> Point:
    """The origin, and slacks and multipliers whose products are all alike."""
    is_row = jnp.isfinite(problem.rhs)
    level = jnp.max(jnp.where(is_row, -problem.rhs, 1.0), -1, initial=1.0)[..., None]
    slack = jnp.where(is_row, jnp.maximum(problem.rhs, level), 1.0)
    multiplier = jnp.where(is_row, level / slack, 0.0)
    return Point(
        jnp.zeros_like(problem.linear), jnp.zeros_like(problem.equality_rhs), multiplier, slack
    )


def _direction(
    problem: Problem,
    system: kkt.System,
    point: Point,
    view: _View,
    products: Array,
    num_refinements: int,
) -> Point:
    """Newton step towards optimality that lowers the products s z by `products`."""
    _, _, z, s = point
    is_row = jnp.isfinite(problem.rhs)
    lowered = products / jnp.where(is_row, z, 1.0)
    right = Unknowns(-view.stationarity, -view.equations, lowered - view.inequalities)
    x, y, dz = kkt.newton_solve(problem, system, right, z / s, num_refinements)
    return Point(x, y, dz, -lowered - s / jnp.where(is_row, z, 1.0) * dz)


def _longest(point: Point, step: Point) -> Array:
    """[B] longest step, at most 1, that stops short of the nearest bound."""
    worst = jnp.asarray(TO_BOUNDARY, step.s.dtype)
    for x, dx in ((point.s, step.s), (point.z, step.z)):
        shrinking = -dx / jnp.where(x > 0, x, 1.0)
        worst = jnp.maximum(worst, jnp.max(shrinking, -1, initial=0.0))
    return TO_BOUNDARY / worst


def _step(
    problem: Problem, transposed: Array, point: Point, view: _View, smoothing: Array
) -> Point:
    """Predictor, corrector and the point they lead to."""
    _, _, z, s = point
    is_row = jnp.isfinite(problem.rhs)
    most = jnp.finfo(z.dtype).eps ** LARGEST_WEIGHT
    system = kkt.factorise(problem, transposed, jnp.minimum(z / s, most))
    count = jnp.maximum(jnp.sum(jnp.where(is_row, jnp.ones_like(s), 0.0), -1), 1.0)
    mean = lambda products: jnp.sum(jnp.where(is_row, products, 0.0), -1) / count
    average = mean(s * z)

    above = lambda products, target: jnp.where(is_row, products - target[..., None], 0.0)
    predictor = _direction(problem, system, point, view, above(s * z, smoothing), 0)
    length = _longest(point, predictor)[..., None]
    left = mean((s + length * predictor.s) * (z + length * predictor.z))
    ratio = jnp.clip(left / jnp.where(average > 0, average, 1.0), 0.0, 1.0)
    target = jnp.maximum(ratio**3 * average, smoothing)
    excess = above(s * z + predictor.s * predictor.z, target)
    step = _direction(problem, system, point, view, excess, NUM_REFINEMENTS)
    length = _longest(point, step)[..., None]
    return jax.tree.map(lambda old, change: old + length * change, point, step)


class _Loop(NamedTuple):
    point: Point
    best: Point
    residual: Array  # [B] of the best point
    status: Array  # [B]
    waited: Array  # [B] steps since the best point
    iteration: Array  # ()


def _iterate(problem: Problem, smoothing: Array, limits: Limits) -> Result:
    """Steps until each problem is solved, given up or shown to have no solution."""
    accepted, wanted = tolerances(problem.linear.dtype)
    if limits.tolerance is not None:
        accepted = wanted = limits.tolerance
    batch = smoothing.shape
    transposed = jnp.swapaxes(problem.inequality, -1, -2)

    def advance(loop: _Loop) -> _Loop:
        point = loop.point
        view = _view(problem, point)
        residual = _residual(problem, point, view, smoothing)
        is_active = loop.status == Status.STALLED
        is_better = is_active & (residual < loop.residual)
        waited = jnp.where(is_better, 0, loop.waited + 1)
        infeasible, unbounded = _proofs(problem, point, view)
        patience = jnp.where(loop.residual <= accepted, 1, PATIENCE)
        status = jnp.where(loop.waited >= patience, GIVEN_UP, Status.STALLED)
        status = jnp.where(unbounded > 1.0, Status.UNBOUNDED, status)
        status = jnp.where(infeasible > 1.0, Status.INFEASIBLE, status)
        status = jnp.where(residual <= wanted, Status.OPTIMAL, status)
        status = jnp.where(is_active, status, loop.status)
        is_ray = is_active & ((status == Status.INFEASIBLE) | (status == Status.UNBOUNDED))
        pick = lambda flag, new, old: jax.tree.map(
            lambda n, o: jnp.where(flag[..., None], n, o), new, old
        )
        best = pick(is_better | is_ray, point, loop.best)
        moved = _step(problem, transposed, point, view, smoothing)
        is_finite = jnp.isfinite(functools.reduce(jnp.add, [part.sum(-1) for part in moved]))
        going = (status == Status.STALLED) & is_finite
        return _Loop(
            pick(going, moved, point),
            best,
            jnp.where(is_better, residual, loop.residual),
            jnp.where(is_active & ~is_finite & (status == Status.STALLED), GIVEN_UP, status),
            waited,
            loop.iteration + 1,
        )

    start = first = _start(problem)
    status = jnp.full(batch, Status.STALLED, jnp.int32)
    if problem.equality.shape[-2]:
        contradiction, y = _contradicting_equations(problem)
        status = jnp.where(contradiction > 1.0, Status.INFEASIBLE, status)
        is_proof = (contradiction > 1.0)[..., None]
        first = first._replace(
            y=jnp.where(is_proof, y, first.y), z=jnp.where(is_proof, 0.0, first.z)
        )
    loop = _Loop(
        start,
        first,
        jnp.full(batch, jnp.finfo(smoothing.dtype).max),
        status,
        jnp.zeros(batch, jnp.int32),
        jnp.int32(0),
    )

    def go_on(loop: _Loop) -> Array:
        return jnp.any(loop.status == Status.STALLED) & (loop.iteration < limits.num_iterations)

    loop = jax.lax.while_loop(go_on, advance, loop)
    is_open = (loop.status == GIVEN_UP) | (loop.status == Status.STALLED)
    verdict = jnp.where(loop.residual <= accepted, Status.OPTIMAL, Status.STALLED)
    return Result(loop.best, loop.residual, jnp.where(is_open, verdict, loop.status))
