"""Action distributions: from the network's outputs to actions, densities and entropies.

Noise is an argument, never drawn inside: a training loop draws the noise of a whole rollout at
once, and two policies can act on the same noise. A head samples a *latent* action (the integer
choice, or the Gaussian value before squashing), which is what a trajectory stores: densities are
evaluated there without inverting the squashing, and `to_action` gives what the environment sees.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.envs import base
from jaxecon.networks.gaussian import BallHead, NormalHead, SimplexHead, SquashedNormalHead
from jaxecon.types import Array, Key


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
      ValueError: a concrete mask has such a row, or a mask has another number of choices.
    """
    if mask is None:
        return logits
    if jnp.shape(mask)[-1:] != logits.shape[-1:]:
        raise ValueError(
            f"mask must have {logits.shape[-1]} entries, one for each choice, "
            f"got the shape {jnp.shape(mask)}."
        )
    if not isinstance(mask, jax.core.Tracer):
        stuck = ~np.asarray(mask).any(-1)
        if stuck.any():
            row = [int(i) for i in np.argwhere(stuck)[0]]
            raise ValueError(
                f"mask must leave at least one legal choice in every row, got none in row {row}. "
                "Let one action, such as waiting, always be legal."
            )
    return jnp.where(mask, logits, jnp.finfo(logits.dtype).min)


def _is_bounded(space: Any) -> bool:
    """Whether every bound of a box is finite; traced bounds count as finite."""
    return not any(
        not isinstance(bound, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(bound)))
        for bound in (space.low, space.high)
    )


def make_head(space: Any, num_agents: int | None) -> Head:
    """The action distribution that fits an action space.

    Args:
      space: a gymnax `Discrete` or `Box`, or a jaxecon `Simplex`, `Ball` or `MultiDiscrete`.
      num_agents: N if the space's first axis is agents, else None.

    Raises:
      TypeError: the space is of another kind.
    """
    if isinstance(space, base.Discrete):
        return CategoricalHead(space.n)
    if isinstance(space, base.Simplex):
        return SimplexHead(space.shape[-1])
    if isinstance(space, base.Ball):
        return BallHead(space.shape[-1])
    if isinstance(space, base.Box):
        shape = space.shape if num_agents is None else space.shape[1:]
        if _is_bounded(space):
            return SquashedNormalHead(tuple(shape), space.low, space.high)
        return NormalHead(tuple(shape))
    raise TypeError(
        f"No action distribution for {space!r}; use Discrete, MultiDiscrete, Box, Simplex or Ball."
    )
