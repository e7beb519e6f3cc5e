"""Action distributions: from the network's outputs to actions, densities and entropies.

Noise is an argument, never drawn inside: a training loop draws the noise of a whole rollout at
once, and two policies can act on the same noise. A head samples a *latent* action (the integer
choice, or the Gaussian value before squashing), which is what a trajectory stores: densities are
evaluated there without inverting the squashing, and `to_action` gives what the environment sees.
"""

import dataclasses
from typing import Any, Protocol

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.envs import base
from jaxecon.types import Array, Key

MIN_LOG_STD, MAX_LOG_STD = -5.0, 2.0


class Head(Protocol):
    """What every action distribution offers; B stands for any leading axes."""

    @property
    def num_outputs(self) -> int:
        """Number of network outputs that parametrise one action."""
        ...

    @property
    def has_log_std(self) -> bool:
        """Whether the policy carries a state-independent log standard deviation."""
        ...

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Standard noise for `shape` actions."""
        ...

    def sample(self, outputs: Any, noise: Array) -> Array:
        """Latent action [B, ...] that the noise selects."""
        ...

    def mode(self, outputs: Any) -> Array:
        """Latent action of the deterministic policy, [B, ...]."""
        ...

    def to_action(self, latent: Array) -> Array:
        """Action [B, ...] handed to the environment."""
        ...

    def log_prob(self, outputs: Any, latent: Array) -> Array:
        """Log density (or log probability) of the action, [B]."""
        ...

    def entropy(self, outputs: Any) -> Array:
        """Entropy in nats, [B]; of the latent Gaussian where the squashed one has no form."""
        ...


@dataclasses.dataclass(frozen=True)
class CategoricalHead:
    """Choice among K actions; outputs are logits [B, K], illegal ones already masked."""

    num_actions: int
    has_log_std = False

    @property
    def num_outputs(self) -> int:
        """K logits."""
        return self.num_actions

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Gumbel noise, [*shape, K]."""
        return jax.random.gumbel(key, (*shape, self.num_actions))

    def sample(self, outputs: Array, noise: Array) -> Array:
        """Gumbel-max draw, int32 [B]."""
        return jnp.argmax(outputs + noise, axis=-1).astype(jnp.int32)

    def mode(self, outputs: Array) -> Array:
        """Most likely action, int32 [B]."""
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32)

    def to_action(self, latent: Array) -> Array:
        """The choice itself."""
        return latent

    def log_prob(self, outputs: Array, latent: Array) -> Array:
        """Log probability of the choice, [B]."""
        chosen = jax.nn.one_hot(latent, self.num_actions, dtype=outputs.dtype)
        return jnp.sum(jax.nn.log_softmax(outputs) * chosen, axis=-1)

    def entropy(self, outputs: Array) -> Array:
        """Shannon entropy, [B]; masked choices contribute nothing."""
        log_probs = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl(self, outputs: Array, other: Array) -> Array:
        """Divergence KL(π ‖ π') in nats, [B], of logits that carry the same mask."""
        log_probs, log_others = jax.nn.log_softmax(outputs), jax.nn.log_softmax(other)
        return jnp.sum(jnp.exp(log_probs) * (log_probs - log_others), axis=-1)


def mask_logits(logits: Array, mask: Array | None) -> Array:
    """Logits [B, K] with illegal choices at the dtype's lowest value, so their gradient is zero.

    A row without a legal choice has no distribution: traced, its choices come out equally likely.

    Raises:
      ValueError: a concrete mask has such a row.
    """
    if mask is None:
        return logits
    if not isinstance(mask, jax.core.Tracer):
        stuck = ~np.asarray(mask).any(-1)
        if stuck.any():
            row = [int(i) for i in np.argwhere(stuck)[0]]
            raise ValueError(
                f"mask must leave at least one legal choice in every row, got none in row {row}. "
                "Let one action, such as waiting, always be legal."
            )
    return jnp.where(mask, logits, jnp.finfo(logits.dtype).min)


def _gaussian(outputs: tuple[Array, Array]) -> distrax.MultivariateNormalDiag:
    mean, log_std = outputs
    std = jnp.exp(jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD))
    return distrax.MultivariateNormalDiag(mean, jnp.broadcast_to(std, mean.shape))


class _GaussianLatent:
    """Shared part of the heads whose latent action is a diagonal Gaussian, [B, D].

    Outputs are (mean [B, D], log_std [D]).
    """

    has_log_std = True
    num_outputs: int

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Standard normal noise, [*shape, D]."""
        return jax.random.normal(key, (*shape, self.num_outputs))

    def sample(self, outputs: tuple[Array, Array], noise: Array) -> Array:
        """Mean plus scaled noise, [B, D]."""
        mean, log_std = outputs
        std = jnp.exp(jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD))
        return mean + jnp.broadcast_to(std, mean.shape) * noise

    def mode(self, outputs: tuple[Array, Array]) -> Array:
        """The mean, [B, D]."""
        return outputs[0]

    def log_prob(self, outputs: tuple[Array, Array], latent: Array) -> Array:
        """Log density of `to_action(latent)`, [B]."""
        return _gaussian(outputs).log_prob(latent) - self.log_volume(latent)

    def entropy(self, outputs: tuple[Array, Array]) -> Array:
        """Entropy of the latent Gaussian, [B]."""
        return _gaussian(outputs).entropy()

    def log_volume(self, latent: Array) -> Array:
        """Log volume change from latent to action, [B]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class NormalHead(_GaussianLatent):
    """Gaussian over unbounded actions of the given per-agent shape."""

    shape: tuple[int, ...]

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """One mean per action coordinate."""
        return int(np.prod(self.shape))

    def to_action(self, latent: Array) -> Array:
        """The latent value in the action's shape."""
        return jnp.reshape(latent, (*latent.shape[:-1], *self.shape))

    def log_volume(self, latent: Array) -> Array:
        """Zero: nothing is squashed."""
        return jnp.zeros(latent.shape[:-1], latent.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class SquashedNormalHead(_GaussianLatent):
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

    def log_volume(self, latent: Array) -> Array:
        """Log of |da/dz|, summed over coordinates, [B]."""
        shaped = jnp.reshape(latent, (*latent.shape[:-1], *self.shape))
        log_det = self._bijector(shaped.shape).forward_log_det_jacobian(shaped)
        return jnp.sum(jnp.reshape(log_det, latent.shape), axis=-1)


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
class SimplexHead(_GaussianLatent):
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

    def to_action(self, latent: Array) -> Array:
        """Weights, [B, K]."""
        return SoftmaxCentered(self.reference_first).forward(latent)

    def log_volume(self, latent: Array) -> Array:
        """Sum of log weights, [B]."""
        return SoftmaxCentered(self.reference_first).forward_log_det_jacobian(latent)


def _is_bounded(space: Any) -> bool:
    """Whether every bound of a box is finite; traced bounds count as finite."""
    return not any(
        not isinstance(bound, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(bound)))
        for bound in (space.low, space.high)
    )


def make_head(space: Any, num_agents: int | None) -> Head:
    """The action distribution that fits an action space.

    Args:
      space: a gymnax `Discrete` or `Box`, or a jaxecon `Simplex` or `MultiDiscrete`.
      num_agents: N if the space's first axis is agents, else None.

    Raises:
      TypeError: the space is of another kind.
    """
    if isinstance(space, base.Discrete):
        return CategoricalHead(space.n)
    if isinstance(space, base.Simplex):
        return SimplexHead(space.shape[-1])
    if isinstance(space, base.Box):
        shape = space.shape if num_agents is None else space.shape[1:]
        if _is_bounded(space):
            return SquashedNormalHead(tuple(shape), space.low, space.high)
        return NormalHead(tuple(shape))
    raise TypeError(
        f"No action distribution for {space!r}; use Discrete, MultiDiscrete, Box or Simplex."
    )
