"""A dense layer whose weight gradient is laid out for the device that runs it.

On a CPU the product xᵀg of two tall matrices is the slowest part of training a small network: read
column by column it reaches about half the speed of the forward product, and far less where g has
two or three columns (a head). Writing the transpose out first, or computing gᵀx and transposing
the small result, restores most of it. `bench/pieces.py` measures both.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxecon.types import Array, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": nn.tanh,
    "relu": nn.relu,
    "swish": nn.swish,
    "gelu": nn.gelu,
}
NARROW = 8  # columns of g below which gᵀx is the faster product on CPUs


def _contract_batch(left: Array, right: Array) -> Array:
    """leftᵀ right for [B, M] and [B, K], as [M, K]."""
    return jax.lax.dot_general(left, right, (((0,), (0,)), ((), ())))


def _weight_gradient(x: Array, g: Array) -> Array:
    """xᵀg, [M, K], left to the compiler."""
    return _contract_batch(x, g)


def _weight_gradient_cpu(x: Array, g: Array) -> Array:
    """xᵀg, [M, K], in the order that CPUs compute fastest."""
    if g.shape[1] <= NARROW:  # the barrier keeps the compiler from undoing the order
        return jax.lax.optimization_barrier(_contract_batch(g, x)).T
    return jax.lax.optimization_barrier(x.T) @ g


@jax.custom_vjp
def dense(x: Array, kernel: Array, bias: Array) -> Array:
    """Affine map x W + b.

    Args:
      x: [B, M] inputs.
      kernel: W, [M, K].
      bias: b, [K].

    Returns:
      [B, K]. Reverse-mode gradients have the layout of this module's first lines; forward mode
      is not defined.
    """
    return x @ kernel + bias[None, :]


def _dense_forward(x: Array, kernel: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return dense(x, kernel, bias), (x, kernel)


def _dense_backward(residual: tuple[Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, kernel = residual
    kernel_gradient = jax.lax.platform_dependent(
        x, g, cpu=_weight_gradient_cpu, default=_weight_gradient
    )
    return g @ kernel.T, kernel_gradient, g.sum(axis=0)


dense.defvjp(_dense_forward, _dense_backward)


def affine(x: Array, kernel: Array, bias: Array) -> Array:
    """`dense` over the last axis: [..., M] to [..., K]."""
    outputs = dense(jnp.reshape(x, (-1, x.shape[-1])), kernel, bias)
    return jnp.reshape(outputs, (*x.shape[:-1], kernel.shape[-1]))


class Dense(nn.Module):
    """Dense layer over the last axis.

    Attributes:
      features: K, number of outputs.
      scale: gain of the orthogonal kernel.
    """

    features: int
    scale: float = 2.0**0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., M] to [..., K]."""

        def init(key: Key, shape: tuple[int, int]) -> Array:
            return orthogonal_kernels(key, [shape], [self.scale])[0]

        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return affine(x, kernel, bias)


def orthogonal_kernels(
    key: Key, shapes: Sequence[tuple[int, int]], scales: Sequence[float]
) -> list[Array]:
    """Uniformly random kernels with orthonormal rows or columns, times a gain each.

    The orthogonal polar factor of a Gaussian matrix is uniformly distributed. It is found by the
    Newton-Schulz iteration

        X <- X (3 I - XᵀX) / 2

    which is made of products alone. A QR decomposition would do as well, but is slow to compile,
    and batched LAPACK calls can deadlock the CPU runtime of jax 0.10 (see docs/cpu-runtime.md).

    Args:
      key: PRNG key.
      shapes: (M, K) of each kernel; all are drawn and iterated together, padded to one size.
      scales: gain of each kernel.

    Source: Saxe, McClelland & Ganguli (2014), Exact Solutions to the Nonlinear Dynamics of Learning
    in Deep Linear Neural Networks; Higham (2008), Functions of Matrices, ch. 8.
    """
    sides = [(max(shape), min(shape)) for shape in shapes]
    rows, columns = (max(side[axis] for side in sides) for axis in (0, 1))
    ends = list(itertools.accumulate(m * k for m, k in sides))
    entries = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
    padded = [
        jnp.pad(jnp.reshape(entry, side), ((0, rows - side[0]), (0, columns - side[1])))
        for entry, side in zip(entries, sides, strict=True)
    ]
    factors = _polar_factor(jnp.stack(padded))  # zero rows and columns stay zero
    tall = [factors[i, :m, :k] for i, (m, k) in enumerate(sides)]
    return [
        scale * (factor if shape[0] >= shape[1] else factor.T)
        for factor, shape, scale in zip(tall, shapes, scales, strict=True)
    ]


def _polar_factor(matrices: Array, num_steps: int = 40) -> Array:
    """Orthonormal columns nearest to those of [N, M, K] with M >= K.

    Scaled to singular values in (0, 1], each step grows a small one by 1.5 and then converges
    quadratically: 40 steps reach rounding error for singular values down to 1e-6 of the largest.
    """

    def step(_: int, x: Array) -> Array:
        return 1.5 * x - 0.5 * x @ (jnp.swapaxes(x, 1, 2) @ x)

    norm = jnp.sqrt(jnp.sum(jnp.square(matrices), axis=(1, 2), keepdims=True))
    return jax.lax.fori_loop(0, num_steps, step, matrices / norm)
