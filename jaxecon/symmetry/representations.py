"""Representations: how a finite group acts on vectors, one real matrix per element.

    standard(dihedral(4))                                  positions in the plane
    outer(sign(z2()), permutation(cyclic(4)))              4 assets, long or short
    direct_sum(standard(group), trivial(group, 3))         one after the other

ρ(a b) = ρ(a) ρ(b) is checked when one is made.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from jaxecon.symmetry.checking import require_real, require_whole
from jaxecon.symmetry.groups import (
    MAX_ORDER,
    TOLERANCE,
    ByContent,
    FiniteGroup,
    cyclic,
    dihedral,
    generate,
    permutation_matrix,
    permutations_of,
    product,
    read_only,
    require_group,
    symmetric,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Representation(ByContent):
    """Matrices ρ(g) of one group.

    Attributes:
      group: of order n.
      matrices: [n, d, d] real; kept as float64.
      name: for messages and plots; it plays no part in equality.

    Raises:
      ValueError: `group` is none, the matrices are complex or of the wrong shape, or ρ(a b) is not
        ρ(a) ρ(b); the message names a and b.
    """

    group: FiniteGroup
    matrices: np.ndarray
    name: str = "ρ"

    def __post_init__(self):
        require_group(self.group)
        require_real("matrices", np.asarray(self.matrices))
        matrices = np.asarray(self.matrices, np.float64)
        order = self.group.order
        if matrices.ndim != 3 or len(matrices) != order or matrices.shape[1] != matrices.shape[2]:
            raise ValueError(
                f"matrices must be [{order}, d, d] for {self.group.name}, got {matrices.shape}."
            )
        if not np.isfinite(matrices).all():
            raise ValueError("matrices must be finite.")
        object.__setattr__(self, "matrices", read_only(matrices))
        self._check_products()

    def _check_products(self) -> None:
        """All products follow from those with generators from the right."""
        if np.abs(self.matrices[0] - np.eye(self.dimension)).max(initial=0.0) > TOLERANCE:
            raise ValueError(f"{self.name} must map element 0 to the identity matrix.")
        for b in self.group.generators:
            gap = np.abs(self.matrices[self.group.mul[:, b]] - self.matrices @ self.matrices[b])
            worst = gap.max(axis=(1, 2), initial=0.0)
            if worst.max() > TOLERANCE:
                a = int(np.argmax(worst > TOLERANCE))
                raise ValueError(
                    f"{self.name} is no representation of {self.group.name}: ρ(a b) differs from "
                    f"ρ(a) ρ(b) by {worst[a]:.2g} for {a=}, {b=}."
                )

    def __repr__(self) -> str:
        return f"Representation({self.name} of {self.group.name}, dimension {self.dimension})"

    def content(self) -> tuple:
        """The group and the matrices."""
        return self.group, self.dimension, self.matrices.tobytes()

    @property
    def dimension(self) -> int:
        """d."""
        return self.matrices.shape[1]

    @property
    def inverses(self) -> np.ndarray:
        """[n, d, d] the matrix of each element's inverse."""
        return self.matrices[self.group.inv]

    @property
    def character(self) -> np.ndarray:
        """[n] traces."""
        return np.trace(self.matrices, axis1=1, axis2=2)

    @property
    def is_orthogonal(self) -> bool:
        """Whether lengths are kept: every inverse is the transpose."""
        return bool(np.abs(self.inverses - self.matrices.swapaxes(1, 2)).max(initial=0.0) < 1e-5)

    @property
    def is_signed_permutation(self) -> bool:
        """Whether coordinates only change places and signs; odd functions of each then commute."""
        size = np.abs(self.matrices)
        whole = np.abs(size - np.round(size)).max(initial=0.0) < 1e-5
        return bool(whole and (np.round(size).sum(axis=1) == 1).all())

    @property
    def is_permutation(self) -> bool:
        """Whether coordinates only change places; any function of each then commutes."""
        return self.is_signed_permutation and bool((self.matrices > -0.5).all())

    @property
    def images(self) -> np.ndarray:
        """[n, d] where each coordinate of a (signed) permutation goes.

        Raises:
          ValueError: it is neither.
        """
        if not self.is_signed_permutation:
            raise ValueError(f"{self.name} must permute coordinates; it mixes them.")
        return np.argmax(np.abs(self.matrices), axis=1)

    @functools.cached_property
    def orbits(self) -> np.ndarray:
        """[d] number of the orbit of each coordinate: which of them the group ever mixes."""
        joined = np.abs(self.matrices).max(axis=0, initial=0.0) > TOLERANCE
        joined |= joined.T
        for _ in range(self.dimension.bit_length()):  # who mixes with whom, however indirectly
            joined = joined.astype(np.int64) @ joined > 0
        return np.unique(np.argmax(joined, axis=1), return_inverse=True)[1]

    @functools.cached_property
    def fixed(self) -> np.ndarray:
        """[d, r] orthonormal basis of the vectors that no element moves."""
        basis, sizes, _ = np.linalg.svd(self.matrices.mean(axis=0))  # a projector
        return basis[:, sizes > 0.5]


def trivial(group: FiniteGroup, dimension: int = 1) -> Representation:
    """Nothing moves: prices, volatilities, the time."""
    matrices = np.tile(np.eye(dimension), (group.order, 1, 1))
    return Representation(group, matrices, "trivial")


def standard(group: FiniteGroup) -> Representation:
    """Rotations and mirrors of the plane, d = 2, of `cyclic(n)` or `dihedral(n)`.

    Element s of a dihedral group is the mirror (x, y) -> (x, -y). `cyclic(2)` and `dihedral(1)` are
    one table; it gets the half turn.

    Raises:
      ValueError: the group is neither, by its table.
    """
    order = group.order
    flips, turns = np.zeros(order), np.arange(order)
    num_rotations = order
    if group != cyclic(order):
        num_rotations = order // 2
        if order % 2 or group != dihedral(num_rotations):
            raise ValueError(
                f"group must be cyclic(n) or dihedral(n), got {group.name}; for products see "
                "`outer`, for other groups `generated`."
            )
        flips, turns = np.divmod(turns, num_rotations)
    angle = 2.0 * np.pi * turns / num_rotations
    side = np.where(flips == 1, -1.0, 1.0)
    rows = [[np.cos(angle), -side * np.sin(angle)], [np.sin(angle), side * np.cos(angle)]]
    matrices = np.moveaxis(np.array(rows), 2, 0)
    exact = np.round(matrices)
    matrices = np.where(np.abs(matrices - exact) < 1e-12, exact, matrices)
    return Representation(group, matrices, "standard")


def sign(group: FiniteGroup, values: Sequence[int] | None = None) -> Representation:
    """A change of sign, d = 1.

    Args:
      group: any.
      values: [n] 1 or -1 of each element; may be left out for a group of order 2. See also
        `determinant`.

    Raises:
      ValueError: not such numbers, or no homomorphism.
    """
    if values is None and group.order == 2:
        values = (1, -1)
    if values is None or len(values) != group.order or not set(values) <= {1, -1}:
        raise ValueError(
            f"values must be 1 or -1 for each of the {group.order} elements of {group.name}, got "
            f"{values}."
        )
    return Representation(group, np.array(values, np.float64)[:, None, None], "sign")


def determinant(rep: Representation) -> Representation:
    """det ρ(g), d = 1: whether a mirror turns hands round, or a relabelling is odd."""
    values = np.sign(np.linalg.det(rep.matrices))  # 1 or -1, up to rounding
    return Representation(rep.group, values[:, None, None], f"det {rep.name}")


def permutation(group: FiniteGroup, images: np.ndarray | None = None) -> Representation:
    """Relabelling of N points.

    Args:
      group: any.
      images: [n, N], element g moves point i to `images[g, i]`. May be left out for `cyclic(N)`,
        which shifts N points, `dihedral(N)`, which moves the corners of a polygon, and
        `symmetric(N)`.
    """
    images = _natural_images(group) if images is None else np.asarray(images)
    is_table = images.ndim == 2 and len(images) == group.order and images.dtype.kind in "iu"
    if not is_table or (np.sort(images) != np.arange(images.shape[1])[None, :]).any():
        raise ValueError(
            f"images must be permutations [{group.order}, N] of the whole numbers 0..N-1, got "
            f"{images.tolist()}."
        )
    return Representation(group, _permuting(images), "permutation")


def _permuting(images: np.ndarray) -> np.ndarray:
    return np.stack([permutation_matrix(row) for row in images])


def _natural_images(group: FiniteGroup) -> np.ndarray:
    """[n, N] of the groups that are defined by their action on points."""
    order = group.order
    if group == cyclic(order):
        return (np.arange(order)[:, None] + np.arange(order)) % order
    for num_points in (3, 4):
        if group == symmetric(num_points):
            return permutations_of(num_points)
    if order % 2 == 0 and group == dihedral(order // 2):
        flips, turns = np.divmod(np.arange(order), order // 2)
        corners = np.where(flips[:, None] == 1, -1, 1) * np.arange(order // 2)
        return (turns[:, None] + corners) % (order // 2)
    raise ValueError(
        f"images must be given for {group.name}; only cyclic(N), dihedral(N) and symmetric(N) have "
        "points of their own."
    )


def signed_permutation(group: FiniteGroup, images: np.ndarray, signs: np.ndarray) -> Representation:
    """Relabelling of N points with changes of sign.

    Args:
      group: any.
      images: [n, N], element g moves point i to `images[g, i]`.
      signs: [n, N] 1 or -1, the factor of what moves from point i.
    """
    images, signs = np.asarray(images), np.asarray(signs)
    if images.shape != signs.shape or not set(np.unique(signs)) <= {1, -1}:
        raise ValueError(f"signs must be 1 or -1, {images.shape}, got {signs.tolist()}.")
    matrices = _permuting(images) * signs[:, None, :]
    return Representation(group, matrices, "signed permutation")


def regular(group: FiniteGroup) -> Representation:
    """The group's action on functions of its elements, (ρ(k) x)[h] = x[k⁻¹ h]; d = n."""
    return dataclasses.replace(permutation(group, group.mul), name="regular")


def quotient(group: FiniteGroup, subgroup: Iterable[int]) -> Representation:
    """Permutation of the left cosets gH of a subgroup; d = n / |H|.

    Args:
      group: any.
      subgroup: its elements H; see `FiniteGroup.subgroup`.
    """
    labels = group.cosets(subgroup)
    first = np.unique(labels, return_index=True)[1]
    return dataclasses.replace(permutation(group, labels[group.mul[:, first]]), name="quotient")


def direct_sum(*parts: Representation) -> Representation:
    """Several representations of one group on neighbouring coordinates."""
    if not parts or any(part.group != parts[0].group for part in parts):
        names = [part.group.name for part in parts]
        raise ValueError(f"parts must be representations of one group, got {names}.")
    ends = np.cumsum([0, *(part.dimension for part in parts)])
    matrices = np.zeros((parts[0].group.order, ends[-1], ends[-1]))
    for start, stop, part in zip(ends[:-1], ends[1:], parts, strict=True):
        matrices[:, start:stop, start:stop] = part.matrices
    return Representation(parts[0].group, matrices, " + ".join(part.name for part in parts))


def copies(rep: Representation, number: int) -> Representation:
    """A representation several times over, one copy after the other."""
    number = require_whole("number", number)
    return dataclasses.replace(direct_sum(*[rep] * number), name=f"{number} {rep.name}")


def outer(first: Representation, second: Representation) -> Representation:
    """ρ(a) ⊗ σ(b) of `product(first.group, second.group)`, on coordinates (i, j), i outer.

    With a trivial factor it is the other one, extended to the product:
    `outer(trivial(z2()), permutation(cyclic(4)))` ignores the sign.
    """
    group = product(first.group, second.group)
    matrices = np.einsum("aij,bkl->abikjl", first.matrices, second.matrices)
    size = first.dimension * second.dimension
    name = f"{first.name} x {second.name}"
    return Representation(group, matrices.reshape(group.order, size, size), name)


def generated(
    generators: Sequence[np.ndarray], name: str = "generated", limit: int = MAX_ORDER
) -> Representation:
    """What matrices [d, d], or permutations [N], generate; its `group` comes along.

    Args:
      generators: at least one.
      name: of the representation and of its group.
      limit: largest order.
    """
    return Representation(*generate(generators, name, limit), name)
