"""Continuous actions: a diagonal Gaussian, squashed onto a box, a simplex, a ball, or not at all.

    z ~ N(μ, σ²),   a = f(z),   log p(a) = log N(z; μ, σ²) - log |da/dz|

Densities are evaluated at the latent z, so nothing is inverted. Beside the action in its own units
each head offers the *unit action*, which critics take: boxes are scaled to [-1, 1].
"""

import dataclasses
import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.types import Array, Key

MIN_LOG_STD, MAX_LOG_STD = -5.0, 2.0


def _gaussian(outputs: tuple[Array, Array]) -> distrax.MultivariateNormalDiag:
    return distrax.MultivariateNormalDiag(outputs[0], jnp.exp(_log_std(outputs)))


def _log_std(outputs: tuple[Array, Array]) -> Array:
    """Clipped log deviations in the shape of the means, [B, D]."""
    mean, log_std = outputs
    return jnp.broadcast_to(jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD), mean.shape)


class GaussianHead:
    """Shared part of the heads whose latent action is a diagonal Gaussian, [B, D].

    Outputs are (mean [B, D], log_std [D] or [B, D]); log_std is clipped to [-5, 2], and beyond
    these bounds its gradient is zero.
    """

    has_log_std = True
    num_outputs: int
    log_set_volume: float  # of all actions; D log 2 where there is no bound

    @property
    def unit_size(self) -> int:
        """Length of the unit action."""
        return self.num_outputs

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Standard normal noise, [*shape, D]."""
        return jax.random.normal(key, (*shape, self.num_outputs))

    def sample(self, outputs: tuple[Array, Array], noise: Array) -> Array:
        """Mean plus scaled noise, [B, D]."""
        return outputs[0] + jnp.exp(_log_std(outputs)) * noise

    def draw(self, outputs: tuple[Array, Array], noise: Array) -> tuple[Array, Array]:
        """`sample`, [B, D], and the log density of its unit action, [B].

        The density is measured as if the whole set of actions had the volume of [-1, 1]^D, so that
        entropies do not depend on units and are at most D log 2, whatever the set. It is written in
        the noise: in the outputs' gradient the distance from the mean has cancelled.
        """
        latent = self.sample(outputs, noise)
        log_normal = -0.5 * jnp.square(noise) - _log_std(outputs) - 0.5 * math.log(2.0 * math.pi)
        return latent, jnp.sum(log_normal, axis=-1) - self.unit_log_volume(latent)

    def mode(self, outputs: tuple[Array, Array]) -> Array:
        """The mean, [B, D]."""
        return outputs[0]

    def log_prob(self, outputs: tuple[Array, Array], latent: Array) -> Array:
        """Log density of `to_action(latent)`, [B]."""
        return _gaussian(outputs).log_prob(latent) - self.log_volume(latent)

    def entropy(self, outputs: tuple[Array, Array]) -> Array:
        """Entropy of the latent Gaussian, [B]."""
        return _gaussian(outputs).entropy()

    def to_action(self, latent: Array) -> Array:
        """Action [B, ...] handed to the environment."""
        raise NotImplementedError

    def unit_action(self, latent: Array) -> Array:
        """The action as a row of numbers of size one, [B, unit_size]."""
        return self.to_action(latent)

    def log_volume(self, latent: Array) -> Array:
        """Log volume change from latent to action, [B]."""
        raise NotImplementedError

    def unit_log_volume(self, latent: Array) -> Array:
        """The same where the whole set of actions has volume 2^D, [B]."""
        excess = self.num_outputs * math.log(2.0) - self.log_set_volume
        return self.log_volume(latent) + excess


@dataclasses.dataclass(frozen=True)
class NormalHead(GaussianHead):
    """Gaussian over unbounded actions of the given per-agent shape."""

    shape: tuple[int, ...]

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """One mean per action coordinate."""
        return int(np.prod(self.shape))

    @property
    def log_set_volume(self) -> float:  # type: ignore[override]
        """There is no bound: densities stay as they are."""
        return self.num_outputs * math.log(2.0)

    def to_action(self, latent: Array) -> Array:
        """The latent value in the action's shape."""
        return jnp.reshape(latent, (*latent.shape[:-1], *self.shape))

    def unit_action(self, latent: Array) -> Array:
        """The latent value, [B, D]."""
        return latent

    def log_volume(self, latent: Array) -> Array:
        """Zero: nothing is squashed."""
        return jnp.zeros(latent.shape[:-1], latent.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class SquashedNormalHead(GaussianHead):
    """Gaussian squashed by tanh onto a bounded box.

        a = low + (high - low) (tanh(z) + 1) / 2

    Attributes:
      shape: per-agent action shape.
      low, high: bounds that broadcast against [*B, *shape]; may be traced.
    """

    shape: tuple[int, ...]
    low: Any
    high: Any

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """One mean per action coordinate."""
        return int(np.prod(self.shape))

    def _bijector(self, shape: tuple[int, ...]) -> distrax.Chain:
        low = jnp.broadcast_to(jnp.asarray(self.low, jnp.float32), shape)
        high = jnp.broadcast_to(jnp.asarray(self.high, jnp.float32), shape)
        affine = distrax.ScalarAffine(shift=0.5 * (low + high), scale=0.5 * (high - low))
        return distrax.Chain([affine, distrax.Tanh()])

    def to_action(self, latent: Array) -> Array:
        """Action inside the box, [B, *shape]."""
        shaped = jnp.reshape(latent, (*latent.shape[:-1], *self.shape))
        return self._bijector(shaped.shape).forward(shaped)

    def unit_action(self, latent: Array) -> Array:
        """tanh(z), [B, D]."""
        return jnp.tanh(latent)

    def log_volume(self, latent: Array) -> Array:
        """Log of |da/dz|, summed over coordinates, [B]."""
        shaped = jnp.reshape(latent, (*latent.shape[:-1], *self.shape))
        log_det = self._bijector(shaped.shape).forward_log_det_jacobian(shaped)
        return jnp.sum(jnp.reshape(log_det, latent.shape), axis=-1)

    def unit_log_volume(self, latent: Array) -> Array:
        """Log of the derivative of tanh, summed over coordinates, [B]."""
        return jnp.sum(_log_tanh_slope(latent), axis=-1)


def _log_tanh_slope(x: Array) -> Array:
    """log(1 - tanh² x) = 2 (log 2 - x - softplus(-2x)), exact where tanh x rounds to 1."""
    return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))


class SoftmaxCentered(distrax.Bijector):
    """Additive logistic map from R^(K-1) to the interior of the simplex in R^K.

        w = softmax([z, 0]),   log |dw/dz| = sum_k log w_k

    Args:
      first: softmax([0, z]) instead, so that ratios are to the first weight, not to the last.

    Source: Aitchison & Shen (1980), Logistic-normal distributions, Biometrika 67.
    """

    def __init__(self, first: bool = False) -> None:
        super().__init__(event_ndims_in=1, event_ndims_out=1)
        self._first = first

    def forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        """Weights [B, K] and log volume [B] of x, [B, K-1]."""
        zero = (1, 0) if self._first else (0, 1)
        log_weights = jax.nn.log_softmax(jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [zero]))
        return jnp.exp(log_weights), jnp.sum(log_weights, axis=-1)

    def inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        """Log ratios [B, K-1] to the reference weight, and their log volume [B]."""
        log_weights = jnp.log(y)
        reference, others = log_weights[..., -1:], log_weights[..., :-1]
        if self._first:
            reference, others = log_weights[..., :1], log_weights[..., 1:]
        return others - reference, -jnp.sum(log_weights, axis=-1)


@dataclasses.dataclass(frozen=True)
class SimplexHead(GaussianHead):
    """Logistic-normal distribution over weights that sum to one, [B, K].

    Attributes:
      num_parts: K.
      reference_first: latents are log ratios to the first part, not to the last. With one deviation
        for all of them the other parts are then exchangeable.
    """

    num_parts: int
    reference_first: bool = False

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """K - 1 log ratios."""
        return self.num_parts - 1

    @property
    def unit_size(self) -> int:
        """K: the unit action is the weights."""
        return self.num_parts

    @property
    def log_set_volume(self) -> float:  # type: ignore[override]
        """log 1 / (K - 1)!, as any K - 1 of the weights are coordinates."""
        return -math.lgamma(self.num_parts)

    def to_action(self, latent: Array) -> Array:
        """Weights, [B, K]."""
        return SoftmaxCentered(self.reference_first).forward(latent)

    def log_volume(self, latent: Array) -> Array:
        """Sum of log weights, [B]."""
        return SoftmaxCentered(self.reference_first).forward_log_det_jacobian(latent)


@dataclasses.dataclass(frozen=True)
class BallHead(GaussianHead):
    """Gaussian squashed onto the unit ball by its norm, [B, D]; rotations commute with it.

        a = z tanh(r) / r,   log |da/dz| = log(1 - tanh² r) + (D - 1) log(tanh(r) / r),   r = |z|

    Attributes:
      num_outputs: D.
    """

    num_outputs: int

    @property
    def log_set_volume(self) -> float:  # type: ignore[override]
        """log π^(D/2) / Γ(D/2 + 1)."""
        half = 0.5 * self.num_outputs
        return half * math.log(math.pi) - math.lgamma(half + 1.0)

    def to_action(self, latent: Array) -> Array:
        """Vectors of norm at most 1, [B, D]."""
        return latent * _shrinkage(latent)[..., None]

    def log_volume(self, latent: Array) -> Array:
        """Log volume of the radial and of the D - 1 tangential directions, [B]."""
        near, squared, radius = _radius(latent)
        series = -1.0 + squared * (1 / 6 + squared * (-2 / 45 + squared * (17 / 1260)))
        radial = jnp.where(near, squared * series, _log_tanh_slope(radius))
        return radial + (self.num_outputs - 1) * jnp.log(_shrinkage(latent))


def _radius(latent: Array) -> tuple[Array, Array, Array]:
    """Whether r² is below 0.02, r² there and 0 elsewhere, and r elsewhere and 1 there; each [B].

    Below, series in r² stand in: r has no derivative at 0, and tanh(r) / r cancels near it. Four
    terms leave an error below 1e-10.
    """
    squared = jnp.sum(jnp.square(latent), axis=-1)
    near = squared < 0.02
    return near, jnp.where(near, squared, 0.0), jnp.sqrt(jnp.where(near, 1.0, squared))


def _shrinkage(latent: Array) -> Array:
    """tanh(r) / r, [B]; 1 at r = 0."""
    near, s, radius = _radius(latent)
    series = 1.0 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835))))
    return jnp.where(near, series, jnp.tanh(radius) / radius)
