"""Which part of a symmetry broke: functions on a group by its irreducible representations.

    w = Σ_k P_k w,   share of component k = |P_k w|² / |w|²

The first component is the mean, which is all there is while a symmetry holds. A component's kernel
is the subgroup under which its functions do not change: weights that left the mean for it alone
still respect that subgroup.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxecon.symmetry.groups import FiniteGroup, read_only
from jaxecon.types import Array


class Component(NamedTuple):
    """Functions on a group that one irreducible representation contributes."""

    name: str
    rank: int  # dimension: d² of an irreducible representation of dimension d, 2 d² if complex
    kernel: tuple[int, ...]  # elements that leave these functions alone
    projector: np.ndarray  # [n, n] symmetric


@functools.lru_cache
def components(group: FiniteGroup) -> tuple[Component, ...]:
    """Isotypic components of the real functions on a group, the constants first.

    They are the joint eigenspaces of the convolutions with conjugacy classes, each taken together
    with that of the inverses, which are symmetric and commute. One random mixture separates them.

    Source: Serre (1977), Linear Representations of Finite Groups, ch. 2.6 and 6.3.
    """
    order = group.order
    quotients = group.mul[:, group.inv]  # a b⁻¹
    weights = _class_function(group)
    values, vectors = np.linalg.eigh(weights[quotients])
    ends = np.flatnonzero(np.diff(values) > 1e-6) + 1
    found = []
    for basis in np.split(vectors, ends, axis=1):
        projector = basis @ basis.T
        character = projector[:, 0]  # of each element, times d / n
        kernel = np.flatnonzero(character > character[0] - 1e-6)
        found.append((len(kernel) < order, basis.shape[1], *np.round(-character, 6), projector))
    found.sort(key=lambda entry: entry[:-1])
    return tuple(_component(index, entry[1], entry[-1]) for index, entry in enumerate(found))


def _component(index: int, rank: int, projector: np.ndarray) -> Component:
    character = projector[:, 0]
    kernel = tuple(int(i) for i in np.flatnonzero(character > character[0] - 1e-6))
    name = f"{index}: rank {rank}, kernel {len(kernel)}" if index else "mean"
    return Component(name, rank, kernel, read_only(projector))


def _class_function(group: FiniteGroup) -> np.ndarray:
    """[n] numbers, one for each conjugacy class together with the inverses' class."""
    conjugates = group.mul[group.mul, group.inv[:, None]]  # [h, g] is h g h⁻¹
    least = np.minimum(conjugates.min(axis=0), conjugates[:, group.inv].min(axis=0))
    sizes = np.bincount(least, minlength=group.order)
    draws = np.random.default_rng(0).normal(size=group.order) / np.maximum(sizes, 1)
    return draws[least]


def relaxed_weight_spectrum(group: FiniteGroup, weights: Array) -> Array:
    """Share of the squares of relaxed weights that lies in each component.

    Args:
      group: of order n.
      weights: [..., n] such as `relax_w` of a layer, [L, n]; whole numbers count as floats.

    Returns:
      [..., K] in the order of `components`, summing to one; nan where all weights are zero.
    """
    weights = jnp.asarray(weights)
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        weights = weights.astype(jnp.result_type(float))
    projectors = jnp.asarray(np.stack([c.projector for c in components(group)]), weights.dtype)
    parts = jnp.einsum("kgh,...h->...kg", projectors, weights, precision="highest")
    power = jnp.sum(jnp.square(parts), axis=-1)
    return power / jnp.sum(power, axis=-1, keepdims=True)
