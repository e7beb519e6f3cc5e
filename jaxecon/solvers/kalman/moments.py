"""One step of EM, the batch innermost: expected moments of a whole series, and what they improve.

The M-step works with moments of residuals under the current parameters, Σ E[(z' - A z) zᵀ] and the
like, and with corrections to A and C. Nothing large is subtracted from anything large, so float32
holds out over long series.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.kalman.model import LinearGaussian, radius_core
from jaxecon.solvers.kalman.recursions import smooth
from jaxecon.solvers.kalman.small import identity_like, inverse, product, symmetric, transpose
from jaxecon.types import Array


class Prior(NamedTuple):
    """Pseudo-observations that keep short series from being overfitted; the default has none.

        log p(A, Q) = -½ (n log det Q + tr Q⁻¹ (s I + λ A Aᵀ)) + const,  and the same for C, R

    Attributes:
      count: n >= 0.
      scale: s >= 0, in units of the noise's variance.
      ridge: λ >= 0, in units of the state's variance.
    """

    count: Any = 0.0
    scale: Any = 0.0
    ridge: Any = 0.0


def weak_prior(num_hidden: int) -> Prior:
    """An inverse Wishart prior with d + 2 degrees of freedom and scale 0.01 I, and ridge 1e-3.

    The count is n = (d + 2) + d + 1 + d, that of the joint density of Q and a ridged A.
    """
    return Prior(3.0 * num_hidden + 3.0, 0.01, 1e-3)


class _Moments(NamedTuple):
    """Sums over time of second moments of state z and residuals r = z' - A z, e = x - C z."""

    state: Array  # Σ E[z zᵀ] over all but the last time
    crossed: Array  # Σ E[r zᵀ]
    residual: Array  # Σ E[r rᵀ]
    seen_state: Array  # Σ E[z zᵀ] where x was seen
    seen_crossed: Array  # Σ E[e zᵀ]
    seen_residual: Array  # Σ E[e eᵀ]


class _Backward(NamedTuple):
    """The smoother's loop: the state at t + 1, and sums over later times."""

    mean: Array
    covariance: Array
    outer: Array  # Σ u uᵀ of u = (m, m' - A m)
    seen_outer: Array  # Σ u uᵀ of u = (m, x - C m)
    covariances: Array  # Σ P, but for the last time
    next_covariances: Array  # Σ P', but for the first
    lagged: Array  # Σ Cov(z', z)
    seen_covariances: Array  # Σ P where x was seen


def pseudo_moments(weights: Array, prior: Prior) -> Array:
    """s I + λ A Aᵀ, what the prior adds to the residuals' moments."""
    identity = identity_like(weights)
    return prior.scale * identity + prior.ridge * product(weights, transpose(weights))


def _moments(
    model: LinearGaussian,
    x: Array,
    weight: Array,
    length: Array,
    means: Array,
    covariances: Array,
) -> tuple[_Moments, Array, Array]:
    """Expected moments given the whole series, and the smoothed first state and its covariance."""
    num_hidden = model.transition.shape[0]
    last = jnp.max(length) - 1

    def seen(mean: Array, t: Array) -> Array:
        """Σ-term of u uᵀ, u = (m, x - C m), where x was seen."""
        error = jnp.where((weight[t] > 0.0)[None], x[t] - product(model.observation, mean), 0.0)
        both = jnp.concatenate([mean, error])
        return both[:, None] * (weight[t][None] * both)[None]

    def step(index: Array, after: _Backward) -> _Backward:
        t = last - 1 - index
        inside = (t + 1 < length).astype(x.dtype)  # [B] 1 where t and t + 1 both belong
        mean, covariance, lagged = smooth(
            model, means[t], covariances[t], after.mean, after.covariance, inside
        )
        change = after.mean - product(model.transition, mean)
        both = jnp.concatenate([mean, change])
        return _Backward(
            mean=mean,
            covariance=covariance,
            outer=after.outer + both[:, None] * (inside[None] * both)[None],
            seen_outer=after.seen_outer + seen(mean, t),
            covariances=after.covariances + inside[None, None] * covariance,
            next_covariances=after.next_covariances + inside[None, None] * after.covariance,
            lagged=after.lagged + lagged,
            seen_covariances=after.seen_covariances + weight[t][None, None] * covariance,
        )

    zero = jnp.zeros_like(model.transition)
    start = _Backward(
        mean=means[last],
        covariance=covariances[last],
        outer=jnp.zeros((2 * num_hidden, 2 * num_hidden, x.shape[-1]), x.dtype),
        seen_outer=seen(means[last], last),
        covariances=zero,
        next_covariances=zero,
        lagged=zero,
        seen_covariances=weight[last][None, None] * covariances[last],
    )
    end = jax.lax.fori_loop(0, last, step, start)
    return _collect(model, end), end.mean, end.covariance


def _collect(model: LinearGaussian, sums: _Backward) -> _Moments:
    """Moments of state and residuals from sums of means' products and of covariances."""
    num_hidden = model.transition.shape[0]
    top, bottom = slice(None, num_hidden), slice(num_hidden, None)
    through = product(model.transition, sums.covariances)
    lag = product(sums.lagged, transpose(model.transition))
    spread = sums.next_covariances - lag - transpose(lag)
    spread = spread + product(through, transpose(model.transition))
    seen = product(model.observation, sums.seen_covariances)
    return _Moments(
        state=sums.outer[top, top] + sums.covariances,
        crossed=sums.outer[bottom, top] + sums.lagged - through,
        residual=sums.outer[bottom, bottom] + spread,
        seen_state=sums.seen_outer[top, top] + sums.seen_covariances,
        seen_crossed=sums.seen_outer[bottom, top] - seen,
        seen_residual=sums.seen_outer[bottom, bottom] + product(seen, transpose(model.observation)),
    )


def improve(
    model: LinearGaussian,
    x: Array,
    weight: Array,
    length: Array,
    means: Array,
    covariances: Array,
    prior: Prior,
    fixed: frozenset[str],
    floor: float,
    max_radius: float,
) -> tuple[LinearGaussian, Array]:
    """The M-step: better parameters, and whether A had to be scaled back, [B]."""
    moments, first_mean, first_covariance = _moments(model, x, weight, length, means, covariances)
    better = model._asdict()
    is_clipped = jnp.zeros(x.shape[-1], bool)
    if "transition" not in fixed:
        better["transition"] = _regress(model.transition, moments.crossed, moments.state, prior)
        radius = radius_core(better["transition"])
        is_clipped = radius > max_radius
        shrink = jnp.where(is_clipped, max_radius / radius, 1.0)
        better["transition"] = shrink[None, None] * better["transition"]
    if "observation" not in fixed:
        better["observation"] = _regress(
            model.observation, moments.seen_crossed, moments.seen_state, prior
        )
    if "transition_noise" not in fixed:
        change = better["transition"] - model.transition
        total = _residual_moments(change, moments.state, moments.crossed, moments.residual)
        count = (length - 1).astype(x.dtype)[None, None]
        better["transition_noise"] = _noise(total, count, better["transition"], prior, floor)
    if "observation_noise" not in fixed:
        change = better["observation"] - model.observation
        total = _residual_moments(
            change, moments.seen_state, moments.seen_crossed, moments.seen_residual
        )
        count = jnp.sum(weight, axis=0)[None, None]
        better["observation_noise"] = _noise(total, count, better["observation"], prior, floor)
    if "initial_mean" not in fixed:
        better["initial_mean"] = first_mean
    if "initial_covariance" not in fixed:
        shift = first_mean - better["initial_mean"]
        better["initial_covariance"] = first_covariance + shift[:, None] * shift[None]
    return LinearGaussian(**better), is_clipped


def _regress(weights: Array, crossed: Array, state: Array, prior: Prior) -> Array:
    """A + (Σ r zᵀ - λ A) (Σ z zᵀ + λ I)⁻¹, the ridge regression of z' on z."""
    gram = state + prior.ridge * identity_like(state)
    target = crossed - prior.ridge * weights
    return weights + product(target, inverse(gram).value)


def _residual_moments(change: Array, state: Array, crossed: Array, residual: Array) -> Array:
    """Σ of the residuals' second moments once A has moved by `change`."""
    shift = product(change, transpose(crossed))
    return residual - shift - transpose(shift) + product(product(change, state), transpose(change))


def _noise(total: Array, count: Array, weights: Array, prior: Prior, floor: float) -> Array:
    """A covariance from summed moments, raised where an eigenvalue is below the floor."""
    matrix = symmetric(total + pseudo_moments(weights, prior)) / (count + prior.count)
    least = floor * identity_like(matrix)
    is_high = inverse(matrix - least).is_definite
    return jnp.where(is_high[None, None], matrix, matrix + least)
