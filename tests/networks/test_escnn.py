"""A second opinion from escnn, which makes equivariant maps from steerable bases.

Elements of a group are matched by their matrices in the plane. Needs escnn and torch.
"""

import sys
import types
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.networks.equivariant_2d import GroupConv2D, LiftConv2D, act_on_features
from jaxecon.networks.equivariant_linear import hom_basis
from jaxecon.symmetry import (
    Representation,
    components,
    cyclic,
    dihedral,
    direct_sum,
    regular,
    sign,
    standard,
    trivial,
    z2,
)

PLANES = {
    "C4": standard(cyclic(4)),
    "D4": standard(dihedral(4)),
    "mirror": direct_sum(sign(z2()), trivial(z2())),
}
CUTOFF = 6.0  # frequencies per unit radius; with fewer, escnn keeps to a part of all 3x3 kernels
ATOL = 1e-5  # float32 of numbers up to about 10

pytestmark = pytest.mark.filterwarnings("ignore")  # of a foreign package


@pytest.fixture(scope="module")
def escnn():
    """The package but for rotations of space, which ask for a package that NumPy 2 cannot load."""
    absent = types.ModuleType("lie_learn.representations.SO3.wigner_d")
    absent.wigner_D_matrix = None
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, absent.__name__, absent)
        pytest.importorskip("escnn.nn", exc_type=ImportError)
    return sys.modules["escnn"]


@pytest.fixture(params=PLANES)
def both(request, escnn):
    """(their symmetries of the plane, our representation, our number of each of their elements)."""
    make = {
        "C4": lambda: escnn.gspaces.rot2dOnR2(4),
        "D4": lambda: escnn.gspaces.flipRot2dOnR2(4),
        "mirror": lambda: escnn.gspaces.flip2dOnR2(),
    }
    space, plane = make[request.param](), PLANES[request.param]
    theirs = matrices_of(space, space.basespace_action)
    gaps = np.abs(theirs[:, None] - plane.matrices[None]).max(axis=(2, 3))
    assert gaps.min(axis=1).max() < 1e-9
    return space, plane, gaps.argmin(axis=1)


def matrices_of(space, rep):
    """[n, d, d] in their order of elements."""
    return np.stack([rep(element) for element in space.fibergroup.elements])


def test_tables_and_regular_representations_are_ours(both):
    space, plane, labels = both
    group, elements = plane.group, space.fibergroup.elements
    assert sorted(labels) == list(range(group.order))
    theirs = [[elements.index(a @ b) for b in elements] for a in elements]
    np.testing.assert_array_equal(labels[np.array(theirs)], group.mul[labels[:, None], labels])
    moved = regular(group).matrices[labels][:, labels][:, :, labels]
    np.testing.assert_allclose(matrices_of(space, space.regular_repr), moved, atol=1e-9)


def test_irreducible_representations_are_our_components(both):
    """P[g, h] = m χ(g h⁻¹) / n, with m how often the representation occurs in the regular one."""
    space, plane, labels = both
    group, found = plane.group, components(plane.group)
    quotients = group.mul[:, group.inv]
    irreps = space.fibergroup.irreps()
    assert len(irreps) == len(found)
    for rep in irreps:
        character = np.empty(group.order)
        character[labels] = np.trace(matrices_of(space, rep), axis1=1, axis2=2)
        times = round(rep.size / np.square(character).mean())  # the mean is 2 where it is complex
        projector = times * character[quotients] / group.order
        gaps = [np.abs(component.projector - projector).max() for component in found]
        assert sorted(gaps)[0] < 1e-9 < 0.1 < sorted(gaps)[1]


def test_linear_maps_span_the_same_space(escnn, both):
    """Between the sum of all irreducible representations with the regular one and itself."""
    space, plane, labels = both
    reps = [*space.fibergroup.irreps(), space.regular_repr]
    field = escnn.nn.FieldType(escnn.gspaces.no_base_space(space.fibergroup), reps)
    basis = escnn.nn.Linear(field, field, bias=False, initialize=False).basisexpansion
    theirs = expanded(basis).reshape(basis.dimension(), -1)
    matrices = np.empty((len(labels), field.size, field.size))
    matrices[labels] = matrices_of(space, field.representation)
    rep = Representation(plane.group, matrices)
    ours = hom_basis(rep, rep).reshape(-1, field.size**2)
    assert np.linalg.matrix_rank(theirs, tol=ATOL) == len(ours) == basis.dimension()
    np.testing.assert_allclose(theirs @ ours.T @ ours, theirs, atol=ATOL)


def expanded(basis):
    """What each weight of theirs contributes, [p, ...]."""
    import torch

    with torch.no_grad():
        return np.stack([basis(unit).numpy() for unit in torch.eye(basis.dimension())])


def convolution(escnn, space, num_in, num_out, **settings):
    """Theirs, from `num_in` regular fields, or from two plain channels for 0."""
    before = [space.regular_repr] * num_in or [space.trivial_repr] * 2
    before, after = (
        escnn.nn.FieldType(space, reps) for reps in (before, [space.regular_repr] * num_out)
    )
    return escnn.nn.R2Conv(before, after, 3, padding=1, **settings)


@pytest.mark.parametrize("num_in", [0, 1])
def test_they_have_as_many_kernels_as_our_layers_have_weights(escnn, both, num_in):
    space, plane, _ = both
    theirs = convolution(
        escnn, space, num_in, 1, bias=False, initialize=False, frequencies_cutoff=CUTOFF
    )
    filters = expanded(theirs.basisexpansion)
    rank = np.linalg.matrix_rank(filters.reshape(len(filters), -1), tol=ATOL)
    assert rank == 9 * (plane.group.order * num_in or 2)


@pytest.mark.parametrize("settings", [{}, {"frequencies_cutoff": CUTOFF}], ids=["band", "all"])
@pytest.mark.parametrize("num_in", [0, 2])
def test_our_layers_make_their_convolutions(escnn, both, num_in, settings):
    """With weights read off what one element, the identity, sees of their filter."""
    import torch

    space, plane, labels = both
    order, num_out = plane.group.order, 3
    torch.manual_seed(0)
    theirs = convolution(escnn, space, num_in, num_out, **settings)
    with torch.no_grad():
        theirs.bias.normal_()
        filters, bias = (x.numpy() for x in theirs.expand_parameters())
    image = np.random.default_rng(0).normal(size=(2, theirs.in_type.size, 7, 7))
    image = image.astype(np.float32)
    with torch.no_grad():
        expected = theirs(theirs.in_type(torch.from_numpy(image))).tensor.numpy()

    identity = labels.tolist().index(0)
    seen = filters.reshape(num_out, order, -1, 9)[:, identity]  # [C, fields n, k²]
    if num_in:
        by_element = np.argsort(labels)
        seen = seen.reshape(num_out, num_in, order, 9)[:, :, by_element]
        kernel = seen.transpose(3, 2, 1, 0).reshape(9 * order, 1, num_in, num_out)
        module, inputs = GroupConv2D(plane, num_out), features_of(image, labels)
    else:
        kernel = seen.transpose(2, 1, 0)[:, None]
        module, inputs = LiftConv2D(plane, num_out), image.transpose(0, 2, 3, 1)
    params = {"kernel": kernel, "bias": bias.reshape(num_out, order)[:, 0]}
    found = module.apply({"params": params}, inputs)
    np.testing.assert_allclose(found, features_of(expected, labels), atol=ATOL)


def features_of(tensor, labels):
    """[B, H, W, n, C] in our order, of [B, C n, H, W] in theirs."""
    batch, _, height, width = tensor.shape
    fields = tensor.reshape(batch, -1, len(labels), height, width)[:, :, np.argsort(labels)]
    return fields.transpose(0, 3, 4, 2, 1)


def test_elements_move_fields_as_theirs_do(escnn, both):
    import torch

    space, plane, labels = both
    field = escnn.nn.FieldType(space, [space.regular_repr])
    tensor = torch.from_numpy(np.random.default_rng(0).normal(size=(2, field.size, 5, 5)))
    for element, label in zip(space.fibergroup.elements, labels, strict=True):
        moved = field(tensor).transform(element).tensor.numpy()
        ours = act_on_features(plane, int(label), jnp.asarray(features_of(tensor.numpy(), labels)))
        np.testing.assert_allclose(ours, features_of(moved, labels), atol=ATOL)
