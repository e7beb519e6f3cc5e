"""Other coordinates of the hidden state, and the ones in which equivalent models look alike.

For any invertible T the models (A, Q, C, R, m, P) and (T A T⁻¹, T Q Tᵀ, C T⁻¹, R, T m, T P Tᵀ) give
the same law of x. Compare models through their canonical form or through what they predict, never
entry by entry. These are for one model with concrete numbers, in NumPy's float64.
"""

from typing import Any

import numpy as np

from jaxecon.solvers.kalman.model import LinearGaussian, check_model


def change_coordinates(model: LinearGaussian, matrix: np.ndarray) -> LinearGaussian:
    """The same model for the hidden state T z.

    Args:
      model: with concrete float fields and no leading axes.
      matrix: T, [d, d], invertible.
    """
    matrix = np.asarray(matrix, np.float64)
    back = np.linalg.inv(matrix)
    A, Q, C, R, m, P = (np.asarray(field, np.float64) for field in model)
    moved: tuple[Any, ...] = (
        matrix @ A @ back, matrix @ Q @ matrix.T, C @ back, R, matrix @ m, matrix @ P @ matrix.T,
    )  # fmt: skip
    return LinearGaussian(*moved)


def canonical_form(model: LinearGaussian) -> tuple[LinearGaussian, np.ndarray]:
    """The equivalent model with stationary covariance I and A in ordered real Schur form.

    Eigenvalues stand in order of falling modulus; the sign of each coordinate makes the sum of its
    column of C non-negative. Unique where the moduli of A's eigenvalues (pairs) differ.

    Returns:
      (model, T): the hidden state in these coordinates is T z.

    Raises:
      ValueError: the model is not stable or a covariance is not definite.
    """
    from scipy import linalg

    check_model(model)
    A, Q = (np.asarray(field, np.float64) for field in model[:2])
    stationary = linalg.solve_discrete_lyapunov(A, Q)
    whitening = np.linalg.inv(np.linalg.cholesky(stationary))
    white = change_coordinates(model, whitening)
    rotation = _ordered_schur_basis(np.asarray(white.transition))
    turned = np.asarray(white.observation) @ rotation
    signs = np.where(turned.sum(axis=0) < 0.0, -1.0, 1.0)
    matrix = (rotation * signs).T @ whitening
    return change_coordinates(model, matrix), matrix


def _ordered_schur_basis(matrix: np.ndarray) -> np.ndarray:
    """Orthogonal U with Uᵀ A U in real Schur form, largest eigenvalues first."""
    from scipy import linalg

    moduli = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
    basis = np.eye(len(matrix))
    done = 0
    for cut in range(1, len(matrix)):
        if moduli[cut - 1] - moduli[cut] < 1e-9 * moduli[0]:
            continue  # a pair of equal modulus stays together
        rest = basis[:, done:]
        bound = 0.5 * (moduli[cut - 1] + moduli[cut])
        _, turn, _ = linalg.schur(
            rest.T @ matrix @ rest, sort=lambda re, im, bound=bound: np.hypot(re, im) > bound
        )
        basis = np.concatenate([basis[:, :done], rest @ turn], axis=1)
        done = cut
    rest = basis[:, done:]
    _, turn = linalg.schur(rest.T @ matrix @ rest)
    return np.concatenate([basis[:, :done], rest @ turn], axis=1)
