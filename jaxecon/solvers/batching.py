"""Running many small problems as one, under any nesting of `vmap`.

A core of elementwise operations is written for arrays whose last axis is the batch, `[N, M, B]`.
Each operation then fills whole vectors on CPUs however small N and M are, and coalesces memory on
GPUs. A core of matrix products is written
for `[B, N, M]`, which is what the compiler multiplies fastest. `batch_last` and `batch_first` turn
such a core into a function of ordinary arrays `[..., N, M]`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxecon.types import Array, PyTree

CACHE_BYTES = 2**20  # second-level cache of a core: what one block of problems should fit in
LANES = 16  # problems per block are a multiple of this, the widest vector of 32-bit numbers


def batch_last(
    core: Callable[..., PyTree], ranks: Sequence[int], *, bytes_per_problem: int | None = None
) -> Callable[..., PyTree]:
    """A function of arrays with any leading axes, from one of arrays with the batch last.

    Args:
      core: takes arrays `[*event, B]` and returns a pytree of arrays `[*event, B]`; problems must
        not depend on each other.
      ranks: number of event axes of each argument.
      bytes_per_problem: working memory of one problem. On CPUs the batch is cut into blocks that
        fit the cache; None runs it whole.

    Returns:
      A function of arrays `[..., *event]`, whose leading axes broadcast, that returns a pytree of
      arrays `[..., *event]`. Under `vmap` the mapped axis joins the batch. Not differentiable by
      itself: wrap it in `jax.custom_jvp`.
    """
    return _batched(core, ranks, bytes_per_problem, axis=-1)


def batch_first(
    core: Callable[..., PyTree], ranks: Sequence[int], *, bytes_per_problem: int | None = None
) -> Callable[..., PyTree]:
    """`batch_last` for a core of arrays `[B, *event]`."""
    return _batched(core, ranks, bytes_per_problem, axis=0)


def _batched(
    core: Callable[..., PyTree], ranks: Sequence[int], bytes_per_problem: int | None, *, axis: int
) -> Callable[..., PyTree]:
    """See `batch_last`; `axis` is that of the batch in the core."""

    @jax.custom_batching.custom_vmap
    def run(*arrays: Array) -> PyTree:
        leading = arrays[0].shape[: arrays[0].ndim - ranks[0]]
        flat = [_to_batch(array, rank, axis) for array, rank in zip(arrays, ranks, strict=True)]
        block = _block_size(math.prod(leading), bytes_per_problem)
        results = _in_blocks(core, flat, math.prod(leading), block, axis)
        return jax.tree.map(lambda x: _to_leading(x, leading, axis), results)

    @run.def_vmap
    def _(axis_size: int, is_mapped: Sequence[bool], *arrays: Array) -> tuple[PyTree, PyTree]:
        full = [
            array if mapped else jnp.broadcast_to(array, (axis_size, *array.shape))
            for array, mapped in zip(arrays, is_mapped, strict=True)
        ]
        result = run(*full)
        return result, jax.tree.map(lambda _: True, result)

    def call(*arrays: Array) -> PyTree:
        return run(*broadcast_leading(arrays, ranks))

    return call


def broadcast_leading(arrays: Sequence[Array], ranks: Sequence[int]) -> list[Array]:
    """The arrays with equal leading axes; `ranks` counts each one's own trailing axes."""
    pairs = list(zip(arrays, ranks, strict=True))
    leading = jnp.broadcast_shapes(*(array.shape[: array.ndim - rank] for array, rank in pairs))
    return [
        jnp.broadcast_to(
            jnp.reshape(
                array, (1,) * (len(leading) + rank - array.ndim) + array.shape
            ),  # strict rank promotion needs the axes spelt out
            leading + array.shape[array.ndim - rank :],
        )
        for array, rank in pairs
    ]


def _to_batch(array: Array, rank: int, axis: int) -> Array:
    """[..., *event] with one batch axis in place of the leading ones."""
    event = array.shape[array.ndim - rank :]
    return jnp.moveaxis(jnp.reshape(array, (-1, *event)), 0, axis)


def _to_leading(array: Array, leading: tuple[int, ...], axis: int) -> Array:
    """The inverse of `_to_batch`."""
    moved = jnp.moveaxis(array, axis, 0)
    return jnp.reshape(moved, leading + moved.shape[1:])


def _block_size(num_problems: int, bytes_per_problem: int | None) -> int:
    """Problems that run together."""
    if bytes_per_problem is None or jax.default_backend() != "cpu":
        return num_problems
    fitting = CACHE_BYTES // max(bytes_per_problem, 1) // LANES * LANES
    block = max(fitting, LANES)
    return num_problems if num_problems <= 1.5 * block else block


def _in_blocks(
    core: Callable, arrays: list[Array], num_problems: int, block: int, axis: int
) -> Any:
    """The core over blocks of the batch, one after the other; the last is filled by repetition."""
    if block >= num_problems:
        return core(*arrays)
    num_blocks = -(-num_problems // block)
    missing = num_blocks * block - num_problems

    def cut(array: Array) -> Array:  # [blocks, ...]
        front = jnp.moveaxis(array, axis, 0)
        filled = jnp.concatenate([front, front[:missing]]) if missing else front
        blocks = jnp.reshape(filled, (num_blocks, block, *filled.shape[1:]))
        return jnp.moveaxis(blocks, 1, axis if axis < 0 else axis + 1)

    results = jax.lax.map(lambda parts: core(*parts), [cut(array) for array in arrays])

    def join(array: Array) -> Array:
        front = jnp.moveaxis(array, axis if axis < 0 else axis + 1, 1)
        whole = jnp.reshape(front, (num_blocks * block, *front.shape[2:]))
        return jnp.moveaxis(whole[:num_problems], 0, axis)

    return jax.tree.map(join, results)
