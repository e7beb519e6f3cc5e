"""A plain perceptron."""

import itertools

from flax import linen as nn

from jaxecon.networks.layers import ACTIVATIONS, Dense
from jaxecon.types import Array


class MLP(nn.Module):
    """Multilayer perceptron over the last axis.

    Attributes:
      hidden_sizes: width of each hidden layer.
      num_outputs: K, number of linear outputs.
      activation: name in `ACTIVATIONS`.
      output_scale: gain of the last layer's orthogonal kernel.
    """

    hidden_sizes: tuple[int, ...]
    num_outputs: int
    activation: str = "tanh"
    output_scale: float = 1.0
    gains = 0  # of elements: there are none

    def kernels(self, num_inputs: int) -> list[tuple[tuple[int, int], float]]:
        """Shape and gain of each layer's kernel, in order."""
        widths = [num_inputs, *self.hidden_sizes, self.num_outputs]
        scales = [Dense.scale] * len(self.hidden_sizes) + [self.output_scale]
        return list(zip(itertools.pairwise(widths), scales, strict=True))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., M] to [..., K]."""
        for width in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](Dense(width)(x))
        return Dense(self.num_outputs, self.output_scale)(x)
