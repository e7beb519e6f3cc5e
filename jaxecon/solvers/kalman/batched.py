"""`batch_last` with derivatives: those of the core itself, which `batch_last` alone has not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxecon.solvers.batching import batch_last, broadcast_leading
from jaxecon.types import Array, PyTree


def differentiable(core: Callable[..., PyTree], ranks: tuple[int, ...]) -> Callable[..., PyTree]:
    """`batch_last(core, ranks)`, differentiated through the core in either direction."""
    fast = jax.custom_jvp(batch_last(core, ranks))

    def plain(*arrays: Array) -> PyTree:
        arrays = tuple(broadcast_leading(arrays, ranks))
        leading = arrays[0].shape[: arrays[0].ndim - ranks[0]]

        def to_last(array: Array, rank: int) -> Array:
            return jnp.moveaxis(jnp.reshape(array, (-1, *array.shape[array.ndim - rank :])), 0, -1)

        result = core(*(to_last(a, rank) for a, rank in zip(arrays, ranks, strict=True)))
        to_front = lambda a: jnp.reshape(jnp.moveaxis(a, -1, 0), (*leading, *a.shape[:-1]))
        return jax.tree.map(to_front, result)

    @fast.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple:
        return jax.jvp(plain, primals, tangents)

    return fast
