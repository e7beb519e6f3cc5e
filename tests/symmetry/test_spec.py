"""Declared symmetries act block by block, and say which slice does not fit."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.symmetry import (
    Block,
    SymmetrySpec,
    act,
    cyclic,
    dihedral,
    generated,
    permutation,
    standard,
    trivial,
)

D4 = dihedral(4)
PLANE, CORNERS = standard(D4), permutation(D4)
BLOCKS = ((slice(4, 8), 1, CORNERS), ((0, 4), 2, PLANE), ((8, 9), 1, trivial(D4)))
SPEC = SymmetrySpec(D4, BLOCKS, PLANE)


def test_blocks_act_each_by_its_own_representation():
    obs = jnp.array([1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0, 7.0])
    moved = [-2.0, 1.0, -4.0, 3.0, 40.0, 10.0, 20.0, 30.0, 7.0]  # a quarter turn
    np.testing.assert_array_equal(SPEC.act_on_obs(1, obs), moved)
    np.testing.assert_array_equal(SPEC.act_on_obs(1, jnp.stack([obs, obs]))[1], moved)
    np.testing.assert_array_equal(SPEC.act_on_action(jnp.int32(1), jnp.array([1.0, 2.0])), [-2, 1])
    assert [block.start for block in SPEC.obs_blocks] == [0, 4, 8]
    assert isinstance(SPEC.obs_blocks[0], Block)
    assert hash(SPEC) == hash(SymmetrySpec(D4, SPEC.obs_blocks, PLANE))


def test_actions_of_elements_compose():
    obs = jnp.arange(9.0)
    for a in range(8):
        for b in range(8):
            both = SPEC.act_on_obs(int(D4.mul[a, b]), obs)
            np.testing.assert_array_equal(both, SPEC.act_on_obs(a, SPEC.act_on_obs(b, obs)))


def test_discrete_actions_are_permuted():
    spec = SymmetrySpec(D4, ((slice(2), 1, PLANE),), CORNERS)
    choices = jnp.arange(4, dtype=jnp.int32)
    np.testing.assert_array_equal(spec.act_on_action(1, choices), [1, 2, 3, 0])
    one_hot = jnp.eye(4)[2]
    assert spec.act_on_action(3, one_hot)[spec.act_on_action(3, jnp.int32(2))] == 1.0


def test_arrays_of_numpy_and_lists_act_like_those_of_jax():
    """float64 becomes what JAX is set to, without a warning."""
    action, obs = np.array([1.0, 2.0]), np.arange(9.0)
    for moved in (SPEC.act_on_action(1, action), SPEC.act_on_action(1, [1.0, 2.0])):
        np.testing.assert_array_equal(moved, [-2.0, 1.0])
        assert moved.dtype == jnp.float32
    assert act(PLANE, 1, action).dtype == SPEC.act_on_obs(1, obs).dtype == jnp.float32
    np.testing.assert_array_equal(SPEC.act_on_obs(1, obs), SPEC.act_on_obs(1, jnp.asarray(obs)))
    choices = SymmetrySpec(D4, ((slice(2), 1, PLANE),), CORNERS).act_on_action(1, [0, 3])
    np.testing.assert_array_equal(choices, [1, 0])


TWO = (slice(0, 4), 2, PLANE)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((TWO, (slice(5, 6), 1, trivial(D4))), r"obs\[5:6\] should start at 4: they leave a gap"),
        ((TWO, (slice(3, 4), 1, trivial(D4))), r"obs\[3:4\] should start at 4: they overlap"),
        (((slice(0, 4), 1, PLANE),), r"obs\[0:4\] must have length .* = 1 x 2 = 2, got 4"),
        (((slice(0, 4), 2, standard(cyclic(5))),), r"obs\[0:4\] must be a representation of D4"),
        ((), "got none"),
        (((slice(0, None), 2, PLANE),), r"with both ends .* got \(slice\(0, None, None\), 2, "),
        (((slice(0, 4, 2), 2, PLANE),), r"without a step, got \(slice\(0, 4, 2\), 2, "),
        (((slice(0, 4), PLANE, 2),), r"must hold \(slice\(start, stop\), copies, Representation\)"),
        ((slice(0, 4), 2, PLANE), r"must hold .* for each block, .* got slice\(0, 4, None\)"),
        (((slice(0, 4), PLANE),), "must hold .* got .slice"),
        (((slice(0, 4), 2, PLANE.matrices),), "must hold .* got .slice"),
        (((slice(0, 4), 2.5, PLANE),), "must hold .* 2.5, "),
        ((Block(0, 4, 2, "standard"),), "must hold .* got Block.*'standard'"),
        ((Block(0, 4, 2.0, PLANE),), "must hold .* got Block.*copies=2.0"),
    ],
)
def test_slices_that_do_not_fit_are_named(blocks, message):
    with pytest.raises(ValueError, match=message):
        SymmetrySpec(D4, blocks, PLANE)


def test_spaces_that_do_not_fit_are_named():
    SPEC.check_sizes(9, 2)
    with pytest.raises(ValueError, match=r"cover obs\[0:12\].* up to obs\[8:9\]"):
        SPEC.check_sizes(12, 2)
    with pytest.raises(
        ValueError, match="action_rep must have dimension 3, as the action has, got 2"
    ):
        SPEC.check_sizes(9, 3)
    with pytest.raises(ValueError, match="must permute the actions of a Discrete space"):
        SPEC.check_sizes(9, 2, is_discrete=True)
    skew = generated([np.array([[0.0, 4.0], [0.25, 0.0]])])
    with pytest.raises(ValueError, match="action_rep must keep lengths"):
        SymmetrySpec(skew.group, ((slice(2), 1, skew),), skew)
    with pytest.raises(ValueError, match="action_rep must be a representation of D4"):
        SymmetrySpec(D4, SPEC.obs_blocks, trivial(cyclic(2)))
    with pytest.raises(ValueError, match="must be a Representation of D4, got ndarray"):
        SymmetrySpec(D4, SPEC.obs_blocks, PLANE.matrices)
    with pytest.raises(ValueError, match=r"group must be a FiniteGroup .* got 'D4'"):
        SymmetrySpec("D4", SPEC.obs_blocks, PLANE)
    with pytest.raises(AssertionError):
        SPEC.act_on_obs(1, jnp.arange(8.0))
