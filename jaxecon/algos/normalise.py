"""Running mean and variance, merged one batch at a time.

Statistics are frozen while a rollout is collected and learned from, and updated once afterwards
from the raw values: the policy that acted and the loss that learns see the same numbers.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.types import Array

EPSILON = 1e-8


@struct.dataclass
class RunningMoments:
    """Count, mean and population variance of everything seen so far."""

    count: Array  # ()
    mean: Array  # [...]
    variance: Array  # [...]


def init_moments(shape: tuple[int, ...]) -> RunningMoments:
    """Moments of nothing: normalising with them changes (almost) nothing."""
    return RunningMoments(jnp.float32(1e-4), jnp.zeros(shape), jnp.ones(shape))


def update_moments(moments: RunningMoments, batch: Array) -> RunningMoments:
    """Merge a batch [B, ...] into the moments [...].

    Source: Chan, Golub & LeVeque (1983), Algorithms for Computing the Sample Variance.
    """
    batch_count = jnp.float32(batch.shape[0])
    delta = batch.mean(axis=0) - moments.mean
    count = moments.count + batch_count
    share = batch_count / count
    spread = moments.variance * (1.0 - share) + batch.var(axis=0) * share
    return RunningMoments(
        count=count,
        mean=moments.mean + delta * share,
        variance=spread + jnp.square(delta) * share * (1.0 - share),
    )


def normalise(moments: RunningMoments, x: Array, clip: float = 10.0) -> Array:
    """(x - mean) / std, [..., F], clipped to [-clip, clip]."""
    axes = tuple(range(x.ndim - moments.mean.ndim))
    mean, variance = (jnp.expand_dims(m, axes) for m in (moments.mean, moments.variance))
    return jnp.clip((x - mean) * jax.lax.rsqrt(variance + EPSILON), -clip, clip)


def scale_only(moments: RunningMoments, x: Array, clip: float = 10.0) -> Array:
    """x / std for scalar moments, clipped; rewards keep their sign and zero."""
    return jnp.clip(x * jax.lax.rsqrt(moments.variance + EPSILON), -clip, clip)
