"""The worked examples of the convex layers against their closed forms."""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


@functools.cache
def example(name):
    """The module, loaded once, so that its tests share programs."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["optimal_execution", "turnover", "fair_matching"])
def test_examples_run(name, capsys, standard_promotion):
    example(name).main()
    assert capsys.readouterr().out.count("\n") >= 4


def test_execution_matches_almgren_and_chriss():
    module = example("optimal_execution")
    trades = jax.jit(module.schedule)(jnp.asarray(1e-6))
    holdings = 1e6 * (1.0 - np.cumsum(trades))
    np.testing.assert_allclose(holdings[:4], [541955.6, 289854.2, 147897.5, 62141.8], atol=0.1)
    assert float(module.expected_cost(trades)) == pytest.approx(911226.99, abs=0.01)
    assert float(module.deviation(trades)) == pytest.approx(603430.67, abs=0.01)
    slow = jax.jit(module.schedule)(jnp.asarray(0.0))
    np.testing.assert_allclose(slow, 0.2, atol=1e-7)  # equal trades without risk aversion
    assert float(module.expected_cost(slow)) == pytest.approx(662500.0, abs=0.1)
    assert float(module.deviation(slow)) == pytest.approx(1040672.86, abs=0.1)


def test_execution_in_changing_liquidity_and_its_gradient():
    module = example("optimal_execution")
    impact = module.TEMPORARY * jnp.asarray([1.0, 2.0, 4.0, 2.0, 1.0])
    trades = jax.jit(module.schedule)(jnp.asarray(0.0), impact)
    expected = [0.307692, 0.153846, 0.076923, 0.153846, 0.307692]
    np.testing.assert_allclose(trades, expected, atol=1e-6)
    cost = jax.jit(lambda aversion: module.expected_cost(module.schedule(aversion)))
    numeric = (cost(1.001e-6) - cost(0.999e-6)) / 2e-9
    slope = jax.jit(jax.grad(lambda aversion: cost(aversion)))(jnp.asarray(1e-6))
    np.testing.assert_allclose(slope, numeric, rtol=1e-4)


def test_turnover_without_cost_is_markowitz_and_with_a_high_one_stays():
    module = example("turnover")
    covariance, held = jnp.asarray(module.COVARIANCE), jnp.asarray([0.8, 0.2])
    rebalance = jax.jit(module.rebalance)
    cautious = rebalance(jnp.zeros(2), covariance, held, 1.0, 0.0)
    np.testing.assert_allclose(cautious, [0.711864, 0.288136], atol=1e-6)
    inverse = np.linalg.inv(module.COVARIANCE)
    excess = np.asarray(module.MEAN) - 0.02
    tangency = inverse @ excess / (inverse @ excess).sum()
    np.testing.assert_allclose(tangency, [0.568720, 0.431280], atol=1e-6)
    # with gamma = sum of S^-1 (mu - r), full investment in the tangency portfolio is optimal
    gamma = float((inverse @ excess).sum())
    chosen = rebalance(jnp.asarray(module.MEAN), covariance, held, gamma, 0.0)
    np.testing.assert_allclose(chosen, tangency, atol=1e-6)
    kept = rebalance(jnp.asarray(module.MEAN), covariance, held, 2.0, 0.05)
    np.testing.assert_allclose(kept, held, atol=1e-6)


def test_the_edge_of_the_no_trade_region_is_where_the_marginal_gain_pays_the_cost():
    module = example("turnover")
    mean, covariance = jnp.asarray(module.MEAN), jnp.asarray(module.COVARIANCE)
    held, cost = jnp.asarray([0.8, 0.2]), 0.01
    weights = jax.jit(module.rebalance)(mean, covariance, held, 2.0, cost)
    marginal = mean - 2.0 * covariance @ weights
    # one asset is sold and the other bought: both legs pay the cost
    np.testing.assert_allclose(marginal[1] - marginal[0], 2 * cost, atol=1e-7)


def test_matching_without_a_bound_is_the_assignment_problem():
    module, draw = example("fair_matching"), np.random.default_rng(0)
    lottery = jax.jit(lambda values, share: module.fair_lottery(values, share)[0])
    for _ in range(5):
        values = draw.uniform(size=(4, 4))
        rows, columns = linear_sum_assignment(-values)
        chosen = lottery(jnp.asarray(values), 0.0)
        np.testing.assert_allclose(chosen.sum(0), 1.0, atol=1e-7)
        np.testing.assert_allclose((values * chosen).sum(), values[rows, columns].sum(), atol=1e-6)


def test_the_price_of_fairness_is_the_multiplier_and_the_gradient():
    module = example("fair_matching")
    values = np.random.default_rng(1).uniform(size=(4, 4))
    share = 0.62
    rows = np.kron(np.eye(4), np.ones(4))
    columns = np.kron(np.ones(4), np.eye(4))
    own = -(np.eye(4)[:, :, None] * values[None]).reshape(4, 16)

    def best(share):
        found = linprog(
            -values.ravel(),
            A_ub=own,
            b_ub=np.full(4, -share),
            A_eq=np.concatenate([rows, columns]),
            b_eq=np.ones(8),
        )
        assert found.status == 0
        return -found.fun

    @jax.jit
    def at(values, share):
        welfare, slope = jax.value_and_grad(module.welfare, argnums=1)(values, share)
        multipliers = module.fair_lottery(values, share)[1].inequality_multipliers
        return welfare, slope, multipliers.sum()

    assert best(0.0) - best(share) > 1e-2, "the bound must bind"
    welfare, slope, price = at(jnp.asarray(values), jnp.asarray(share))
    np.testing.assert_allclose(welfare, best(share), atol=1e-6)
    np.testing.assert_allclose(slope, (best(share + 1e-4) - best(share - 1e-4)) / 2e-4, rtol=1e-4)
    np.testing.assert_allclose(-slope, price, rtol=1e-5)
