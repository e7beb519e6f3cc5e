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
    """The equivalent model with stationary covariance I and A block upper triangular.

    Blocks stand in order of falling modulus of their eigenvalues: one coordinate for a real one,
    two for a complex pair, k for k of equal modulus. Within a block Schur's form leaves an
    orthogonal change of basis free. It is fixed by what is seen: the longest row of C, C A, ...,
    C A^(k-1), restricted to the block, points along the first axis with a positive entry, the one
    that is longest outside it along the next, and so on; so a 2 x 2 block of A need not be in the
    standard form that Schur gives it. Unique where every block is seen and no two rows tie.

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
    blocks = _ordered_schur_basis(np.asarray(white.transition))
    rotation = np.concatenate([_facing(block, white) for block in blocks], axis=1)
    matrix = rotation.T @ whitening
    return change_coordinates(model, matrix), matrix


def _facing(block: np.ndarray, model: LinearGaussian) -> np.ndarray:
    """The basis [d, k] of a block, turned until rows of C, C A, ... point along its axes in turn.

    Of all rows, the one that is longest outside the axes found so far gives the next axis.
    """
    from scipy import linalg

    transition = block.T @ model.transition @ block
    seen = [np.asarray(model.observation) @ block]
    for _ in range(1, block.shape[1]):
        seen.append(seen[-1] @ transition)
    turn, triangle, _ = linalg.qr(np.concatenate(seen).T, pivoting=True)
    diagonal = np.zeros(block.shape[1])
    diagonal[: min(triangle.shape)] = np.diag(triangle)
    return block @ (turn * np.where(diagonal < 0.0, -1.0, 1.0))


def _ordered_schur_basis(matrix: np.ndarray) -> list[np.ndarray]:
    """Columns [d, k] of an orthogonal U with Uᵀ A U block triangular, largest eigenvalues first.

    A block holds the eigenvalues of one modulus.
    """
    from scipy import linalg

    moduli = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
    blocks, rest = [], np.eye(len(matrix))
    for cut in range(1, len(matrix)):
        if moduli[cut - 1] - moduli[cut] < 1e-9 * moduli[0]:
            continue  # a pair of equal modulus stays together
        bound = 0.5 * (moduli[cut - 1] + moduli[cut])
        _, turn, size = linalg.schur(
            rest.T @ matrix @ rest, sort=lambda re, im, bound=bound: np.hypot(re, im) > bound
        )
        rest = rest @ turn
        blocks.append(rest[:, :size])
        rest = rest[:, size:]
    return [*blocks, rest]
