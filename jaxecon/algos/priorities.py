"""Drawing slots in proportion to their mass: a wide tree of sums, in whole-array steps.

Each level adds up groups of `WIDTH` entries of the level below. A draw descends one level at a
time, a whole batch at once; a change of mass recomputes the sums above it from their entries, so no
rounding error accumulates. The cost grows with the logarithm of the number of slots.
"""

import jax.numpy as jnp

from jaxecon.types import Array

WIDTH = 32  # entries per sum
Tree = tuple[Array, ...]  # from the single group of the top, [1, W], to the slots, [G, W]


def init_tree(num_slots: int) -> Tree:
    """Zero mass on slots 0 .. num_slots - 1."""
    levels = [-(-num_slots // WIDTH)]
    while levels[0] > 1:
        levels.insert(0, -(-levels[0] // WIDTH))
    return tuple(jnp.zeros((groups, WIDTH)) for groups in levels)


def total_mass(tree: Tree) -> Array:
    """Sum of all slots' masses, ()."""
    return tree[0].sum()


def mass_of(tree: Tree, slot: Array) -> Array:
    """Mass of slots [M]."""
    return tree[-1][slot // WIDTH, slot % WIDTH]


def set_mass(tree: Tree, slot: Array, mass: Array) -> Tree:
    """The tree with new masses.

    Args:
      tree: the old masses.
      slot: [M] slots to change; where one occurs twice, equal masses must go with it.
      mass: [M] non-negative.
    """
    levels: list[Array] = []
    for level in reversed(tree):
        group = slot // WIDTH
        level = level.at[group, slot % WIDTH].set(mass)
        slot, mass = group, level[group].sum(axis=-1)
        levels.insert(0, level)
    return tuple(levels)


def draw(tree: Tree, uniform: Array) -> Array:
    """Slots whose cumulative mass contains each point, [M] int32.

    Args:
      tree: masses, of which at least one is positive; slot 0 comes back where none is.
      uniform: [M] in [0, 1), the points as shares of the total mass.

    A slot without mass is never drawn, whatever the rounding.
    """
    point = uniform * total_mass(tree)
    group = jnp.zeros(uniform.shape, jnp.int32)
    for level in tree:
        mass = level[group]  # [M, W]
        before = jnp.cumsum(mass, axis=-1) - mass
        holds = (mass > 0.0) & (before <= point[:, None])
        order = jnp.arange(WIDTH, dtype=jnp.int32)[None]
        child = jnp.max(jnp.where(holds, order, 0), axis=-1)
        point = point - jnp.take_along_axis(before, child[:, None], axis=-1)[:, 0]
        group = group * WIDTH + child
    return group
