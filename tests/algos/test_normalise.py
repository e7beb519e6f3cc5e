"""Running moments equal those of all the data at once."""

import jax.numpy as jnp
import numpy as np

from jaxecon.algos import normalise


def test_merged_moments_equal_those_of_the_whole():
    rng = np.random.default_rng(0)
    data = rng.normal(3.0, 2.0, size=(60, 4)).astype(np.float32)
    moments = normalise.init_moments((4,))
    for batch in np.split(data, [5, 20, 21]):
        moments = normalise.update_moments(moments, jnp.asarray(batch))
    # the prior weighs 1e-4 of an observation
    np.testing.assert_allclose(moments.mean, data.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, data.var(axis=0), rtol=1e-3)


def test_normalised_data_are_standard_and_clipped():
    data = jnp.asarray(np.random.default_rng(1).normal(-5.0, 3.0, size=(500, 2)), jnp.float32)
    moments = normalise.update_moments(normalise.init_moments((2,)), data)
    standard = normalise.normalise(moments, data)
    np.testing.assert_allclose(standard.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(standard.std(axis=0), 1.0, atol=1e-3)
    assert normalise.normalise(moments, data + 1e6).max() == 10.0


def test_scaling_keeps_sign_and_zero():
    moments = normalise.update_moments(normalise.init_moments(()), jnp.asarray([4.0, -4.0]))
    scaled = normalise.scale_only(moments, jnp.asarray([0.0, 2.0, -2.0]))
    np.testing.assert_allclose(scaled, [0.0, 0.5, -0.5], rtol=1e-3)
