"""Whittle indices: Gittins numbers, a Gilbert-Elliott channel, and indifference at the index."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.econ.whittle import (
    Arm,
    advantage,
    age_index,
    gilbert_elliott_index,
    is_indexable,
    whittle_indices,
)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def rested():
    """Frozen and unpaid while passive, so that Whittle's index is Gittins'."""
    active = jnp.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.3, 0.3, 0.4]])
    return Arm(jnp.eye(3), jnp.zeros(3), active, jnp.array([0.2, 0.6, 1.0]))


def restless():
    reward = jnp.array([0.0, 1.0])
    passive, active = jnp.array([[0.9, 0.1], [0.4, 0.6]]), jnp.array([[0.3, 0.7], [0.1, 0.9]])
    return Arm(passive, reward, active, reward)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [(rested, (0.584466, 0.765138, 1.0)), (restless, (0.981818, 0.329268))],
    ids=["gittins", "restless"],
)
def test_indices_known_from_elsewhere(arm, expected):
    index = whittle_indices(arm(), 0.9)
    np.testing.assert_allclose(index, expected, atol=1e-6)


def test_the_index_makes_both_actions_equal():
    arm = restless()
    index = whittle_indices(arm, 0.9)
    gains = jax.vmap(lambda subsidy: advantage(arm, subsidy, 0.9))(index)
    np.testing.assert_allclose(jnp.diag(gains), 0.0, atol=1e-9)
    assert is_indexable(arm, jnp.linspace(-2.0, 2.0, 201), 0.9)


def test_an_arm_that_returns_to_activity_is_not_indexable():
    """Three states; which are active is checked against all eight stationary policies."""
    passive = np.array(
        [[0.1902, 0.4156, 0.3942], [0.5676, 0.4191, 0.0133], [0.0191, 0.1097, 0.8712]]
    )
    active = np.array(
        [[0.7796, 0.0903, 0.1301], [0.1903, 0.1863, 0.6234], [0.2901, 0.3901, 0.3198]]
    )
    rewards = np.array([0.458, 0.5308, 0.6873]), np.array([0.9631, 0.7963, 0.1057])
    grid = np.linspace(-2.0, 2.0, 201)
    plays = []
    for subsidy in grid:
        values = []
        for policy in itertools.product([False, True], repeat=3):
            chain = np.where(np.array(policy)[:, None], active, passive)
            paid = np.where(policy, rewards[1], rewards[0] + subsidy)
            values.append(np.linalg.solve(np.eye(3) - 0.9 * chain, paid))
        best = np.max(values, axis=0)  # one policy is best in every state
        gain = rewards[1] - rewards[0] - subsidy + 0.9 * (active - passive) @ best
        plays.append(gain > 0.0)
    plays = np.array(plays)
    assert (plays[1:] & ~plays[:-1]).any()
    arm = Arm(*map(jnp.asarray, (passive, rewards[0], active, rewards[1])))
    gains = jax.vmap(lambda subsidy: advantage(arm, subsidy, 0.9))(jnp.asarray(grid))
    np.testing.assert_array_equal(gains > 0.0, plays)
    assert not is_indexable(arm, jnp.asarray(grid), 0.9)


def test_a_gilbert_elliott_channel_on_a_grid_of_beliefs():
    """W(.7) = .769231 for p11 = .8, p01 = .3, β = .9; bisection over beliefs comes near it."""
    np.testing.assert_allclose(gilbert_elliott_index(0.7, 0.8, 0.3, 0.9), 0.769231, atol=1e-6)
    assert gilbert_elliott_index(0.2, 0.8, 0.3, 0.9) == 0.2
    assert jnp.isnan(gilbert_elliott_index(0.5, 0.8, 0.3, 0.9))
    belief = jnp.linspace(0.0, 1.0, 41)
    spot = lambda b: jnp.maximum(1.0 - jnp.abs(b * 40.0 - jnp.arange(41.0)), 0.0)
    passive = jax.vmap(lambda b: spot(0.3 + 0.5 * b))(belief)
    active = jax.vmap(lambda b: b * spot(0.8) + (1.0 - b) * spot(0.3))(belief)
    arm = Arm(passive, jnp.zeros(41), active, belief)
    index = whittle_indices(arm, 0.9, num_halvings=24, num_sweeps=200)
    closed = gilbert_elliott_index(belief, 0.8, 0.3, 0.9)
    known = ~np.isnan(np.asarray(closed))
    np.testing.assert_allclose(index[known], closed[known], atol=0.02)  # width of the grid


def test_the_age_of_information():
    np.testing.assert_allclose(age_index(3.0, 1.0), 6.0)  # h (h + 1) / 2
    np.testing.assert_allclose(age_index(2.0, 0.5), 0.5 * 0.5 * 2.0 * (2.0 + 3.0))
