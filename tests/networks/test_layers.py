"""The dense layer equals x W + b, and so do its gradients, in every layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxecon.networks import layers, make_actor_critic


@pytest.mark.parametrize("width", [1, 2, 8, 9, 64])
def test_gradients_equal_those_of_the_plain_product(width, key):
    keys = jax.random.split(key, 4)
    x, kernel = jax.random.normal(keys[0], (30, 7)), jax.random.normal(keys[1], (7, width))
    bias, weights = jax.random.normal(keys[2], (width,)), jax.random.normal(keys[3], (30, width))

    def ours(x, kernel, bias):
        return (layers.dense(x, kernel, bias) * weights).sum()

    def plain(x, kernel, bias):
        return ((x @ kernel + bias[None]) * weights).sum()

    got = jax.jit(jax.grad(ours, argnums=(0, 1, 2)))(x, kernel, bias)
    for a, b in zip(got, jax.grad(plain, argnums=(0, 1, 2))(x, kernel, bias), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    batched = jax.vmap(jax.grad(ours, argnums=1), in_axes=(0, None, None))(
        jnp.stack([x, 2.0 * x]), kernel, bias
    )
    np.testing.assert_allclose(batched[1], 2.0 * batched[0], rtol=1e-4, atol=1e-5)


def test_an_unknown_activation_names_the_nearest():
    from jaxecon.envs.games.cournot import Cournot

    env = Cournot()
    with pytest.raises(ValueError, match="Did you mean 'tanh'"):
        make_actor_critic(env, env.default_params, activation="tahn")


@pytest.mark.parametrize("shape", [(4, 64), (64, 64), (64, 1), (1, 1), (221, 64)])
def test_initial_kernels_are_orthonormal(shape, key):
    kernels = layers.orthogonal_kernels(key, [shape, (3, 2), shape], [1.0, 1.0, 3.0])
    for kernel, scale in ((kernels[0], 1.0), (kernels[2], 3.0)):
        assert kernel.shape == shape
        kernel = kernel / scale
        gram = kernel.T @ kernel if shape[0] >= shape[1] else kernel @ kernel.T
        np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-4)
    assert shape == (1, 1) or not np.allclose(kernels[0], kernels[2] / 3.0)


def test_initial_kernels_are_uniformly_distributed():
    """Entries of a uniform 2 x 2 orthogonal matrix are cosines of a uniform angle."""
    keys = jax.random.split(jax.random.key(3), 4000)
    draws = jax.vmap(lambda key: layers.orthogonal_kernels(key, [(2, 2)], [1.0])[0])(keys)
    angles = np.arccos(np.clip(draws[:, 0, 0], -1.0, 1.0)) / np.pi
    assert stats.kstest(angles, "uniform").pvalue > 1e-3
    determinants = np.linalg.det(draws)
    assert abs((determinants > 0).mean() - 0.5) < 0.04  # 5 deviations of a fair coin
