"""The trunk: reordering agents or resources reorders its output, and its size is free."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.mechanisms.trunk import (
    apply_dense,
    apply_table,
    apply_trunk,
    init_dense,
    init_table,
    init_trunk,
)

WIDTH = 8
LAYERS = init_trunk(jax.random.key(0), 3, WIDTH, 2)
RUN = jax.jit(apply_trunk)


@given(
    agents=st.permutations(range(4)), resources=st.permutations(range(3)), seed=st.integers(0, 99)
)
def test_relabelling_agents_and_resources_relabels_the_features(agents, resources, seed):
    table = jax.random.normal(jax.random.key(seed), (4, 3, 3))
    agents, resources = jnp.asarray(agents), jnp.asarray(resources)
    moved = RUN(LAYERS, table[agents][:, resources])
    # float32 means are summed in another order
    np.testing.assert_allclose(moved, RUN(LAYERS, table)[agents][:, resources], atol=1e-5)


def test_parameters_of_one_size_run_at_another_with_any_leading_axes(key):
    small = jax.random.normal(key, (2, 2, 3))
    assert RUN(LAYERS, small).shape == (2, 2, WIDTH)
    batch = jax.random.normal(key, (5, 4, 10, 3, 3))
    batched = RUN(LAYERS, batch)
    assert batched.shape == (5, 4, 10, 3, WIDTH)
    np.testing.assert_allclose(batched[2, 1], RUN(LAYERS, batch[2, 1]), atol=1e-5)  # float32


def test_repeating_a_table_changes_nothing(key):
    """Means, not sums: copies of all agents get the features of the originals."""
    table = jax.random.normal(key, (2, 3, 3))
    doubled = RUN(LAYERS, jnp.concatenate([table, table]))
    np.testing.assert_allclose(doubled[:2], RUN(LAYERS, table), atol=1e-5)  # float32


def test_a_layer_is_its_formula(key):
    key_layer, key_table = jax.random.split(key)
    layer = init_table(key_layer, 2, 3)
    layer = layer._replace(bias=jnp.arange(3.0))
    table = jax.random.normal(key_table, (4, 5, 2))
    i, m = 1, 3
    means = [table[i, m], table[i].mean(0), table[:, m].mean(0), table.mean((0, 1))]
    expected = sum(mean @ kernel for mean, kernel in zip(means, layer.kernels, strict=True))
    # float32 sums of 16 numbers of order one
    np.testing.assert_allclose(apply_table(layer, table)[i, m], expected + layer.bias, atol=1e-5)


def test_layers_start_at_the_deviation_they_promise(key):
    size = 16
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (4096, 1, 1, size))
    for y in (
        apply_dense(init_dense(keys[1], size, 64, 0.5), x) / 0.5,
        apply_table(init_table(keys[2], size, 64), x),  # one pair: all four means are itself
    ):
        # the kernel itself is a sample of size * 64 numbers
        np.testing.assert_allclose(y.std(), 1.0, rtol=0.2)


def test_gradients_match_finite_differences(key):
    with jax.enable_x64(True):
        layers = jax.tree.map(lambda leaf: leaf.astype(float), LAYERS)
        table = jax.random.normal(key, (3, 2, 3))
        # smooth: central differences err by eps^2 and rounding/eps
        jax.test_util.check_grads(RUN, (layers, table), 1, ("rev",), eps=1e-5, rtol=1e-6)
