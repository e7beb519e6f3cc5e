"""The optimum of a quadratic programme as a differentiable function of its numbers.

At the answer the Newton matrix, made symmetric by dividing each row of the inequalities by w,
w² = z / s, takes changes of the problem to changes of the answer:

    [ Q    Aᵀ  Rᵀw ] [ dx     ]   [ -(dQ x + dq + dAᵀ y + dRᵀ z) ]
    [ A    0   0   ] [ dy     ] = [ db - dA x                    ]
    [ w R  0   -1  ] [ dz / w ]   [ w (dh - dR x)                ]

Each product s z is held where it is, so the matrix is regular at any interior point; absent rows
have w = 0.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers import interior_point, kkt
from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.interior_point import Result, Status
from jaxecon.solvers.kkt import Point, Problem, Unknowns
from jaxecon.types import Array, PyTree

BLOCKS_PER_CACHE = 1
NUM_REFINEMENTS = 2  # of the derivative's solve, which meets the worst conditioned matrix


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def optimum(num_iterations: int, problem: Problem, smoothing: Array) -> Result:
    """Answers of problems with any leading axes, `Result` with the same.

    Args:
      num_iterations: most steps.
      problem: `Problem` with leading axes in front.
      smoothing: [...] what each slack times its multiplier ends at; not differentiated.
    """
    core = functools.partial(interior_point.solve, num_iterations)
    return _batched(core, problem, smoothing)


@optimum.defjvp
def _optimum_jvp(
    num_iterations: int, primals: tuple[Problem, Array], tangents: tuple[Problem, Array]
) -> tuple[Result, Result]:
    """See the module's first lines."""
    (problem, smoothing), (change, _) = primals, tangents
    result = optimum(num_iterations, problem, smoothing)
    x, y, z, s = result.point
    has_derivative = (result.status == Status.OPTIMAL) | (result.status == Status.STALLED)
    keep = lambda array: jnp.where(has_derivative[..., None], array, 0.0)
    is_row = jnp.isfinite(problem.rhs) & has_derivative[..., None]
    root = jnp.where(is_row, jnp.sqrt(z / s), 0.0)
    reach = jnp.where(is_row, change.rhs, 0.0) - _padded(problem, _times(change.inequality, x))
    slope = _times(change.quadratic, x) + change.linear + _transposed(change.equality, y)
    slope = slope + _transposed(change.inequality, z[..., : change.inequality.shape[-2]])
    equations = change.equality_rhs - _times(change.equality, x)
    right = Unknowns(keep(-slope), keep(equations), root * reach)
    dx, dy, scaled = _solve_symmetric(problem, root, right)
    dz = root * scaled
    ds = jnp.where(is_row, reach - _rows(problem, dx), 0.0)
    tangent = Point(keep(dx), keep(dy), dz, ds)
    frozen: Any = np.zeros(result.status.shape, jax.dtypes.float0)
    return result, Result(tangent, jnp.zeros_like(result.residual), frozen)


def _solve_symmetric(problem: Problem, root: Array, right: Unknowns) -> Unknowns:
    """Solution of the system at the top; differentiable itself."""
    ends = [problem.linear.shape[-1], problem.linear.shape[-1] + problem.equality_rhs.shape[-1]]
    join = lambda parts: jnp.concatenate(parts, -1)  # one vector: a transpose needs all of it
    cut = lambda vector: Unknowns(*jnp.split(vector, ends, -1))

    def apply(vector: Array) -> Array:
        x, y, scaled = cut(vector)
        top = _times(problem.quadratic, x) + _transposed(problem.equality, y)
        top = top + _rows_transposed(problem, root * scaled)
        return join([top, _times(problem.equality, x), root * _rows(problem, x) - scaled])

    solve = lambda _, target: join(_batched(_newton, problem, root, *cut(target)))
    return cut(jax.lax.custom_linear_solve(apply, join(right), solve, symmetric=True))


def _newton(*arrays: Array) -> Unknowns:
    """Solution for a `Problem`, w and `Unknowns`, batch last, in equilibrated units."""
    given, root, right = Problem(*arrays[:6]), arrays[6], Unknowns(*arrays[7:])
    problem, scaling = interior_point.equilibrate(given)
    factor = scaling.objective[None]
    system = kkt.factorise(problem, root**2 * factor / scaling.inequalities**2)
    safe = jnp.where(root > 0, root, 1.0)
    target = Unknowns(
        right.x * scaling.columns * factor,
        right.y * scaling.equations,
        jnp.where(root > 0, right.z / safe, 0.0) * scaling.inequalities,
    )
    x, y, z = kkt.newton_solve(problem, system, target, NUM_REFINEMENTS)
    z = z * scaling.inequalities / factor
    return Unknowns(
        x * scaling.columns,
        y * scaling.equations / factor,
        jnp.where(root > 0, z / safe, -right.z),
    )


def _batched(core: Callable[..., PyTree], problem: Problem, *others: Array) -> PyTree:
    """`core` of a problem and further arrays with at most one axis of their own, batch last."""
    leading = problem.linear.shape[:-1]
    arrays = (*problem, *others)
    events = [array.shape[len(leading) :] for array in arrays]
    sizes = [math.prod(event) for event in events]

    def on_full(*full: Array) -> PyTree:  # empty blocks do not travel through `batch_last`
        given, batch = iter(full), full[0].shape[-1]
        empty = lambda event: jnp.zeros((*event, batch), full[0].dtype)
        return core(*(next(given) if math.prod(event) else empty(event) for event in events))

    kept = [index for index, size in enumerate(sizes) if size]
    run = batch_last(
        on_full,
        [len(events[index]) for index in kept],
        bytes_per_problem=sum(sizes) * problem.linear.itemsize // BLOCKS_PER_CACHE,
    )
    return run(*(arrays[index] for index in kept))


def _times(matrix: Array, vector: Array) -> Array:
    """[..., m, n] times [..., n]."""
    return jnp.einsum("...mn,...n->...m", matrix, vector)


def _transposed(matrix: Array, vector: Array) -> Array:
    """[..., m, n] transposed times [..., m]."""
    return jnp.einsum("...mn,...m->...n", matrix, vector)


def _padded(problem: Problem, of_rows: Array) -> Array:
    """Zeros behind [..., m] for the rows of bounds."""
    missing = problem.rhs.shape[-1] - of_rows.shape[-1]
    return jnp.pad(of_rows, [(0, 0)] * (of_rows.ndim - 1) + [(0, missing)])


def _rows(problem: Problem, x: Array) -> Array:
    """R x, [..., rows]."""
    of_rows = _times(problem.inequality, x)
    if problem.rhs.shape[-1] == of_rows.shape[-1]:
        return of_rows
    return jnp.concatenate([of_rows, -x, x], -1)


def _rows_transposed(problem: Problem, z: Array) -> Array:
    """Rᵀ z, [..., n]."""
    num_rows, size = problem.inequality.shape[-2:]
    total = _transposed(problem.inequality, z[..., :num_rows])
    if z.shape[-1] == num_rows:
        return total
    return total - z[..., num_rows : num_rows + size] + z[..., num_rows + size :]
