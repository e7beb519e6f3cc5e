"""Finite groups as static multiplication tables.

    dihedral(4),   product(z2(), cyclic(4)),   from_generators([quarter_turn, mirror])

Element 0 is the identity. Tables are NumPy constants, so that nothing of a group is left to compute
when a program runs; groups hash and compare by their table.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxecon.symmetry.checking import require_real, require_whole, whole_number

MAX_ORDER = 512
TOLERANCE = 1e-6  # on entries of matrices that should be equal


class ByContent:
    """Equality and hash of frozen dataclasses that hold arrays."""

    def content(self) -> tuple:
        """What makes two of them equal, hashable."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.content() == other.content()

    def __hash__(self) -> int:
        return hash(self.content())


def read_only(array: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to, without negative zeros."""
    array = array + array.dtype.type(0)
    array.flags.writeable = False
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteGroup(ByContent):
    """A finite group by its multiplication table.

    Attributes:
      mul: [n, n] whole numbers; `mul[a, b]` is the element a b, and element 0 is the identity.
      name: for messages and plots; it plays no part in equality.

    Raises:
      ValueError: the table is not that of a group; the message names the elements.
    """

    mul: np.ndarray
    name: str = "G"

    def __post_init__(self):
        object.__setattr__(self, "mul", read_only(_checked_table(self.mul)))
        wrong = _not_associative(self.mul, self.generators)
        if wrong is not None:
            a, b, c = wrong
            raise ValueError(f"mul is not associative: (a b) c != a (b c) for {a=}, {b=}, {c=}.")

    def __repr__(self) -> str:
        return f"FiniteGroup({self.name}, order {self.order})"

    def content(self) -> tuple:
        """The table."""
        return self.order, self.mul.tobytes()

    @property
    def order(self) -> int:
        """n, number of elements."""
        return len(self.mul)

    @functools.cached_property
    def inv(self) -> np.ndarray:
        """[n] inverse of each element."""
        return read_only(np.argmin(self.mul, axis=1))  # the column of the identity, 0

    @functools.cached_property
    def generators(self) -> tuple[int, ...]:
        """A few elements of which all are products; none of the trivial group."""
        found: list[int] = []
        reached: tuple[int, ...] = (0,)
        for element in range(self.order):
            if element not in reached:
                found.append(element)
                reached = self.subgroup(found)
        return tuple(found)

    def subgroup(self, elements: Iterable[int]) -> tuple[int, ...]:
        """All products of the given elements, in increasing order; ValueError for any outside."""
        elements, reached, new = self._members("elements", elements), {0}, {0}
        while new:
            new = {int(self.mul[a, b]) for a in new for b in elements} - reached
            reached |= new
        return tuple(sorted(reached))

    def cosets(self, subgroup: Iterable[int]) -> np.ndarray:
        """[n] number of the left coset gH that each element lies in; H itself is number 0.

        Raises:
          ValueError: the elements are no subgroup; the message names a product that is missing.
        """
        members = sorted({0, *self._members("subgroup", subgroup)})
        for a, b in itertools.product(members, members):
            if self.mul[a, b] not in members:
                raise ValueError(
                    f"subgroup must be closed, but a b = {self.mul[a, b]} is missing for "
                    f"{a=}, {b=}; `subgroup` of the group completes it."
                )
        labels = np.full(self.order, -1)
        for element in range(self.order):
            if labels[element] < 0:
                labels[self.mul[element, members]] = labels.max() + 1
        return labels

    def _members(self, name: str, elements: Iterable[int]) -> tuple[int, ...]:
        """The elements as ints; ValueError unless they are numbers of elements."""
        given = list(elements)
        if not all(whole_number(element) in range(self.order) for element in given):
            raise ValueError(
                f"{name} must hold elements 0 to {self.order - 1}, whole numbers, got {given}."
            )
        return tuple(map(operator.index, given))


def _checked_table(mul: np.ndarray) -> np.ndarray:
    """The table as int32 [n, n]; ValueError unless 0 is the identity and inverses exist."""
    table = np.asarray(mul)
    num = len(table) if table.ndim else 0
    if table.shape != (num, num) or not num or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"mul must be whole numbers [n, n], got {table.dtype} {table.shape}.")
    if table.min() < 0 or table.max() >= num:
        a, b = (int(i) for i in np.argwhere((table < 0) | (table >= num))[0])
        raise ValueError(f"mul must have entries 0 to {num - 1}, got {table[a, b]} at {a=}, {b=}.")
    elements = np.arange(num)
    moved = (table[0] != elements) | (table[:, 0] != elements)
    if moved.any():
        a = int(np.argmax(moved))
        raise ValueError(f"mul must have element 0 as its identity, but 0 a or a 0 is not {a=}.")
    lacks = (np.sort(table, axis=1) != elements[None, :]).any(axis=1)
    if lacks.any():
        a = int(np.argmax(lacks))
        raise ValueError(f"mul must have every element once in each row, which fails for {a=}.")
    return table.astype(np.int32)


def _not_associative(mul: np.ndarray, generators: Sequence[int]) -> tuple[int, int, int] | None:
    """Elements with (a b) c != a (b c), or None; by Light's test, b need only be a generator."""
    for b in generators:
        wrong = mul[mul[:, b]] != mul[:, mul[b]]
        if wrong.any():
            a, c = (int(i) for i in np.argwhere(wrong)[0])
            return a, int(b), c
    return None


def from_table(mul: np.ndarray, name: str = "G") -> FiniteGroup:
    """The group with a multiplication table, see `FiniteGroup`."""
    return FiniteGroup(np.asarray(mul), name)


def cyclic(order: int) -> FiniteGroup:
    """Rotations by multiples of 360° / n; element k is k of them."""
    order = require_whole("order", order, MAX_ORDER)
    steps = np.arange(order)
    return FiniteGroup((steps[:, None] + steps) % order, f"C{order}")


def dihedral(num_rotations: int) -> FiniteGroup:
    """Rotations and mirrors of a regular n-gon, of order 2n; element f n + k is r^k s^f."""
    num_rotations = require_whole("num_rotations", num_rotations, MAX_ORDER // 2)
    flip, turn = np.divmod(np.arange(2 * num_rotations), num_rotations)
    back = np.where(flip == 1, -1, 1)
    turns = (turn[:, None] + back[:, None] * turn) % num_rotations
    return FiniteGroup((flip[:, None] ^ flip) * num_rotations + turns, f"D{num_rotations}")


def z2() -> FiniteGroup:
    """The group of order 2: nothing, and one mirror."""
    return dataclasses.replace(cyclic(2), name="Z2")


def permutations_of(num_points: int) -> np.ndarray:
    """[n!, n] every order of n <= 4 points, lexicographically: element g moves i to [g, i]."""
    num_points = require_whole("num_points", num_points)
    if num_points > 4:
        raise ValueError(
            f"num_points must be 1 to 4, got {num_points}: the {num_points}! relabellings of more "
            'are too many to list; network="sets" serves them.'
        )
    return np.array(list(itertools.permutations(range(num_points))))


def symmetric(num_points: int) -> FiniteGroup:
    """All relabellings of n <= 4 points, in the order of `permutations_of`."""
    orders = permutations_of(num_points)
    place = {tuple(order): index for index, order in enumerate(orders.tolist())}
    mul = [[place[tuple(a[b].tolist())] for b in orders] for a in orders]
    return FiniteGroup(np.array(mul), f"S{orders.shape[1]}")


def product(first: FiniteGroup, second: FiniteGroup) -> FiniteGroup:
    """Pairs of elements, one of each group; element a |second| + b is the pair (a, b)."""
    order = first.order * second.order
    require_whole("the order of the product", order, MAX_ORDER)
    mul = first.mul[:, None, :, None] * second.order + second.mul[None, :, None, :]
    return FiniteGroup(mul.reshape(order, order), f"{first.name} x {second.name}")


def from_generators(
    generators: Sequence[np.ndarray], name: str = "G", limit: int = MAX_ORDER
) -> FiniteGroup:
    """The group that matrices [d, d], or permutations [N], generate.

    Args:
      generators: at least one; a permutation moves point i to its entry i.
      name: for messages.
      limit: largest order.

    Raises:
      ValueError: there are more than `limit` elements, or a generator cannot be of finite order.
    """
    return generate(generators, name, limit)[0]


def generate(
    generators: Sequence[np.ndarray], name: str = "G", limit: int = MAX_ORDER
) -> tuple[FiniteGroup, np.ndarray]:
    """The group that matrices or permutations generate, and its elements' matrices [n, d, d].

    New elements are found by multiplying known ones by generators from the right. As each b is then
    its parent's product with a generator s, so is each column of the table: a b = (a parent(b)) s.
    """
    matrices = [_as_matrix(i, generator) for i, generator in enumerate(generators)]
    if len({matrix.shape for matrix in matrices}) != 1:
        shapes = [matrix.shape for matrix in matrices]
        raise ValueError(f"generators must be at least one, all of one size, got {shapes}.")
    elements, origin = [np.eye(len(matrices[0]))], [(0, 0)]
    step: list[list[int]] = []
    for parent, element in enumerate(elements):  # the list grows while it is walked
        step.append([])
        for index, matrix in enumerate(matrices):
            candidate = element @ matrix
            near = np.abs(np.stack(elements) - candidate).max(axis=(1, 2)) < TOLERANCE
            if not near.any():
                if len(elements) == limit:
                    raise ValueError(
                        f"group has more than {limit} elements; check the generators, whose "
                        "entries need full precision, raise `limit`, or use "
                        'network="sets" for relabellings of many.'
                    )
                elements.append(candidate)
                origin.append((parent, index))
            step[-1].append(int(np.argmax(near)) if near.any() else len(elements) - 1)
    follows = np.array(step)  # [n, number of generators]
    mul = np.zeros((len(elements), len(elements)), np.int64)
    mul[:, 0] = np.arange(len(elements))
    for b, (parent, index) in list(enumerate(origin))[1:]:
        mul[:, b] = follows[mul[:, parent], index]
    return FiniteGroup(mul, name), np.stack(elements)


def _as_matrix(index: int, generator: np.ndarray) -> np.ndarray:
    """A generator as a matrix; ValueError unless it may be of finite order."""
    array = np.asarray(generator)
    require_real(f"generators, here number {index},", array)
    if array.ndim == 1:
        if sorted(array.tolist()) != list(range(len(array))):
            raise ValueError(
                f"generators must be permutations of 0..N-1 or matrices [d, d], got {array} as "
                f"number {index}."
            )
        return permutation_matrix(array)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"generators must be square, got {array.shape} as number {index}.")
    determinant = np.linalg.det(array)
    if not abs(abs(determinant) - 1.0) < TOLERANCE:
        raise ValueError(
            "generators must have determinant 1 or -1, as matrices of finite order have, got "
            f"{determinant:g} for number {index}."
        )
    return array.astype(np.float64)


def permutation_matrix(images: np.ndarray) -> np.ndarray:
    """[N, N] matrix that moves coordinate i to `images[i]`."""
    return np.eye(len(images))[:, images]


def require_group(group: Any) -> None:
    """Raise ValueError unless it is a group and not, say, the name of one."""
    if not isinstance(group, FiniteGroup):
        raise ValueError(f"group must be a FiniteGroup such as cyclic(4), got {group!r}.")
