"""Networks that keep, nearly keep or may leave the symmetry that an environment declares.

exact     an equivariant network
relaxed   the same with relaxed weights, which start equivariant and may leave
rpp       an equivariant network plus a free one (residual pathway prior)
"""

from typing import Any

import jax
import numpy as np

from jaxecon.networks.equivariant_mlp import EquivariantMLP, ResidualPathway
from jaxecon.networks.heads import CategoricalHead, Head, SimplexHead, SquashedNormalHead
from jaxecon.networks.mlp import MLP
from jaxecon.networks.sets import DeepSets
from jaxecon.symmetry import Block, Representation, SymmetrySpec
from jaxecon.symmetry.spec import declared_symmetry

EQUIVARIANT = ("exact", "relaxed", "rpp")
Body = MLP | DeepSets | EquivariantMLP | ResidualPathway


def equivariant_body(
    network: str,
    blocks: tuple[Block, ...],
    output: Representation,
    hidden_sizes: tuple[int, ...],
    activation: str,
    num_banks: int,
    output_scale: float,
) -> EquivariantMLP | ResidualPathway:
    """One tower from the blocks of an input to a representation.

    Args:
      network: name in `EQUIVARIANT`.
      blocks: of the input rows, see `jaxecon.symmetry.SymmetrySpec`.
      output: how what comes out transforms.
      hidden_sizes: channels per group element, at least one layer. The free network of "rpp" has
        channels times √n wide layers, and so about as many weights.
      activation: name in `ACTIVATIONS`.
      num_banks: filter banks of relaxed layers.
      output_scale: gain of the last layer.

    Raises:
      ValueError: there is no hidden layer.
    """
    if not hidden_sizes:
        raise ValueError(
            f'hidden_sizes must have at least one width for network "{network}", got ().'
        )
    exact = EquivariantMLP(
        blocks, output, hidden_sizes, activation, output_scale, network == "relaxed", num_banks
    )
    if network != "rpp":
        return exact
    widths = tuple(round(size * output.group.order**0.5) for size in hidden_sizes)
    return ResidualPathway(exact, MLP(widths, output.dimension, activation, output_scale))


def symmetry_of(env: Any, network: str | None, num_features: int, head: Head) -> SymmetrySpec:
    """The symmetry that an environment declares, checked against its spaces.

    Args:
      env: an environment.
      network: name in `EQUIVARIANT`, for messages; None where samples are augmented instead.
      num_features: entries of one agent's flat observation.
      head: its action distribution.

    Raises:
      ValueError: it declares none, something else, or one that does not fit observations or
        actions.
    """
    spec = declared_symmetry(env)
    if spec is None:
        wrong = _wrong(network, '"mlp"', env.name)
        raise ValueError(
            f"{wrong}, which needs an environment that declares its symmetry: give it symmetry() "
            "-> jaxecon.symmetry.SymmetrySpec."
        )
    if isinstance(head, SimplexHead):
        others = '"mlp", or "sets" if the algorithm has it,'
        wrong = _wrong(network, others, f"the shares of {env.name}")
        raise ValueError(f"{wrong}, which needs a Box, Ball or Discrete action space.")
    spec.check_sizes(num_features, head.num_outputs, isinstance(head, CategoricalHead))
    if isinstance(head, SquashedNormalHead):
        _check_box(spec.action_rep, head)
    return spec


def _wrong(network: str | None, others: str, where: str) -> str:
    """Start of a message: which setting does not go where, and what would."""
    if network is None:
        return f"augment must be False for {where}, got True"
    return f'network must be {others} for {where}, got "{network}"'


def _check_box(rep: Representation, head: SquashedNormalHead) -> None:
    """Raise ValueError unless squashing onto the box commutes with the group.

    Bounds that are traced are taken on trust.
    """
    if not rep.is_signed_permutation:
        raise ValueError(
            f"action_rep must permute or flip the coordinates of a Box, but {rep.name} mixes them, "
            "which bounds on each do not allow; declare the action space a Ball."
        )
    if any(isinstance(bound, jax.core.Tracer) for bound in (head.low, head.high)):
        return
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float64), head.shape).ravel()
        for bound in (head.low, head.high)
    )
    middle, width = 0.5 * (low + high), high - low
    moved = (
        np.abs(rep.matrices @ middle - middle).max()
        + np.abs(np.abs(rep.matrices) @ width - width).max()
    )
    if moved > 1e-5:
        raise ValueError(
            "action_space must have bounds that the group leaves alone (equal where it permutes "
            f"coordinates, opposite where it flips them), got {low} to {high}."
        )
