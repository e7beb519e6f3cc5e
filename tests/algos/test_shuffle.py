"""The sort-free permutation is one-to-one for every size, and looks uniform."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxecon.algos.shuffle import keyed_bijection, permutation


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 12, 100, 512, 1000, 8192])
def test_every_size_gives_a_permutation(size):
    keys = jax.random.split(jax.random.key(size), 5)
    orders = jax.jit(jax.vmap(lambda key: keyed_bijection(key, size)))(keys)
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_each_index_is_equally_likely_in_each_place():
    keys = jax.random.split(jax.random.key(0), 20_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: keyed_bijection(key, 16)))(keys))
    for place in range(16):
        counts = np.bincount(orders[:, place], minlength=16)
        assert stats.chisquare(counts).pvalue > 1e-4  # 16 tests: false alarm in 1 of 600 seeds


def test_neighbours_are_not_kept_together():
    keys = jax.random.split(jax.random.key(1), 2_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: keyed_bijection(key, 512)))(keys))
    steps = np.diff(orders.astype(int), axis=1) % 512
    counts = np.bincount(steps.ravel(), minlength=512)[1:]
    expected = counts.sum() / 511  # a uniform permutation's steps are uniform on 1..511
    assert np.abs(counts / expected - 1.0).max() < 0.15  # ~6 deviations of a count near 2000


def test_minibatches_cut_from_it_mix_all_of_the_data():
    keys = jax.random.split(jax.random.key(2), 500)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: keyed_bijection(key, 1000)))(keys))
    first_minibatch = (orders[:, :250] < 250).mean(axis=1)  # share of the first quarter's indices
    assert abs(first_minibatch.mean() - 0.25) < 0.005
    hypergeometric = np.sqrt(0.25 * 0.75 / 250 * 750 / 999)
    assert 0.7 < first_minibatch.std() / hypergeometric < 1.3


def test_sorting_remains_available():
    order = permutation(jax.random.key(0), 100, "sort")
    np.testing.assert_array_equal(np.sort(order), np.arange(100))
