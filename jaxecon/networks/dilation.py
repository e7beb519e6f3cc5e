"""Convolution along scales of time."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.networks.equivariant import HIDDEN_SCALE, Banked, scaled_normal
from jaxecon.networks.layers import affine
from jaxecon.types import Array


class DilationConv(Banked):
    """Convolution along scales of time, the levels of a pyramid of returns.

        y[s] = Σ_{|d| <= r} Σ_l w_l(s + d) Ψ_l[d] x[s + d] + b

    Commutes with shifts of the levels where each w_l is constant, except for what crosses the ends
    of the pyramid, beyond which x is 0. Relaxed weights are `relax_w`, [L, S].

    Attributes:
      channels: C of the output.
      reach: r, neighbouring levels on each side that count.
      scale: gain.
    """

    channels: int
    reach: int = 1
    scale: float = HIDDEN_SCALE

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., S, C_in] to [..., S, C]."""
        if not isinstance(self.reach, int) or self.reach < 0:
            raise ValueError(
                f"reach must be a whole number of at least 0, got {self.reach!r}; 0 looks at each "
                "level by itself."
            )
        levels, channels_in = x.shape[-2:]
        window = 2 * self.reach + 1
        init = scaled_normal(self.scale, window * channels_in, self.num_banks)
        kernel = self.param("kernel", init, (window, self.num_banks, channels_in, self.channels))
        weights = self.bank_weights(levels).astype(kernel.dtype)
        step = np.arange(levels)[:, None] - np.arange(levels)[None, :]  # [from, to] is d
        chosen = jnp.asarray(step[..., None] == np.arange(window) - self.reach, kernel.dtype)
        matrix = jnp.einsum("stk,klco,ls->scto", chosen, kernel, weights, precision="highest")
        matrix = jnp.reshape(matrix, (levels * channels_in, -1))
        bias = self.repeated_bias(self.channels, levels)
        y = affine(jnp.reshape(x, (*x.shape[:-2], -1)), matrix, bias)
        return jnp.reshape(y, (*x.shape[:-2], levels, self.channels))
