"""Whittle indices: Gittins numbers, a Gilbert-Elliott channel, and indifference at the index."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxecon.econ.whittle import (
    Arm,
    advantage,
    age_index,
    average_bound,
    gilbert_elliott_index,
    is_indexable,
    relaxation_bound,
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


def values_by_policy_iteration(arm, subsidy, discount):
    """V of the best policy, with NumPy's solver."""
    passive, paid, active, played = map(np.asarray, arm)
    is_active = np.zeros(len(paid), bool)
    for _ in range(20):
        chain = np.where(is_active[:, None], active, passive)
        reward = np.where(is_active, played, paid + subsidy)
        value = np.linalg.solve(np.eye(len(paid)) - discount * chain, reward)
        is_active = played + discount * active @ value > paid + subsidy + discount * passive @ value
    return value


@pytest.mark.parametrize("arm", [rested, restless])
def test_patient_arms_agree_with_policy_iteration(arm):
    """β = .999, where four hundred sweeps of value iteration would be a third short."""
    arm, discount, gained = arm(), 0.999, jax.jit(advantage)
    for subsidy in (-1.0, 0.3, 0.9):
        value = values_by_policy_iteration(arm, subsidy, discount)
        gain = arm.active_reward - arm.passive_reward - subsidy
        gain += discount * (arm.active_transition - arm.passive_transition) @ value
        np.testing.assert_allclose(gained(arm, subsidy, discount), gain, atol=1e-9)
    index = whittle_indices(arm, discount)
    for state, subsidy in enumerate(index):
        value = values_by_policy_iteration(arm, float(subsidy), discount)
        gain = arm.active_reward - arm.passive_reward - subsidy
        gain += discount * (arm.active_transition - arm.passive_transition) @ value
        assert abs(gain[state]) < 1e-8  # values are near 1000
    start = np.full(len(index), 1.0 / len(index))
    bound = relaxation_bound(arm, start, 5.0, 2.0, discount)
    np.testing.assert_allclose(bound, occupation_bound(arm, start, 5, 2, discount), rtol=1e-7)


def test_the_average_bound_is_the_programme_over_long_run_shares():
    """Shares x(s, a) >= 0 of time that balance flows, one arm active m / N of the time."""
    arm = restless()
    passive, active = np.asarray(arm.passive_transition), np.asarray(arm.active_transition)
    flow = np.hstack([np.eye(2) - passive.T, np.eye(2) - active.T])
    reward = np.r_[np.asarray(arm.passive_reward), np.asarray(arm.active_reward)]
    sums = np.vstack([flow, np.ones(4), np.r_[np.zeros(2), np.ones(2)]])
    programme = linprog(-5.0 * reward, A_eq=sums, b_eq=np.r_[0.0, 0.0, 1.0, 0.4])
    bound = float(average_bound(arm, 5.0, 2.0))
    assert -programme.fun - 1e-9 <= bound <= -programme.fun + 1e-3  # N (1 - β) times a range of 2


def occupation_bound(arm, start, num_arms, num_active, discount):
    """The relaxation by linear programming over occupation measures, passive then active."""
    passive, active = np.asarray(arm.passive_transition), np.asarray(arm.active_transition)
    size = len(start)
    flow = np.hstack([np.eye(size) - discount * passive.T, np.eye(size) - discount * active.T])
    budget = np.r_[np.zeros(size), np.ones(size)]
    reward = np.r_[np.asarray(arm.passive_reward), np.asarray(arm.active_reward)]
    result = linprog(
        -num_arms * reward,
        A_eq=np.vstack([flow, budget]),
        b_eq=np.r_[start, num_active / num_arms / (1.0 - discount)],
    )
    return -result.fun


@pytest.mark.parametrize("num_active", [0, 1, 3, 5])
@pytest.mark.parametrize("arm", [rested, restless])
def test_the_relaxation_is_the_linear_programme_over_occupation_measures(arm, num_active):
    arm = arm()
    start = np.linspace(1.0, 2.0, arm.passive_reward.shape[0])
    start /= start.sum()
    bound = relaxation_bound(arm, start, 5.0, float(num_active), 0.9)
    programme = occupation_bound(arm, start, 5, num_active, 0.9)
    np.testing.assert_allclose(bound, programme, rtol=1e-7, atol=1e-10)


def test_no_policy_of_two_arms_beats_the_relaxation_and_whittles_comes_close():
    """All joint states of two arms, one active; the optimum by value iteration over both."""
    arm, discount = restless(), 0.9
    laws = [np.asarray(arm.passive_transition), np.asarray(arm.active_transition)]
    paid = np.add.outer(arm.passive_reward, arm.passive_reward).ravel()  # the same in both modes
    joint = [np.kron(laws[1], laws[0]), np.kron(laws[0], laws[1])]  # who is active
    value = np.zeros(4)
    for _ in range(400):
        value = paid + discount * np.max([law @ value for law in joint], axis=0)
    index = np.asarray(whittle_indices(arm, discount))
    states = np.array(list(itertools.product(range(2), repeat=2)))
    picks = (index[states[:, 1]] > index[states[:, 0]]).astype(int)
    chain = np.array([joint[pick][row] for row, pick in enumerate(picks)])
    whittle = np.linalg.solve(np.eye(4) - discount * chain, paid).mean()
    bound = float(relaxation_bound(arm, np.full(2, 0.5), 2.0, 1.0, discount))
    assert 0.97 * bound < whittle <= value.mean() + 1e-9 <= bound + 1e-9


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
    assert jnp.isnan(gilbert_elliott_index(0.7, 0.3, 0.8, 0.9))  # p01 > p11
    belief = jnp.linspace(0.0, 1.0, 41)
    spot = lambda b: jnp.maximum(1.0 - jnp.abs(b * 40.0 - jnp.arange(41.0)), 0.0)
    passive = jax.vmap(lambda b: spot(0.3 + 0.5 * b))(belief)
    active = jax.vmap(lambda b: b * spot(0.8) + (1.0 - b) * spot(0.3))(belief)
    arm = Arm(passive, jnp.zeros(41), active, belief)
    index = whittle_indices(arm, 0.9, num_halvings=24)
    closed = gilbert_elliott_index(belief, 0.8, 0.3, 0.9)
    known = ~np.isnan(np.asarray(closed))
    np.testing.assert_allclose(index[known], closed[known], atol=0.02)  # width of the grid


def test_the_age_of_information():
    np.testing.assert_allclose(age_index(3.0, 1.0), 6.0)  # h (h + 1) / 2
    np.testing.assert_allclose(age_index(2.0, 0.5), 0.5 * 0.5 * 2.0 * (2.0 + 3.0))
