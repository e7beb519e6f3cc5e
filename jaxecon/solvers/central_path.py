"""Central points of scaled proportional-fairness problems: Newton steps and the derivative.

Problems here have supplies of 1, weights of mean 1 and rows of valuations that sum to 1. On the
central path every product of a slack and its multiplier equals mu:

    w v/u - c - k a - p + l - h = 0,   u = v . a
    p s = l a = h r = mu,   s = 1 - sum_i a,   r = x - a

Eliminating the multipliers leaves a Newton matrix K = diag(D_i) + g_i v_i v_i^T in each agent's
block plus diag(p/s) across agents. Sherman-Morrison inverts the blocks and an M x M Schur
complement does the rest. K is also what the implicit derivative needs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.linear import cholesky
from jaxecon.types import Array

CENTERING = 0.2  # share of the complementarity that a step aims at; smaller leaves stragglers
TO_BOUNDARY = 0.99  # share of the way to the nearest bound that a step may go
ARRAYS_IN_FLIGHT = 16  # of the problem's size, live during a Newton step; sets the block size


class Problem(NamedTuple):
    """A scaled problem, or tangents of one.

    Attributes:
      valuations: v, [N, M], rows sum to 1.
      demands: x, [N, M], > 0.
      weights: w, [N], of mean 1.
      linear: c, [N, M].
      quadratic: k, [N, M], >= 0.
      smoothing: mu, ().
    """

    valuations: Array
    demands: Array
    weights: Array
    linear: Array
    quadratic: Array
    smoothing: Array


class Point(NamedTuple):
    """A strictly feasible point; slacks are carried, because x - a would lose their digits.

    Attributes:
      allocation: a, [N, M].
      spare_demand: r, [N, M].
      spare_supply: s, [M].
      price: p, [M], multiplier of the supply.
      lower: l, [N, M], multiplier of a >= 0.
      upper: h, [N, M], multiplier of a <= x.
    """

    allocation: Array
    spare_demand: Array
    spare_supply: Array
    price: Array
    lower: Array
    upper: Array


PROBLEM_RANKS = (2, 2, 1, 2, 2, 0)
POINT_RANKS = (2, 2, 1, 1, 2, 2)


class System(NamedTuple):
    """What solving with K needs; batch last.

    Attributes:
      inverse: 1/D, [N, M, B].
      scaled: z = v/D, [N, M, B].
      rank_one: g = h / (1 + h v.z) with h = w/u^2, [N, B].
      factor: V with Vᵀ V the inverse of the Schur complement, [M, M, B].
    """

    inverse: Array
    scaled: Array
    rank_one: Array
    factor: Array


def _system(problem: Problem, point: Point) -> System:
    """Eliminate the allocation from the Newton equations at a point."""
    v = problem.valuations
    curvature = problem.quadratic + point.lower / point.allocation
    inverse = 1.0 / (curvature + point.upper / point.spare_demand)
    scaled = v * inverse
    products = v * scaled
    hessian = problem.weights / jnp.sum(v * point.allocation, 1) ** 2  # [N, B]
    reduction = 1.0 / (1.0 + hessian * products.sum(1))
    rank_one = hessian * reduction
    off_diagonal = -jnp.sum((rank_one[:, None] * scaled)[:, :, None] * scaled[:, None], 0)
    kept = inverse * (reduction[:, None] + rank_one[:, None] * _sum_of_others(products))
    diagonal = point.spare_supply / point.price + kept.sum(0)  # a sum of positive terms
    is_diagonal = jnp.eye(v.shape[1], dtype=bool)[:, :, None]
    schur = jnp.where(is_diagonal, diagonal[:, None], off_diagonal)
    factor = jnp.moveaxis(cholesky(jnp.moveaxis(schur, -1, 0)).inverse, 0, -1)
    return System(inverse, scaled, rank_one, factor)


def _sum_of_others(terms: Array) -> Array:
    """sum_{k != m} of terms [N, M, B] along M, without subtracting."""
    count = terms.shape[1]
    before, after = [jnp.zeros_like(terms[:, 0])], [jnp.zeros_like(terms[:, 0])]
    for m in range(count - 1):
        before.append(before[-1] + terms[:, m])
        after.append(after[-1] + terms[:, count - 1 - m])
    return jnp.stack([b + a for b, a in zip(before, reversed(after), strict=True)], 1)


def _apply_blocks(system: System, right: Array) -> Array:
    """Inverse of the agents' blocks, without the coupling, times [N, M, B]."""
    along = system.rank_one * jnp.sum(system.scaled * right, 1)
    return right * system.inverse - along[:, None] * system.scaled


def _coupled(system: System, right: Array, target: Array) -> tuple[Array, Array]:
    """Steps (allocation, price) for right sides [N, M, B] and [M, B]."""
    excess = _apply_blocks(system, right).sum(0) + target
    halfway = jnp.sum(system.factor * excess[None], 1)
    price = jnp.sum(system.factor * halfway[:, None], 0)
    return _apply_blocks(system, right - price[None]), price


class _Loop(NamedTuple):
    point: Point
    is_active: Array  # [B]
    iteration: Array  # ()


def start_point(problem: Problem) -> Point:
    """Half of what everyone may have, and multipliers for equal products."""
    demands = problem.demands
    level = 1.0 / demands.shape[1]
    allocation = 0.5 * demands * jnp.minimum(1.0, 1.0 / demands.sum(0))[None]
    spare_demand = demands - allocation
    spare_supply = 1.0 - allocation.sum(0)
    return Point(
        allocation,
        spare_demand,
        spare_supply,
        level / spare_supply,
        level / allocation,
        level / spare_demand,
    )


def newton_step(problem: Problem, point: Point, is_active: Array) -> tuple[Point, Array]:
    """One damped step of the active problems; returns which are still active."""
    a, r, s, p, lower, upper = point
    num_agents, num_resources = a.shape[:2]
    count = (2 * num_agents + 1) * num_resources
    average = (jnp.sum(lower * a + upper * r, (0, 1)) + jnp.sum(p * s, 0)) / count
    mu = jnp.maximum(CENTERING * average, problem.smoothing)
    utility = jnp.sum(problem.valuations * a, 1)
    marginal = (problem.weights / utility)[:, None] * problem.valuations
    slope = marginal - problem.linear - problem.quadratic * a - p[None]
    own_mu = mu[None, None]
    system = _system(problem, point)
    da, dp = _coupled(system, slope + own_mu / a - own_mu / r, mu[None] / p - s)
    ds = -da.sum(0)
    dlower = own_mu / a - lower - lower / a * da
    dupper = own_mu / r - upper + upper / r * da
    primal = _longest([(a, da), (r, -da), (s, ds)])
    dual = _longest([(lower, dlower), (upper, dupper), (p, dp)])
    usable = is_active & jnp.isfinite(primal + dual + da.sum((0, 1)) + dp.sum(0))
    t = jnp.where(usable, primal, 0.0)
    tau = jnp.where(usable, dual, 0.0)
    each = lambda flag, x: jnp.reshape(flag, (1,) * (x.ndim - 1) + (-1,))
    step = lambda x, length, dx: x + jnp.where(each(usable, x), each(length, x) * dx, 0.0)
    moved = Point(
        step(a, t, da),
        step(r, t, -da),
        step(s, t, ds),
        step(p, tau, dp),
        step(lower, tau, dlower),
        step(upper, tau, dupper),
    )
    tolerance = 1e-2 if jnp.finfo(a.dtype).bits <= 32 else 1e-6
    change = jnp.maximum(jnp.max(jnp.abs(da) / a, (0, 1)), jnp.max(jnp.abs(dp) / p, 0))
    has_arrived = (mu <= problem.smoothing) & (t >= 1.0) & (tau >= 1.0) & (change <= tolerance)
    return moved, usable & ~has_arrived


def _longest(pairs: list[tuple[Array, Array]]) -> Array:
    """[B] largest step in (0, 1] that keeps every x + t dx within the boundary's reach."""
    worst = jnp.zeros(pairs[0][0].shape[-1], pairs[0][0].dtype)
    for x, dx in pairs:
        worst = jnp.maximum(worst, jnp.max(-dx / x, tuple(range(x.ndim - 1))))
    return jnp.where(worst > TO_BOUNDARY, TO_BOUNDARY / jnp.maximum(worst, TO_BOUNDARY), 1.0)


def _follow(num_iterations: int, *problem: Array) -> Point:
    """Newton's method from `start_point` to the central point; batch last."""
    given = Problem(*problem)

    def advance(loop: _Loop) -> _Loop:
        point, is_active = newton_step(given, loop.point, loop.is_active)
        return _Loop(point, is_active, loop.iteration + 1)

    start = start_point(given)
    active = jnp.ones(given.smoothing.shape, bool)
    go_on = lambda loop: jnp.any(loop.is_active) & (loop.iteration < num_iterations)
    return jax.lax.while_loop(go_on, advance, _Loop(start, active, jnp.int32(0))).point


def _solve_newton(*arrays: Array) -> Array:
    """K^{-1} times the last argument, [N, M, B]; the others are a problem and a point."""
    *given, right = arrays
    problem, point = Problem(*given[: len(PROBLEM_RANKS)]), Point(*given[len(PROBLEM_RANKS) :])
    return _coupled(_system(problem, point), right, jnp.zeros_like(point.price))[0]


def _bytes_per_problem(valuations: Array) -> int:
    return ARRAYS_IN_FLIGHT * valuations.shape[-1] * valuations.shape[-2] * valuations.itemsize


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def central_point(num_iterations: int, problem: Problem) -> Point:
    """The point of the central path at mu, with exact derivatives of every order and mode.

    Args:
      num_iterations: most Newton steps.
      problem: leaves with any leading axes in front of those in `Problem`.

    Returns:
      `Point` with the same leading axes. Where the steps did not suffice it is feasible, and its
      duality gap tells.
    """
    core = functools.partial(_follow, num_iterations)
    solve = batch_last(
        core, PROBLEM_RANKS, bytes_per_problem=_bytes_per_problem(problem.valuations)
    )
    return solve(*problem)


@central_point.defjvp
def _central_point_jvp(
    num_iterations: int, primals: tuple[Problem], tangents: tuple[Problem]
) -> tuple[Point, Point]:
    """Differentiate the optimality conditions at the point; see the module's first lines."""
    (problem,), (change,) = primals, tangents
    point = central_point(num_iterations, problem)
    a, r, s, p, lower, upper = point
    v, _, w, _, k, mu = problem
    inner = lambda x, y: jnp.sum(x * y, -1, keepdims=True)
    u, w = inner(v, a), w[..., None]
    dmu = (change.smoothing / mu)[..., None]
    right = (
        (change.weights[..., None] * v + w * change.valuations) / u
        - w * v * inner(change.valuations, a) / u**2
        - change.linear
        - change.quadratic * a
        + upper / r * change.demands
        + dmu[..., None] * (lower - upper - p[..., None, :])
    )
    own = k + lower / a + upper / r

    def apply_newton(y: Array) -> Array:
        coupling = (p / s)[..., None, :] * y.sum(-2, keepdims=True)
        return own * y + w / u**2 * v * inner(v, y) + coupling

    ranks = (*PROBLEM_RANKS, *POINT_RANKS, 2)
    solve = batch_last(_solve_newton, ranks, bytes_per_problem=_bytes_per_problem(v))
    da = jax.lax.custom_linear_solve(
        apply_newton, right, lambda _, y: solve(*problem, *point, y), symmetric=True
    )
    dr, ds = change.demands - da, -da.sum(-2)
    tangent = Point(
        da,
        dr,
        ds,
        p * (dmu - ds / s),
        lower * (dmu[..., None] - da / a),
        upper * (dmu[..., None] - dr / r),
    )
    return point, tangent


def duality_gap(problem: Problem, point: Point) -> Array:
    """[...] bound on how far the allocation is from optimal, by concavity and any p >= 0."""
    v, x, w, c, k, _ = problem
    a, p = point.allocation, point.price
    utility = jnp.sum(v * a, -1, keepdims=True)
    slope = w[..., None] * v / utility - c - k * a
    worth = jnp.sum(x * jnp.maximum(slope - p[..., None, :], 0.0) - slope * a, (-2, -1))
    return worth + p.sum(-1)
