"""Representations multiply like their group, and act as their names say."""

import re

import numpy as np
import pytest

from jaxecon.symmetry import (
    Representation,
    copies,
    cyclic,
    determinant,
    dihedral,
    direct_sum,
    generated,
    outer,
    permutation,
    product,
    quotient,
    regular,
    sign,
    signed_permutation,
    standard,
    symmetric,
    trivial,
    z2,
)

D4, S3, Z2C4 = dihedral(4), symmetric(3), product(z2(), cyclic(4))
SIGNED = outer(sign(z2()), permutation(cyclic(4)))
REPS = {
    "trivial": trivial(S3, 2),
    "standard C5": standard(cyclic(5)),
    "standard D4": standard(D4),
    "standard D3": standard(dihedral(3)),
    "sign Z2": sign(z2()),
    "sign C4": sign(cyclic(4), [1, -1, 1, -1]),
    "determinant": determinant(standard(D4)),
    "permutation C5": permutation(cyclic(5)),
    "permutation D4": permutation(D4),
    "permutation S4": permutation(symmetric(4)),
    "signed": SIGNED,
    "regular S3": regular(S3),
    "regular D4": regular(D4),
    "quotient": quotient(D4, D4.subgroup([4])),
    "sum": direct_sum(standard(D4), trivial(D4), determinant(standard(D4))),
    "copies": copies(standard(cyclic(5)), 3),
    "outer": outer(standard(dihedral(3)), sign(z2())),
    "generated": generated([np.array([[0.0, 4.0], [0.25, 0.0]])]),
}


@pytest.mark.parametrize("name", REPS)
def test_products_of_matrices_are_matrices_of_products(name):
    rep = REPS[name]
    pairs = np.einsum("aij,bjk->abik", rep.matrices, rep.matrices)
    np.testing.assert_allclose(rep.matrices[rep.group.mul], pairs, atol=1e-12)
    assert rep == Representation(rep.group, rep.matrices, "another name")
    assert hash(rep) == hash(Representation(rep.group, rep.matrices))


@pytest.mark.parametrize("name", REPS)
def test_what_is_fixed_has_the_dimension_that_characters_say(name):
    rep = REPS[name]
    assert rep.fixed.shape == (rep.dimension, round(rep.character.mean()))
    moved = rep.matrices @ rep.fixed
    np.testing.assert_allclose(moved, np.broadcast_to(rep.fixed, moved.shape), atol=1e-12)


def test_kinds_of_matrices_are_recognised():
    kinds = {
        name: (rep.is_permutation, rep.is_signed_permutation, rep.is_orthogonal)
        for name, rep in REPS.items()
    }
    assert kinds["permutation S4"] == kinds["regular D4"] == kinds["quotient"] == (True,) * 3
    assert kinds["signed"] == kinds["standard D4"] == kinds["sum"] == (False, True, True)
    assert kinds["standard C5"] == kinds["outer"] == (False, False, True)
    assert kinds["generated"] == (False, False, False)


def test_plane_and_its_mirror():
    rep = standard(D4)
    np.testing.assert_array_equal(rep.matrices[1], [[0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(rep.matrices[4], [[1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_array_equal(determinant(rep).matrices.ravel(), [1.0] * 4 + [-1.0] * 4)
    np.testing.assert_array_equal(standard(cyclic(2)).matrices[1], -np.eye(2))


def test_relabelling_moves_points_where_images_say():
    rep = permutation(cyclic(4))
    np.testing.assert_array_equal(rep.matrices[1] @ [1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(rep.images[1], [1, 2, 3, 0])
    odd = determinant(permutation(S3)).matrices.ravel()
    np.testing.assert_array_equal(odd, [1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    x = np.arange(6.0)
    moved = regular(S3).matrices[3] @ x
    np.testing.assert_array_equal(moved, x[S3.mul[S3.inv[3]]])  # x at k⁻¹ h


def test_signs_and_relabelling_together():
    images = np.tile(permutation(cyclic(4)).images, (2, 1))
    signs = np.repeat([1, -1], 4)[:, None] * np.ones((1, 4), int)
    assert signed_permutation(Z2C4, images, signs) == SIGNED
    np.testing.assert_array_equal(
        SIGNED.matrices[5] @ [1.0, 2.0, 3.0, 4.0], [-4.0, -1.0, -2.0, -3.0]
    )
    assert outer(trivial(z2()), permutation(cyclic(4))).is_permutation


def test_orbits_join_coordinates_that_mix():
    np.testing.assert_array_equal(REPS["sum"].orbits, [0, 0, 1, 2])
    np.testing.assert_array_equal(SIGNED.orbits, [0, 0, 0, 0])
    np.testing.assert_array_equal(copies(standard(cyclic(5)), 2).orbits, [0, 0, 1, 1])


def test_matrices_that_are_no_representation_name_the_pair():
    matrices = standard(D4).matrices.copy()
    matrices[6] = -matrices[6]
    with pytest.raises(ValueError, match="no representation of D4") as error:
        Representation(D4, matrices)
    a, b = map(int, re.search(r"a=(\d), b=(\d)", str(error.value)).groups())
    assert not np.allclose(matrices[D4.mul[a, b]], matrices[a] @ matrices[b])
    with pytest.raises(ValueError, match=r"sign is no representation of C3.* for a=\d, b=1"):
        sign(cyclic(3), [1, -1, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Representation(D4, np.eye(2)), r"\[8, d, d\] for D4, got \(2, 2\)"),
        (lambda: Representation(cyclic(1), [[[np.nan]]]), "matrices must be finite"),
        (lambda: Representation(cyclic(1), [[[2.0]]]), "element 0 to the identity"),
        (lambda: Representation(cyclic(1), [[[1.0 + 0j]]]), "must be real, got complex128"),
        (lambda: Representation(None, np.eye(1)[None]), "group must be a FiniteGroup .* got None"),
        (lambda: standard(S3), "cyclic.n. or dihedral.n., got S3"),
        (lambda: sign(cyclic(4)), "values must be 1 or -1 for each of the 4"),
        (lambda: sign(z2(), [1, 2]), "values must be 1 or -1"),
        (lambda: permutation(D4, [[0, 0]]), "images must be permutations"),
        (lambda: permutation(z2(), [[0.0, 1.0], [1.0, 0.0]]), "of the whole numbers 0..N-1"),
        (lambda: permutation(D4, [[0, 1], [1, 0]]), r"permutations \[8, N\]"),
        (lambda: quotient(D4, [9]), r"subgroup must hold elements 0 to 7, .* got \[9\]"),
        (lambda: quotient(D4, [2.0]), r"subgroup must hold .* whole numbers, got \[2.0\]"),
        (lambda: permutation(Z2C4), "images must be given for Z2 x C4"),
        (lambda: signed_permutation(z2(), [[0], [0]], [[1], [3]]), "signs must be 1 or -1"),
        (lambda: direct_sum(trivial(z2()), trivial(D4)), r"of one group, got \['Z2', 'D4'\]"),
        (lambda: copies(trivial(D4), 0), "number must be a whole number of at least 1, got 0"),
        (lambda: copies(trivial(D4), 1.5), "number must be a whole number .* got 1.5"),
        (lambda: standard(cyclic(5)).images, "must permute coordinates"),
    ],
)  # fmt: skip
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
