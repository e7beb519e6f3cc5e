"""Groups keep the axioms, generators make what they should, and bad tables name their elements."""

import itertools
import re

import numpy as np
import pytest

from jaxecon.envs.trading.stocks import StockTrading
from jaxecon.symmetry import (
    cyclic,
    dihedral,
    from_generators,
    from_table,
    generated,
    product,
    symmetric,
    z2,
)

GROUPS = {
    "C1": cyclic(1),
    "C5": cyclic(5),
    "D1": dihedral(1),
    "D4": dihedral(4),
    "S3": symmetric(3),
    "S4": symmetric(4),
    "Z2 x C4": product(z2(), cyclic(4)),
}
ORDERS = {"C1": 1, "C5": 5, "D1": 2, "D4": 8, "S3": 6, "S4": 24, "Z2 x C4": 8}
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
MIRROR = np.diag([1.0, -1.0])


@pytest.mark.parametrize("name", GROUPS)
def test_axioms_hold_for_all_elements(name):
    group = GROUPS[name]
    mul, elements = group.mul, np.arange(group.order)
    assert group.order == ORDERS[name]
    assert group.name == name
    np.testing.assert_array_equal(mul[mul], mul[elements[:, None, None], mul[None]])  # associative
    np.testing.assert_array_equal(mul[0], elements)
    np.testing.assert_array_equal(mul[:, 0], elements)
    assert (mul[elements, group.inv] == 0).all()
    assert (mul[group.inv, elements] == 0).all()
    assert group.subgroup(group.generators) == tuple(elements)


def test_only_some_groups_commute():
    commutes = {name: bool((group.mul == group.mul.T).all()) for name, group in GROUPS.items()}
    assert commutes == {name: name not in ("D4", "S3", "S4") for name in GROUPS}


def test_groups_compare_and_hash_by_their_table():
    assert cyclic(4) == from_table(cyclic(4).mul)
    assert hash(cyclic(4)) == hash(from_table(cyclic(4).mul, "another name"))
    assert cyclic(4) != dihedral(2)
    assert dihedral(2) == product(z2(), z2())
    with pytest.raises(ValueError, match="read-only"):
        cyclic(4).mul[0, 0] = 1


@pytest.mark.parametrize(
    ("generators", "order"),
    [
        ([QUARTER], 4),
        ([QUARTER, MIRROR], 8),
        ([[1, 2, 3, 4, 0], [1, 0, 2, 3, 4]], 120),
        ([np.eye(3)], 1),
        ([[[0.0, 4.0], [0.25, 0.0]]], 2),  # of finite order, though no rotation
    ],
)
def test_generators_make_groups_of_the_known_order(generators, order):
    rep = generated([np.array(generator) for generator in generators])
    assert rep.group.order == order
    assert rep.group == from_generators([np.array(generator) for generator in generators])
    products = np.einsum("aij,bjk->abik", rep.matrices, rep.matrices)
    np.testing.assert_allclose(rep.matrices[rep.group.mul], products, atol=1e-12)
    matrices = rep.matrices.reshape(order, -1)
    distances = np.abs(matrices[:, None] - matrices[None]).max(axis=-1) + np.eye(order)
    assert distances.min() > 0.2, "no element is listed twice"


def test_rotations_by_one_radian_never_close():
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    with pytest.raises(ValueError, match="group has more than 50 elements"):
        from_generators([turn], limit=50)
    with pytest.raises(ValueError, match="num_points must be 1 to 4, got 5"):
        symmetric(5)
    with pytest.raises(ValueError, match=r'from 1 to 512, got 4624. .* network="sets" needs no'):
        product(cyclic(68), cyclic(68))


def test_cosets_are_the_classes_of_a_subgroup():
    group = dihedral(4)
    mirror = group.subgroup([4])
    assert mirror == (0, 4)
    labels = group.cosets(mirror)
    assert sorted(np.bincount(labels)) == [2, 2, 2, 2]
    for a, b in itertools.product(range(8), range(8)):
        assert (labels[a] == labels[b]) == (group.mul[group.inv[a], b] in mirror)
    with pytest.raises(ValueError, match=r"a b = 2 is missing for a=1, b=1; `subgroup`"):
        group.cosets([0, 1])
    with pytest.raises(ValueError, match=r"elements must hold elements 0 to 7.* got \[2.0\]"):
        group.subgroup([2.0])


def test_a_table_that_is_no_group_names_the_elements():
    loop = np.array([
        [0, 1, 2, 3, 4],
        [1, 0, 3, 4, 2],
        [2, 4, 0, 1, 3],
        [3, 2, 4, 0, 1],
        [4, 3, 1, 2, 0],
    ])  # every row and column is a permutation  # fmt: skip
    with pytest.raises(ValueError, match="not associative") as error:
        from_table(loop)
    a, b, c = map(int, re.search(r"a=(\d), b=(\d), c=(\d)", str(error.value)).groups())
    assert loop[loop[a, b], c] != loop[a, loop[b, c]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1]], r"whole numbers \[n, n\], got int64 \(1, 2\)"),
        ([[0.0, 1.0], [1.0, 0.0]], "got float64"),
        ([[0, 1], [1, 2]], "entries 0 to 1, got 2 at a=1, b=1"),
        ([[1, 0], [0, 1]], "element 0 as its identity, but 0 a or a 0 is not a=0"),
        ([[0, 1], [1, 1]], "every element once in each row, which fails for a=1"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(ValueError, match=message):
        from_table(np.array(table))


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        ([np.eye(2), np.eye(3)], r"all of one size, got \[\(2, 2\), \(3, 3\)\]"),
        ([], "at least one"),
        ([np.diag([2.0, 1.0])], "determinant 1 or -1.* got 2 for number 0"),
        ([np.array([0, 0, 1])], "permutations of 0..N-1"),
        ([np.ones((2, 3))], r"square, got \(2, 3\) as number 0"),
        ([np.diag([1j, -1j])], "number 0, must be real, got complex128"),
    ],
)
def test_bad_generators(generators, message):
    with pytest.raises(ValueError, match=message):
        from_generators(generators)


@pytest.mark.parametrize("order", [0, 1.5, True, 1000])
def test_bad_orders(order):
    with pytest.raises(ValueError, match="order must be a whole number from 1 to 512, got"):
        cyclic(order)


@pytest.mark.parametrize("num_points", [0, 4.0, True])
def test_bad_numbers_of_points(num_points):
    with pytest.raises(ValueError, match="num_points must be a whole number of at least 1, got"):
        symmetric(num_points)


def test_whole_numbers_of_numpy_count():
    assert cyclic(np.int64(4)) == cyclic(4)
    assert cyclic(np.int64(4)).name == "C4"
    assert dihedral(np.int32(3)) == dihedral(3)
    assert symmetric(np.int64(3)).name == "S3"
    assert dihedral(4).subgroup(np.array([4])) == (0, 4)


def test_a_market_of_too_many_assets_is_told_of_sets():
    with pytest.raises(ValueError, match=r'order of the product .* got 600.* network="sets"'):
        StockTrading(num_assets=300).symmetry()
