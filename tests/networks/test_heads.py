"""Densities that integrate to one, entropies against enumeration, gradients of masked choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxecon.envs import base
from jaxecon.networks import heads
from jaxecon.networks.gaussian import SoftmaxCentered


def test_a_masked_choice_is_never_taken_and_gets_no_gradient(key):
    head = heads.CategoricalHead(5)
    logits = jax.random.normal(key, (7, 5))
    mask = jax.random.bernoulli(jax.random.key(1), 0.5, (7, 5)).at[:, 2].set(True)
    masked = heads.mask_logits(logits, mask)
    draws = head.sample(masked[:, None], head.noise(key, (7, 400)))
    assert jnp.take_along_axis(mask, draws, axis=1).all()

    def objective(logits):
        masked = heads.mask_logits(logits, mask)
        return (head.entropy(masked) + head.log_prob(masked, draws[:, 0])).sum()

    gradient = jax.grad(objective)(logits)
    assert jnp.isfinite(gradient).all()
    assert (gradient[~mask] == 0.0).all()


def test_masked_probabilities_and_entropy_equal_enumeration(key):
    head = heads.CategoricalHead(4)
    logits = jax.random.normal(key, (4,))
    mask = jnp.array([True, False, True, True])
    weights = np.where(mask, np.exp(np.asarray(logits, np.float64)), 0.0)
    probabilities = weights / weights.sum()
    masked = heads.mask_logits(logits, mask)
    legal = np.flatnonzero(mask)
    log_probs = jax.vmap(lambda choice: head.log_prob(masked, choice))(jnp.asarray(legal))
    np.testing.assert_allclose(np.exp(log_probs), probabilities[legal], rtol=1e-6)
    entropy = stats.entropy(probabilities[legal])
    np.testing.assert_allclose(head.entropy(masked), entropy, rtol=1e-6)


def test_one_legal_choice_has_probability_one_and_no_entropy():
    head = heads.CategoricalHead(3)
    masked = heads.mask_logits(jnp.array([0.3, -2.0, 5.0]), jnp.array([False, True, False]))
    assert head.log_prob(masked, jnp.int32(1)) == 0.0
    assert head.entropy(masked) == 0.0


def test_draws_follow_the_probabilities(key):
    head = heads.CategoricalHead(3)
    logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    draws = head.sample(logits[None], head.noise(key, (20_000,)))
    counts = np.bincount(draws, minlength=3)
    assert stats.chisquare(counts, 20_000 * np.array([0.2, 0.5, 0.3])).pvalue > 1e-3


def test_the_squashed_density_integrates_to_one():
    head = heads.SquashedNormalHead((1,), -1.0, 3.0)
    outputs = (jnp.array([0.4]), jnp.array([-0.5]))

    def density(action):
        latent = jnp.arctanh(jnp.array([(action - 1.0) / 2.0]))
        return float(jnp.exp(head.log_prob(outputs, latent)))

    grid = np.linspace(-0.9999, 2.9999, 4001)
    total = integrate.simpson([density(action) for action in grid[::20]], x=grid[::20])
    assert abs(total - 1.0) < 1e-3  # the tails beyond the grid


def test_the_simplex_density_integrates_to_one():
    head = heads.SimplexHead(2)
    outputs = (jnp.array([0.7]), jnp.array([0.1]))
    weights = np.linspace(1e-4, 1.0 - 1e-4, 2001)
    latents = jnp.asarray(np.log(weights / (1.0 - weights)), jnp.float32)[:, None]
    # arc coordinate: density per unit of w_0 on the line w_0 + w_1 = 1
    density = np.exp(jax.vmap(lambda latent: head.log_prob(outputs, latent))(latents))
    assert abs(integrate.simpson(density, x=weights) - 1.0) < 1e-3
    np.testing.assert_allclose(head.to_action(latents)[:, 0], weights, atol=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_the_softmax_map_inverts_and_reports_its_volume(first, key):
    bijector = SoftmaxCentered(first)
    z = jax.random.normal(key, (4,))
    weights, log_det = bijector.forward_and_log_det(z)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    back, inverse_log_det = bijector.inverse_and_log_det(weights)
    np.testing.assert_allclose(back, z, atol=1e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-5)
    jacobian = jax.jacobian(lambda z: bijector.forward(z)[:-1])(z)
    np.testing.assert_allclose(jnp.linalg.slogdet(jacobian)[1], log_det, rtol=1e-4)


@pytest.mark.parametrize(
    ("space", "num_agents", "kind", "num_outputs"),
    [
        (base.Discrete(3), None, heads.CategoricalHead, 3),
        (base.MultiDiscrete(4, 3), 4, heads.CategoricalHead, 3),
        (base.Box(-2.0, 2.0, (2,)), None, heads.SquashedNormalHead, 2),
        (base.Box(0.0, 2.0, (5,)), 5, heads.SquashedNormalHead, 1),
        (base.Box(-np.inf, np.inf, (2,)), None, heads.NormalHead, 2),
        (base.Simplex(6), None, heads.SimplexHead, 5),
        (base.Ball(3), None, heads.BallHead, 3),
    ],
)
def test_each_space_gets_its_distribution(space, num_agents, kind, num_outputs, key):
    head = heads.make_head(space, num_agents)
    assert isinstance(head, kind)
    assert head.num_outputs == num_outputs
    agents = () if num_agents is None else (num_agents,)
    raw = jax.random.normal(key, (9, *agents, num_outputs))
    outputs = (raw, jnp.zeros(num_outputs)) if head.has_log_std else raw
    latent = head.sample(outputs, head.noise(key, (9, *agents)))
    action = head.to_action(latent)
    assert action.shape == (9, *space.shape)
    assert all(space.contains(row) for row in action)
    assert head.log_prob(outputs, latent).shape == (9, *agents)
    assert head.entropy(outputs).shape == (9, *agents)


def test_a_space_without_a_distribution_is_refused():
    from gymnax.environments import spaces

    with pytest.raises(TypeError, match="Discrete, MultiDiscrete, Box, Simplex or Ball"):
        heads.make_head(spaces.Dict({"a": base.Discrete(2)}), None)
