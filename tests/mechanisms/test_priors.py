"""Priors: numbers stay in their box, supplies are as scarce as asked, copulas correlate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.mechanisms import draw_allocation_types, report_space
from jaxecon.mechanisms.priors import FAMILIES

NUM_DRAWS = 1000


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_draws_fill_the_box_and_supplies_follow_its_mean(key, family):
    low, high, scarcity = 0.2, 3.0, 0.1
    draw = lambda key: draw_allocation_types(
        key, 3, 2, family=family, low=low, high=high, scarcity=scarcity
    )
    types = jax.jit(jax.vmap(draw))(jax.random.split(key, NUM_DRAWS))
    for field in (types.valuations, types.demands):
        assert field.shape == (NUM_DRAWS, 3, 2)
        assert field.min() >= low
        assert field.max() <= high
        assert field.max() - field.min() > 0.6 * (high - low)
    total = np.asarray(types.demands.sum(1))
    supplies = np.asarray(types.supplies)
    assert (supplies <= 0.9991 * total).all()  # float32
    # the cap seldom binds at this scarcity, so supplies are a share of the expected total
    expected, error = scarcity * total.mean(), scarcity * total.std() / np.sqrt(total.size)
    np.testing.assert_allclose(np.median(supplies), expected, atol=5 * error)
    np.testing.assert_array_equal(types.weights, 1.0)


def test_every_resource_is_scarce_however_much_there_is(key):
    types = draw_allocation_types(key, 4, 3, scarcity=50.0)
    np.testing.assert_allclose(types.supplies, 0.999 * types.demands.sum(0), rtol=1e-6)


def test_values_of_a_resource_correlate_across_agents_only(key):
    draw = lambda key: draw_allocation_types(key, 2, 2, family="correlated")
    types = jax.jit(jax.vmap(draw))(jax.random.split(key, NUM_DRAWS))
    v, x = np.asarray(types.valuations), np.asarray(types.demands)
    rank_correlation = 6 / np.pi * np.arcsin(0.25)  # of uniforms from normals of correlation 1/2
    noise = 4 / np.sqrt(NUM_DRAWS)
    assert abs(np.corrcoef(v[:, 0, 0], v[:, 1, 0])[0, 1] - rank_correlation) < noise
    assert abs(np.corrcoef(v[:, 0, 0], v[:, 0, 1])[0, 1]) < noise
    assert abs(np.corrcoef(x[:, 0, 0], x[:, 1, 0])[0, 1]) < noise


def test_numbers_of_the_prior_are_traced(key):
    draw = jax.jit(
        lambda low, scarcity: draw_allocation_types(key, 2, 2, low=low, scarcity=scarcity)
    )
    assert draw(0.1, 0.5).valuations.min() < draw(0.9, 0.5).valuations.min()
    assert draw._cache_size() == 1
    with jax.enable_x64(True):
        assert draw_allocation_types(key, 2, 2, low=jnp.float64(0.1)).supplies.dtype == jnp.float64


def test_the_report_space_is_the_box():
    space = report_space(0.2, 2.0)
    assert set(space) == {"valuations", "demands"}
    for low, high in space.values():
        np.testing.assert_allclose((low, high), (0.2, 2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "unifrom"}, r"Unknown family 'unifrom'\. Did you mean 'uniform'"),
        ({"low": 0.0}, "low must be finite and above 0, got 0"),
        ({"low": 2.0}, r"high must be above low \(2\), got 1"),
        ({"scarcity": -1.0}, "scarcity must be above 0, got -1"),
    ],
)
def test_senseless_priors_are_refused(key, options, message):
    with pytest.raises(ValueError, match=message):
        draw_allocation_types(key, 2, 2, **options)


def test_nobody_is_no_instance(key):
    with pytest.raises(ValueError, match="num_agents must be at least 1, got 0"):
        draw_allocation_types(key, 0, 2)
