"""Cholesky factors from products against LAPACK's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.solvers import (
    linear_programme,
    proportional_fairness,
    quadratic_programme,
    waterfill,
)
from jaxecon.solvers.linear import cholesky, cholesky_solve, is_semidefinite


def matrices(size, num=3):
    root = np.random.default_rng(size).normal(size=(num, size, size))
    return root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(size)


@pytest.mark.parametrize("size", [1, 5, 12, 13, 20, 32])
def test_factor_and_solution_match_lapack(size):
    with jax.enable_x64(True):
        matrix = matrices(size)
        factor = jax.jit(cholesky)(jnp.asarray(matrix))
        lower = np.linalg.cholesky(matrix)
        np.testing.assert_allclose(
            factor.inverse @ lower, np.eye(size)[None] + 0 * lower, atol=1e-9
        )
        assert factor.is_definite.all()
        rhs = np.arange(3.0 * size).reshape(3, size)
        found = cholesky_solve(factor, rhs)
        exact = np.linalg.solve(matrix, rhs[..., None])[..., 0]
        np.testing.assert_allclose(found, exact, rtol=1e-8)


@pytest.mark.parametrize("size", [4, 20])
def test_singular_and_indefinite_matrices_are_told_apart_and_stay_finite(size):
    root = np.random.default_rng(0).normal(size=(size, size - 2)).astype(np.float32)
    singular = root @ root.T
    indefinite = singular - 0.1 * np.eye(size, dtype=np.float32)
    both = jnp.stack([jnp.asarray(singular), jnp.asarray(indefinite)])
    assert list(is_semidefinite(both)) == [True, False]
    factor = cholesky(both)
    assert not factor.is_definite[1]
    assert np.isfinite(factor.inverse).all()


def test_numpy_arrays_in_double_precision_are_taken_in_single_without_a_warning():
    solution = quadratic_programme(np.eye(2), -np.ones(2))
    np.testing.assert_allclose(solution.value, 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        linear_programme([1.0, 2.0], lower=0.5, upper=1.0).value, 0.5, rtol=1e-5
    )
    fair = proportional_fairness(np.array([[1.0, 1.0], [1.0, 2.0]]))
    assert fair.value.dtype == np.float32
    assert waterfill(np.zeros(2), np.ones(2), np.ones(2), 1.0).converged
