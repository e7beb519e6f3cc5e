"""Linear programmes against SciPy, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxecon.solvers import Status, linear_programme

solve = jax.jit(linear_programme, static_argnames="num_iterations")


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "sides"),
    [([[1.0], [1.0]], [1.0, 2.0]), ([[1.0, 1.0], [1.0, 1.0]], [1.0, 2.0]), ([[0.0]], [1.0])],
)
def test_equations_that_contradict_each_other_are_infeasible(rows, sides, dtype):
    rows, sides = np.asarray(rows, dtype), np.asarray(sides, dtype)
    solution = linear_programme(
        np.ones(rows.shape[1], dtype), equality_matrix=rows, equality_rhs=sides, lower=0.0
    )
    assert int(solution.status) == Status.INFEASIBLE
    y = np.asarray(solution.equality_multipliers)
    z = np.asarray(solution.upper_multipliers) - np.asarray(solution.lower_multipliers)
    assert sides @ y < 0.0
    np.testing.assert_allclose(rows.T @ y + z, 0.0, atol=1e-3 * np.abs(y).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-7), (np.float32, 1e-4)])
def test_optimal_values_agree_with_scipy(dtype, tolerance):
    draw = np.random.default_rng(0)
    num, size, num_rows = 20, 6, 9
    rows = draw.normal(size=(num, num_rows, size))
    rhs, cost = draw.uniform(0.2, 1.0, (num, num_rows)), draw.normal(size=(num, size))
    rhs[:, 0] = 0.0  # degenerate at the origin's face
    single = (cost.astype(dtype), rows.astype(dtype), rhs.astype(dtype))
    solution = jax.jit(
        lambda c, g, h: linear_programme(
            c, inequality_matrix=g, inequality_rhs=h, lower=-2.0, upper=2.0
        )
    )(*single)
    assert solution.converged.all()
    value = np.asarray(solution.value, np.float64)
    for i in range(num):
        best = linprog(cost[i], A_ub=rows[i], b_ub=rhs[i], bounds=[(-2, 2)] * size).fun
        assert abs((cost[i] * value[i]).sum() - best) <= tolerance * (1 + abs(best))


def test_equations_and_half_infinite_bounds():
    solution = solve(
        np.array([1.0, 2.0, 0.0]),
        equality_matrix=np.ones((1, 3)),
        equality_rhs=np.ones(1),
        lower=0.0,
        upper=np.array([np.inf, np.inf, 0.25]),
    )
    np.testing.assert_allclose(solution.value, [0.75, 0.0, 0.25], atol=1e-7)
    np.testing.assert_allclose(solution.equality_multipliers, [-1.0], atol=1e-7)


@pytest.mark.parametrize(
    ("bounds", "status"),
    [
        ({"lower": 0.0}, Status.OPTIMAL),
        ({"upper": 0.0}, Status.UNBOUNDED),
        ({"lower": 1.0, "upper": -1.0}, Status.INFEASIBLE),
    ],
)
def test_status(bounds, status):
    bounds = {name: np.full(2, value) for name, value in bounds.items()}
    solution = solve(np.ones(2), **bounds)
    assert int(solution.status) == status
    assert all(np.isfinite(leaf).all() for leaf in solution)


def test_the_optimal_value_moves_by_the_vertex_and_the_multipliers():
    draw = np.random.default_rng(1)
    cost, rows, rhs = draw.normal(size=4), draw.normal(size=(6, 4)), draw.uniform(0.5, 1, 6)

    def best(cost, rhs):
        solution = linear_programme(
            cost, inequality_matrix=rows, inequality_rhs=rhs, lower=-1.0, upper=1.0
        )
        return jnp.sum(cost * solution.value), solution

    by_cost, by_rhs = jax.jit(jax.grad(lambda *p: best(*p)[0], (0, 1)))(cost, rhs)
    solution = best(cost, rhs)[1]
    np.testing.assert_allclose(by_cost, solution.value, atol=1e-6)
    np.testing.assert_allclose(by_rhs, -solution.inequality_multipliers, atol=1e-6)


def test_an_unusable_cost_is_refused():
    with pytest.raises(ValueError, match="cost must be"):
        linear_programme(1.0)
