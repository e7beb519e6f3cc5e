"""Convolutions of images that commute with quarter turns and mirrors as well as with shifts.

A plane is a two-dimensional representation whose matrices only permute and flip the axes, such as
`standard(dihedral(4))`, so that every element moves pixels onto pixels. With x the pixels,

    LiftConv2D    y[g](x) = Σ_u Σ_l w_l(g) Ψ_l(g⁻¹ u) f(x + u) + b
    GroupConv2D   y[g](x) = Σ_u Σ_h Σ_l w_l(h) Ψ_l(g⁻¹ u, g⁻¹ h) f[h](x + u) + b

Images are [B, H, W, C]: rows run down, x is to the right and y up, so that the quarter turn of
`standard(cyclic(4))` is `jnp.rot90`. Where H and W are odd, a stride of 2 keeps the symmetry; where
they are even it does not, because the kept pixels then have no middle.

Source: Cohen & Welling (2016), Group Equivariant Convolutional Networks, ICML.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.networks.equivariant import HIDDEN_SCALE, Banked, scaled_normal
from jaxecon.symmetry import FiniteGroup, Representation
from jaxecon.types import Array


def pixel_index(plane: Representation, size: int) -> np.ndarray:
    """[n, size²] the pixel g⁻¹ p of a square image that element g moves to pixel p.

    Args:
      plane: representation of dimension 2.
      size: side of the image.

    Raises:
      ValueError: an element does not move pixels onto pixels.
    """
    if plane.dimension != 2 or not plane.is_signed_permutation:
        raise ValueError(
            "plane must be a representation of dimension 2 by quarter turns and mirrors along the "
            f"axes, got {plane!r}; images of other rotations would have to be interpolated."
        )
    row, column = np.divmod(np.arange(size**2), size)
    middle = 0.5 * (size - 1)
    points = np.stack([column - middle, middle - row])  # [2, size²], y up
    x, y = np.moveaxis(np.round(plane.inverses) @ points, 1, 0)
    return np.round((middle - y) * size + x + middle).astype(np.int64)


def act_on_image(plane: Representation, element: Array | int, image: Array) -> Array:
    """g·image for images [B, S, S, ...] and one element, which may be traced."""
    size = image.shape[1]
    pixels = jnp.reshape(image, (image.shape[0], size**2, *image.shape[3:]))
    return jnp.reshape(pixels[:, jnp.asarray(pixel_index(plane, size))[element]], image.shape)


def act_on_features(plane: Representation, element: Array | int, features: Array) -> Array:
    """g·f for functions on the plane and the group, [B, S, S, n, C]."""
    moved = act_on_image(plane, element, features)
    group: FiniteGroup = plane.group
    return moved[..., jnp.asarray(group.mul[group.inv])[element], :]


def transformed(kernel: Array, index: np.ndarray) -> Array:
    """The kernel as each element of the group sees it, [n, K, ...], for a kernel [K, ...].

    Args:
      kernel: entries.
      index: [n, K]; row g lists the entries in the order that element g sees, a permutation.

    Returns:
      `kernel[index]`. As rows are permutations, its gradient is a gather too and no scatter, which
      is slow on CPUs.
    """
    inverse = np.argsort(index, axis=1)
    rows = np.arange(len(index))[:, None]

    @jax.custom_vjp
    def gather(kernel: Array) -> Array:
        return kernel[index]

    def backward(_: None, g: Array) -> tuple[Array]:
        return (jnp.sum(g[rows, inverse], axis=0),)

    gather.defvjp(lambda kernel: (gather(kernel), None), backward)
    return gather(kernel)


def _require_middle(kernel_size: int, padding: str) -> None:
    """Raise ValueError for windows that padding would put off centre."""
    if kernel_size % 2 == 0 and padding != "VALID":
        raise ValueError(
            f'kernel_size must be odd with padding "{padding}", got {kernel_size}: one side would '
            'get more padding than the other. Use an odd one, or padding "VALID".'
        )


def _convolve(x: Array, kernel: Array, stride: int, padding: str) -> Array:
    """Images [B, H, W, M] by a kernel [k, k, M, K]."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class LiftConv2D(Banked):
    """From images to functions on pixels and group.

    Attributes:
      plane: see above.
      channels: C of the output.
      kernel_size: side k of the window, odd unless nothing is padded.
      stride, padding: as in `jax.lax.conv_general_dilated`.
      scale: gain.
    """

    plane: Representation
    channels: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    scale: float = HIDDEN_SCALE

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C_in] to [B, H', W', n, C]."""
        _require_middle(self.kernel_size, self.padding)
        order, size, channels_in = self.plane.group.order, self.kernel_size, x.shape[-1]
        init = scaled_normal(self.scale, size**2 * channels_in, self.num_banks)
        shape = (size**2, self.num_banks, channels_in, self.channels)
        kernel = self.param("kernel", init, shape)
        weights = self.bank_weights(order).T.astype(kernel.dtype)  # [n, L]
        seen = transformed(kernel, pixel_index(self.plane, size))  # [g, k², L, C_in, C]
        seen = jnp.sum(seen * weights[:, None, :, None, None], axis=2)
        kernel = jnp.transpose(seen, (1, 2, 0, 3))
        y = _convolve(
            x, jnp.reshape(kernel, (size, size, channels_in, -1)), self.stride, self.padding
        )
        y = jnp.reshape(y, (*y.shape[:-1], order, self.channels))
        return y + self.bias_of(self.channels)[None, None, None, None, :]


class GroupConv2D(Banked):
    """From functions on pixels and group to the same.

    Attributes:
      plane: see above.
      channels: C of the output.
      kernel_size: side k of the window, odd unless nothing is padded.
      stride, padding: as in `jax.lax.conv_general_dilated`.
      scale: gain.
    """

    plane: Representation
    channels: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    scale: float = HIDDEN_SCALE

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, n, C_in] to [B, H', W', n, C]."""
        _require_middle(self.kernel_size, self.padding)
        chex.assert_axis_dimension(x, -2, self.plane.group.order)
        order, channels_in = x.shape[-2:]
        size, group = self.kernel_size, self.plane.group
        init = scaled_normal(self.scale, size**2 * order * channels_in, self.num_banks)
        shape = (size**2 * order, self.num_banks, channels_in, self.channels)
        kernel = self.param("kernel", init, shape)
        weights = self.bank_weights(order).T.astype(kernel.dtype)  # [n, L]
        pixels, elements = pixel_index(self.plane, size), group.mul[group.inv]
        index = pixels[:, :, None] * order + elements[:, None, :]  # (g⁻¹ u, g⁻¹ h)
        seen = transformed(kernel, index.reshape(order, -1))
        seen = jnp.reshape(seen, (order, size**2, order, *shape[1:]))  # [g, k², h, L, C_in, C]
        seen = jnp.sum(seen * weights[None, None, :, :, None, None], axis=3)
        kernel = jnp.transpose(seen, (1, 2, 3, 0, 4))  # [k², h, C_in, g, C]
        kernel = jnp.reshape(kernel, (size, size, order * channels_in, -1))
        rows = jnp.reshape(x, (*x.shape[:-2], -1))
        y = _convolve(rows, kernel, self.stride, self.padding)
        y = jnp.reshape(y, (*y.shape[:-1], order, self.channels))
        return y + self.bias_of(self.channels)[None, None, None, None, :]
