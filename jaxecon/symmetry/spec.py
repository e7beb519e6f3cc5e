"""How a group acts on what an environment shows and on what an agent does."""

import dataclasses
import operator
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from jaxecon.symmetry.groups import FiniteGroup, require_group
from jaxecon.symmetry.representations import Representation
from jaxecon.types import Array


class Block(NamedTuple):
    """A slice of the flat observation: `copies` vectors of one representation, one after another.

    Coordinate i of copy f is entry start + f d + i. A table [K, N] of N assets that a permutation
    relabels is K copies of it; for rows [N, K] of one asset each, one copy of
    `outer(permutation(...), trivial(cyclic(1), K))` says the same.
    """

    start: int
    stop: int
    copies: int
    rep: Representation

    @property
    def where(self) -> str:
        """The slice, for messages."""
        return f"obs[{self.start}:{self.stop}]"


@dataclasses.dataclass(frozen=True)
class SymmetrySpec:
    """A declared symmetry: what a group element does to observations and actions.

    The environment need not keep it. Where it does not, the declaration is approximate, and relaxed
    networks may leave it.

    Attributes:
      group: of order n.
      obs_blocks: (slice or (start, stop), copies, representation) of each part of the observation,
        flattened row by row; together they cover it.
      action_rep: of the flat action of a Box or Ball, or of the logits of a Discrete space, which
        are permuted. In a multi-agent environment both describe one agent.

    Raises:
      ValueError: blocks leave a gap, overlap or do not fit their representation, or groups differ
        or are none; the message names the slice.
    """

    group: FiniteGroup
    obs_blocks: tuple[Block, ...]
    action_rep: Representation

    def __post_init__(self):
        require_group(self.group)
        blocks = sorted(map(_as_block, self.obs_blocks), key=lambda block: block.start)
        object.__setattr__(self, "obs_blocks", tuple(blocks))
        expected = 0
        for block in blocks:
            _check_block(block, self.group, expected)
            expected = block.stop
        if not blocks:
            raise ValueError("obs_blocks must cover the observation, got none.")
        if not isinstance(self.action_rep, Representation):
            kind = type(self.action_rep).__name__
            raise ValueError(
                f"action_rep must be a Representation of {self.group.name}, got {kind}."
            )
        if self.action_rep.group != self.group:
            raise ValueError(_other_group("action_rep", self.action_rep, self.group))
        if not self.action_rep.is_orthogonal:
            raise ValueError(
                f"action_rep must keep lengths, which {self.action_rep.name} does not; choose a "
                "basis in which its matrices are orthogonal."
            )

    @property
    def num_features(self) -> int:
        """F, length of the flat observation."""
        return self.obs_blocks[-1].stop

    @property
    def num_actions(self) -> int:
        """Length of the flat action, or number of discrete ones."""
        return self.action_rep.dimension

    def check_sizes(self, num_features: int, num_actions: int, is_discrete: bool = False) -> None:
        """Raise ValueError unless an environment's spaces are those that are described.

        Args:
          num_features: entries of one agent's flat observation.
          num_actions: entries of its flat action, or the number of discrete ones.
          is_discrete: whether they are.
        """
        if self.num_features != num_features:
            raise ValueError(
                f"obs_blocks must cover obs[0:{num_features}], the whole observation, got blocks "
                f"up to {self.obs_blocks[-1].where}."
            )
        if self.num_actions != num_actions:
            raise ValueError(
                f"action_rep must have dimension {num_actions}, as the action has, got "
                f"{self.num_actions}."
            )
        if is_discrete and not self.action_rep.is_permutation:
            raise ValueError(
                "action_rep must permute the actions of a Discrete space, got "
                f"{self.action_rep.name}, which does not."
            )

    def act_on_obs(self, element: Array | int, obs: Array) -> Array:
        """g·obs for flat observations [..., F] and one element, a number from 0 to n - 1."""
        obs = jnp.asarray(obs)
        chex.assert_axis_dimension(obs, -1, self.num_features)
        parts = []
        for block in self.obs_blocks:
            rows = obs[..., block.start : block.stop]
            vectors = jnp.reshape(rows, (*rows.shape[:-1], block.copies, block.rep.dimension))
            parts.append(jnp.reshape(act(block.rep, element, vectors), rows.shape))
        return jnp.concatenate(parts, axis=-1)

    def act_on_action(self, element: Array | int, action: Array) -> Array:
        """g·action for flat actions [..., A], or for discrete ones, whole numbers [...]."""
        action = jnp.asarray(action)
        if jnp.issubdtype(action.dtype, jnp.integer):
            images = jnp.asarray(self.action_rep.images, action.dtype)
            return images[element][action]
        return act(self.action_rep, element, action)


def act(rep: Representation, element: Array | int, x: Array) -> Array:
    """ρ(g) x for vectors [..., d] of floats and one element, which may be traced."""
    x = jnp.asarray(x)  # float64 of NumPy becomes what JAX is set to
    chex.assert_axis_dimension(x, -1, rep.dimension)
    chex.assert_type(x, float)
    matrix = jnp.asarray(rep.matrices, x.dtype)[element]
    return jnp.einsum("ij,...j->...i", matrix, x, precision="highest")


def declared_symmetry(env: Any) -> SymmetrySpec | None:
    """The symmetry that an environment declares, or None; ValueError if it is something else."""
    spec = getattr(env, "symmetry", lambda: None)()
    if spec is not None and not isinstance(spec, SymmetrySpec):
        raise ValueError(
            f"symmetry() of {type(env).__name__} must return a jaxecon.symmetry.SymmetrySpec, or "
            f"None where there is no symmetry, got {type(spec).__name__}."
        )
    return spec


def _as_block(given: Any) -> Block:
    """A block from what a user writes; ValueError where that cannot be read."""
    try:
        where, number, rep = _parts(given)
        if isinstance(where, slice):
            where = (where.start or 0, where.stop, where.step or 1)
        start, stop, step = (operator.index(i) for i in (*where, 1)[:3])
        block = Block(start, stop, operator.index(number), rep)
    except (TypeError, ValueError):
        step, rep = 1, None
    if step != 1 or not isinstance(rep, Representation):
        raise ValueError(
            "obs_blocks must hold (slice(start, stop), copies, Representation) for each block, the "
            f"slice with both ends and without a step, got {given!r}."
        )
    return block


def _parts(given: Any) -> Any:
    """(where, copies, representation) of a block, ready-made or not."""
    return ((given.start, given.stop), *given[2:]) if isinstance(given, Block) else given


def _check_block(block: Block, group: FiniteGroup, expected: int) -> None:
    """Raise ValueError unless a block starts where the one before stopped, and fits."""
    if block.start != expected:
        what = "overlap" if block.start < expected else "leave a gap"
        raise ValueError(
            f"obs_blocks must cover the observation without gap or overlap, but {block.where} "
            f"should start at {expected}: they {what}."
        )
    size = block.copies * block.rep.dimension
    if block.copies < 1 or block.stop - block.start != size:
        raise ValueError(
            f"{block.where} must have length copies x dimension = {block.copies} x "
            f"{block.rep.dimension} = {size}, got {block.stop - block.start}."
        )
    if block.rep.group != group:
        raise ValueError(_other_group(block.where, block.rep, group))


def _other_group(where: str, rep: Representation, group: FiniteGroup) -> str:
    return (
        f"{where} must be a representation of {group.name} with its table, got {rep!r}; see `outer`"
        " for products of groups."
    )
