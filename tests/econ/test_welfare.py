"""Welfare measures against closed forms, their limits and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxecon.econ.allocation import nash_welfare
from jaxecon.econ.welfare import (
    envy,
    fill_envy,
    gini,
    jain_index,
    power_mean,
    proportional_shortfall,
    waste,
)

ONES = jnp.ones(4)
positive = hnp.arrays(np.float32, 4, elements=st.floats(0.125, 64, width=32))


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (-np.inf, 1.0),
        (-1.0, 4 / (1 + 1 / 2 + 1 / 4 + 1 / 8)),
        (0.0, 64**0.25),
        (1.0, 15 / 4),
        (2.0, np.sqrt(85 / 4)),
        (np.inf, 8.0),
    ],
)
def test_power_means_by_hand(exponent, expected):
    mean = power_mean(jnp.array([1.0, 2.0, 4.0, 8.0]), ONES, exponent)
    np.testing.assert_allclose(mean, expected, rtol=2e-6)  # float32


@given(positive, st.floats(-3, 3, width=32))
def test_power_means_rise_with_the_exponent_and_are_smooth_at_zero(utility, exponent):
    utility = jnp.asarray(utility)
    mean = lambda p: power_mean(utility, ONES, p)
    assert mean(exponent) <= mean(exponent + 0.5) * (1 + 1e-5)
    assert utility.min() * (1 - 1e-5) <= mean(exponent) <= utility.max() * (1 + 1e-5)
    np.testing.assert_allclose(mean(1e-6), nash_welfare(utility, ONES) ** 0.25, rtol=1e-4)
    slope = jax.grad(mean)(0.0)
    wanted = 0.5 * mean(0.0) * jnp.var(jnp.log(utility))
    np.testing.assert_allclose(slope, wanted, rtol=1e-3, atol=1e-5)


def test_power_means_where_somebody_has_nothing():
    utility = jnp.array([0.0, 3.0])
    means = [power_mean(utility, ONES[:2], p) for p in (-1.0, 0.0, 0.5, 1.0)]
    np.testing.assert_allclose(means, [0.0, 0.0, 0.75, 1.5], rtol=1e-6)
    ignored = power_mean(utility, jnp.array([0.0, 1.0]), -2.0)
    np.testing.assert_allclose(ignored, 3.0, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda u: power_mean(u, ONES[:2], 0.5))(utility)).all()
    extreme = power_mean(jnp.array([1e-20, 1e20]), ONES[:2], 0.0)
    np.testing.assert_allclose(extreme, 1.0, rtol=1e-4)  # rounding of logs near ±46


def test_gini_by_hand():
    one_has_all = jnp.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(gini(one_has_all, ONES), 0.75)
    np.testing.assert_allclose(gini(one_has_all, ONES, corrected=True), 1.0)
    assert gini(ONES, ONES) == 0.0
    assert gini(jnp.zeros(4), ONES) == 0.0
    assert gini(jnp.ones(1), jnp.ones(1), corrected=True) == 0.0
    np.testing.assert_allclose(gini(jnp.array([1.0, 2.0, 3.0]), ONES[:3]), 2 / 9, rtol=1e-6)


@given(positive)
def test_gini_is_continuous_in_the_number_of_agents(amount):
    amount = jnp.asarray(amount)
    whole = gini(amount, ONES)
    doubled = jnp.concatenate([amount, amount])
    halves = gini(doubled, jnp.full(8, 0.5))
    np.testing.assert_allclose(halves, whole, atol=1e-6)
    fading = gini(amount, ONES.at[0].set(1e-6))
    np.testing.assert_allclose(fading, gini(amount[1:], ONES[1:]), atol=1e-4)


def test_jain_by_hand():
    np.testing.assert_allclose(jain_index(jnp.array([2.0, 2.0, 0.0, 0.0])), 0.5)
    assert jain_index(ONES) == 1.0
    assert jain_index(jnp.zeros(4)) == 1.0
    np.testing.assert_allclose(jain_index(jnp.full(3, 1e-30)), 1.0, rtol=1e-6)


def test_envy_proportionality_and_waste_by_hand():
    utility_of = jnp.array([[3.0, 5.0], [1.0, 4.0]])
    np.testing.assert_array_equal(envy(utility_of), [2.0, 0.0])
    allocation, demand = jnp.array([1.0, 4.0, 0.0]), jnp.array([2.0, 3.0, 0.0])
    np.testing.assert_allclose(fill_envy(allocation, demand), [0.5, 0.0, 0.0])
    shortfall = proportional_shortfall(jnp.array([1.0, 4.0]), jnp.array([6.0, 6.0]), ONES[:2])
    np.testing.assert_array_equal(shortfall, [2.0, 0.0])
    np.testing.assert_allclose(waste(allocation, demand, jnp.float32(10.0)), 1.0)
    np.testing.assert_allclose(waste(allocation, demand, jnp.float32(4.0)), 0.0)


@pytest.mark.parametrize("exponent", [2.0, 50.0])
def test_power_means_with_a_zero_neither_vanish_nor_overflow(exponent):
    for most in (0.1, 100.0):
        mean = power_mean(jnp.array([0.0, most]), jnp.ones(2), exponent)
        np.testing.assert_allclose(mean, most * 0.5 ** (1.0 / exponent), rtol=1e-5)
