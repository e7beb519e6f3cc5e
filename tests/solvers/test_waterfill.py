"""Water-filling: cases by hand, conditions of optimality, laws, and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq

from jaxecon.solvers.waterfill import METHODS, waterfill

N = 6
amounts = hnp.arrays(np.float64, (3, N), elements=st.floats(0, 10, allow_subnormal=False))


@functools.partial(jax.jit, static_argnames="method")
def solve(head_start, demand, weight, budget, method="newton"):
    return waterfill(head_start, demand, weight, budget, method=method)


def solve_exactly(*problem, method="newton"):
    """The solution in float64, as NumPy arrays."""
    with jax.enable_x64(True):
        solution = solve(*(np.asarray(part, np.float64) for part in problem), method)
        return jax.tree.map(np.asarray, solution)


def instance(seed, shape=(N,)):
    """Head start, demand, weight and a budget that is scarce, float64."""
    generator = np.random.default_rng(seed)
    head_start, demand = generator.uniform(0, 3, (2, *shape))
    weight = generator.uniform(0.2, 2, shape)
    return head_start, demand, weight, generator.uniform(0.05, 0.95) * demand.sum(-1)


def bisected_level(head_start, demand, weight, budget):
    """Level by SciPy's bracketing root finder."""
    excess = lambda level: np.clip(weight * level - head_start, 0, demand).sum() - budget
    return brentq(excess, 0, ((head_start + demand) / weight).max(), xtol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("demand", "budget", "expected"),
    [
        ([1, 2, 3, 4], 8, [1, 2, 2.5, 2.5]),
        ([3, 1, 4, 2], 8, [2.5, 1, 2.5, 2]),
        ([3, 6, 5, 6], 8, [2, 2, 2, 2]),
        ([1, 2, 3, 4], 10, [1, 2, 3, 4]),
        ([1, 2, 3, 4], 25, [1, 2, 3, 4]),
        ([1, 2, 3, 4], 0, [0, 0, 0, 0]),
        ([0, 0, 0, 0], 3, [0, 0, 0, 0]),
    ],
)
def test_cases_by_hand(method, demand, budget, expected):
    demand, zeros = jnp.asarray(demand, float), jnp.zeros(4)
    solution = solve(zeros, demand, jnp.ones(4), jnp.asarray(budget, float), method)
    np.testing.assert_allclose(solution.value, expected, rtol=1e-6)  # float32
    assert solution.converged
    assert np.isfinite(solution.level)


def test_weights_and_head_starts_by_hand():
    solution = waterfill([0.0, 2.0, 0.0], [9.0, 9.0, 9.0], [1.0, 1.0, 2.0], 10.0)
    np.testing.assert_allclose(solution.value, [3, 1, 6], rtol=1e-6)  # level 3
    np.testing.assert_allclose(solution.level, 3.0, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_instances_meet_a_root_finder(method):
    problems = [instance(seed) for seed in range(1000)]
    stacked = [np.stack(part) for part in zip(*problems, strict=True)]
    solution = solve_exactly(*stacked, method=method)
    wanted = np.array([bisected_level(*problem) for problem in problems])
    np.testing.assert_allclose(solution.level, wanted, rtol=1e-9)
    assert solution.converged.all()
    assert solution.residual.max() < 1e-13  # a sum of six numbers near one


@given(amounts, st.floats(0, 1.3))
def test_the_conditions_of_optimality_hold(draws, share):
    head_start, demand, weight = draws[0], draws[1], draws[2] + 0.1
    budget = share * demand.sum()
    value, level, residual, converged = solve_exactly(head_start, demand, weight, budget)
    assert converged
    assert (value >= 0).all()
    assert (value <= demand).all()
    assert residual <= 1e-12
    total = head_start + value
    slack = 1e-9 * (1 + level)
    for i in np.flatnonzero(demand > 0):
        if value[i] < demand[i]:
            assert total[i] / weight[i] >= level - slack, "nobody unsaturated is below the level"
        if value[i] > 1e-12:
            assert total[i] / weight[i] <= level + slack, "nobody is raised above the level"


@given(amounts, st.floats(0.01, 0.9), st.floats(0.1, 20))
def test_order_scale_and_budget(draws, share, scale):
    head_start, demand, weight = draws[0], draws[1], draws[2] + 0.1
    order = np.random.default_rng(0).permutation(N)
    budget = share * demand.sum()
    plain = solve_exactly(head_start, demand, weight, budget).value
    permuted = solve_exactly(head_start[order], demand[order], weight[order], budget).value
    scaled = solve_exactly(scale * head_start, scale * demand, weight, scale * budget).value
    richer = solve_exactly(head_start, demand, weight, 1.1 * budget).value
    np.testing.assert_allclose(permuted, plain[order], atol=1e-11)
    np.testing.assert_allclose(scaled, scale * plain, atol=1e-11 * scale)
    assert (richer >= plain - 1e-11).all()


@pytest.mark.parametrize("argument", range(4))
def test_derivatives_meet_finite_differences(argument):
    with jax.enable_x64(True):
        problem = [jnp.asarray(part) for part in instance(3)]
        direction = jnp.asarray(np.random.default_rng(5).normal(size=problem[argument].shape))

        def along(step):
            moved = list(problem)
            moved[argument] = problem[argument] + step * direction
            solution = solve(*moved)
            return solution.value, solution.level

        _, exact = jax.jvp(along, (0.0,), (1.0,))
        results = jax.tree.map(np.asarray, (exact, along(1e-6), along(-1e-6)))
    for derivative, up, down in zip(*results, strict=True):
        np.testing.assert_allclose(derivative, (up - down) / 2e-6, atol=1e-7)


def test_methods_rows_and_layouts_agree():
    head_start, demand, weight, budget = instance(0, (5, 2, 40))
    single = [x.astype(np.float32) for x in (head_start, demand, weight, budget)]
    newton = solve(*single)
    np.testing.assert_allclose(newton.value, solve(*single, "sort").value, atol=3e-6)  # float32
    mapped = jax.vmap(jax.vmap(solve))(*single)
    np.testing.assert_allclose(newton.value, mapped.value, atol=1e-6)
    columns = [np.moveaxis(x, -1, 0) for x in single[:3]]
    last = waterfill(*columns, single[3], axis=0)
    np.testing.assert_allclose(np.moveaxis(last.value, 0, -1), newton.value, atol=1e-6)
    np.testing.assert_array_equal(last.level.shape, (5, 2))
    assert newton.value.dtype == np.float32


def test_reverse_mode_second_order_and_an_agent_without_weight():
    demand = jnp.array([1.0, 5.0, 5.0])
    weight = jnp.array([1.0, 1.0, 0.0])
    value = lambda budget: waterfill(jnp.zeros(3), demand, weight, budget).value
    np.testing.assert_allclose(value(jnp.float32(3.0)), [1.0, 2.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(jax.jacrev(value)(jnp.float32(3.0)), [0.0, 1.0, 0.0], atol=1e-6)
    assert np.isfinite(jax.jacfwd(jax.jacrev(value))(jnp.float32(3.0))).all()


def test_bad_numbers():
    ones = jnp.ones(3)
    with pytest.raises(ValueError, match="demand must be finite and at least 0, got -1"):
        waterfill(ones, jnp.array([1.0, -1.0, 1.0]), ones, 1.0)
    with pytest.raises(ValueError, match="budget must be finite and at least 0"):
        waterfill(ones, ones, ones, -1.0)
    with pytest.raises(ValueError, match="Did you mean 'newton'"):
        waterfill(ones, ones, ones, 1.0, method="newtn")
    with pytest.raises(ValueError, match="demand must be finite and at least 0, got nan"):
        waterfill(jnp.zeros(3), jnp.array([1.0, jnp.nan, 1.0]), ones, 1.0)
    with pytest.raises(ValueError, match="equally many agents"):
        waterfill(jnp.zeros(2), ones, ones, 1.0)
    with pytest.raises(ValueError, match="weight must have an axis of agents"):
        waterfill(ones, ones, 1.0, 1.0)


@pytest.mark.parametrize("bad", [-0.5, jnp.inf, jnp.nan])
def test_bad_traced_numbers_give_a_flag_and_finite_output(bad):
    demand = jnp.array([[1.0, bad, 2.0], [1.0, 1.0, 2.0]])
    solution = jax.jit(waterfill)(jnp.zeros(3), demand, jnp.ones(3), 2.0)
    assert list(solution.converged) == [False, True]
    assert np.isfinite(solution.value).all()
    np.testing.assert_allclose(solution.value[1], 2.0 / 3.0, rtol=1e-6)
