"""Squashed Gaussians: the ball's map and volume, and densities on one scale for every set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxecon.envs import base
from jaxecon.networks.gaussian import BallHead, NormalHead, SimplexHead, SquashedNormalHead

HEADS = {
    "box": SquashedNormalHead((2,), -1.0, 3.0),
    "simplex": SimplexHead(3),
    "ball": BallHead(2),
    "unbounded": NormalHead((2,)),
}


def test_the_density_on_a_ball_integrates_to_one():
    head = BallHead(2)
    nodes, weights = np.polynomial.legendre.leggauss(300)
    radius = 0.5 * (nodes + 1.0)
    angle = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    latent = np.arctanh(radius)[:, None, None] * direction
    latent = jnp.asarray(latent, jnp.float32)
    mean = jnp.broadcast_to(jnp.array([0.4, -0.3]), latent.shape)
    density = jnp.exp(head.log_prob((mean, jnp.array([-0.5, -0.2])), latent))
    action = head.to_action(latent)
    np.testing.assert_allclose(action, radius[:, None, None] * direction, atol=1e-6)
    total = np.sum(0.5 * weights * radius * np.asarray(density).mean(axis=1) * 2.0 * np.pi)
    assert abs(total - 1.0) < 1e-4  # float32


@jax.jit
def ball_map(latent, step):
    """Jacobian, log volume, its slope along a step, and half its rise over two steps."""
    head = BallHead(3)
    rise = head.log_volume(latent + step) - head.log_volume(latent - step)
    slope = jax.grad(head.log_volume)(latent) @ step
    return jax.jacobian(head.to_action)(latent), head.log_volume(latent), slope, 0.5 * rise


@given(size=st.sampled_from([0.0, 1e-6, 1e-2, 0.14, 0.15, 1.0, 5.0]), angle=st.floats(0.1, 1.4))
def test_the_volume_of_the_ball_map_is_its_jacobian(size, angle):
    """Two formulas meet where r is √0.02 = 0.141."""
    with jax.enable_x64(True):
        latent = size * jnp.array([np.cos(angle), 0.6 * np.sin(angle), 0.8 * np.sin(angle)])
        step = 1e-5 * jnp.array([0.36, 0.48, -0.8])
        jacobian, log_volume, slope, rise = ball_map(latent, step)
        expected = np.linalg.slogdet(np.asarray(jacobian))[1]
        np.testing.assert_allclose(log_volume, expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(slope, rise, atol=1e-13)  # cubed step


@jax.jit
def ball_gradient(latent):
    head = BallHead(3)
    objective = lambda latent: head.log_volume(latent) + head.to_action(latent).sum()
    return jax.value_and_grad(objective)(latent)


@pytest.mark.parametrize("size", [0.0, 1e-20, 0.1, 30.0, 1e6])
def test_gradients_on_a_ball_are_finite_everywhere(size):
    value, gradient = ball_gradient(jnp.full((3,), size))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


def test_a_ball_in_one_dimension_is_the_box(key):
    latent = 3.0 * jax.random.normal(key, (50, 1))
    ball, box = BallHead(1), SquashedNormalHead((1,), -1.0, 1.0)
    np.testing.assert_allclose(ball.to_action(latent), box.to_action(latent), atol=1e-6)
    volumes = ball.log_volume(latent), box.log_volume(latent)
    np.testing.assert_allclose(*volumes, atol=1e-5)  # float32
    np.testing.assert_allclose(ball.unit_log_volume(latent), volumes[1], atol=1e-5)


def test_rotations_commute_with_the_ball_map(key):
    head = BallHead(3)
    rotation = np.linalg.qr(np.asarray(jax.random.normal(key, (3, 3))))[0]
    latent = jax.random.normal(jax.random.key(1), (20, 3))
    turned = head.to_action(latent @ rotation)
    np.testing.assert_allclose(turned, head.to_action(latent) @ rotation, atol=1e-6)
    np.testing.assert_allclose(
        head.log_volume(latent @ rotation), head.log_volume(latent), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "excess"),
    [  # log of 2^D over the volume of the set
        ("box", np.log(4.0 / 16.0)),
        ("simplex", np.log(4.0 / 0.5)),
        ("ball", np.log(4.0 / np.pi)),
        ("unbounded", 0.0),
    ],
)
def test_draws_have_the_density_of_their_sample_on_the_common_scale(name, excess, key):
    head = HEADS[name]
    noise = head.noise(key, (100,))
    shifts = jax.random.normal(jax.random.key(1), (2, 100, 2))
    outputs = (shifts[0], 0.3 * shifts[1])  # deviations that depend on the state
    plain_density = lambda outputs: head.log_prob(outputs, head.sample(outputs, noise)) - excess
    drawn_density = lambda outputs: head.draw(outputs, noise)[1]

    @jax.jit
    def both(outputs):
        gradients = [
            jax.grad(lambda outputs, f=f: f(outputs).sum())(outputs)
            for f in (drawn_density, plain_density)
        ]
        latent = head.sample(outputs, noise)
        drawn, _ = head.draw(outputs, noise)
        densities = drawn_density(outputs), plain_density(outputs)
        return latent, drawn, head.unit_action(latent), densities, gradients

    latent, drawn, unit_action, densities, gradients = both(outputs)
    np.testing.assert_array_equal(drawn, latent)
    np.testing.assert_allclose(*densities, rtol=1e-4, atol=1e-4)  # float32
    assert unit_action.shape == (100, head.unit_size)
    assert (jnp.abs(unit_action) <= 1.0).all() or name == "unbounded"
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)  # float32, cancelled there


def test_log_densities_stay_finite_where_tanh_rounds_to_one():
    head = SquashedNormalHead((1,), -1.0, 1.0)
    outputs = (jnp.full((3, 1), 50.0), jnp.full((3, 1), -9.0))  # clipped to e^-5
    latent, log_density = head.draw(outputs, jnp.zeros((3, 1)))
    # log N(0; 0, e^-10) - log 4 e^-100
    expected = 5.0 - 0.5 * np.log(2.0 * np.pi) - (np.log(4.0) - 100.0)
    np.testing.assert_allclose(log_density, expected, rtol=1e-6)
    assert (head.to_action(latent) == 1.0).all()


def test_a_ball_contains_its_samples_which_are_uniform():
    space = base.Ball(3)
    points = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 2000))
    assert jax.vmap(space.contains)(points).all()
    radius = np.linalg.norm(points, axis=-1)
    assert stats.kstest(radius**3, "uniform").pvalue > 1e-3
    assert stats.kstest(points[:, 0] / radius, stats.uniform(-1.0, 2.0).cdf).pvalue > 1e-3
    assert not space.contains(jnp.array([0.8, 0.8, 0.0]))
    assert space.contains(jnp.array([0.0, -1.0, 0.0]))
    assert repr(space) == "Ball(3)"


@pytest.mark.parametrize("dim", [0, 2.0])
def test_a_ball_needs_a_dimension(dim):
    with pytest.raises(ValueError, match="dim must be"):
        base.Ball(dim)
