"""Fitting a linear Gaussian model by expectation maximisation, whole in one compiled loop.

Sources: Shumway & Stoffer (1982), An Approach to Time Series Smoothing and Forecasting Using the EM
Algorithm; Ghahramani & Hinton (1996), Parameter Estimation for Linear Dynamical Systems.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.checking import require
from jaxecon.solvers.kalman.filtering import check_series
from jaxecon.solvers.kalman.model import BLOCKS, RANKS, LinearGaussian
from jaxecon.solvers.kalman.moments import Prior, improve, pseudo_moments
from jaxecon.solvers.kalman.recursions import forward
from jaxecon.solvers.kalman.small import inverse
from jaxecon.suggest import unknown_name
from jaxecon.types import Array


class EMSolution(NamedTuple):
    """What EM arrived at.

    Attributes:
      value: the fitted `LinearGaussian`.
      log_likelihood: [..., N + 1] of the data, before each iteration and after the last; with a
        prior, its log density included. Repeats the last one once a replica has stopped.
      residual: [...] relative gain of the last iteration.
      converged: [...] bool, the gain is below the tolerance and no loss.
      diverged: [...] bool, an iteration gave numbers that are not finite; `value` is from before.
      num_clipped: [...] int32, iterations in which A had to be scaled back to the largest radius.
    """

    value: LinearGaussian
    log_likelihood: Array
    residual: Array
    converged: Array
    diverged: Array
    num_clipped: Array


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
      length: [...] int, times to use, from 2 to T; all if None. May be traced: times after it cost
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
      ValueError: an unknown block, a bad first guess (one replica, concrete), a concrete length
        outside its range, or bad shapes.
    """
    for name in fixed:
        if name not in BLOCKS:
            raise ValueError(unknown_name("block of the model", name, BLOCKS))
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}.")
    weight = check_series(model, x, mask)
    _check_length(x.shape[-2] if length is None else length, x.shape[-2])
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


def _check_length(length: Any, num_times: int) -> None:
    """Raise ValueError unless concrete lengths are whole and leave at least one transition."""
    holds = lambda n: (n >= 2) & (n <= num_times) & (n == np.floor(n))
    require("length", length, holds, f"a whole number of times from 2 to T = {num_times}")


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
        better, is_clipped = improve(
            loop.model, x, weight, length, means, covariances, prior, fixed, floor, max_radius
        )
        is_finite = jnp.isfinite(value)
        for field in better:
            is_finite &= jnp.all(jnp.isfinite(field), axis=tuple(range(field.ndim - 1)))
        moving = loop.active & is_finite & ~_has_settled(gain, tol)
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
        converged=_has_settled(loop.gain, tol) & ~loop.diverged,
        diverged=loop.diverged | ~jnp.isfinite(final),
        num_clipped=loop.num_clipped,
    )


def _has_settled(gain: Array, tol: float) -> Array:
    """Whether the gain is below the tolerance; a falling likelihood has not settled."""
    return (gain >= 0.0) & (gain < tol)


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
        trace = jnp.sum(precision.value * pseudo_moments(weights, prior), axis=(0, 1))
        total = total - 0.5 * (prior.count[0, 0] * precision.log_determinant + trace)
    return total
