"""Layers reach every equivariant map and no other: a null space found by other means.

An affine map x -> W x + b commutes with a group if M = (W, b) does with ρ_in ⊕ 1 before and ρ_out
after it: ρ_out(g) M = M (ρ_in(g) ⊕ 1) for generators g. That is linear in M. Its null space is
found here from Kronecker products, generators known by hand and a singular value decomposition,
in float64, and compared with what the weights of a layer reach, one weight at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

from jaxecon.networks.equivariant import GroupConv, InvariantHead, Lift, VectorHead
from jaxecon.networks.equivariant_2d import GroupConv2D, LiftConv2D
from jaxecon.networks.equivariant_linear import RelaxedLinear, hom_basis
from jaxecon.symmetry import (
    Block,
    copies,
    cyclic,
    determinant,
    dihedral,
    direct_sum,
    generated,
    outer,
    permutation,
    quotient,
    regular,
    sign,
    standard,
    symmetric,
    trivial,
    z2,
)

C5, D4, S3, S4 = cyclic(5), dihedral(4), symmetric(3), symmetric(4)
SIGNED = outer(sign(z2()), permutation(cyclic(4)))
SKEW = generated([np.array([[0.0, 4.0], [0.25, 0.0]])])  # keeps no lengths
# Generators by hand: turn and mirror, transposition and cycle, shift and sign.
GRID = {
    "C1": ((0,), [trivial(cyclic(1), 2), trivial(cyclic(1))]),
    "C5": ((1,), [standard(C5), permutation(C5), trivial(C5, 2)]),
    "D4": (
        (1, 4),
        [standard(D4), determinant(standard(D4)), quotient(D4, (0, 4)), permutation(D4)],
    ),
    "S3": ((1, 3), [permutation(S3), determinant(permutation(S3)), regular(S3), trivial(S3)]),
    "S4": ((6, 9), [permutation(S4), determinant(permutation(S4)), trivial(S4)]),
    "Z2 x C4": ((1, 4), [SIGNED, outer(trivial(z2()), permutation(cyclic(4)))]),
    "skew": ((1,), [SKEW, sign(SKEW.group), trivial(SKEW.group)]),
}
WIDTHS = {"S4": (1, 1)}  # channels before and after a convolution; elsewhere 2 and 3
TOL = 1e-10  # float64 of numbers up to about 10


def commuting(before, after):
    """Orthonormal basis [b, d_in d_out] of the maps, column by column, that commute with all g.

    Args:
      before, after: [g, d, d] matrices of generators.
    """
    size_in, size_out = before.shape[-1], after.shape[-1]
    stacked = np.concatenate([
        np.kron(np.eye(size_in), b) - np.kron(a.T, np.eye(size_out))
        for a, b in zip(before, after, strict=True)
    ])  # fmt: skip
    _, sizes, rows = np.linalg.svd(stacked, full_matrices=False)
    return rows[(sizes > 1e-8).sum() :]


def with_one(matrices):
    """ρ ⊕ 1, through which b is the last column of (W, b)."""
    return np.stack([scipy.linalg.block_diag(matrix, 1.0) for matrix in matrices])


def over_channels(matrices, channels):
    """A representation on rows [d, C], flattened."""
    return np.stack([np.kron(matrix, np.eye(channels)) for matrix in matrices])


def reached(module, shape, relaxed=None):
    """Maps [p, d_in + 1, d_out], one for each weight of a layer: columns of W, and b last.

    Args:
      module: an affine map of inputs of a shape.
      shape: of one input.
      relaxed: relaxed weights [L, n] that are held.
    """
    size = int(np.prod(shape))
    inputs = np.concatenate([np.eye(size), np.zeros((1, size))]).reshape(-1, *shape)
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    held = {} if relaxed is None else {"relax_w": jnp.asarray(relaxed)}
    free = {name: jnp.zeros(x.shape) for name, x in shapes.items() if name not in held}
    start, unravel = ravel_pytree(free)

    @jax.jit
    def columns(weights, inputs):
        def one(weights):
            y = module.apply({"params": unravel(weights) | held}, inputs)
            y = jnp.reshape(y, (size + 1, -1))
            return jnp.concatenate([y[:-1] - y[-1:], y[-1:]])

        return jax.vmap(one)(weights)

    maps = np.asarray(columns(jnp.eye(len(start)), inputs))
    assert maps.dtype == np.float64
    return maps


def assert_spans(maps, expected, message):
    """What weights reach lies in a space and fills it."""
    rows = maps.reshape(len(maps), expected.shape[1])
    outside = rows - rows @ expected.T @ expected
    assert np.abs(outside).max(initial=0.0) < TOL, f"{message} leaves the equivariant maps"
    assert np.linalg.matrix_rank(rows) == len(expected), f"{message} does not reach all of them"


def cases(name, num_banks):
    """(layer, shape of its input, matrices of generators before and after it) by name."""
    generators, reps = GRID[name]
    group, sum_of = reps[0].group, direct_sum(*reps)
    vector = sum_of.matrices[list(generators)]
    hidden = regular(group).matrices[list(generators)]
    channels, width = WIDTHS.get(name, (2, 3))
    features, wider = over_channels(hidden, channels), over_channels(hidden, width)
    stays = np.tile(np.eye(2), (len(generators), 1, 1))
    ends = np.cumsum([0, *(2 * rep.dimension for rep in reps)])
    bounds = zip(ends[:-1], ends[1:], reps, strict=True)
    blocks = tuple(Block(int(start), int(stop), 2, rep) for start, stop, rep in bounds)
    seen = direct_sum(*(copies(rep, 2) for rep in reps)).matrices[list(generators)]
    on_group, banks = (group.order, channels), {"num_banks": num_banks}
    return {
        "Lift": (Lift(blocks, width, **banks), ends[-1:], seen, wider),
        "GroupConv": (GroupConv(group, width, **banks), on_group, features, wider),
        "VectorHead": (VectorHead(sum_of, **banks), on_group, features, vector),
        "InvariantHead": (InvariantHead(2, **banks), on_group, features, stays),
    }


@pytest.mark.parametrize("name", GRID)
def test_bases_solve_the_constraint_for_every_pair(name):
    generators, reps = GRID[name]
    for rep_in in reps:
        for rep_out in reps:
            before, after = (rep.matrices[list(generators)] for rep in (rep_in, rep_out))
            expected = commuting(before, after)
            found = hom_basis(rep_in, rep_out)
            assert found.shape == (len(expected), rep_out.dimension, rep_in.dimension)
            assert_spans(found.transpose(0, 2, 1), expected, f"{rep_in} to {rep_out}")


@pytest.mark.parametrize(
    ("name", "num_banks"), [*((name, 1) for name in GRID if name != "C1"), ("S3", 4)]
)
def test_layers_span_the_affine_maps_that_commute(name, num_banks):
    with jax.enable_x64(True):
        for layer, (module, shape, before, after) in cases(name, num_banks).items():
            maps = reached(module, tuple(shape))
            assert_spans(maps, commuting(with_one(before), after), f"{layer} of {name}")


@pytest.mark.parametrize("name", GRID)
def test_free_linear_layers_span_all_that_commute_between_copies(name):
    generators, reps = GRID[name]
    rep = direct_sum(*reps)
    twice = copies(rep, 2)
    before, after = (x.matrices[list(generators)] for x in (twice, rep))
    expected = commuting(with_one(before), after)
    with jax.enable_x64(True):
        maps = reached(RelaxedLinear(rep, rep, 2, 1), (twice.dimension,))
    assert len(maps) == len(expected), "no weight is superfluous"
    assert_spans(maps, expected, f"RelaxedLinear of {name}")


@pytest.mark.parametrize("num_banks", [2, 8])
def test_each_bank_of_relaxed_weights_adds_as_many_maps_until_all_are_reached(num_banks):
    """At given unequal weights; with n banks nothing is left of the constraint but the bias."""
    random = np.random.default_rng(0)
    relaxed = random.normal(size=(num_banks, S3.order))
    banks = {"relaxed": True, "num_banks": num_banks}
    rep = permutation(S3)
    layers = [
        (Lift((Block(0, 3, 1, rep),), 2, **banks), (3,), 3 * 2),
        (GroupConv(S3, 2, **banks), (6, 1), 6 * 2),
        (VectorHead(rep, **banks), (6, 1), 3),
    ]
    with jax.enable_x64(True):
        for module, shape, exact in layers:
            linear = reached(module, shape, relaxed)[:, :-1]
            rank = np.linalg.matrix_rank(linear.reshape(len(linear), -1))
            assert rank == exact * min(num_banks, S3.order), f"{module} reaches {rank}"


# What generators do to images [B, k, k], rows down and y up, and how they move the group.
MOVES = {
    "C4": (standard(cyclic(4)), {1: lambda x: np.rot90(x, axes=(1, 2))}),
    "D4": (
        standard(D4),
        {1: lambda x: np.rot90(x, axes=(1, 2)), 4: lambda x: x[:, ::-1]},
    ),
    "mirror": (direct_sum(sign(z2()), trivial(z2())), {1: lambda x: x[:, :, ::-1]}),
}


@pytest.mark.parametrize("name", MOVES)
def test_convolutions_span_the_kernels_that_commute(name):
    """One pixel of the output sees one window: an affine map from ρ(pixels) ⊗ ρ_in to ρ_out."""
    plane, moves = MOVES[name]
    hidden = regular(plane.group).matrices[list(moves)]
    units = np.eye(9).reshape(9, 3, 3)
    pixels = np.stack([move(units).reshape(9, 9).T for move in moves.values()])
    window = np.stack([np.kron(p, h) for p, h in zip(pixels, hidden, strict=True)])
    order, valid = plane.group.order, {"padding": "VALID"}
    layers = [
        (LiftConv2D(plane, 2, **valid), (3, 3, 2), over_channels(pixels, 2), 2),
        (GroupConv2D(plane, 1, **valid), (3, 3, order, 1), window, 1),
    ]
    with jax.enable_x64(True):
        for module, shape, before, channels in layers:
            maps = reached(module, shape)
            expected = commuting(with_one(before), over_channels(hidden, channels))
            assert len(maps) == len(expected), "no weight is superfluous"
            assert_spans(maps, expected, f"{type(module).__name__} of {name}")
