"""What a broken symmetry can cost: the bound on Q and the loss of an averaged policy hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.solvers import tabular

ORBITS, ORDER = 6, 4  # 24 states and 4 actions, which a cycle of 4 moves
STATES = np.arange(ORBITS * ORDER)
SHIFTS = np.arange(ORDER)
STATE_IMAGES = (STATES // ORDER * ORDER)[None] + (STATES[None] + SHIFTS[:, None]) % ORDER
ACTION_IMAGES = (SHIFTS[:, None] + SHIFTS[None]) % ORDER
TOL = 1e-9


def symmetric_mdp(random):
    """Random tables, averaged over the group."""
    reward = random.normal(size=(len(STATES), ORDER))
    transition = random.dirichlet(0.3 * np.ones(len(STATES)), size=reward.shape)
    images = list(zip(STATE_IMAGES, ACTION_IMAGES, strict=True))
    transitions = [transition[s][:, a][:, :, s] for s, a in images]
    return np.mean([reward[s][:, a] for s, a in images], axis=0), np.mean(transitions, axis=0)


def mdps(num, reward_break, transition_break):
    """`num` random problems, each table mixed with another that has no symmetry."""
    rewards, transitions = [], []
    for index in range(num):
        random = np.random.default_rng(index)
        reward, transition = symmetric_mdp(random)
        free = random.dirichlet(0.3 * np.ones(len(STATES)), size=reward.shape)
        rewards.append(reward + reward_break * random.uniform(-1, 1, reward.shape))
        transitions.append((1 - transition_break) * transition + transition_break * free)
    return tabular.TabularMDP(jnp.array(rewards), jnp.array(transitions))


@jax.jit
@jax.vmap
def measures(mdp, discount_factor):
    """Gap of Q*, its bound, the loss of the averaged policy and its bound."""
    best = tabular.value_iteration(mdp, discount_factor, tol=TOL)
    gap = jnp.abs(tabular.carried(best.value, STATE_IMAGES, ACTION_IMAGES) - best.value[None]).max()
    value = best.value.max(axis=1)
    mismatch = tabular.symmetry_mismatch(mdp, STATE_IMAGES, ACTION_IMAGES)
    bound = tabular.q_bound(mismatch, value.max() - value.min(), discount_factor)
    average = tabular.orbit_average(best.value, STATE_IMAGES, ACTION_IMAGES)
    policy = tabular.policy_value(mdp, jnp.argmax(average, axis=1), discount_factor, tol=TOL)
    allowed = 2.0 * gap / (1.0 - discount_factor)
    return gap, bound, (value - policy.value).max(), allowed, best.converged & policy.converged


@pytest.mark.parametrize(
    ("reward_break", "transition_break"), [(0, 0), (0.1, 0), (0, 0.1), (0.5, 0.5)]
)
def test_the_bounds_hold_on_random_problems(reward_break, transition_break):
    with jax.enable_x64(True):
        mdp = mdps(20, reward_break, transition_break)
        for discount_factor in (0.0, 0.9):
            gap, bound, loss, allowed, converged = measures(mdp, jnp.full(20, discount_factor))
            assert converged.all()
            assert (gap <= bound + 4 * TOL).all()
            assert (loss <= allowed + 4 * TOL).all()
            if reward_break == transition_break == 0:
                np.testing.assert_allclose(gap, 0.0, atol=1e-8)
            elif discount_factor or reward_break:
                assert (gap > 1e-3).all(), "the break must show, or the bound says nothing"


def test_one_state_is_a_geometric_series():
    mdp = tabular.TabularMDP(jnp.array([[1.0, 2.0]]), jnp.ones((1, 2, 1)))
    best = tabular.value_iteration(mdp, 0.5)
    np.testing.assert_allclose(best.value, [[3.0, 4.0]], rtol=1e-5)
    assert best.converged
    worst = tabular.policy_value(mdp, jnp.array([0]), 0.5)
    np.testing.assert_allclose(worst.value, [2.0], rtol=1e-5)
    hurried = tabular.value_iteration(mdp, 0.99, max_steps=3)
    assert not hurried.converged
    np.testing.assert_allclose(hurried.residual, 2.0 * 0.99**3, rtol=1e-5)


def test_mismatch_is_the_largest_gap():
    """Two states, two actions, both swapped: rewards 1 against 0.5, laws (1, 0) against (0.75)."""
    reward = jnp.array([[1.0, 0.0], [0.0, 0.5]])
    stay = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.25, 0.75]]])
    swap = jnp.array([[0, 1], [1, 0]])
    mismatch = tabular.symmetry_mismatch(tabular.TabularMDP(reward, stay), swap, swap)
    np.testing.assert_allclose(mismatch.reward, 0.5)
    np.testing.assert_allclose(mismatch.transition, 0.25)
    np.testing.assert_allclose(tabular.q_bound(mismatch, 2.0, 0.5), (0.5 + 0.5 * 2.0 * 0.25) / 0.5)
