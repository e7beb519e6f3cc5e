"""Small symmetric positive definite systems by the thousand: Cholesky from products alone.

No library routine is called: batched LAPACK is slower at these sizes, and in jax 0.10 concurrent
calls of it can hang on CPUs (docs/cpu-runtime.md). Blocks of eight columns are factorised entry by
entry, with the batch innermost, where every operation fills whole vectors; matrix products do the
rest. A factor is kept as the inverse of its triangle, A⁻¹ = Vᵀ V: a solve is then two products
instead of n steps that wait for each other.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array

WIDTH = 8  # columns of a block
ONE_BLOCK = 12  # largest matrix that is a single block


class Cholesky(NamedTuple):
    """V = L⁻¹ of A = L Lᵀ.

    Attributes:
      inverse: V, [..., n, n], lower triangular.
      is_definite: [...] bool, no pivot was dropped.
    """

    inverse: Array
    is_definite: Array


def cholesky(matrix: Array) -> Cholesky:
    """Inverse Cholesky factors of symmetric positive definite matrices.

    A pivot below n·eps of the diagonal entry it came from counts as zero: its row of V vanishes,
    and solves have no part along it. Singular and indefinite matrices hence have finite factors.

    Args:
      matrix: A, [..., n, n] with n >= 1. Compile time grows with n: meant for n up to about 100.

    Returns:
      The factors, for `cholesky_solve`.
    """
    size = matrix.shape[-1]
    info = jnp.finfo(matrix.dtype)
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    floor = jnp.maximum(size * info.eps * diagonal, info.tiny)
    if size <= ONE_BLOCK:
        return Cholesky(*_factorise_block(matrix, floor))
    table = jnp.concatenate([matrix, identity_like(matrix)], -1)  # [A | I] becomes [Lᵀ | V]
    done = table[..., :0, :]
    is_definite = jnp.ones(matrix.shape[:-2], bool)
    for start in range(0, size, WIDTH):
        block = slice(start, min(start + WIDTH, size))
        rows = table[..., block, start:]
        if start:
            left = jnp.swapaxes(done[..., block], -1, -2)  # of L, beside the block
            rows = rows - matmul(left, done[..., start:])
        small, is_high = _factorise_block(rows[..., : rows.shape[-2]], floor[..., block])
        is_definite &= is_high
        padding = jnp.zeros((*rows.shape[:-1], start), rows.dtype)
        done = jnp.concatenate([done, jnp.concatenate([padding, matmul(small, rows)], -1)], -2)
    return Cholesky(done[..., size:], is_definite)


def _factorise_block(matrix: Array, floor: Array) -> tuple[Array, Array]:
    """(L⁻¹, whether no pivot was dropped) of blocks [..., w, w], by elimination in [A | I].

    Each step moves its pivot row to the bottom and drops its pivot column for one of I, so every
    step is the same program and w of them leave the rows of L⁻¹ in order.
    """
    width = matrix.shape[-1]
    table = jnp.moveaxis(matrix, (-2, -1), (0, 1))
    floor = jnp.moveaxis(floor, -1, 0)
    index = jnp.reshape(jnp.arange(width - 1), (-1,) + (1,) * (matrix.ndim - 2))

    def eliminate(step: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        table, is_high = state
        pivot, least = table[0, 0], floor[step]
        root = jnp.sqrt(jnp.maximum(pivot, least))
        scale = jnp.where(pivot > least, 1.0 / root, 0.0)[None]
        row = jnp.concatenate([table[0, 1:], jnp.ones_like(table[0, :1])]) * scale
        share = jnp.where(index < width - 1 - step, table[1:, 0] * scale, 0.0)
        rest = jnp.concatenate([table[1:, 1:], jnp.zeros_like(table[1:, :1])], 1)
        rest = rest - share[:, None] * row[None]
        return jnp.concatenate([rest, row[None]]), is_high & (pivot > least)

    start = table, jnp.ones(matrix.shape[:-2], bool)
    table, is_high = jax.lax.fori_loop(0, width, eliminate, start, unroll=2)
    return jnp.moveaxis(table, (0, 1), (-2, -1)), is_high


def cholesky_solve(factor: Cholesky, rhs: Array) -> Array:
    """Solutions of A x = b.

    Args:
      factor: of A, from `cholesky`.
      rhs: b, [..., n].

    Returns:
      x, [..., n].
    """
    return transposed_times(factor.inverse, times(factor.inverse, rhs))


def times(matrix: Array, vector: Array) -> Array:
    """[..., m, n] times [..., n]."""
    return jnp.einsum("...mn,...n->...m", matrix, vector, precision=jax.lax.Precision.HIGHEST)


def transposed_times(matrix: Array, vector: Array) -> Array:
    """[..., m, n] transposed times [..., m]."""
    return jnp.einsum("...mn,...m->...n", matrix, vector, precision=jax.lax.Precision.HIGHEST)


def matmul(left: Array, right: Array) -> Array:
    """[..., m, k] times [..., k, n], in full precision on every device."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def identity_like(matrix: Array) -> Array:
    """Identities in the shape of [..., n, n]."""
    return jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)


def is_semidefinite(matrix: Array) -> Array:
    """[...] whether symmetric matrices [..., n, n] are positive semidefinite up to rounding.

    Cholesky's method meets no pivot <= 0 once 100 n eps of the largest diagonal entry is added.
    """
    size = matrix.shape[-1]
    info = jnp.finfo(matrix.dtype)
    largest = jnp.diagonal(matrix, axis1=-2, axis2=-1).max(-1)
    shift = 100 * size * info.eps * jnp.maximum(largest, jnp.sqrt(info.tiny))
    return cholesky(matrix + identity_like(matrix) * shift[..., None, None]).is_definite
