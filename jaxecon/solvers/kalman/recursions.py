"""One step of the Kalman filter and smoother for many models at once, the batch innermost.

Every array ends with the batch axis B (see `solvers/batching.py`); no library routine is called.
Fields of a `LinearGaussian` here are [d, d, B] and so on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.kalman.model import LinearGaussian
from jaxecon.solvers.kalman.small import identity_like, inverse, product, symmetric, transpose
from jaxecon.types import Array

LOG_TWO_PI = 1.8378770664093453


def predict(model: LinearGaussian, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean [d, B] and covariance [d, d, B] of the next state: A m and A P Aᵀ + Q."""
    moved = product(model.transition, covariance)
    spread = product(moved, transpose(model.transition)) + model.transition_noise
    return product(model.transition, mean), symmetric(spread)


def correct(
    mean: Array,
    covariance: Array,
    x: Array,
    weight: Array,
    observation: Array,
    noise: Array,
) -> tuple[Array, Array, Array]:
    """Mean, covariance and log-likelihood once x is seen, in Joseph's form.

        S = C P Cᵀ + R,   K = P Cᵀ S⁻¹,   e = x - C m
        m + K e,   (I - K C) P (I - K C)ᵀ + K R Kᵀ,   -½ (eᵀ S⁻¹ e + log det S + p log 2π)

    Args:
      mean, covariance: before, [d, B] and [d, d, B].
      x: [p, B]; what stands where the weight is 0 does not matter.
      weight: [B], 1 seen, 0 missing: then nothing changes and the likelihood is 0.
      observation, noise: C [p, d, B] and R [p, p, B].
    """
    seen = weight > 0.0
    error = jnp.where(seen[None], x - product(observation, mean), 0.0)
    cross = product(observation, covariance)  # [p, d, B]
    spread = inverse(product(cross, transpose(observation)) + noise)
    gain = weight[None, None] * product(transpose(cross), spread.value)  # [d, p, B]
    quadratic = jnp.sum(error * product(spread.value, error), axis=0)
    log_likelihood = quadratic + spread.log_determinant + x.shape[0] * LOG_TWO_PI
    kept = identity_like(covariance) - product(gain, observation)  # [d, d, B]
    left = product(product(kept, covariance), transpose(kept))
    left = left + product(product(gain, noise), transpose(gain))
    return mean + product(gain, error), symmetric(left), -0.5 * weight * log_likelihood


def smooth(
    model: LinearGaussian,
    mean: Array,
    covariance: Array,
    next_mean: Array,
    next_covariance: Array,
    weight: Array,
) -> tuple[Array, Array, Array]:
    """Smoothed mean and covariance, and Cov(z[t+1], z[t]), by Rauch, Tung and Striebel.

        J = P Aᵀ (A P Aᵀ + Q)⁻¹,   m + J (m' - A m),   P + J (P' - A P Aᵀ - Q) Jᵀ,   P' Jᵀ

    Args:
      mean, covariance: filtered, at t.
      next_mean, next_covariance: smoothed, m' and P' at t + 1.
      weight: [B], 0 where t is the last time of a series: then filtered is smoothed.
    """
    predicted_mean, predicted_covariance = predict(model, mean, covariance)
    crossed = product(model.transition, covariance)
    backward = product(inverse(predicted_covariance).value, crossed)  # Jᵀ, [d, d, B]
    backward = weight[None, None] * backward
    gain = transpose(backward)
    smoothed_mean = mean + product(gain, next_mean - predicted_mean)
    change = product(gain, next_covariance - predicted_covariance)
    smoothed = symmetric(covariance + product(change, backward))
    return smoothed_mean, smoothed, product(next_covariance, backward)


class _Forward(NamedTuple):
    """The filter's loop: the state predicted for the next time, and what is kept."""

    mean: Array
    covariance: Array
    means: Array
    covariances: Array
    log_likelihood: Array


def forward(
    model: LinearGaussian, x: Array, weight: Array, length: Array | int
) -> tuple[Array, Array, Array]:
    """Filtered means [T, d, B], covariances [T, d, d, B] and log-likelihoods [B].

    Args:
      model: fields [..., B].
      x: [T, p, B].
      weight: [T, B], 1 seen, 0 missing.
      length: times to run, at most T; what follows stays 0. A Python number keeps reverse-mode
        derivatives.
    """
    num_times, _, batch = x.shape
    num_hidden = model.transition.shape[0]

    def step(t: Array, loop: _Forward) -> _Forward:
        mean, covariance, gained = correct(
            loop.mean, loop.covariance, x[t], weight[t], model.observation, model.observation_noise
        )
        store = lambda array, value: jax.lax.dynamic_update_index_in_dim(array, value, t, 0)
        return _Forward(
            *predict(model, mean, covariance),
            means=store(loop.means, mean),
            covariances=store(loop.covariances, covariance),
            log_likelihood=loop.log_likelihood + gained,
        )

    start = _Forward(
        mean=model.initial_mean,
        covariance=model.initial_covariance,
        means=jnp.zeros((num_times, num_hidden, batch), x.dtype),
        covariances=jnp.zeros((num_times, num_hidden, num_hidden, batch), x.dtype),
        log_likelihood=jnp.zeros(batch, x.dtype),
    )
    end = jax.lax.fori_loop(0, length, step, start)
    return end.means, end.covariances, end.log_likelihood
