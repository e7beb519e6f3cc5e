"""Algebra of matrices of a few rows with the batch innermost, [r, c, B].

XLA fuses a product into whatever reads it and works it out again for each reader. Written as a
reduction, it is worked out less often than as a sum of terms.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array


class Inverse(NamedTuple):
    """Of symmetric positive definite matrices.

    Attributes:
      value: A⁻¹, [n, n, B].
      log_determinant: of A, [B].
      is_definite: [B] bool, no pivot had to be raised.
    """

    value: Array
    log_determinant: Array
    is_definite: Array


def product(left: Array, right: Array) -> Array:
    """Products of matrices [r, m, B] with vectors [m, B] or matrices [m, c, B]."""
    if right.ndim == 2:
        return jnp.sum(left * right[None], axis=1)
    return jnp.sum(left[:, :, None] * right[None], axis=1)


def transpose(matrix: Array) -> Array:
    """[r, c, B] -> [c, r, B]."""
    return jnp.swapaxes(matrix, 0, 1)


def symmetric(matrix: Array) -> Array:
    """The symmetric part of [n, n, B]."""
    return 0.5 * (matrix + transpose(matrix))


def identity_like(matrix: Array) -> Array:
    """[n, n, 1], to be added to matrices [n, n, B]."""
    return jnp.eye(matrix.shape[0], dtype=matrix.dtype)[:, :, None]


def inverse(matrix: Array) -> Inverse:
    """Inverses of symmetric positive definite matrices [n, n, B], by sweeping out each pivot.

        a_ij <- a_ij - a_ik a_kj / a_kk,   a_kj <- a_kj / a_kk,   a_ik <- -a_ik / a_kk

    A pivot below n·eps of its diagonal entry is raised to that (or to the smallest normal number),
    so finite matrices give finite inverses; A is then changed along those pivots. The loop stays a
    loop: written out, every sweep would be fused into the next and worked out many times over.

    Source: Goodnight (1979), A Tutorial on the SWEEP Operator, American Statistician 33.
    """
    size = matrix.shape[0]
    floor = _pivot_floor(matrix)
    place = jnp.arange(size, dtype=jnp.int32)

    def sweep(k: Array, swept: _Swept) -> _Swept:
        row = jax.lax.dynamic_index_in_dim(swept.matrix, k, 0, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(swept.matrix, k, 1, keepdims=False)
        least = jax.lax.dynamic_index_in_dim(floor, k, 0, keepdims=False)
        diagonal = jax.lax.dynamic_index_in_dim(row, k, 0, keepdims=False)
        pivot = jnp.maximum(diagonal, least)
        is_pivot = (place == k)[:, None]
        scaled = jnp.where(is_pivot, 1.0, row) / pivot[None]
        kept = jnp.where(is_pivot[:, None] | is_pivot[None], 0.0, swept.matrix)
        factor = jnp.where(is_pivot, -1.0, column)
        return _Swept(
            kept - factor[:, None] * scaled[None],
            swept.log_determinant + jnp.log(pivot),
            swept.is_definite & (diagonal > least),
        )

    zeros = jnp.zeros(matrix.shape[-1], matrix.dtype)
    start = _Swept(matrix, zeros, jnp.ones(matrix.shape[-1], bool))
    return Inverse(*jax.lax.fori_loop(0, size, sweep, start))


def square_root(matrix: Array) -> Array:
    """L of A = L Lᵀ for symmetric positive semidefinite matrices [n, n, B], lower triangular.

    A pivot that is 0 up to rounding gives a column of zeros.
    """
    size = matrix.shape[0]
    floor = _pivot_floor(matrix)
    place = jnp.arange(size, dtype=jnp.int32)

    def eliminate(rest: Array, k: Array) -> tuple[Array, Array]:
        column = jax.lax.dynamic_index_in_dim(rest, k, 1, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(column, k, 0, keepdims=False)
        is_high = pivot > jax.lax.dynamic_index_in_dim(floor, k, 0, keepdims=False)
        root = jnp.sqrt(jnp.where(is_high, pivot, 1.0))
        column = jnp.where((place >= k)[:, None] & is_high[None], column / root[None], 0.0)
        return rest - column[:, None] * column[None], column

    _, columns = jax.lax.scan(eliminate, matrix, place)
    return jnp.swapaxes(columns, 0, 1)


class _Swept(NamedTuple):
    """Between two sweeps."""

    matrix: Array
    log_determinant: Array
    is_definite: Array


def _pivot_floor(matrix: Array) -> Array:
    """[n, B] what a pivot must exceed to count as positive: rounding of its diagonal entry."""
    size = matrix.shape[0]
    info = jnp.finfo(matrix.dtype)
    diagonal = jnp.stack([matrix[i, i] for i in range(size)])
    return jnp.maximum(size * info.eps * diagonal, info.tiny)
