"""Whole networks of equivariant layers: exact, relaxed, and beside a free one."""

from typing import Any

from flax import linen as nn

from jaxecon.networks.equivariant import GroupConv, Lift, VectorHead, one_group
from jaxecon.networks.layers import ACTIVATIONS
from jaxecon.symmetry import Block, Representation
from jaxecon.types import Array


class EquivariantMLP(nn.Module):
    """Perceptron whose hidden layers are functions on a group.

    Attributes:
      blocks: of the observation, see `jaxecon.symmetry.SymmetrySpec`.
      output: representation of what comes out, a trivial one for numbers.
      hidden_sizes: channels per group element of each hidden layer, at least one.
      activation: name in `ACTIVATIONS`.
      output_scale: gain of the last layer.
      relaxed, num_banks: of every layer, see `Banked`.
    """

    blocks: tuple[Block, ...]
    output: Representation
    hidden_sizes: tuple[int, ...]
    activation: str = "tanh"
    output_scale: float = 1.0
    relaxed: bool = False
    num_banks: int = 1

    @property
    def num_outputs(self) -> int:
        """Length of the output."""
        return self.output.dimension

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., F] to [..., num_outputs]."""
        group, activate = one_group(self.blocks), ACTIVATIONS[self.activation]
        if self.output.group != group:
            raise ValueError(f"output must be a representation of {group}, got {self.output}.")
        banks: Any = {"relaxed": self.relaxed, "num_banks": self.num_banks}
        x = activate(Lift(self.blocks, self.hidden_sizes[0], **banks)(x))
        for channels in self.hidden_sizes[1:]:
            x = activate(GroupConv(group, channels, **banks)(x))
        return VectorHead(self.output, self.output_scale, **banks)(x)


class ResidualPathway(nn.Module):
    """Sum of an equivariant network and a free one, whose weights a prior may keep small.

    Source: after Finzi, Benton & Wilson (2021), Residual Pathway Priors for Soft Equivariance
    Constraints, arXiv 2112.01388, who add the two in every layer; here whole networks are added.

    Attributes:
      exact, free: from [..., F] to outputs of one shape.
    """

    exact: nn.Module
    free: nn.Module

    @property
    def num_outputs(self) -> int:
        """Length of the output."""
        return self.exact.num_outputs

    def __call__(self, x: Array) -> Array:
        """Map [..., F] to [..., num_outputs]."""
        return self.exact(x) + self.free(x)
