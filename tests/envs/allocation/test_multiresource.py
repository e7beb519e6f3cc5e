"""HOPE with several resources: one resource gives back the published rules, none is overspent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.allocation import multiresource, percapita

T, E = 12, 8
RULES = sorted(multiresource.MULTI_RESOURCE_RULES)
VALUES = np.array([[1, 2, 3], [1, 3, 2], [4, 1, 5], [1, 2, 0.5], [3, 7, 5]])  # published test case
VALUES = VALUES / VALUES.sum(1, keepdims=True)
MEAN = np.array([1.5, 2.5, 3.5, 4.5, 5.5])

play = jax.jit(multiresource.play_multi_resource, static_argnums=0)
measure = jax.jit(multiresource.multi_resource_measures)


def run(rule, mean, values):
    """(people [T, E, K], budget [E, M], amounts [T, E, K, M]) with n = 1 + Poisson(m - 1)."""
    with jax.enable_x64(True):
        some = jnp.asarray(mean) > 0.0
        drawn = jax.random.poisson(jax.random.key(1), np.maximum(mean - 1.0, 0.0), (T, E, 5))
        people = jnp.where(some, 1.0 + drawn.astype(float), 0.0)
        budget = jnp.full((E, 3), T * mean.sum())
        means = jnp.broadcast_to(jnp.asarray(mean), (T, 5))
        amounts, converged = play(rule, people, means, means, jnp.asarray(values), budget)
        assert converged.all()
        return tuple(map(np.asarray, (people, budget, amounts)))


@functools.cache
def published(rule):
    return run(rule, MEAN, VALUES)


def per_capita(rule, people, mean, budget):
    with jax.enable_x64(True):
        steps = jnp.full(T, mean)
        return percapita.play_per_capita(
            percapita.PER_CAPITA_RULES[rule], jnp.asarray(people), steps, steps, jnp.asarray(budget)
        )


@pytest.mark.parametrize("rule", RULES)
def test_one_resource_and_one_type_are_the_published_rules(rule):
    mean = np.array([1.5, 0.0, 0.0, 0.0, 0.0])  # the other types never come
    values = np.vstack([[1.0, 0.0, 0.0], VALUES[1:]])
    people, budget, amounts = run(rule, mean, values)
    expected = per_capita(rule, people[..., 0], 1.5, budget[:, 0])
    np.testing.assert_allclose(amounts[..., 0, 0], expected, atol=1e-6)  # the solver's smoothing
    assert (amounts[..., 1:, :] == 0.0).all()


@pytest.mark.parametrize("rule", ["hope_online", "hope_full"])
def test_with_one_resource_types_do_not_matter(rule):
    mean = np.array([1.5, 2.5, 0.0, 0.0, 0.0])
    values = np.vstack([[0.3, 0.0, 0.0], [2.0, 0.0, 0.0], VALUES[2:]])
    people, budget, amounts = run(rule, mean, values)
    expected = per_capita(rule, people.sum(2), 4.0, budget[:, 0])
    for kind in range(2):
        np.testing.assert_allclose(amounts[..., kind, 0], expected, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_no_resource_is_overspent(rule):
    people, budget, amounts = published(rule)
    assert (amounts >= 0.0).all()
    spent = np.einsum("tekm,tek->tem", amounts, people).cumsum(0)
    assert (spent <= budget[None] * (1 + 1e-9)).all()
    if rule == "hope_online":  # the last step hands out all that is left
        np.testing.assert_allclose(spent[-1], budget, rtol=1e-6)


def test_measures_order_the_rules_as_theory_does():
    found = {}
    with jax.enable_x64(True):
        for rule in RULES:
            people, budget, amounts = published(rule)
            measures = measure(*map(jnp.asarray, (amounts, people, VALUES, budget)))
            found[rule] = {name: float(value) for name, value in measures.items()}
    assert found["hope_online"]["waste"] < 1e-3 < found["guarded_hope_1/3"]["waste"]
    assert found["guarded_hope_1/3"]["waste"] < found["guarded_hope_1/2"]["waste"]
    assert found["guarded_hope_1/2"]["waste"] < found["fixed"]["waste"]
    assert found["fixed"]["envy"] < found["guarded_hope_1/2"]["envy"] < found["hope_online"]["envy"]


def test_a_step_is_the_convex_programme_that_it_says():
    cvxpy = pytest.importorskip("cvxpy")
    people, budget, amounts = published("hope_online")
    count = people[0, 0] + (T - 1) * MEAN
    each = cvxpy.Variable(VALUES.shape, nonneg=True)
    utility = cvxpy.sum(cvxpy.multiply(VALUES, each), axis=1)
    welfare = count @ cvxpy.log(utility)
    limits = [count @ each <= budget[0]]
    cvxpy.Problem(cvxpy.Maximize(welfare), limits).solve(solver=cvxpy.CLARABEL)
    ours = (VALUES * amounts[0, 0]).sum(1)  # unique, where amounts need not be
    np.testing.assert_allclose(count @ np.log(ours), welfare.value, atol=1e-5)
    # a welfare within 1e-8 of the best, cvxpy's tolerance, has utilities within its root
    np.testing.assert_allclose(ours, utility.value, rtol=1e-4)
