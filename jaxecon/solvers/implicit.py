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
from jaxecon.solvers.batching import batch_first
from jaxecon.solvers.equilibration import equilibrate
from jaxecon.solvers.interior_point import Limits, Result, Status
from jaxecon.solvers.kkt import Point, Problem, Unknowns, rows, rows_transposed
from jaxecon.solvers.linear import times, transposed_times
from jaxecon.types import Array, PyTree

NUM_REFINEMENTS = 2  # of the derivative's solve
LARGEST_WEIGHT = -0.5  # power of eps; see interior_point.LARGEST_WEIGHT


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def optimum(limits: Limits, problem: Problem, smoothing: Array) -> Result:
    """Answers of problems with any leading axes, `Result` with the same.

    Args:
      limits: when to stop.
      problem: `Problem` with leading axes in front.
      smoothing: [...] what each slack times its multiplier ends at; not differentiated.
    """
    core = functools.partial(interior_point.solve, limits)
    return _batched(core, problem, smoothing)


@optimum.defjvp
def _optimum_jvp(
    limits: Limits, primals: tuple[Problem, Array], tangents: tuple[Problem, Array]
) -> tuple[Result, Result]:
    """See the module's first lines."""
    (problem, smoothing), (change, _) = primals, tangents
    result = optimum(limits, problem, smoothing)
    x, y, z, s = result.point
    has_derivative = (result.status == Status.OPTIMAL) | (result.status == Status.STALLED)
    keep = lambda array: jnp.where(has_derivative[..., None], array, 0.0)
    is_row = jnp.isfinite(problem.rhs) & has_derivative[..., None]
    root = jnp.where(is_row, jnp.sqrt(z / s), 0.0)
    reach = jnp.where(is_row, change.rhs, 0.0) - _padded(problem, times(change.inequality, x))
    slope = times(change.quadratic, x) + change.linear + transposed_times(change.equality, y)
    slope = slope + transposed_times(change.inequality, z[..., : change.inequality.shape[-2]])
    equations = change.equality_rhs - times(change.equality, x)
    right = Unknowns(keep(-slope), keep(equations), root * reach)
    dx, dy, scaled = _solve_symmetric(problem, root, right)
    dz = root * scaled
    ds = jnp.where(is_row, reach - rows(problem, dx), 0.0)
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
        top = times(problem.quadratic, x) + transposed_times(problem.equality, y)
        top = top + rows_transposed(problem, root * scaled)
        return join([top, times(problem.equality, x), root * rows(problem, x) - scaled])

    solve = lambda _, target: join(_batched(_newton, problem, root, *cut(target)))
    return cut(jax.lax.custom_linear_solve(apply, join(right), solve, symmetric=True))


def _newton(*arrays: Array) -> Unknowns:
    """Solution for a `Problem`, w and `Unknowns`, [B, ...], in equilibrated units."""
    given, root, right = Problem(*arrays[:6]), arrays[6], Unknowns(*arrays[7:])
    problem, scaling = equilibrate(given)
    factor = scaling.objective[..., None]
    weights = root**2 * factor / scaling.inequalities**2
    safe = jnp.where(root > 0, root, 1.0)
    target = Unknowns(
        right.x * scaling.columns * factor,
        right.y * scaling.equations,
        jnp.where(root > 0, right.z / safe, 0.0) * scaling.inequalities,
    )
    transposed = jnp.swapaxes(problem.inequality, -1, -2)
    most = jnp.finfo(weights.dtype).eps ** LARGEST_WEIGHT
    system = kkt.factorise(problem, transposed, jnp.minimum(weights, most))
    x, y, z = kkt.newton_solve(problem, system, target, weights, NUM_REFINEMENTS)
    z = z * scaling.inequalities / factor
    return Unknowns(
        x * scaling.columns,
        y * scaling.equations / factor,
        jnp.where(root > 0, z / safe, -right.z),
    )


def _batched(core: Callable[..., PyTree], problem: Problem, *others: Array) -> PyTree:
    """`core` of a problem and further arrays with at most one axis of their own, [B, ...]."""
    leading = problem.linear.shape[:-1]
    arrays = (*problem, *others)
    events = [array.shape[len(leading) :] for array in arrays]
    sizes = [math.prod(event) for event in events]

    def on_full(*full: Array) -> PyTree:  # empty blocks do not travel through `batch_first`
        given, batch = iter(full), full[0].shape[0]
        empty = lambda event: jnp.zeros((batch, *event), full[0].dtype)
        return core(*(next(given) if math.prod(event) else empty(event) for event in events))

    kept = [index for index, size in enumerate(sizes) if size]
    run = batch_first(
        on_full,
        [len(events[index]) for index in kept],
        bytes_per_problem=sum(sizes) * problem.linear.itemsize,
    )
    return run(*(arrays[index] for index in kept))


def _padded(problem: Problem, of_rows: Array) -> Array:
    """Zeros behind [..., m] for the rows of bounds."""
    missing = problem.rhs.shape[-1] - of_rows.shape[-1]
    return jnp.pad(of_rows, [(0, 0)] * (of_rows.ndim - 1) + [(0, missing)])
