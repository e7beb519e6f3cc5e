"""Proportional fairness against closed forms, another solver, its own certificate and laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.solvers import proportional_fairness
from jaxecon.solvers.batching import CACHE_BYTES, batch_last

SIZES = [(2, 2), (10, 3), (50, 10)]


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def instances(seed, num, num_agents, num_resources, *, capped=True):
    """The specification's random problems: (valuations, demands, supplies)."""
    draw = np.random.default_rng(seed)
    shape = (num, num_agents, num_resources)
    valuations = draw.uniform(0.05, 1.0, shape)
    if not capped:
        return valuations, np.full(shape, 2.0), np.ones((num, num_resources))
    demands = draw.uniform(0.1, 1.0, shape)
    share = draw.uniform(0.3, 0.8, (num, num_resources))
    return valuations, demands, share * demands.sum(1)


def hard_instances(seed, num, num_agents, num_resources):
    """Lognormal values with zeros, weights over two decades, some supplies slack."""
    draw = np.random.default_rng(seed)
    shape = (num, num_agents, num_resources)
    valuations = draw.lognormal(size=shape) * (draw.uniform(size=shape) > 0.3)
    valuations[valuations.sum(-1) == 0] = 1.0
    demands = draw.uniform(0.1, 1.0, shape)
    supplies = draw.uniform(0.3, 1.5, (num, num_resources)) * demands.sum(1)
    return valuations, demands, supplies, 10 ** draw.uniform(-1, 1, (num, num_agents))


def utility(valuations, solution):
    return (valuations * solution.value).sum(-1)


def water_level(demands, weights, supply):
    """Weighted water-filling min(x, w L) by bisection: an independent solution for M = 1."""
    low, high = 0.0, demands.max() / weights.min()
    for _ in range(200):
        level = 0.5 * (low + high)
        low, high = (
            (level, high) if np.minimum(demands, weights * level).sum() < supply else (low, level)
        )
    return np.minimum(demands, weights * high)


solve = jax.jit(proportional_fairness, static_argnames="num_iterations")


@pytest.mark.parametrize(("num_agents", "num_resources"), SIZES)
def test_the_certificate_closes_on_random_and_hard_instances(num_agents, num_resources):
    plain = instances(0, 50, num_agents, num_resources)
    free = instances(1, 50, num_agents, num_resources, capped=False)
    hard = hard_instances(2, 50, num_agents, num_resources)
    ones = np.ones((50, num_agents))
    for problem in ((*plain, ones), (*free, ones), hard):
        solution = solve(*problem)
        assert solution.converged.all()
        assert (solution.gap / problem[3].sum(-1)).max() < 1e-7
        assert solution.residual.max() < 1e-14
        demands, supplies = problem[1:3]
        assert (solution.value >= 0).all()
        assert (solution.value <= demands).all()
        assert (solution.value.sum(1) <= supplies * (1 + 1e-14)).all()


@pytest.mark.parametrize(("num_agents", "num_resources"), SIZES[:2])
def test_utilities_agree_with_clarabel(num_agents, num_resources):
    cvxpy = pytest.importorskip("cvxpy")
    valuations, demands, supplies = instances(3, 4, num_agents, num_resources)
    weights = np.random.default_rng(4).uniform(0.5, 2.0, (4, num_agents))
    found = utility(valuations, solve(valuations, demands, supplies, weights))
    for i in range(4):
        a = cvxpy.Variable((num_agents, num_resources), nonneg=True)
        welfare = weights[i] @ cvxpy.log(cvxpy.sum(cvxpy.multiply(valuations[i], a), axis=1))
        limits = [a <= demands[i], cvxpy.sum(a, axis=0) <= supplies[i]]
        cvxpy.Problem(cvxpy.Maximize(welfare), limits).solve(cvxpy.CLARABEL)
        other = (valuations[i] * a.value).sum(-1)
        # Clarabel's own certified gap reaches 1e-5 on such problems, and ours 1e-8
        np.testing.assert_allclose(found[i], other, rtol=1e-4)


def test_costs_agree_with_clarabel():
    cvxpy = pytest.importorskip("cvxpy")
    draw = np.random.default_rng(5)
    valuations, demands, supplies = (x[0] for x in instances(5, 1, 4, 3))
    linear, quadratic = draw.normal(size=(4, 3)), draw.uniform(0.5, 2.0, (4, 3))
    solution = proportional_fairness(
        valuations, demands, supplies, linear_cost=linear, quadratic_cost=quadratic
    )
    a = cvxpy.Variable((4, 3), nonneg=True)
    gain = cvxpy.sum(cvxpy.log(cvxpy.sum(cvxpy.multiply(valuations, a), axis=1)))
    cost = cvxpy.sum(cvxpy.multiply(linear, a) + cvxpy.multiply(quadratic, a**2) / 2)
    limits = [a <= demands, cvxpy.sum(a, axis=0) <= supplies]
    cvxpy.Problem(cvxpy.Maximize(gain - cost), limits).solve(cvxpy.CLARABEL)
    np.testing.assert_allclose(solution.value, a.value, atol=1e-5)  # strictly concave: unique
    np.testing.assert_allclose(solution.price, limits[1].dual_value, atol=1e-5)


def test_one_resource_is_weighted_water_filling_whatever_the_values():
    draw = np.random.default_rng(6)
    demands, weights = draw.uniform(0.1, 1.0, (6, 1)), draw.uniform(0.5, 2.0, 6)
    supply = 0.4 * demands.sum(0)
    expected = water_level(demands[:, 0], weights, supply[0])
    for seed in range(3):
        values = np.random.default_rng(seed).uniform(0.1, 1.0, (6, 1))
        solution = solve(values, demands, supply, weights)
        np.testing.assert_allclose(solution.value[:, 0], expected, atol=1e-7)


def test_one_agent_takes_what_there_is():
    demands, supplies = np.array([[0.5, 2.0, 1.0]]), np.array([1.0, 0.7, 3.0])
    solution = solve(np.ones((1, 3)), demands, supplies)
    np.testing.assert_allclose(solution.value, [[0.5, 0.7, 1.0]], atol=1e-6)


def test_a_slack_resource_satisfies_everyone_at_price_zero():
    valuations, demands, supplies = instances(7, 10, 4, 3)
    supplies[:, 1] = 1.5 * demands[:, :, 1].sum(1)
    solution = solve(valuations, demands, supplies)
    np.testing.assert_allclose(solution.value[:, :, 1], demands[:, :, 1], atol=1e-6)
    np.testing.assert_allclose(solution.price[:, 1], 0.0, atol=1e-7)


def test_units_and_scales_change_nothing_but_units():
    valuations, demands, supplies = instances(8, 10, 4, 3)
    weights = np.random.default_rng(9).uniform(0.5, 2.0, (10, 4))
    base = solve(valuations, demands, supplies, weights)
    scale = np.array([0.01, 1.0, 300.0])
    other = solve(7.0 * valuations / scale, demands * scale, supplies * scale, 3.0 * weights)
    np.testing.assert_allclose(other.value, np.asarray(base.value) * scale, rtol=1e-9)
    np.testing.assert_allclose(other.price, 3.0 * np.asarray(base.price) / scale, rtol=1e-9)


def test_relabelling_agents_and_resources_relabels_the_allocation():
    valuations, demands, supplies = (x[0] for x in instances(10, 1, 5, 3))
    agents, goods = np.array([3, 0, 4, 1, 2]), np.array([2, 0, 1])
    base = solve(valuations, demands, supplies)
    other = solve(valuations[agents][:, goods], demands[agents][:, goods], supplies[goods])
    np.testing.assert_allclose(other.value, base.value[agents][:, goods], atol=1e-10)


def test_more_supply_hurts_nobody_in_welfare_and_equals_are_treated_equally():
    valuations, demands, supplies = instances(11, 20, 4, 3)
    welfare = lambda s: np.log(utility(valuations, s)).sum(-1)
    less, more = solve(valuations, demands, supplies), solve(valuations, demands, 1.1 * supplies)
    assert (welfare(more) >= welfare(less) - 1e-7).all()
    same = solve(np.ones((3, 2)) * [1.0, 2.0], np.full((3, 2), 0.9), np.ones(2))
    np.testing.assert_allclose(same.value, 1 / 3, atol=1e-8)


def test_an_agent_of_weight_zero_is_absent():
    valuations, demands, supplies = (x[0] for x in instances(12, 1, 4, 3))
    absent = solve(valuations, demands, supplies, np.array([1.0, 1.0, 0.0, 1.0]))
    without = solve(np.delete(valuations, 2, 0), np.delete(demands, 2, 0), supplies)
    np.testing.assert_array_equal(absent.value[2], 0.0)
    np.testing.assert_allclose(
        np.delete(utility(valuations, absent), 2),
        utility(np.delete(valuations, 2, 0), without),
        rtol=1e-5,  # LEAST_DEMAND of each supply is set aside
    )
    assert absent.converged


def test_zero_demand_gets_nothing_and_leaves_finite_gradients():
    valuations, demands, supplies = (x[0] for x in instances(13, 1, 3, 2))
    demands[1] = [0.0, 0.5]
    solution = solve(valuations, demands, supplies)
    assert solution.value[1, 0] == 0.0
    assert solution.converged
    slope = jax.grad(lambda x: solve(valuations, x, supplies).value.sum())(jnp.asarray(demands))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize(("num_agents", "num_resources"), SIZES)
def test_gradients_match_finite_differences(num_agents, num_resources, capped):
    draw, num = np.random.default_rng(14), 12
    valuations, demands, supplies = instances(14, num, num_agents, num_resources, capped=capped)
    shape = valuations.shape
    inputs = {
        "valuations": valuations,
        "demands": demands * (1.0 if capped else 0.95),  # the cut at twice the supply is a kink
        "supplies": supplies,
        "weights": draw.uniform(0.5, 2.0, shape[:2]),
        "linear_cost": 0.1 * draw.normal(size=shape),
        "quadratic_cost": draw.uniform(0.1, 0.3, shape),
    }
    weight = draw.normal(size=shape)
    score = jax.jit(
        lambda inputs, mu: (proportional_fairness(**inputs, smoothing=mu).value * weight).sum(
            (1, 2)
        )
    )
    gradient = jax.jit(jax.grad(lambda inputs, mu: score(inputs, mu).sum()))
    for mu in (1e-3, 1e-5, 1e-7):
        slope = gradient(inputs, mu)
        errors = []
        for name in [*inputs, "all"]:
            moved = inputs if name == "all" else {name: inputs[name]}
            direction = {n: draw.uniform(-1, 1, x.shape) for n, x in moved.items()}
            shift = lambda t, d=direction: inputs | {n: inputs[n] + t * d[n] for n in d}
            numeric = (score(shift(1e-7), mu) - score(shift(-1e-7), mu)) / 2e-7
            terms = [(slope[n] * d).reshape(num, -1).sum(1) for n, d in direction.items()]
            # differences of 1e-7 carry noise of about 1e-8 in the numbers themselves
            errors.append(np.abs(sum(terms) - numeric) / np.maximum(np.abs(numeric), 1e-2))
        assert np.median(errors) < 1e-6, (mu, np.median(errors))
        assert np.max(errors) < 1e-2, (mu, np.max(errors))


def test_demands_may_be_infinite_or_absent():
    valuations, _, supplies = (jnp.asarray(x[0]) for x in instances(22, 1, 3, 2, capped=False))
    free = lambda b: proportional_fairness(valuations, supplies=b).value
    endless = lambda b: proportional_fairness(valuations, jnp.full((3, 2), jnp.inf), b).value
    np.testing.assert_allclose(free(supplies), endless(supplies), rtol=1e-12)
    score = lambda b: jnp.log(jnp.sum(valuations * free(b), -1)).sum()
    slope = jax.jit(jax.grad(score))(supplies)
    # no caps: welfare is concave and homogeneous, so <price, b> = sum of weights (Euler)
    np.testing.assert_allclose((slope * supplies).sum(), 3.0, rtol=1e-6)


def test_forward_reverse_and_second_derivatives_agree():
    valuations, demands, supplies = (jnp.asarray(x[0]) for x in instances(15, 1, 3, 2))
    score = lambda v: jnp.sum(
        proportional_fairness(v, demands, supplies, smoothing=1e-3).value ** 2
    )
    slope = jax.jit(jax.grad(score))
    forward = jax.jit(jax.jacfwd(score))(valuations)
    np.testing.assert_allclose(forward, slope(valuations), rtol=1e-9)
    direction = jnp.asarray(np.random.default_rng(16).normal(size=(3, 2)))
    along = jax.jit(lambda v, d: jax.jvp(jax.grad(score), (v,), (d,))[1])(valuations, direction)
    high, low = slope(valuations + 1e-5 * direction), slope(valuations - 1e-5 * direction)
    np.testing.assert_allclose(along, (high - low) / 2e-5, rtol=1e-4, atol=1e-6)


def test_jit_vmap_and_grad_compose_in_any_order():
    valuations, demands, supplies = instances(17, 6, 3, 2)
    score = lambda v, x, b: (proportional_fairness(v, x, b, smoothing=1e-4).value * v).sum()
    batched = jax.jit(jax.grad(score))(valuations, demands, supplies)
    mapped = jax.jit(jax.vmap(jax.grad(score)))(valuations, demands, supplies)
    alone = jax.jit(jax.grad(score))(valuations[3], demands[3], supplies[3])
    np.testing.assert_allclose(mapped, batched, rtol=1e-8)
    np.testing.assert_allclose(alone, batched[3], rtol=1e-8)
    pairs = jax.vmap(jax.vmap(score, (0, None, None)), (None, 0, None))  # unmapped arguments
    table = jax.jit(pairs)(valuations, demands, supplies[0])
    assert table.shape == (6, 6)
    np.testing.assert_allclose(
        table[2, 1], score(valuations[1], demands[2], supplies[0]), rtol=1e-9
    )


def test_a_problem_does_not_depend_on_its_companions_or_blocks():
    problem = hard_instances(18, 300, 10, 3)
    together = solve(*problem)
    alone = solve(*(x[:1] for x in problem))
    np.testing.assert_allclose(together.value[:1], alone.value, rtol=1e-9, atol=1e-12)
    small = batch_last(lambda x: 2.0 * x, (1,), bytes_per_problem=CACHE_BYTES // 16)
    np.testing.assert_array_equal(small(jnp.ones((50, 3))), 2.0)


@pytest.mark.parametrize(("num_agents", "num_resources", "num"), [(2, 2, 60_000), (10, 3, 40_000)])
def test_no_nan_in_single_precision(num_agents, num_resources, num):
    plain = [x.astype(np.float32) for x in hard_instances(19, num, num_agents, num_resources)]
    slope = lambda *problem: (jax.grad(lambda v: solve(v, *problem[1:]).value.sum())(problem[0]),)
    solution = solve(*plain)
    assert solution.value.dtype == np.float32
    for leaf in (*solution, *jax.jit(slope)(*[x[:5000] for x in plain])):
        assert np.isfinite(leaf).all()
    assert solution.converged.all()
    assert (solution.gap / plain[3].sum(-1)).max() < 1e-4


def test_a_cut_short_solution_is_feasible_and_says_so():
    problem = instances(20, 5, 10, 3)
    solution = solve(*problem, num_iterations=4)
    assert not solution.converged.any()
    assert solution.residual.max() < 1e-14
    truth = utility(problem[0], solve(*problem))
    short = np.log(truth).sum(-1) - np.log(utility(problem[0], solution)).sum(-1)
    assert (short <= solution.gap).all(), "the certificate must bound the true loss"


GOOD = {"valuations": np.ones((2, 3)), "supplies": np.ones(3), "weights": np.ones(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valuations": -np.ones((2, 3))}, r"valuations must be .* at least 0, got -1 at \[0, 0\]"),
        ({"valuations": np.eye(2, 3) * [[1], [0]]}, "valuations must be above 0, got 0 at"),
        ({"valuations": np.full((2, 3), np.nan)}, "valuations must be finite"),
        ({"valuations": np.ones(3)}, r"valuations must be \[..., N, M\]"),
        ({"supplies": np.array([1.0, 0.0, 1.0])}, r"supplies must be .* above 0, got 0 at \[1\]"),
        ({"supplies": np.ones(2)}, r"supplies must be \[..., 3\]"),
        ({"demands": np.full((2, 3), -1.0)}, "demands must be at least 0"),
        ({"demands": np.ones((3, 2))}, r"demands must be \[..., 2, 3\]"),
        ({"weights": np.array([1.0, -1.0])}, r"weights must be .* got -1 at \[1\]"),
        ({"weights": np.zeros(2)}, "sum of the weights must be above 0"),
        ({"quadratic_cost": np.full((2, 3), -1.0)}, "quadratic_cost must be"),
        ({"linear_cost": np.full((2, 3), np.inf)}, "linear_cost must be finite"),
        ({"smoothing": 0.0}, "smoothing must be .* above 0"),
        ({"supplies": np.ones((4, 3)), "weights": np.ones((3, 2))}, "do not broadcast"),
    ],
)
def test_bad_numbers_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        proportional_fairness(**(GOOD | change))


solve_traced = jax.jit(lambda problem: proportional_fairness(**problem))
slopes_traced = jax.jit(jax.grad(lambda problem: proportional_fairness(**problem).value.sum()))


@pytest.mark.parametrize(
    "change",
    [
        {"valuations": -np.ones((2, 3))},
        {"valuations": np.eye(2, 3) * [[1], [0]]},
        {"valuations": np.full((2, 3), np.nan)},
        {"supplies": np.array([1.0, 0.0, 1.0])},
        {"weights": np.array([1.0, np.nan])},
        {"weights": np.zeros(2)},
        {"smoothing": np.float64(-1.0)},
    ],
)
def test_bad_traced_numbers_give_a_flag_and_finite_zeros(change):
    problem = GOOD | change
    solution = solve_traced(problem)
    assert not solution.converged
    np.testing.assert_array_equal(solution.value, 0.0)
    for leaf in (*solution, *jax.tree.leaves(slopes_traced(problem))):
        assert np.isfinite(leaf).all()


def test_one_bad_problem_leaves_the_others_alone():
    valuations, demands, supplies = instances(21, 3, 4, 3)
    good = solve(valuations, demands, supplies)
    valuations[1, 2, 0] = np.nan
    mixed = solve(valuations, demands, supplies)
    assert list(mixed.converged) == [True, False, True]
    np.testing.assert_allclose(mixed.value[::2], good.value[::2], rtol=1e-9)


def test_lists_and_whole_numbers_are_welcome():
    solution = functools.partial(proportional_fairness, demands=[[1, 1], [1, 1]])([[1, 0], [0, 1]])
    np.testing.assert_allclose(solution.value, np.eye(2), atol=1e-6)
