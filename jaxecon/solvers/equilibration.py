"""Scaling quadratic programmes to entries near 1, by which solvers and tolerances mean the same.

Source: Ruiz (2001), A scaling algorithm to equilibrate both rows and columns norms in matrices,
Rutherford Appleton Laboratory.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers import kkt
from jaxecon.solvers.kkt import Point, Problem
from jaxecon.types import Array

NUM_SCALINGS = 4  # passes


class Scaling(NamedTuple):
    """x = columns * scaled x, rows likewise, and the objective's factor."""

    columns: Array  # [B, n]
    equations: Array  # [B, p]
    inequalities: Array  # [B, rows]
    objective: Array  # [B]


def _or_one(norm: Array) -> Array:
    return jnp.where(norm > 0, norm, 1.0)


def equilibrate(problem: Problem) -> tuple[Problem, Scaling]:
    """Rows and columns of largest entries near 1, and an objective of size 1."""
    num_rows = problem.inequality.shape[-2]
    scaling = Scaling(
        jnp.ones_like(problem.linear),
        jnp.ones_like(problem.equality_rhs),
        jnp.ones_like(problem.rhs[..., :num_rows]),
        1.0 / _size(problem.quadratic, problem.linear),
    )

    def improve(_: Array, scaling: Scaling) -> Scaling:
        quadratic, _, equality, _, inequality, _ = map(jnp.abs, _scaled(problem, scaling))
        highest = lambda matrix, axis: jnp.max(matrix, axis, initial=0.0)
        columns = [highest(matrix, -2) for matrix in (quadratic, equality, inequality)]
        return Scaling(
            scaling.columns / jnp.sqrt(_or_one(functools.reduce(jnp.maximum, columns))),
            scaling.equations / jnp.sqrt(_or_one(highest(equality, -1))),
            scaling.inequalities / jnp.sqrt(_or_one(highest(inequality, -1))),
            scaling.objective,
        )

    scaling = jax.lax.fori_loop(0, NUM_SCALINGS, improve, scaling)
    scaled = _scaled(problem, scaling)
    size = _size(scaled.quadratic, scaled.linear)
    inequalities = scaling.inequalities
    if kkt.has_bounds(problem):
        inequalities = jnp.concatenate([inequalities, *2 * [1.0 / scaling.columns]], -1)
    scaling = scaling._replace(inequalities=inequalities, objective=scaling.objective / size)
    return _scaled(problem, scaling), scaling


def _size(quadratic: Array, linear: Array) -> Array:
    """[B] largest coefficient of an objective; 1 where there is none."""
    largest = jnp.maximum(jnp.abs(quadratic).max((-1, -2)), jnp.abs(linear).max(-1))
    return _or_one(largest)


def _scaled(problem: Problem, scaling: Scaling) -> Problem:
    """The problem in scaled units; right sides only of as many inequalities as have a scale."""
    columns, equations, inequalities, objective = scaling
    quadratic, linear, equality, equality_rhs, inequality, rhs = problem
    num_rows = inequality.shape[-2]
    curvature = columns[..., None] * columns[..., None, :] * objective[..., None, None]
    return Problem(
        quadratic * curvature,
        linear * columns * objective[..., None],
        equality * equations[..., None] * columns[..., None, :],
        equality_rhs * equations,
        inequality * inequalities[..., :num_rows, None] * columns[..., None, :],
        rhs[..., : inequalities.shape[-1]] * inequalities,
    )


def unscale(point: Point, scaling: Scaling) -> Point:
    """A point of the scaled problem in the units of the problem itself."""
    return Point(
        point.x * scaling.columns,
        point.y * scaling.equations / scaling.objective[..., None],
        point.z * scaling.inequalities / scaling.objective[..., None],
        point.s / scaling.inequalities,
    )
