"""Small symmetric positive definite systems by the thousand: Cholesky from products alone.

The batch is the innermost axis of every array, `[n, n, B]` (see `batching.py`), so every operation
fills whole vectors. No library routine is called: batched LAPACK is slower at these sizes, and in
jax 0.10 concurrent calls of it can hang on CPUs (docs/cpu-runtime.md).

XLA fuses sums into whatever reads them and works them out again for each reader, but keeps the
results of divisions. Every value here that is read often is therefore made by a division.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array

WIDTH = 8  # columns of a panel
CHUNK = 32  # terms of a sum that are written out


class Cholesky(NamedTuple):
    """L of A = L Lᵀ, lower triangular, cut into panels of columns.

    Attributes:
      panels: each [rows, width, B], the columns from their triangular block downwards; what stands
        above the diagonal of the block is not part of L.
      is_definite: [B] bool, no pivot had to be raised.
    """

    panels: tuple[Array, ...]
    is_definite: Array


def cholesky(matrix: Array) -> Cholesky:
    """Cholesky factors of symmetric positive definite matrices, A = L Lᵀ.

    A pivot below n·eps of the diagonal entry it came from is raised to that (or to the smallest
    normal number if the entry is not positive). Finite matrices hence give finite factors even when
    singular or indefinite, as long as nothing overflows; A is then changed along those pivots.

    Args:
      matrix: A, [n, n, B] with n >= 1; only its lower triangle is read. Compile time grows with
        the number of panels, n/8, squared: meant for n up to about 100.

    Returns:
      The factors, for `cholesky_solve`.
    """
    return cholesky_of_panels(lower_panels(matrix))


def lower_panels(matrix: Array) -> list[Array]:
    """The lower triangle of matrices [n, n, B] in panels of eight columns, [rows, width, B]."""
    size = matrix.shape[0]
    return [matrix[start:, start : start + WIDTH] for start in range(0, size, WIDTH)]


def cholesky_of_panels(panels: list[Array]) -> Cholesky:
    """`cholesky` of matrices given as `lower_panels`."""
    size, _, batch = panels[0].shape
    info = jnp.finfo(panels[0].dtype)
    is_definite = jnp.ones(batch, bool)
    finished: list[list[Array]] = []  # columns of each panel
    for start, panel in zip(range(0, size, WIDTH), panels, strict=True):
        width = panel.shape[1]
        diagonal = jnp.stack([panel[row, row] for row in range(width)])
        floor = jnp.maximum(size * info.eps * diagonal, info.tiny)
        least = jnp.sqrt(floor)
        for first, earlier in zip(range(0, start, WIDTH), finished, strict=True):
            for column in earlier:
                below = column[start - first :]
                panel = panel - below[:, None] * below[None, :width]
        columns = []
        for step in range(width):
            is_high = panel[step, 0] > floor[step]
            is_definite &= is_high
            root = jnp.sqrt(jnp.maximum(panel[step, 0], 0.0))
            root = jnp.maximum(root, least[step])  # x / sqrt alone would become a product
            column = panel[:, 0] / root[None]  # [rows, B]
            columns.append(column)
            panel = panel[:, 1:] - column[:, None] * column[None, step + 1 : width]
        finished.append(columns)
    return Cholesky(tuple(jnp.stack(columns, axis=1) for columns in finished), is_definite)


def cholesky_solve(factor: Cholesky, rhs: Array) -> Array:
    """Solutions of A x = b.

    Args:
      factor: of A, from `cholesky`.
      rhs: b, [n, B], or [n, k, B] for k right-hand sides.

    Returns:
      x, in the shape of `rhs`.
    """
    like = (slice(None), slice(None)) if rhs.ndim == 2 else (slice(None), None, slice(None))
    halfway: list[Array] = []  # L⁻¹ b, panel by panel
    for panel in factor.panels:
        width = panel.shape[1]
        rest, parts = rhs[:width], []
        for step in range(width):
            parts.append(rest[0] / panel[step, step][like[1:]])
            rest = rest[1:] - panel[step + 1 : width, step][like] * parts[-1][None]
        halfway.append(jnp.stack(parts))
        rhs = rhs[width:] - product(panel[width:], halfway[-1])
    solution: list[Array] = []
    for panel, rest in zip(reversed(factor.panels), reversed(halfway), strict=True):
        width = first = panel.shape[1]
        for later in solution:
            rest = rest - transposed_product(panel[first : first + later.shape[0]], later)
            first += later.shape[0]
        parts = []
        for step in reversed(range(width)):
            parts.insert(0, rest[step] / panel[step, step][like[1:]])
            rest = rest[:step] - panel[step, :step][like] * parts[0][None]
        solution.insert(0, jnp.stack(parts))
    return jnp.concatenate(solution)


def product(left: Array, right: Array) -> Array:
    """Products L R of matrices, [r, m, B], with vectors [m, B] or matrices [m, c, B]."""
    return transposed_product(jnp.swapaxes(left, 0, 1), right)


def transposed_product(left: Array, right: Array) -> Array:
    """Products Lᵀ R of matrices, [m, r, B], with vectors [m, B] or matrices [m, c, B].

    A sum of m terms, in chunks that are written out: the compiler fuses each into one pass over the
    result, and compiles a single one for all of them.
    """
    num_terms = left.shape[0]
    rest = num_terms % CHUNK if num_terms > CHUNK else num_terms
    total = jnp.zeros((left.shape[1], *right.shape[1:]), left.dtype)
    total = _add_terms(total, left[:rest], right[:rest])
    if rest == num_terms:
        return total

    def add_chunk(index: Array, total: Array) -> Array:
        start = rest + CHUNK * index
        cut = lambda array: jax.lax.dynamic_slice_in_dim(array, start, CHUNK)
        return _add_terms(total, cut(left), cut(right))

    return jax.lax.fori_loop(0, num_terms // CHUNK, add_chunk, total)


def _add_terms(total: Array, left: Array, right: Array) -> Array:
    for term in range(left.shape[0]):
        factor = left[term] if right.ndim == 2 else left[term][:, None]
        total = total + factor * right[term][None]
    return total


def is_semidefinite(matrix: Array) -> Array:
    """[B] whether symmetric matrices [n, n, B] are positive semidefinite up to rounding.

    Cholesky's method meets no pivot <= 0 once 100 n eps of the largest diagonal entry is added.
    """
    size = matrix.shape[0]
    info = jnp.finfo(matrix.dtype)
    diagonal = jnp.stack([matrix[row, row] for row in range(size)])
    shift = 100 * size * info.eps * jnp.maximum(diagonal.max(0), jnp.sqrt(info.tiny))
    identity = jnp.eye(size, dtype=matrix.dtype)[:, :, None]
    return cholesky(matrix + identity * shift[None, None]).is_definite
