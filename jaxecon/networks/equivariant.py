"""Layers that commute with a finite group, exactly or as far as their relaxed weights let them.

Between the first layer and the last, features are functions on the group, [B, n, C], on which
element k acts by (k·x)[h] = x[k⁻¹ h]. Any function of single numbers commutes with that.

With w the relaxed weights, Ψ the kernels of L banks and ρ the representation of a vector,

    Lift        y[g] = Σ_l w_l(g) Ψ_l ρ(g⁻¹) x + b
    GroupConv   y[g] = Σ_h Σ_l w_l(h) Ψ_l[g⁻¹ h] x[h] + b
    VectorHead  z    = Σ_h Σ_l w_l(h) ρ(h) U_l x[h] / √n

are equivariant where each w_l is constant over the group, as it starts; `relaxed=False` fixes it at
1. Relaxed weights are the parameter `relax_w`, [L, n]. Each layer builds one matrix from its
weights, whatever the group, and applies it in one product.

Sources: Cohen & Welling (2016), Group Equivariant Convolutional Networks; Wang, Walters & Yu
(2022), Approximately Equivariant Networks for Imperfectly Symmetric Dynamics, arXiv 2201.11969,
for the relaxed convolution; Park et al. (2025), arXiv 2411.04225, for their use in reinforcement
learning. Of the last only the abstract was at hand: everything beyond it here is our own choice.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.envs.base import require_count
from jaxecon.networks.layers import affine
from jaxecon.suggest import unknown_name
from jaxecon.symmetry import Block, FiniteGroup, Representation
from jaxecon.types import Array

HIDDEN_SCALE = 2.0**0.5  # gain of hidden layers, as in `layers.Dense`
POOLS = ("mean", "max")


def scaled_normal(scale: float, fan_in: int, num_banks: int) -> nn.initializers.Initializer:
    """Gaussian entries under which an output of unit inputs has deviation `scale`."""
    require_count("num_banks", num_banks)
    return nn.initializers.normal(scale / (max(fan_in, 1) * num_banks) ** 0.5)


class Banked(nn.Module, kw_only=True):
    """What layers with relaxed weights share, by keyword.

    Attributes:
      relaxed: whether the weights of group elements may differ.
      num_banks: L.
    """

    relaxed: bool = False
    num_banks: int = 1

    def bank_weights(self, order: int) -> Array:
        """w, [L, n]: a parameter that starts at 1, or 1."""
        shape = (self.num_banks, order)
        if self.relaxed:
            return self.param("relax_w", nn.initializers.ones_init(), shape)
        return jnp.ones(shape)

    def bias_of(self, channels: int) -> Array:
        """b, [C], starting at zero."""
        return self.param("bias", nn.initializers.zeros_init(), (channels,))

    def repeated_bias(self, channels: int, order: int) -> Array:
        """b for each element of the group, [n C].

        A product with a constant, because the gradient of `jnp.tile` joins the sum over the batch
        in a reduction that CPUs run slowly: at n = 8 and 16 channels a gradient step of the actor
        and critic in `bench/symmetry.py` took 1.9 times as long as that of perceptrons, and takes
        1.2 times as long now.
        """
        bias = self.bias_of(channels)
        repeat = jnp.asarray(np.tile(np.eye(channels), order), bias.dtype)
        return jnp.dot(bias, repeat, precision="highest")


class Lift(Banked):
    """From the blocks of an observation to functions on the group.

    Attributes:
      blocks: they cover the input, see `jaxecon.symmetry.SymmetrySpec`.
      channels: C of the output.
      scale: gain.
    """

    blocks: tuple[Block, ...]
    channels: int
    scale: float = HIDDEN_SCALE

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., F] to [..., n, C]."""
        order, num_features = one_group(self.blocks).order, self.blocks[-1].stop
        chex.assert_axis_dimension(x, -1, num_features)
        init = scaled_normal(self.scale, num_features, self.num_banks)
        kernel = self.param("kernel", init, (self.num_banks, num_features, self.channels))
        weights = self.bank_weights(order).astype(kernel.dtype)
        matrix = jnp.concatenate(
            [_lifted(kernel[:, b.start : b.stop], b, weights) for b in self.blocks]
        )
        y = affine(x, matrix, self.repeated_bias(self.channels, order))
        return jnp.reshape(y, (*x.shape[:-1], order, self.channels))


def one_group(blocks: Sequence[Block]) -> FiniteGroup:
    """The group of all blocks; ValueError if they have several, or there are none."""
    if not blocks:
        raise ValueError("blocks must be at least one jaxecon.symmetry.Block, got none.")
    groups = [block.rep.group for block in blocks]
    if any(group != groups[0] for group in groups):
        raise ValueError(f"blocks must have one group, by its table, got {groups}.")
    return groups[0]


def _lifted(kernel: Array, block: Block, weights: Array) -> Array:
    """Rows of the lifting matrix [f d, n C] that belong to one block, for Ψ [L, f d, C]."""
    (num_banks, width, channels), size = kernel.shape, block.rep.dimension
    psi = jnp.reshape(kernel, (num_banks, block.copies, size, channels))
    inverses = jnp.asarray(block.rep.inverses.transpose(2, 0, 1), kernel.dtype)  # [i, g, j]
    seen = _seen(inverses, weights[:, None, :], jnp.transpose(psi, (0, 2, 1, 3)))
    return jnp.reshape(jnp.transpose(seen, (2, 0, 1, 3)), (width, -1))  # [f, i, g, C]


def _seen(action: Array, weights: Array, kernel: Array) -> Array:
    """Σ_l Σ_k w_l(a, b) A[a, b, k] Ψ_l[k, ...], [a, b, ...]: what the elements see of a kernel.

    The relaxed weights go into the small factor, so that one product makes the whole matrix. Seen
    as a gather it would touch less, but gathers and elementwise passes are slow on CPUs.

    Args:
      action: A, [a, b, K], of which one axis is the group.
      weights: w, [L, a, b] or such that it broadcasts.
      kernel: Ψ, [L, K, ...].
    """
    num_banks, width = kernel.shape[:2]
    weighted = jnp.moveaxis(action[None] * weights[..., None], 0, 2)  # [a, b, L, K]
    weighted = jnp.reshape(weighted, (-1, num_banks * width))
    rows = jnp.reshape(kernel, (num_banks * width, -1))
    product = jnp.dot(weighted, rows, precision="highest")
    return jnp.reshape(product, (*action.shape[:2], *kernel.shape[2:]))


class GroupConv(Banked):
    """Convolution over the group.

    Attributes:
      group: of order n.
      channels: C of the output.
      scale: gain.
    """

    group: FiniteGroup
    channels: int
    scale: float = HIDDEN_SCALE

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., n, C_in] to [..., n, C]."""
        chex.assert_axis_dimension(x, -2, self.group.order)
        order, channels_in = x.shape[-2:]
        init = scaled_normal(self.scale, order * channels_in, self.num_banks)
        shape = (self.num_banks, order, channels_in, self.channels)
        kernel = self.param("kernel", init, shape)
        weights = self.bank_weights(order).astype(kernel.dtype)
        quotients = self.group.mul[self.group.inv].T  # [h, g] is g⁻¹ h
        chosen = jnp.asarray(quotients[..., None] == np.arange(order), kernel.dtype)
        seen = _seen(chosen, weights[:, :, None], kernel)  # [h, g, C_in, C]
        matrix = jnp.reshape(jnp.transpose(seen, (0, 2, 1, 3)), (order * channels_in, -1))
        bias = self.repeated_bias(self.channels, order)
        y = affine(jnp.reshape(x, (*x.shape[:-2], -1)), matrix, bias)
        return jnp.reshape(y, (*x.shape[:-2], order, self.channels))


class VectorHead(Banked):
    """From functions on the group to a vector that transforms by a representation.

    A trivial representation makes it the mean over the group of each output, times √n. The bias
    lies in what the group leaves alone: there is none for a plain vector.

    Attributes:
      rep: ρ of the output, of dimension d.
      scale: gain.
    """

    rep: Representation
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., n, C] to [..., d]."""
        chex.assert_axis_dimension(x, -2, self.rep.group.order)
        order, channels = x.shape[-2:]
        size = self.rep.dimension
        init = scaled_normal(self.scale, channels, self.num_banks)
        kernel = self.param("kernel", init, (self.num_banks, size, channels))
        weights = self.bank_weights(order).astype(kernel.dtype)
        matrices = jnp.asarray(self.rep.matrices / order**0.5, kernel.dtype)  # [h, i, m]
        seen = _seen(matrices, weights[:, :, None], kernel)  # [h, i, C]
        matrix = jnp.reshape(jnp.swapaxes(seen, 1, 2), (-1, size))
        return affine(jnp.reshape(x, (*x.shape[:-2], -1)), matrix, self._bias(kernel.dtype))

    def _bias(self, dtype: jnp.dtype) -> Array:
        """[d], of which the group moves nothing."""
        size, rank = self.rep.fixed.shape
        if not rank:
            return jnp.zeros(size, dtype)
        return jnp.asarray(self.rep.fixed, dtype) @ self.bias_of(rank)


class InvariantHead(Banked):
    """From functions on the group to numbers that the group leaves alone.

        mean:  v = Σ_h w(h) U x[h] / √n + b          max:  v = max_h w(h) U x[h] + b

    Attributes:
      num_outputs: d.
      pool: name in `POOLS`.
      scale: gain.
    """

    num_outputs: int
    pool: str = "mean"
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., n, C] to [..., d]."""
        if self.pool not in POOLS:
            raise ValueError(unknown_name("pool", self.pool, POOLS))
        order, channels = x.shape[-2:]
        init = scaled_normal(self.scale, channels, self.num_banks)
        kernel = self.param("kernel", init, (channels, self.num_banks * self.num_outputs))
        weights = self.bank_weights(order).T.astype(x.dtype)  # [n, L]
        scores = affine(x, kernel, jnp.zeros(kernel.shape[1], kernel.dtype))
        scores = jnp.reshape(scores, (*x.shape[:-1], self.num_banks, self.num_outputs))
        weights = jnp.expand_dims(weights[..., None], tuple(range(x.ndim - 2)))
        scores = jnp.sum(scores * weights, axis=-2)  # [..., n, d]
        pooled = scores.max(axis=-2) if self.pool == "max" else scores.sum(axis=-2) / order**0.5
        bias = self.bias_of(self.num_outputs)
        return pooled + jnp.expand_dims(bias, tuple(range(pooled.ndim - 1)))


class PooledNorm(nn.Module):
    """Features scaled to mean 0 and variance 1 over group and channels, then per channel.

    Statistics or scales of single elements of the group would break the symmetry.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., n, C] to the same shape."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        centred = x - x.mean(axis=(-2, -1), keepdims=True)
        variance = jnp.square(centred).mean(axis=(-2, -1), keepdims=True)
        leading = tuple(range(x.ndim - 1))
        scale, bias = jnp.expand_dims(scale, leading), jnp.expand_dims(bias, leading)
        return centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias
