"""Linear Gaussian state-space models: their parameters, what makes them sound, where they settle.

z[t+1] = A z[t] + w,  w ~ N(0, Q);    x[t] = C z[t] + v,  v ~ N(0, R);    z[1] ~ N(m, P)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers.checking import concrete, require
from jaxecon.solvers.kalman.batched import differentiable
from jaxecon.solvers.kalman.small import product, transpose
from jaxecon.types import Array

DOUBLINGS = 20  # of a matrix power: past A^(2^20) nothing moves in either precision


class LinearGaussian(NamedTuple):
    """Parameters of a model with d hidden and p observed numbers; every field may be traced.

    Attributes:
      transition: A, [..., d, d].
      transition_noise: Q, [..., d, d] covariance.
      observation: C, [..., p, d].
      observation_noise: R, [..., p, p] covariance.
      initial_mean: m, [..., d] of the first state, before its observation.
      initial_covariance: P, [..., d, d].
    """

    transition: Array
    transition_noise: Array
    observation: Array
    observation_noise: Array
    initial_mean: Array
    initial_covariance: Array


BLOCKS = LinearGaussian._fields
RANKS = (2, 2, 2, 2, 1, 2)  # event axes of each field


def check_model(model: LinearGaussian) -> None:
    """Raise ValueError for concrete parameters that are no stable model; traced ones pass.

    Numbers must be finite, shapes must fit each other, A must have a spectral radius below 1, Q and
    R must be symmetric positive definite, P at least semidefinite. One model only, without leading
    axes.
    """
    check_shapes(model)
    values = {name: concrete(value) for name, value in model._asdict().items()}
    for name, value in values.items():
        if value is not None and value.ndim != RANKS[BLOCKS.index(name)]:
            raise ValueError(f"{name} must have no leading axes, got the shape {value.shape}.")
    for name, value in values.items():
        check_finite(name, value)
    check_stable("transition", values["transition"])
    check_covariance("transition_noise", values["transition_noise"])
    check_covariance("observation_noise", values["observation_noise"])
    check_covariance("initial_covariance", values["initial_covariance"], singular=True)


def check_shapes(model: LinearGaussian) -> None:
    """Raise ValueError unless the last axes of all fields fit each other."""
    sizes = []
    for name in ("transition", "observation"):
        given = np.shape(getattr(model, name))
        if len(given) < 2:
            raise ValueError(f"{name} must be a matrix, got the shape {given}.")
        sizes.append(given[-1] if name == "transition" else given[-2])
    d, p = sizes
    shapes = ((d, d), (d, d), (p, d), (p, p), (d,), (d, d))
    for name, shape in zip(BLOCKS, shapes, strict=True):
        given = np.shape(getattr(model, name))
        if given[-len(shape) :] != shape:
            raise ValueError(
                f"{name} must have the shape {shape} for {d} hidden and {p} observed numbers, "
                f"got {given}."
            )


def check_finite(name: str, value: Any) -> None:
    """Raise ValueError unless all numbers of a concrete array are finite; None passes."""
    if value is not None:
        require(name, value, np.isfinite, "finite")


def check_stable(name: str, matrix: Any) -> None:
    """Raise ValueError unless a concrete square matrix has a spectral radius below 1."""
    if matrix is None:
        return
    check_finite(name, matrix)
    radius = float(np.abs(np.linalg.eigvals(matrix)).max())
    if not radius < 1.0:
        raise ValueError(
            f"{name} must have a spectral radius below 1, or the state grows without bound; "
            f"got {radius:.4g}. Divide it by {radius / 0.99:.4g} for 0.99."
        )


def check_covariance(name: str, matrix: Any, *, singular: bool = False) -> None:
    """Raise ValueError unless a concrete matrix is symmetric and positive (semi)definite."""
    if matrix is None:
        return
    scale = max(float(np.abs(matrix).max()), np.finfo(float).tiny)
    tolerance = 1e3 * np.finfo(np.asarray(matrix).dtype).eps * scale
    if not np.allclose(matrix, matrix.T, rtol=0.0, atol=tolerance):
        gap = float(np.abs(matrix - matrix.T).max())
        raise ValueError(f"{name} must be symmetric, but differs from its transpose by {gap:.3g}.")
    least = float(np.linalg.eigvalsh(matrix).min())
    if least < -tolerance or not (singular or least > 0.0):
        kind = "semidefinite" if singular else "definite"
        raise ValueError(
            f"{name} must be positive {kind}, but its smallest eigenvalue is {least:.3g}. "
            "Add a small multiple of the identity."
        )


def spectral_radius(matrix: Array) -> Array:
    """Largest modulus of an eigenvalue, by products alone.

        ρ(A) = lim ‖A^n‖^(1/n),  here at n = 2^20 with the Frobenius norm

    It errs upwards, by a factor of at most (κ √d)^(1/n) with κ the condition of A's eigenvectors.

    Args:
      matrix: A, [..., d, d].

    Returns:
      [...], 0 for a nilpotent matrix.
    """
    return _spectral_radius(matrix)


def radius_core(matrix: Array) -> Array:
    """`spectral_radius` of matrices [d, d, B], [B]."""

    def square(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        power, log_scale, share = carry
        norm = jnp.sqrt(jnp.sum(jnp.square(power), axis=(0, 1)))
        safe = jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)
        power = power / safe[None, None]
        return product(power, power), log_scale + share * jnp.log(safe), 0.5 * share

    zero = jnp.zeros(matrix.shape[-1], matrix.dtype)
    _, log_radius, _ = jax.lax.fori_loop(
        0, DOUBLINGS, square, (matrix, zero, jnp.ones((), matrix.dtype))
    )
    return jnp.exp(log_radius)


def stationary_covariance(transition: Array, noise: Array) -> Array:
    """Covariance that a stable state settles at, the solution of X = A X Aᵀ + Q.

    Doubling, X <- X + A^n X A^nᵀ, sums 2^20 terms of the series in 20 steps.

    Args:
      transition: A, [..., d, d] with a spectral radius below 1; not finite otherwise.
      noise: Q, [..., d, d].

    Returns:
      X, [..., d, d].
    """
    return _stationary_covariance(transition, noise)


def _stationary_core(transition: Array, noise: Array) -> Array:
    def double(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        power, total = carry
        moved = product(product(power, total), transpose(power))
        return product(power, power), total + moved

    return jax.lax.fori_loop(0, DOUBLINGS, double, (transition, noise))[1]


_spectral_radius = differentiable(radius_core, (2,))
_stationary_covariance = differentiable(_stationary_core, (2, 2))
