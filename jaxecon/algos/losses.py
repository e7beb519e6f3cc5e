"""Loss functions of policies and value functions; each returns the mean over its batch."""

import jax.numpy as jnp

from jaxecon.types import Array


def clipped_surrogate(ratio: Array, advantage: Array, clip_eps: Array) -> Array:
    """Proximal policy loss, a scalar to minimise.

        L = -mean min(ρ A, clip(ρ, 1-ε, 1+ε) A)

    Args:
      ratio: ρ, [B] new over old probability of the action taken.
      advantage: A, [B].
      clip_eps: ε > 0.

    Source: Schulman et al. (2017), Proximal Policy Optimization Algorithms.
    """
    clipped = jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -jnp.minimum(ratio * advantage, clipped * advantage).mean()


def clipped_value_loss(value: Array, old_value: Array, target: Array, clip_eps: Array) -> Array:
    """Half the mean squared error, no better than that of the clipped prediction.

    Args:
      value: [B] new predictions.
      old_value: [B] predictions when the data were collected.
      target: [B] regression targets.
      clip_eps: largest step credited to a prediction, in units of the target.
    """
    clipped = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    return 0.5 * jnp.maximum(jnp.square(value - target), jnp.square(clipped - target)).mean()


def standardise(x: Array) -> Array:
    """(x - mean) / std over the whole array; zeros stay zeros where all are equal."""
    centred = x - x.mean()
    return centred / (jnp.sqrt(jnp.square(centred).mean()) + 1e-8)


def approximate_kl(log_ratio: Array) -> Array:
    """Estimate of KL(old, new) from samples of the old policy, non-negative in each sample.

    Source: Schulman (2020), Approximating KL Divergence, estimator k3.
    """
    return (jnp.expm1(log_ratio) - log_ratio).mean()


def explained_variance(prediction: Array, target: Array) -> Array:
    """1 - Var(target - prediction) / Var(target); nan where the target is constant."""
    return 1.0 - jnp.var(target - prediction) / jnp.var(target)
