"""Batched LAPACK calls on every device at once: can hang in jax 0.10 on CPUs (see cpu-runtime.md).

JAX_NUM_CPU_DEVICES=2 timeout 30 python docs/batched_lapack.py 4  # calls at once, 1 to 4
"""

import functools
import sys

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

lane = PartitionSpec("lane")
mesh = Mesh(jax.devices(), ("lane",))
shapes = [(64, 64), (64, 32), (96, 64), (128, 64)][: int(sys.argv[1])]


def one_sum(seed: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Sum of the entries of a random orthonormal matrix."""
    return jnp.linalg.qr(jax.random.normal(jax.random.key(seed), shape))[0].sum()


@jax.jit
@functools.partial(jax.shard_map, mesh=mesh, in_specs=lane, out_specs=lane, check_vma=False)
def decompose(seeds: jax.Array) -> jax.Array:
    """Several batched QR decompositions per device, independent of each other."""
    return sum(jax.vmap(functools.partial(one_sum, shape=shape))(seeds) for shape in shapes)


seeds = jnp.arange(8 * mesh.size)
compiled = decompose.lower(seeds).compile()
print("jax", jax.__version__, "on", mesh.size, "devices: compiled", flush=True)
for step in range(501):
    jax.block_until_ready(compiled(seeds + step))
    if step % 100 == 0:
        print("step", step, flush=True)
