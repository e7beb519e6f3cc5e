"""Fitting a linear Gaussian model by expectation maximisation, whole in one compiled loop.

The M-step works with moments of residuals under the current parameters, Σ E[(z' - A z) zᵀ] and the
like, and with corrections to A and C. Nothing large is subtracted from anything large, so float32
holds out over long series.

Sources: Shumway & Stoffer (1982), An Approach to Time Series Smoothing and Forecasting Using the EM
Algorithm; Ghahramani & Hinton (1996), Parameter Estimation for Linear Dynamical Systems.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.kalman.filtering import check_series
from jaxecon.solvers.kalman.model import RANKS, LinearGaussian, radius_core
from jaxecon.solvers.kalman.recursions import forward, smooth
from jaxecon.solvers.kalman.small import identity_like, inverse, product, symmetric, transpose
from jaxecon.suggest import unknown_name
from jaxecon.types import Array

BLOCKS = LinearGaussian._fields


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


class EMSolution(NamedTuple):
    """What EM arrived at.

    Attributes:
      value: the fitted `LinearGaussian`.
      log_likelihood: [..., N + 1] of the data, before each iteration and after the last; with a
        prior, its log density included. Repeats the last one once a replica has stopped.
      residual: [...] relative gain of the last iteration.
      converged: [...] bool, the gain fell below the tolerance.
      diverged: [...] bool, an iteration gave numbers that are not finite; `value` is from before.
      num_clipped: [...] int32, iterations in which A had to be scaled back to the largest radius.
    """

    value: LinearGaussian
    log_likelihood: Array
    residual: Array
    converged: Array
    diverged: Array
    num_clipped: Array


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


class _Loop(NamedTuple):
    """Between two iterations."""

    model: LinearGaussian
    history: Array  # [N + 1, B]
    gain: Array
    active: Array
    diverged: Array
    num_clipped: Array
    iteration: Array


def expectation_maximisation(
    model: LinearGaussian,
    x: Array,
    mask: Array | None = None,
    *,
    length: Array | None = None,
    fixed: tuple[str, ...] = (),
    prior: Prior | None = None,
    num_iterations: int = 20,
    tol: float = 1e-5,
    covariance_floor: float = 1e-6,
    max_spectral_radius: float = 0.999,
) -> EMSolution:
    """Maximum likelihood, or with a prior maximum a posteriori, parameters near a first guess.

    Args:
      model: first guess; leading axes are replicas and broadcast against those of `x`. Under
        `vmap` the mapped axis joins them. Not differentiable.
      x: [..., T, p].
      mask: [..., T] bool, True where x was seen; None if all were.
      length: [...] int, times to use, at least 2; all if None. May be traced: times after it cost
        nothing.
      fixed: names of fields of `LinearGaussian` to keep as they are.
      prior: pseudo-observations; none if None.
      num_iterations: N, the most.
      tol: relative gain of the log-likelihood at which a replica stops; 0 runs all N.
      covariance_floor: added to Q or R where an eigenvalue has fallen below it.
      max_spectral_radius: a larger one is scaled back to it, unless A is fixed. Where this binds,
        the likelihood may fall.

    Returns:
      EMSolution; the model is one of many equivalent ones, see `canonical_form`.

    Raises:
      ValueError: an unknown block, a bad first guess (one replica, concrete), or bad shapes.
    """
    for name in fixed:
        if name not in BLOCKS:
            raise ValueError(unknown_name("block of the model", name, BLOCKS))
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}.")
    weight = check_series(model, x, mask)
    dtype = x.dtype
    length = jnp.asarray(x.shape[-2] if length is None else length, jnp.int32)
    numbers = [jnp.asarray(number, dtype)[..., None, None] for number in prior or Prior()]
    core = functools.partial(
        _core,
        fixed=frozenset(fixed),
        num_iterations=num_iterations,
        tol=tol,
        floor=covariance_floor,
        max_radius=max_spectral_radius,
    )
    ranks = (*RANKS, 2, 1, 0, 2, 2, 2)
    return batch_last(core, ranks)(*model, x, weight, length, *numbers)


def _core(
    *arrays: Array,
    fixed: frozenset[str],
    num_iterations: int,
    tol: float,
    floor: float,
    max_radius: float,
) -> EMSolution:
    """EM with the batch innermost; history comes back as [N + 1, B]."""
    model, (x, weight, length, *numbers) = LinearGaussian(*arrays[:6]), arrays[6:]
    prior = Prior(*numbers)
    num_times, _, batch = x.shape
    times = jnp.arange(num_times, dtype=length.dtype)
    weight = jnp.where(times[:, None] < length[None], weight, 0.0)
    objective = functools.partial(_objective, prior=prior, fixed=fixed)

    def iterate(loop: _Loop) -> _Loop:
        means, covariances, likelihood = forward(loop.model, x, weight, jnp.max(length))
        value = objective(loop.model, likelihood)
        before = loop.history[jnp.maximum(loop.iteration - 1, 0)]
        gain = jnp.where(loop.iteration == 0, jnp.inf, (value - before) / jnp.abs(before))
        better, is_clipped = _improve(
            loop.model, x, weight, length, means, covariances, prior, fixed, floor, max_radius
        )
        is_finite = jnp.isfinite(value)
        for field in better:
            is_finite &= jnp.all(jnp.isfinite(field), axis=tuple(range(field.ndim - 1)))
        moving = loop.active & is_finite & ~((gain < tol) & (tol > 0))
        value = jnp.where(loop.active, value, before)
        return _Loop(
            model=jax.tree.map(lambda new, old: jnp.where(moving, new, old), better, loop.model),
            history=jax.lax.dynamic_update_index_in_dim(loop.history, value, loop.iteration, 0),
            gain=jnp.where(loop.active, gain, loop.gain),
            active=moving,
            diverged=loop.diverged | (loop.active & ~is_finite),
            num_clipped=loop.num_clipped + (moving & is_clipped).astype(jnp.int32),
            iteration=loop.iteration + 1,
        )

    no = jnp.zeros(batch, bool)
    start = _Loop(
        model=model,
        history=jnp.zeros((num_iterations + 1, batch), x.dtype),
        gain=jnp.full(batch, jnp.inf, x.dtype),
        active=~no,
        diverged=no,
        num_clipped=jnp.zeros(batch, jnp.int32),
        iteration=jnp.int32(0),
    )
    running = lambda loop: (loop.iteration < num_iterations) & jnp.any(loop.active)
    loop = jax.lax.while_loop(running, iterate, start)
    final = objective(loop.model, forward(loop.model, x, weight, jnp.max(length))[2])
    is_later = jnp.arange(num_iterations + 1, dtype=jnp.int32) >= loop.iteration
    return EMSolution(
        value=loop.model,
        log_likelihood=jnp.where(is_later[:, None], final[None], loop.history),
        residual=loop.gain,
        converged=(loop.gain < tol) & ~loop.diverged,
        diverged=loop.diverged | ~jnp.isfinite(final),
        num_clipped=loop.num_clipped,
    )


def _objective(
    model: LinearGaussian, log_likelihood: Array, *, prior: Prior, fixed: frozenset[str]
) -> Array:
    """Log-likelihood plus the prior's log density of the blocks that move, [B]."""
    total = log_likelihood
    for matrix, noise in (
        ("transition", "transition_noise"),
        ("observation", "observation_noise"),
    ):
        if fixed >= {matrix, noise}:
            continue
        weights, spread = getattr(model, matrix), getattr(model, noise)
        precision = inverse(spread)
        trace = jnp.sum(precision.value * _pseudo_moments(weights, prior), axis=(0, 1))
        total = total - 0.5 * (prior.count[0, 0] * precision.log_determinant + trace)
    return total


def _pseudo_moments(weights: Array, prior: Prior) -> Array:
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


def _improve(
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
    matrix = symmetric(total + _pseudo_moments(weights, prior)) / (count + prior.count)
    least = floor * identity_like(matrix)
    is_high = inverse(matrix - least).is_definite
    return jnp.where(is_high[None, None], matrix, matrix + least)
