"""Quadratic programmes against Clarabel, closed forms, certificates and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.solvers import Status, quadratic_programme

solve = jax.jit(quadratic_programme, static_argnames=("num_iterations", "tolerance"))


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def programmes(seed, num, size, num_equations, num_rows, dtype=np.float64):
    """Feasible problems: Q, q, A, b, G, h, l, u with some bounds infinite."""
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(num, size, max(size - 2, 1)))
    quadratic = root @ np.swapaxes(root, 1, 2)  # of reduced rank
    point = draw.uniform(-0.5, 0.5, (num, size))
    equality = draw.normal(size=(num, num_equations, size))
    rows = draw.normal(size=(num, num_rows, size))
    of = lambda matrix: np.einsum("bmn,bn->bm", matrix, point)
    slack = draw.uniform(0.0, 1.0, (num, num_rows)) * (draw.uniform(size=(num, num_rows)) > 0.3)
    lower = np.where(draw.uniform(size=size) < 0.3, -np.inf, -1.0)
    problem = {
        "quadratic": quadratic,
        "linear": draw.normal(size=(num, size)),
        "equality_matrix": equality,
        "equality_rhs": of(equality),
        "inequality_matrix": rows,
        "inequality_rhs": of(rows) + slack,
        "lower": lower,
        "upper": np.ones(size),
    }
    return {name: np.asarray(x, dtype) for name, x in problem.items()}


def objective(problem, x):
    curvature = np.einsum("bi,bij,bj->b", x, problem["quadratic"], x)
    return curvature / 2 + (problem["linear"] * x).sum(-1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes", [(5, 2, 6), (8, 0, 12)])
def test_optimal_values_agree_with_clarabel(sizes, dtype):
    cvxpy = pytest.importorskip("cvxpy")
    problem = programmes(0, 8, *sizes, dtype)
    solution = solve(**problem)
    assert solution.value.dtype == dtype
    assert solution.converged.all()
    tolerance = 1e-7 if dtype == np.float64 else 2e-3
    for i in range(8):
        take = {n: np.asarray(a[i] if a.ndim > 1 else a, np.float64) for n, a in problem.items()}
        x = cvxpy.Variable(sizes[0])
        curvature = cvxpy.quad_form(x, cvxpy.psd_wrap(take["quadratic"]))
        limits = [take["inequality_matrix"] @ x <= take["inequality_rhs"], x <= take["upper"]]
        bounded = np.isfinite(take["lower"])
        limits += [x[bounded] >= take["lower"][bounded]]
        if sizes[1]:
            limits += [take["equality_matrix"] @ x == take["equality_rhs"]]
        best = cvxpy.Problem(cvxpy.Minimize(curvature / 2 + take["linear"] @ x), limits)
        best.solve(cvxpy.CLARABEL)
        found = objective(problem, np.asarray(solution.value))[i]
        assert abs(found - best.value) <= tolerance * (1 + abs(best.value))


def test_without_constraints_it_is_a_linear_system():
    draw = np.random.default_rng(1)
    root = draw.normal(size=(4, 4))
    quadratic, linear = root @ root.T + np.eye(4), draw.normal(size=4)
    solution = quadratic_programme(quadratic, linear)
    np.testing.assert_allclose(solution.value, np.linalg.solve(quadratic, -linear), rtol=1e-7)
    assert solution.converged  # qpax gives nan without constraints


def test_infinite_bounds_and_rows_do_not_bind():
    quadratic, linear = np.eye(2), np.array([-1.0, 2.0])
    solution = quadratic_programme(
        quadratic,
        linear,
        inequality_matrix=np.eye(2),
        inequality_rhs=np.full(2, np.inf),
        lower=-np.inf,
        upper=np.array([np.inf, -3.0]),
    )
    np.testing.assert_allclose(solution.value, [1.0, -3.0], atol=1e-7)  # qpax gives nan
    np.testing.assert_allclose(solution.upper_multipliers, [0.0, 1.0], atol=1e-7)


def test_redundant_equations_are_fine():
    rows = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]])
    solution = quadratic_programme(
        np.eye(2), np.zeros(2), equality_matrix=rows, equality_rhs=np.array([1.0, 2.0, 1.0])
    )
    np.testing.assert_allclose(solution.value, [0.5, 0.5], atol=1e-6)
    assert solution.converged


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_infeasible_and_unbounded_are_told_apart_and_proved(dtype):
    array = lambda *numbers: np.asarray(numbers, dtype)
    rows = array([1.0, 0.0], [-1.0, 0.0])
    zero = np.zeros((2, 2), dtype)
    empty = solve(
        zero, array(1, 1), inequality_matrix=rows, inequality_rhs=array(-1, -1), lower=-9.0
    )
    assert int(empty.status) == Status.INFEASIBLE
    assert not empty.converged
    multipliers = empty.inequality_multipliers
    bounds = np.asarray(empty.upper_multipliers) - np.asarray(empty.lower_multipliers)
    size = np.abs(multipliers).max()
    np.testing.assert_allclose(rows.T @ np.asarray(multipliers) + bounds, 0.0, atol=1e-3 * size)
    free = solve(zero, array(1, -1), upper=array(1, np.inf))
    assert int(free.status) == Status.UNBOUNDED
    assert np.isfinite(free.value).all()
    assert free.value[0] - free.value[1] < 0.0, "the value is a direction of descent"


@pytest.mark.parametrize("smoothing", [0.0, 1e-3])
def test_gradients_match_finite_differences_in_every_input(smoothing):
    problem = programmes(2, 6, 5, 2, 6)
    problem["lower"] = np.full(5, -1.0)  # differences of infinity are nan
    problem["quadratic"] = problem["quadratic"] + np.eye(5)
    draw = np.random.default_rng(3)
    weight = draw.normal(size=(6, 5))
    score = jax.jit(lambda p: (solve(**p, smoothing=smoothing).value * weight).sum(-1))
    slope = jax.jit(jax.grad(lambda p: score(p).sum()))(problem)
    for name, array in problem.items():
        direction = draw.uniform(-1, 1, array.shape)
        if name == "quadratic":
            direction = direction + np.swapaxes(direction, 1, 2)
        shift = lambda t, n=name, d=direction: problem | {n: problem[n] + t * d}
        numeric = np.asarray(score(shift(1e-6)) - score(shift(-1e-6))).sum() / 2e-6
        exact = (slope[name] * direction).sum()
        np.testing.assert_allclose(exact, numeric, rtol=2e-4, atol=1e-5, err_msg=name)


def test_single_precision_gradients_are_finite_and_near_those_in_double():
    problem = programmes(8, 200, 8, 0, 12)
    problem["quadratic"] = problem["quadratic"] + 0.1 * np.eye(8)
    for name in ("lower", "upper"):
        problem[name] = np.tile(problem[name], (200, 1))
    weight = np.random.default_rng(9).normal(size=(200, 8))
    slope = jax.jit(jax.grad(lambda p, w: (solve(**p).value * w).sum()))
    exact = slope(problem, weight)
    single = {name: array.astype(np.float32) for name, array in problem.items()}
    for name, found in slope(single, weight.astype(np.float32)).items():
        assert found.dtype == np.float32
        if not found.size:
            continue
        found, best = np.asarray(found), np.asarray(exact[name])
        assert np.isfinite(found).all(), name
        error = np.abs(found - best) / (1.0 + np.abs(best).max())
        assert np.median(error) < 1e-5, name  # a degenerate row may fall to either side
        assert np.quantile(error, 0.95) < 1e-2, name


def test_a_loose_tolerance_is_kept_and_saves_steps():
    problem = programmes(10, 50, 5, 2, 6)
    loose, tight = solve(**problem, tolerance=1e-4), solve(**problem)
    assert loose.converged.all()
    assert loose.residual.max() <= 1e-4
    assert np.median(loose.residual) > 1e3 * np.median(tight.residual)


def test_jit_vmap_and_grad_compose():
    problem = programmes(4, 5, 5, 0, 6)
    score = lambda q, p: (quadratic_programme(**(p | {"linear": q})).value ** 2).sum()
    axes = {name: 0 if x.ndim > 1 else None for name, x in problem.items()}
    mapped = jax.jit(jax.vmap(jax.grad(score), (0, axes)))(problem["linear"], problem)
    whole = jax.jit(jax.grad(score))(problem["linear"], problem)
    np.testing.assert_allclose(mapped, whole, rtol=1e-6, atol=1e-9)
    assert np.isfinite(mapped).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_flag_tells_the_truth(dtype):
    problem = programmes(5, 200, 6, 2, 10, dtype)
    for num_iterations in (3, 60):
        solution = solve(**problem, num_iterations=num_iterations)
        x = np.asarray(solution.value, np.float64)
        excess = (
            np.einsum("bmn,bn->bm", problem["inequality_matrix"], x) - problem["inequality_rhs"]
        )
        off = np.einsum("bmn,bn->bm", problem["equality_matrix"], x) - problem["equality_rhs"]
        violation = np.maximum(excess.max(-1), np.abs(off).max(-1))
        allowed = 1e-2 if dtype == np.float32 else 1e-6
        assert (violation[solution.converged] <= allowed).all()
        assert solution.converged.mean() > 0.98 if num_iterations == 60 else True
    assert not solve(**problem, num_iterations=3).converged.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"quadratic": np.diag([1.0, -1.0])},
            "smallest eigenvalue of quadratic must be at least 0",
        ),
        ({"quadratic": np.eye(3)}, "quadratic must be"),
        ({"linear": np.array([np.nan, 0.0])}, "linear must be finite"),
        ({"linear": np.float64(1.0)}, "linear must be"),
        ({"inequality_matrix": np.eye(2)}, "inequality_matrix and inequality_rhs must be given"),
        ({"lower": np.array([0.0, np.nan])}, "lower must be"),
        ({"upper": np.ones(3)}, "upper must be"),
        ({"smoothing": -1.0}, "smoothing must be finite and at least 0"),
        ({"tolerance": 2.0}, "tolerance must lie between 0 and 1"),
    ],
)
def test_bad_numbers_are_refused_by_name(change, message):
    good = {"quadratic": np.eye(2), "linear": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        quadratic_programme(**(good | change))


@pytest.mark.parametrize(
    "change", [{"quadratic": np.diag([1.0, -1.0])}, {"linear": np.array([np.nan, 0.0])}]
)
def test_bad_traced_numbers_give_a_flag_and_finite_output(change):
    problem = {"quadratic": np.eye(2), "linear": np.ones(2), "lower": -np.ones(2)} | change
    solution = jax.jit(lambda p: quadratic_programme(**p, upper=1.0))(problem)
    assert not solution.converged
    score = lambda p: quadratic_programme(**p, upper=1.0).value.sum()
    for leaf in (*solution, *jax.tree.leaves(jax.jit(jax.grad(score))(problem))):
        assert np.isfinite(leaf).all()


def test_one_bad_problem_leaves_the_others_alone():
    problem = programmes(6, 3, 5, 2, 6)
    good = solve(**problem)
    problem["linear"][1, 0] = np.nan
    mixed = solve(**problem)
    assert list(mixed.converged) == [True, False, True]
    np.testing.assert_allclose(mixed.value[::2], good.value[::2], rtol=1e-9)


def test_smoothing_holds_every_product_at_mu():
    problem = programmes(7, 4, 4, 0, 5)
    solution = solve(**problem, smoothing=1e-2)
    rows = jnp.einsum("bmn,bn->bm", problem["inequality_matrix"], solution.value)
    products = (problem["inequality_rhs"] - rows) * solution.inequality_multipliers
    np.testing.assert_allclose(products, 1e-2, rtol=1e-5)
