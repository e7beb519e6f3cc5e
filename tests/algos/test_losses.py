"""Losses against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.algos import losses


def test_the_surrogate_ignores_gains_beyond_the_clip():
    ratio, advantage = jnp.array([1.5, 0.5, 1.5, 0.5]), jnp.array([1.0, 1.0, -1.0, -1.0])
    # min(ρA, clip(ρ)A): 1.2, 0.5, -1.5, -0.8
    np.testing.assert_allclose(losses.clipped_surrogate(ratio, advantage, 0.2), 0.15, rtol=1e-6)
    gradient = jax.grad(losses.clipped_surrogate)(ratio, advantage, 0.2)
    np.testing.assert_allclose(gradient, [0.0, -0.25, 0.25, 0.0], atol=1e-7)


def test_the_value_loss_takes_the_worse_of_both_predictions():
    value, old, target = jnp.array([2.0, 0.1]), jnp.zeros(2), jnp.array([2.0, 1.0])
    # unclipped errors 0 and 0.81; clipped predictions 0.2 and 0.1: 3.24 and 0.81
    loss = losses.clipped_value_loss(value, old, target, 0.2)
    np.testing.assert_allclose(loss, 0.5 * (3.24 + 0.81) / 2, rtol=1e-6)


def test_standardised_values_have_mean_zero_and_deviation_one():
    x = jnp.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(losses.standardise(x).mean(), 0.0, atol=1e-6)
    np.testing.assert_allclose(losses.standardise(x).std(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(losses.standardise(jnp.full(4, 3.0)), 0.0)


def test_the_divergence_estimate_is_unbiased():
    old, new = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.4, 0.4, 0.2])
    log_ratio = jnp.log(new / old)
    per_choice = jnp.array([losses.approximate_kl(r[None]) for r in log_ratio])
    exact = jnp.sum(old * jnp.log(old / new))
    np.testing.assert_allclose(jnp.sum(old * per_choice), exact, rtol=1e-4)
    assert (per_choice >= 0.0).all()


def test_explained_variance_of_a_perfect_and_a_constant_prediction():
    target = jnp.array([1.0, 2.0, 4.0])
    assert losses.explained_variance(target, target) == 1.0
    np.testing.assert_allclose(losses.explained_variance(jnp.zeros(3), target), 0.0, atol=1e-6)
