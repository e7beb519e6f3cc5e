"""A dense layer whose weight gradient is laid out for the device that runs it.

On a CPU the product xᵀg of two tall matrices is the slowest part of training a small network:
read column by column it reaches half the speed of the forward product, and a tenth of it where g
has only a few columns (the heads). Writing the transpose out first, or computing gᵀx and
transposing the small result, restores most of it. `bench/dense.py` measures both.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxecon.types import Array

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


class Dense(nn.Module):
    """Dense layer over the last axis, orthogonally initialised.

    Attributes:
      features: K, number of outputs.
      scale: gain of the orthogonal kernel.
    """

    features: int
    scale: float = 2.0**0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., M] to [..., K]."""
        kernel_init = nn.initializers.orthogonal(self.scale)
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        outputs = dense(jnp.reshape(x, (-1, x.shape[-1])), kernel, bias)
        return jnp.reshape(outputs, (*x.shape[:-1], self.features))
