"""Kalman filter and Rauch-Tung-Striebel smoother, one time after the other.

Replicas are leading axes, and any `vmap` joins them; inside, the batch is innermost.

Sources: Kalman (1960), A New Approach to Linear Filtering and Prediction Problems; Rauch, Tung &
Striebel (1965), Maximum Likelihood Estimates of Linear Dynamic Systems.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.solvers.kalman.batched import differentiable
from jaxecon.solvers.kalman.model import RANKS, LinearGaussian, check_model, check_shapes
from jaxecon.solvers.kalman.recursions import correct, forward, predict, smooth
from jaxecon.types import Array


class Filtered(NamedTuple):
    """What is known of z[t] from x[1..t].

    Attributes:
      mean: [..., T, d].
      covariance: [..., T, d, d].
      log_likelihood: [...] of the whole series.
    """

    mean: Array
    covariance: Array
    log_likelihood: Array


class Smoothed(NamedTuple):
    """What is known of z[t] from the whole series.

    Attributes:
      mean: [..., T, d].
      covariance: [..., T, d, d].
      lag_one: [..., T - 1, d, d], Cov(z[t+1], z[t]).
    """

    mean: Array
    covariance: Array
    lag_one: Array


def kalman_filter(model: LinearGaussian, x: Array, mask: Array | None = None) -> Filtered:
    """Filtered states and the likelihood of a series.

    Args:
      model: leading axes are replicas and broadcast against those of `x`.
      x: [..., T, p]; anything where the mask is False.
      mask: [..., T] bool, True where x was seen; None if all were.

    Returns:
      Filtered. Gradients flow. An S = C P Cᵀ + R that is singular up to rounding is inverted as if
      its pivots were at the rounding error, so the results stay finite.

    Raises:
      ValueError: shapes do not fit, or one concrete model is unstable or has a bad covariance.
    """
    weight = check_series(model, x, mask)
    mean, covariance, log_likelihood = _filter(*model, x, weight)
    return Filtered(mean, covariance, log_likelihood)


def kalman_smoother(model: LinearGaussian, filtered: Filtered) -> Smoothed:
    """Smoothed states and their lag-one covariances.

    Args:
      model: the one that filtered.
      filtered: from `kalman_filter` or `parallel_filter`, T >= 2.
    """
    return Smoothed(*_smoother(*model, filtered.mean, filtered.covariance))


def filter_step(
    model: LinearGaussian, mean: Array, covariance: Array, x: Array, weight: Array
) -> tuple[Array, Array]:
    """Filtered mean [..., d] and covariance [..., d, d] from what was predicted and from x.

    Args:
      mean, covariance: of z[t] given x[1..t-1].
      x: [..., p].
      weight: [...] 1 where x is seen, 0 where it is missing.
    """
    return _correct(mean, covariance, x, weight, model.observation, model.observation_noise)


def predict_step(model: LinearGaussian, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean [..., d] and covariance [..., d, d] of the next state: A m and A P Aᵀ + Q."""
    return _predict(*model, mean, covariance)


def check_series(model: LinearGaussian, x: Array, mask: Array | None) -> Array:
    """Weights [..., T], 1 where x was seen, once the arguments have been checked."""
    check_shapes(model)
    _check_dtypes(model, x)
    if model.transition.ndim == 2:
        check_model(model)
    num_observed = model.observation.shape[-2]
    if x.ndim < 2 or x.shape[-1] != num_observed:
        raise ValueError(
            f"x must have the shape [..., T, {num_observed}], as the observation matrix has "
            f"{num_observed} rows, got {list(x.shape)}."
        )
    if x.shape[-2] < 1:
        raise ValueError(f"x must have at least one time, got the shape {list(x.shape)}.")
    if mask is None:
        return jnp.ones(x.shape[:-1], x.dtype)
    most = max(x.ndim - 1, model.transition.ndim - 1)
    if not 1 <= mask.ndim <= most or mask.shape[-1] != x.shape[-2]:
        raise ValueError(
            f"mask must have the shape [..., T], one entry per time and not per number: "
            f"{list(x.shape[:-1])} for x of shape {list(x.shape)}, got {list(mask.shape)}."
        )
    return mask.astype(x.dtype)


def _check_dtypes(model: LinearGaussian, x: Array) -> None:
    """Raise ValueError unless x and all fields of the model have one float dtype."""
    dtypes = {name: jnp.result_type(value) for name, value in model._asdict().items()}
    dtypes["x"] = jnp.result_type(x)
    wanted = dtypes["transition"]
    for name, dtype in dtypes.items():
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name} must be of a float dtype, got {dtype}. Convert it first.")
        if dtype != wanted:
            raise ValueError(
                f"{name} must have the model's dtype, {wanted} as transition, got {dtype}. "
                "Convert it with astype."
            )


def _filter_core(*arrays: Array) -> tuple[Array, Array, Array]:
    x, weight = arrays[6:]
    return forward(LinearGaussian(*arrays[:6]), x, weight, x.shape[0])


def _smoother_core(*arrays: Array) -> tuple[Array, Array, Array]:
    model, (means, covariances) = LinearGaussian(*arrays[:6]), arrays[6:]
    always = jnp.ones(means.shape[-1], means.dtype)

    def step(after: tuple[Array, Array], now: tuple[Array, Array]) -> tuple:
        *smoothed, lagged = smooth(model, *now, *after, always)
        return tuple(smoothed), (*smoothed, lagged)

    last = (means[-1], covariances[-1])
    earlier: tuple[Array, ...]
    _, earlier = jax.lax.scan(step, last, (means[:-1], covariances[:-1]), reverse=True)
    join = lambda many, final: jnp.concatenate([many, final[None]])
    return join(earlier[0], last[0]), join(earlier[1], last[1]), earlier[2]


def _correct_core(*arrays: Array) -> tuple[Array, Array]:
    return correct(*arrays)[:2]


def _predict_core(*arrays: Array) -> tuple[Array, Array]:
    return predict(LinearGaussian(*arrays[:6]), *arrays[6:])


_filter = differentiable(_filter_core, (*RANKS, 2, 1))
_smoother = differentiable(_smoother_core, (*RANKS, 2, 3))
_correct = differentiable(_correct_core, (1, 2, 1, 0, 2, 2))
_predict = differentiable(_predict_core, (*RANKS, 1, 2))
