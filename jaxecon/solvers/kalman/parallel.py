"""Filter and smoother in logarithmic depth: associative scans over time, for accelerators.

Source: Särkkä & García-Fernández (2021), Temporal Parallelization of Bayesian Smoothers, IEEE
Transactions on Automatic Control 66. Their (I + C J)⁻¹, which is not symmetric, is worked out as
I - L (I + Lᵀ J L)⁻¹ Lᵀ J with C = L Lᵀ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.kalman.filtering import Filtered, Smoothed, check_series
from jaxecon.solvers.kalman.model import RANKS, LinearGaussian
from jaxecon.solvers.kalman.recursions import correct, predict
from jaxecon.solvers.kalman.small import (
    identity_like,
    inverse,
    product,
    square_root,
    symmetric,
    transpose,
)
from jaxecon.types import Array


class _Filtering(NamedTuple):
    """z[t] given z[s] and x(s..t] is N(A z[s] + b, C); x(s..t] says exp(η z - ½ z J z) of z[s]."""

    matrix: Array  # A
    offset: Array  # b
    covariance: Array  # C
    information_vector: Array  # η
    information: Array  # J


class _Smoothing(NamedTuple):
    """z[s] given z[t] and all of x is N(E z[t] + g, L)."""

    matrix: Array
    offset: Array
    covariance: Array


def parallel_filter(model: LinearGaussian, x: Array, mask: Array | None = None) -> Filtered:
    """The same as `kalman_filter`, with depth log T and several times the arithmetic.

    Args, errors: as there. Not differentiable.
    """
    weight = check_series(model, x, mask)
    return Filtered(*_filter(*model, x, weight))


def parallel_smoother(model: LinearGaussian, filtered: Filtered) -> Smoothed:
    """The same as `kalman_smoother`, with depth log T. Not differentiable."""
    return Smoothed(*_smoother(*model, filtered.mean, filtered.covariance))


def _filter_core(*arrays: Array) -> tuple[Array, Array, Array]:
    model, (x, weight) = LinearGaussian(*arrays[:6]), arrays[6:]
    num_times, _, batch = x.shape
    first_mean, first_covariance, _ = correct(
        model.initial_mean,
        model.initial_covariance,
        x[0],
        weight[0],
        model.observation,
        model.observation_noise,
    )
    flat = _repeat(model, num_times)
    elements = _filter_elements(flat, _merge_times(x), jnp.reshape(weight, -1))
    elements = jax.tree.map(lambda leaf: _split_times(leaf, num_times, batch), elements)
    elements = _Filtering(
        matrix=elements.matrix.at[0].set(0.0),
        offset=elements.offset.at[0].set(first_mean),
        covariance=elements.covariance.at[0].set(first_covariance),
        information_vector=elements.information_vector.at[0].set(0.0),
        information=elements.information.at[0].set(0.0),
    )
    scanned = jax.lax.associative_scan(_over_times(_combine_filtering), elements)
    mean, covariance = scanned.offset, scanned.covariance
    # the likelihood of each x given the past, all at once
    before_mean, before_covariance = predict(flat, _merge_times(mean), _merge_times(covariance))
    shift = lambda first, later: jnp.concatenate(
        [first[None], _split_times(later, num_times, batch)[:-1]]
    )
    _, _, log_likelihood = correct(
        _merge_times(shift(model.initial_mean, before_mean)),
        _merge_times(shift(model.initial_covariance, before_covariance)),
        _merge_times(x),
        jnp.reshape(weight, -1),
        flat.observation,
        flat.observation_noise,
    )
    total = jnp.sum(jnp.reshape(log_likelihood, (num_times, batch)), axis=0)
    return mean, covariance, total


def _filter_elements(model: LinearGaussian, x: Array, weight: Array) -> _Filtering:
    """One element per time, all in the batch [..., T·B]."""
    C, seen = model.observation, weight[None, None]
    x = jnp.where((weight > 0.0)[None], x, 0.0)
    noise = product(product(C, model.transition_noise), transpose(C)) + model.observation_noise
    precision = inverse(noise).value
    gain = seen * product(product(model.transition_noise, transpose(C)), precision)
    kept = identity_like(model.transition) - product(gain, C)
    through = product(C, model.transition)  # C A
    weighed = seen * product(transpose(through), precision)  # Aᵀ Cᵀ S⁻¹
    return _Filtering(
        matrix=product(kept, model.transition),
        offset=product(gain, x),
        covariance=symmetric(product(kept, model.transition_noise)),
        information_vector=product(weighed, x),
        information=symmetric(product(weighed, through)),
    )


def _combine_filtering(first: _Filtering, later: _Filtering) -> _Filtering:
    """The element of both stretches of time, [..., n]."""
    root = square_root(first.covariance)
    inner = product(product(transpose(root), later.information), root)
    core = inverse(inner + identity_like(inner)).value
    identity = identity_like(inner)
    # U = (I + C J)⁻¹, and (I + J C)⁻¹ = Uᵀ
    left = product(product(root, core), transpose(root))
    unmixed = identity - product(left, later.information)
    forwards = product(later.matrix, unmixed)
    backwards = transpose(product(unmixed, first.matrix))
    offset = first.offset + product(first.covariance, later.information_vector)
    vector = later.information_vector - product(later.information, first.offset)
    spread = product(product(forwards, first.covariance), transpose(later.matrix))
    information = product(product(backwards, later.information), first.matrix)
    return _Filtering(
        matrix=product(forwards, first.matrix),
        offset=product(forwards, offset) + later.offset,
        covariance=symmetric(spread) + later.covariance,
        information_vector=product(backwards, vector) + first.information_vector,
        information=symmetric(information) + first.information,
    )


def _smoother_core(*arrays: Array) -> tuple[Array, Array, Array]:
    model, (means, covariances) = LinearGaussian(*arrays[:6]), arrays[6:]
    num_times, _, batch = means.shape
    flat = _repeat(model, num_times)
    mean, covariance = _merge_times(means), _merge_times(covariances)
    predicted_mean, predicted = predict(flat, mean, covariance)
    gain = product(product(covariance, transpose(flat.transition)), inverse(predicted).value)
    spread = covariance - product(product(gain, predicted), transpose(gain))
    elements = _Smoothing(gain, mean - product(gain, predicted_mean), symmetric(spread))
    elements = jax.tree.map(lambda leaf: _split_times(leaf, num_times, batch), elements)
    elements = _Smoothing(
        matrix=elements.matrix.at[-1].set(0.0),
        offset=elements.offset.at[-1].set(means[-1]),
        covariance=elements.covariance.at[-1].set(covariances[-1]),
    )
    scanned = jax.lax.associative_scan(_over_times(_combine_smoothing), elements, reverse=True)
    gains = _split_times(gain, num_times, batch)
    lagged = product(_merge_times(scanned.covariance[1:]), transpose(_merge_times(gains[:-1])))
    return scanned.offset, scanned.covariance, _split_times(lagged, num_times - 1, batch)


def _combine_smoothing(later: _Smoothing, earlier: _Smoothing) -> _Smoothing:
    """The element of both stretches; a reversed scan hands over the later one first."""
    spread = product(product(earlier.matrix, later.covariance), transpose(earlier.matrix))
    return _Smoothing(
        matrix=product(earlier.matrix, later.matrix),
        offset=product(earlier.matrix, later.offset) + earlier.offset,
        covariance=symmetric(spread) + earlier.covariance,
    )


def _over_times(combine):
    """A combination of elements [..., n] as one of elements [n, ..., B]."""

    def run(first: tuple, second: tuple) -> tuple:
        num_times, batch = first[0].shape[0], first[0].shape[-1]
        merged = [type(part)(*map(_merge_times, part)) for part in (first, second)]
        combined = combine(*merged)
        return jax.tree.map(lambda leaf: _split_times(leaf, num_times, batch), combined)

    return run


def _repeat(model: LinearGaussian, num_times: int) -> LinearGaussian:
    """The model at every time, fields [..., T·B]."""
    return jax.tree.map(lambda a: jnp.tile(a, (1,) * (a.ndim - 1) + (num_times,)), model)


def _merge_times(array: Array) -> Array:
    """[T, ..., B] -> [..., T·B]."""
    moved = jnp.moveaxis(array, 0, -2)
    return jnp.reshape(moved, (*moved.shape[:-2], -1))


def _split_times(array: Array, num_times: int, batch: int) -> Array:
    """[..., T·B] -> [T, ..., B]."""
    return jnp.moveaxis(jnp.reshape(array, (*array.shape[:-1], num_times, batch)), -2, 0)


_filter = batch_last(_filter_core, (*RANKS, 2, 1))
_smoother = batch_last(_smoother_core, (*RANKS, 2, 3))
