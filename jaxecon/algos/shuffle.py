"""Random permutations for minibatches.

Sorting random keys, as `jax.random.permutation` does, costs more than a gradient step on a CPU
(3 ms for 8,192 indices against 0.01 ms here; `bench/pieces.py`), and a sort on a GPU. A keyed
bijection needs no sort: it maps each index through a few invertible rounds of additions, odd
multiplications and shifts modulo a power of two.
"""

import jax
import jax.numpy as jnp

from jaxecon.types import Array, Key

KINDS = ("bijection", "sort")
NUM_ROUNDS = 6


def _mix(index: Array, words: Array, num_bits: int) -> Array:
    """Bijection of the integers below 2**num_bits, keyed by words uint32 [NUM_ROUNDS, 2]."""
    mask = jnp.uint32(2**num_bits - 1)
    shift = jnp.uint32(max(num_bits // 2, 1))
    for round_index in range(NUM_ROUNDS):
        offset, factor = words[round_index, 0], words[round_index, 1] | jnp.uint32(1)
        index = (index + offset) & mask
        index = index ^ (index >> shift)
        index = (index * factor) & mask
        index = index ^ (index >> shift)
    return index


def keyed_bijection(key: Key, size: int) -> Array:
    """Pseudo-random permutation of 0..size-1 without a sort, int32 [size].

    Indices are mixed within the next power of two; those that land outside are mixed again until
    all are inside, which keeps the map one-to-one for every size.

    Args:
      key: PRNG key.
      size: at least 1 and below 2**31.
    """
    num_bits = max(size - 1, 1).bit_length()
    words = jax.random.bits(key, (NUM_ROUNDS, 2), jnp.uint32)
    first = _mix(jnp.arange(size, dtype=jnp.uint32), words, num_bits)
    if size == 2**num_bits:
        return first.astype(jnp.int32)

    def outside(index: Array) -> Array:
        return index >= jnp.uint32(size)

    def walk(index: Array) -> Array:
        return jnp.where(outside(index), _mix(index, words, num_bits), index)

    inside = jax.lax.while_loop(lambda index: jnp.any(outside(index)), walk, first)
    return inside.astype(jnp.int32)


def permutation(key: Key, size: int, kind: str = "bijection") -> Array:
    """Random order of 0..size-1, int32 [size].

    Args:
      key: PRNG key.
      size: number of indices.
      kind: "bijection" (fast, pseudo-random) or "sort" (exactly uniform).
    """
    return keyed_bijection(key, size) if kind == "bijection" else jax.random.permutation(key, size)
