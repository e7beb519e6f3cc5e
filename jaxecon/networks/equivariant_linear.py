"""Linear maps between representations, equivariant or with a residual that may leave them."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.networks.equivariant import scaled_normal
from jaxecon.networks.layers import affine
from jaxecon.symmetry import Representation
from jaxecon.symmetry.groups import read_only
from jaxecon.types import Array


@functools.lru_cache
def hom_basis(rep_in: Representation, rep_out: Representation) -> np.ndarray:
    """[b, d_out, d_in] orthonormal basis of the maps with ρ_out(g) E = E ρ_in(g) for all g.

    The null space of all generators' constraints, by a singular value decomposition in NumPy whose
    cost grows like (d_out d_in)³. Any rotation of a basis is one, and libraries differ in theirs;
    here unit matrices are projected onto the space and made orthonormal in turn, so that weights
    mean the same on every machine. Of permutations it gives the indicators of orbits.

    Source: Finzi, Welling & Wilson (2021), A Practical Method for Constructing Equivariant
    Multilayer Perceptrons for Arbitrary Matrix Groups, arXiv 2104.09459.
    """
    if rep_in.group != rep_out.group:
        raise ValueError(f"rep_in and rep_out must have one group, got {rep_in!r}, {rep_out!r}.")
    shape = (rep_out.dimension, rep_in.dimension)
    constraints = [np.zeros((1, shape[0] * shape[1]))]
    for g in rep_in.group.generators:  # on E read row by row
        keeps = np.kron(rep_out.matrices[g], np.eye(shape[1]))
        constraints.append(keeps - np.kron(np.eye(shape[0]), rep_in.matrices[g].T))
    stacked = np.concatenate(constraints)
    full = len(stacked) < stacked.shape[1]
    _, sizes, rows = np.linalg.svd(stacked, full_matrices=full)
    null = rows[int((sizes > 1e-8).sum()) :]
    return read_only(_in_order(null.T @ null).reshape(-1, *shape))


def _in_order(projector: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span what a projector keeps, by Gram-Schmidt on its rows in turn."""
    basis: list[np.ndarray] = []
    for row in projector:
        for _ in range(2):  # once more against rounding
            row = row - sum((b * (b @ row) for b in basis), np.zeros_like(row))
        if np.linalg.norm(row) > 1e-6:
            basis.append(row / np.linalg.norm(row))
    return np.array(basis).reshape(len(basis), len(projector))


class RelaxedLinear(nn.Module):
    """Linear map between copies of two representations, plus a residual that starts at zero.

        y = Σ_b (W_b ⊗ E_b) x + R x + bias,   E_b a basis of the equivariant maps

    Attributes:
      rep_in, rep_out: representations of one group.
      copies_in, copies_out: vectors of each; coordinates of a copy are neighbours.
      relaxed: whether there is a residual R, the parameter `residual`.
      scale: gain.
    """

    rep_in: Representation
    rep_out: Representation
    copies_in: int = 1
    copies_out: int = 1
    relaxed: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., copies_in d_in] to [..., copies_out d_out]."""
        basis, size = hom_basis(self.rep_in, self.rep_out), self.rep_out.dimension
        init = scaled_normal(self.scale * size**0.5, len(basis) * self.copies_in, 1)
        kernel = self.param("kernel", init, (len(basis), self.copies_in, self.copies_out))
        matrix = jnp.einsum(
            "bfo,bji->fioj", kernel, jnp.asarray(basis, kernel.dtype), precision="highest"
        )
        matrix = jnp.reshape(matrix, (x.shape[-1], self.copies_out * size))
        if self.relaxed:
            matrix += self.param("residual", nn.initializers.zeros_init(), matrix.shape)
        fixed = self.rep_out.fixed
        free = self.param("bias", nn.initializers.zeros_init(), (self.copies_out, fixed.shape[1]))
        bias = jnp.reshape(free @ jnp.asarray(fixed.T, free.dtype), (-1,))
        return affine(x, matrix, bias)
