"""Small symmetric positive definite systems by the thousand: Cholesky from products alone.

The batch is the innermost axis of every array, `[n, n, B]` (see `batching.py`), so every operation
fills whole vectors. No library routine is called: batched LAPACK is slower at these sizes, and in
jax 0.10 concurrent calls of it can hang on CPUs (docs/cpu-runtime.md).

The factor is worked out in panels of eight columns. Below each panel stand the rows of an identity
that go through the same column operations, which turns them into the inverse of the panel's
triangular block; solving is then products only.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxecon.types import Array

WIDTH = 8  # columns of a panel, and terms of a sum that are added in one pass over its result


class Cholesky(NamedTuple):
    """L of A = L Lᵀ, lower triangular, cut into panels of columns.

    Attributes:
      panels: each [rows, width, B], the columns from their triangular block downwards.
      inverses: each [width, width, B], that block's inverse, transposed.
    """

    panels: tuple[Array, ...]
    inverses: tuple[Array, ...]


def cholesky(matrix: Array) -> Cholesky:
    """Cholesky factors of symmetric positive definite matrices, A = L Lᵀ.

    A pivot below n·eps of the diagonal entry it came from is raised to that (or to the smallest
    normal number if the entry is not positive). Finite matrices hence give finite factors even when
    singular or indefinite, as long as nothing overflows; A is then changed along those pivots.

    Args:
      matrix: A, [n, n, B]; only its lower triangle is read. Operations and compile time grow with
        the number of panels, n/8, squared: meant for n up to about 100.

    Returns:
      The factors, for `cholesky_solve`.
    """
    size = matrix.shape[0]
    info = jnp.finfo(matrix.dtype)
    diagonal = jnp.stack([matrix[row, row] for row in range(size)])  # [n, B]
    floor = jnp.maximum(size * info.eps * diagonal, info.tiny)
    panels: list[Array] = []
    inverses: list[Array] = []
    for start in range(0, size, WIDTH):
        columns = slice(start, min(start + WIDTH, size))
        panel = matrix[start:, columns]
        for index, earlier in enumerate(panels):
            rows = jnp.swapaxes(earlier[start - WIDTH * index :], 0, 1)  # [8, rows, B]
            panel = panel - transposed_product(rows, rows[:, : panel.shape[1]])
        panel, inverse = _factor_panel(panel, floor[columns])
        panels.append(panel)
        inverses.append(inverse)
    return Cholesky(tuple(panels), tuple(inverses))


def cholesky_solve(factor: Cholesky, rhs: Array) -> Array:
    """Solutions of A x = b.

    Args:
      factor: of A, from `cholesky`.
      rhs: b, [n, B], or [n, k, B] for k right-hand sides.

    Returns:
      x, in the shape of `rhs`.
    """
    if rhs.ndim == 2:
        return cholesky_solve(factor, rhs[:, None])[:, 0]
    halfway: list[Array] = []  # L⁻¹ b, panel by panel
    for panel, inverse in zip(*factor, strict=True):
        width = panel.shape[1]
        part = transposed_product(inverse, rhs[:width])
        rhs = rhs[width:] - transposed_product(jnp.swapaxes(panel[width:], 0, 1), part)
        halfway.append(part)
    solution = rhs  # [0, k, B]
    for panel, inverse, part in zip(*map(reversed, (*factor, halfway)), strict=True):
        rest = part - transposed_product(panel[panel.shape[1] :], solution)
        part = transposed_product(jnp.swapaxes(inverse, 0, 1), rest)
        solution = jnp.concatenate([part, solution])
    return solution


def transposed_product(left: Array, right: Array) -> Array:
    """Products Lᵀ R of matrices, [m, r, B] and [m, c, B] -> [r, c, B]."""
    num_terms = left.shape[0]
    total = jnp.zeros((left.shape[1], *right.shape[1:]), left.dtype)
    for start in range(0, num_terms, WIDTH):
        for term in range(start, min(start + WIDTH, num_terms)):
            total = total + left[term][:, None] * right[term][None]
    return total


def _factor_panel(panel: Array, floor: Array) -> tuple[Array, Array]:
    """Columns of L from those of what is left of A, and their block's inverse transposed."""
    rows, width, batch = panel.shape
    identity = jnp.broadcast_to(jnp.eye(width, dtype=panel.dtype)[:, :, None], (width, width, batch))
    panel = jnp.concatenate([panel, identity])
    columns = []
    for step in range(width):
        pivot = jnp.where(panel[step, 0] > floor[step], panel[step, 0], floor[step])
        column = panel[:, 0] / jnp.sqrt(pivot)[None]  # [rows + width, B]
        columns.append(column)
        panel = panel[:, 1:] - column[:, None] * column[None, step + 1 : width]
    factored = jnp.stack(columns, axis=1)
    return factored[:rows], factored[rows:]
