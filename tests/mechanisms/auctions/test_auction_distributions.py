"""Distributions of valuations: tails, densities and quantiles agree, and draws follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxecon.mechanisms.auctions import Exponential, Uniform, UniformMixture, UniformSum


def make_distributions():
    return {
        "uniform": Uniform(2.0, 5.0),
        "exponential": Exponential(3.0),
        "mixture": UniformMixture(*map(jnp.array, ([0.0, 3.0], [3.0, 8.0], [0.75, 0.25]))),
        "overlap": UniformMixture(*map(jnp.array, ([0.0, 1.0], [2.0, 4.0], [0.5, 0.5]))),
        "sum": UniformSum(3, 2.0),
        "one": UniformSum(1, 2.0),
    }


@jax.jit
def describe(distribution, q):
    price, steepness = jax.jvp(distribution.price, (q,), (jnp.ones_like(q),))
    tail, minus_slope = jax.jvp(distribution.survival, (price,), (jnp.ones_like(q),))
    pdf = distribution.pdf(price)
    return price, tail, distribution.quantile(q), -minus_slope, pdf, steepness


@pytest.mark.parametrize("name", sorted(make_distributions()))
def test_tail_density_and_price_agree(name):
    with jax.enable_x64(True):
        distribution = make_distributions()[name]
        q = jnp.asarray((np.arange(200) + 0.5) / 200)
        price, tail, quantile, slope, pdf, steepness = describe(distribution, q)
        np.testing.assert_allclose(tail, q, atol=1e-12)
        np.testing.assert_allclose(quantile, price[::-1], atol=1e-9)
        np.testing.assert_allclose(slope, pdf, rtol=1e-9)
        # The price falls by 1 / density: what the derivative of an inverse must be.
        np.testing.assert_allclose(steepness, -1.0 / pdf, rtol=1e-6)
        assert distribution.pdf(jnp.array(-1.0)) == 0.0


def test_draws_follow_the_distribution(key):
    for distribution in make_distributions().values():
        draws = distribution.sample(key, (2000,))
        shares = np.asarray(distribution.cdf(draws))  # uniform, if all is right
        assert stats.kstest(shares, "uniform").pvalue > 1e-4  # chance of a false alarm; draws fixed


def test_the_price_of_a_gap_is_its_upper_edge():
    gap = UniformMixture(jnp.array([0.0, 2.0]), jnp.array([1.0, 3.0]), jnp.array([0.5, 0.5]))
    assert gap.price(jnp.array(0.5)) == 2.0
    np.testing.assert_allclose(gap.price(jnp.array([0.0, 0.25, 0.75, 1.0])), [3.0, 2.5, 0.5, 0.0])


def test_a_bundle_of_two_and_of_ten_uniform_values():
    with jax.enable_x64(True):
        x = jnp.linspace(0.0, 2.0, 21)
        triangle = jnp.where(x < 1.0, 1.0 - x**2 / 2.0, (2.0 - x) ** 2 / 2.0)
        np.testing.assert_allclose(UniformSum(2).survival(x), triangle, atol=1e-15)
        assert UniformSum(10).survival(jnp.array(5.0)) == pytest.approx(0.5, abs=1e-12)


def test_one_compilation_serves_many_distributions():
    revenue_at = jax.jit(lambda distribution: distribution.price(jnp.array(0.5)))
    highs = jnp.array([1.0, 2.0, 4.0])
    medians = jax.vmap(revenue_at)(Uniform(jnp.zeros(3), highs))
    np.testing.assert_array_equal(medians, highs / 2.0)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (Uniform(-1.0, 1.0), r"low must be at least 0 and finite, got -1\.0\."),
        (Uniform(2.0, 2.0), r"high must be finite and above low = 2\.0, got 2\.0\."),
        (Uniform(0.0, float("nan")), "high must be finite"),
        (Exponential(0.0), r"mean must be positive and finite, got 0\.0\."),
        (UniformMixture(np.zeros(2), np.ones(2), np.array([0.5, 0.6])), "weight must sum to 1"),
        (
            UniformMixture(np.zeros(2), np.ones(2), np.array([1.5, -0.5])),
            "weight must be at least 0",
        ),
        (UniformSum(13), "num_items must be at most 12, got 13"),
        (UniformSum(0), "num_items must be a whole number of at least 1, got 0"),
    ],
)
def test_numbers_that_make_no_distribution_are_refused(distribution, message):
    with pytest.raises(ValueError, match=message):
        distribution.check()
