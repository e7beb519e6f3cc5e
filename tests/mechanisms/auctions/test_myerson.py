"""Myerson: revenues to the book's digits, ironing, and an auction in which truth is dominant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.mechanisms.auctions import (
    Exponential,
    Myerson,
    SecondPrice,
    Uniform,
    UniformMixture,
    UniformSum,
    VirtualValues,
    ironed_tables,
    ironed_virtual_values,
    optimal_revenue,
    optimal_revenue_unequal,
    second_price_revenue,
    virtual_value,
)
from jaxecon.mechanisms.auctions.myerson import hull_slopes
from jaxecon.mechanisms.base import AuctionTypes

UNIFORM = [
    *(0.25, 0.416667, 0.53125, 0.6125, 0.671875),
    *(0.716518, 0.750977, 0.778212, 0.800195, 0.818271),
]
run_myerson = jax.jit(Myerson())
bids = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)


def irregular():
    return UniformMixture(*map(jnp.array, ([0.0, 3.0], [3.0, 8.0], [0.75, 0.25])))


@pytest.mark.parametrize("x64", [True, False])
def test_uniform_revenues_for_one_to_ten_bidders(x64):
    with jax.enable_x64(x64):
        n = np.arange(1, 11)
        revenue = optimal_revenue(Uniform(0.0, 1.0), n)
        assert revenue.dtype == (jnp.float64 if x64 else jnp.float32)
        exact = 2 * n / (n + 1) * (1 - 0.5 ** (n + 1)) - (1 - 0.5**n)
        np.testing.assert_allclose(revenue, UNIFORM, atol=1e-6)  # digits of the oracle: 5e-7
        np.testing.assert_allclose(revenue, exact, rtol=1e-6 if not x64 else 1e-7)


@pytest.mark.parametrize("x64", [True, False])
def test_other_revenues(x64):
    with jax.enable_x64(x64):
        assert optimal_revenue(Exponential(3.0), 3) == pytest.approx(2.751693, abs=1e-6)
        assert optimal_revenue(irregular(), 3) == pytest.approx(2.374867, abs=1.5e-6)
        different = [Uniform(0.0, float(high)) for high in range(1, 6)]
        assert optimal_revenue_unequal(different) == pytest.approx(2.297617, abs=1.5e-6)


def test_second_price_without_and_with_a_reserve():
    with jax.enable_x64(True):
        n = np.arange(1, 6)
        plain = second_price_revenue(Uniform(0.0, 1.0), n)
        np.testing.assert_allclose(plain, (n - 1) / (n + 1), atol=1e-7)
        assert second_price_revenue(Exponential(3.0), 3) == pytest.approx(2.5, abs=1e-6)
        assert second_price_revenue(Uniform(), 2, 0.5) == pytest.approx(5 / 12, abs=1e-6)
        # With the right reserve and no ironing the two auctions are one.
        best = second_price_revenue(Uniform(0.0, 1.0), n, 0.5)
        np.testing.assert_allclose(best, optimal_revenue(Uniform(0.0, 1.0), n), atol=1e-6)


def test_equal_bidders_are_a_case_of_different_ones():
    with jax.enable_x64(True):
        different = optimal_revenue_unequal([irregular()] * 3, num_cells=256)
        equal = optimal_revenue(irregular(), 3, num_cells=256)
        np.testing.assert_allclose(different, equal, rtol=1e-12)  # sums of the same steps


@pytest.mark.parametrize(("num_bidders", "num_items"), [(2, 2), (3, 10), (1, 10)])
def test_bundles_against_quadrature(num_bidders, num_items):
    """The integrand is a polynomial between whole numbers: Gauss-Legendre is exact there."""
    with jax.enable_x64(True):
        bundle = UniformSum(num_items)
        grid = jnp.linspace(0.05, 0.95, 20_001) * num_items
        reserve = float(grid[jnp.argmax(virtual_value(bundle, grid) > 0.0)])
        ends = np.union1d([reserve], np.arange(np.ceil(reserve), num_items + 1))
        nodes, weights = np.polynomial.legendre.leggauss(32)
        half = 0.5 * np.diff(ends)[:, None]
        x = jnp.asarray(ends[:-1, None] + half * (1.0 + nodes))
        tail, pdf = bundle.survival(x), bundle.pdf(x)
        best = num_bidders * (1.0 - tail) ** (num_bidders - 1)
        expected = (half * np.asarray((x * pdf - tail) * best) * weights).sum()
        # The reserve is off by up to a step of the grid, which costs its square: 1e-7.
        assert optimal_revenue(bundle, num_bidders) == pytest.approx(expected, rel=1e-6)


def test_hull_is_the_least_concave_function_above():
    x = np.sort(np.random.default_rng(0).uniform(size=40))
    y = np.random.default_rng(1).normal(size=40)
    with jax.enable_x64(True):
        slopes = hull_slopes(jnp.asarray(x), jnp.asarray(y))
        hull = y[0] + np.concatenate([[0.0], np.cumsum(slopes * np.diff(x))])
    assert (np.diff(slopes) <= 0.0).all()
    assert (hull >= y - 1e-12).all()
    # Chords from above: at each point the best mixture of two others is no higher.
    i, j, k = np.ix_(range(40), range(40), range(40))
    share = (x[j] - x[i]) / np.where(x[k] > x[i], x[k] - x[i], 1.0)
    chord = np.where((i <= j) & (j <= k) & (i < k), y[i] + share * (y[k] - y[i]), -np.inf)
    np.testing.assert_allclose(hull, np.maximum(chord.max(axis=(0, 2)), y), atol=1e-12)


def test_ironing_flattens_a_dip_and_leaves_the_rest():
    with jax.enable_x64(True):
        table = ironed_virtual_values(irregular(), num_cells=256)
        assert (jnp.diff(table.virtual) >= 0.0).all()
        flat = jnp.diff(table.virtual) == 0.0
        assert 0.2 < flat.mean() < 0.8
        plain = virtual_value(irregular(), table.values)
        edges = (table.values < 1.5) | (table.values > 7.5)  # far from the ironed interval
        edges &= plain > -jnp.inf
        np.testing.assert_allclose(table.virtual[edges], plain[edges], atol=1e-9)


def test_revenue_has_gradients():
    with jax.enable_x64(True):
        mean_gradient = jax.grad(lambda mean: optimal_revenue(Exponential(mean), 3))(3.0)
        assert mean_gradient == pytest.approx(2.751693 / 3.0, abs=1e-6)  # revenue scales with it


@pytest.mark.parametrize(("x64", "make"), [(True, irregular), (False, lambda: Uniform(2.0, 3.0))])
def test_the_auction_earns_what_the_formula_says(x64, make):
    with jax.enable_x64(x64):
        distribution = make()
        q = jnp.asarray((np.arange(300) + 0.5) / 300, distribution.dtype)
        pair = jnp.stack(jnp.meshgrid(q, q, indexing="ij"), axis=-1).reshape(-1, 2)
        types = AuctionTypes(distribution.price(pair)[..., None])
        table = ironed_virtual_values(distribution, num_cells=256)
        expected = optimal_revenue(distribution, 2, num_cells=256)
        paid = run_myerson(types, table).payment.sum(-1)
        # A grid of 300² types: O(1 / 300) at the steps of payments, some of it cancelling.
        np.testing.assert_allclose(paid.mean(), expected, rtol=5e-3)


def test_different_bidders_and_their_tables(key):
    tables = ironed_tables([Uniform(0.0, 1.0), Exponential(1.0), irregular()], num_cells=256)
    assert tables.values.shape == tables.virtual.shape == (3, 256 + 4)  # the mixture has four kinks
    assert (jnp.diff(tables.virtual, axis=1) >= 0.0).all()
    types = AuctionTypes(jax.random.uniform(key, (50, 3, 2)))
    outcome = run_myerson(types, tables)
    assert outcome.allocation.shape == (50, 3, 2)
    assert (outcome.allocation.sum(axis=1) <= 1.0).all()
    assert (types.utility(outcome) >= 0.0).all()


@jax.jit
def gain_from_lying(values, lies, tables):
    truth = AuctionTypes(values[:, None])

    def utility(i):
        report = AuctionTypes(truth.valuations.at[i, 0].set(lies[i]))
        return truth.utility(Myerson()(report, tables))[i]

    return jax.vmap(utility)(jnp.arange(3)) - truth.utility(Myerson()(truth, tables))


@given(values=bids, lies=bids)
def test_truth_is_dominant(values, lies):
    values, lies = (3.0 * jnp.asarray(each, jnp.float32) for each in (values, lies))
    gain = gain_from_lying(values, lies, _tables())
    assert gain.max() <= 1e-5  # float32 inverse of an interpolation, values up to 3


@functools.cache
def _tables():
    mixture = UniformMixture(*map(jnp.array, ([0.0, 1.0], [1.0, 3.0], [0.75, 0.25])))
    return ironed_tables([mixture, mixture, Uniform(0.0, 2.0)], num_cells=64)


def test_with_a_linear_table_it_is_a_second_price_auction(key):
    types = AuctionTypes(jax.random.uniform(key, (100, 4, 2)))
    table = VirtualValues(jnp.array([0.0, 1.0]), jnp.array([-1.0, 1.0]))
    ours, theirs = run_myerson(types, table), jax.jit(SecondPrice())(types, 0.5)
    np.testing.assert_array_equal(ours.allocation, theirs.allocation)
    np.testing.assert_allclose(ours.payment, theirs.payment, atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"num_bidders must be at least 1, got 0\."):
        optimal_revenue(Uniform(), 0)
    with pytest.raises(ValueError, match=r"reserve must be at least 0 money, got -1\.0\."):
        second_price_revenue(Uniform(), 2, -1.0)
    with pytest.raises(ValueError, match="num_cells must be a whole number of at least 1, got 0"):
        optimal_revenue(Uniform(), 2, num_cells=0)
    with pytest.raises(ValueError, match="high must be finite and above low"):
        optimal_revenue(Uniform(1.0, 1.0))
    with pytest.raises(ValueError, match="at least one"):
        optimal_revenue_unequal([])
    with pytest.raises(ValueError, match="x must never decrease; sort the points"):
        hull_slopes(jnp.array([0.0, 1.0, 0.5]), jnp.zeros(3))
    with pytest.raises(ValueError, match="params must be VirtualValues"):
        Myerson()(AuctionTypes(jnp.ones((2, 1))))
    with pytest.raises(ValueError, match="valuations must be at least 0 and not nan"):
        Myerson()(AuctionTypes(-jnp.ones((2, 1))), ironed_virtual_values(Uniform(), num_cells=8))
