"""What a gradient step of deep Q-learning is: exploration, targets, loss and update.

Sources: see `jaxecon.algos.dqn`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxecon.algos import normalise, optimizers, replay
from jaxecon.algos.dqn_config import DQNConfig, DQNHyperparams
from jaxecon.algos.off_policy import features_of
from jaxecon.algos.returns import per_agent
from jaxecon.algos.symmetry import penalised, rates
from jaxecon.networks.heads import mask_logits
from jaxecon.networks.value import QNetwork
from jaxecon.types import Array, Metrics, PyTree


@struct.dataclass
class Learner:
    """What a gradient step changes."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    num_updates: Array  # () int32


class Batch(NamedTuple):
    """What a gradient step learns from; N agents follow M where there are several."""

    features: Array  # [M, F] or [M, N, F]
    action: Array  # int32 [M] or [M, N]
    target: Array  # [M] or [M, N]
    weight: Array  # [M] or [M, N]


def epsilon_at(num_steps: Array, hparams: DQNHyperparams) -> Array:
    """Share of random actions after `num_steps` environment steps, ()."""
    fall = num_steps / jnp.maximum(hparams.epsilon_share * hparams.total_steps, 1.0)
    change = hparams.epsilon_end - hparams.epsilon_start
    epsilon = hparams.epsilon_start + jnp.minimum(fall, 1.0) * change
    return jnp.where(num_steps < hparams.learning_starts, 1.0, epsilon)


def epsilon_greedy(value: Array, mask: Array | None, noise: Array, epsilon: Array) -> Array:
    """Best action, or with probability ε one drawn evenly from the legal ones, int32 [B].

    Args:
      value: [B, K] action values.
      mask: [B, K] legal choices, or None.
      noise: [B, K + 1], uniform in [0, 1): one number to decide, K to choose.
      epsilon: ε.
    """
    best = jnp.argmax(mask_logits(value, mask), axis=-1)
    drawn = jnp.argmax(mask_logits(noise[..., 1:], mask), axis=-1)
    return jnp.where(noise[..., 0] < epsilon, drawn, best).astype(jnp.int32)


def td_target(window: replay.Window, next_value: Array, next_target: Array) -> Array:
    """Regression target of the value of the window's first action, [M] or [M, N].

        y = R + discount * Q'(s', argmax over legal a of Q(s', a))

    Args:
      window: M windows; `next_obs` is an `Observed`.
      next_value: Q(s', .) of the network that chooses, [M, K] or [M, N, K]: the online network
        in double Q-learning, the target network otherwise.
      next_target: Q'(s', .) of the target network, likewise.
    """
    best = jnp.argmax(mask_logits(next_value, window.next_obs.mask), axis=-1)
    value = jnp.take_along_axis(next_target, best[..., None], axis=-1)[..., 0]
    return window.reward + per_agent(window.discount, value) * value


def dqn_loss(
    params: PyTree, batch: Batch, network: QNetwork, hparams: DQNHyperparams
) -> tuple[Array, Array]:
    """Weighted mean Huber loss of the chosen actions' values, and their errors Q - y, [M, ...].

    Penalties of relaxed and residual networks are part of it, see `algos.symmetry`.
    """
    value = network.values(params, batch.features)
    chosen = jax.nn.one_hot(batch.action, network.num_actions, dtype=value.dtype)
    error = jnp.sum(value * chosen, axis=-1) - batch.target
    inside = jnp.minimum(jnp.abs(error), hparams.huber_delta)
    huber = inside * (jnp.abs(error) - 0.5 * inside)
    return penalised((batch.weight * huber).mean(), params, hparams), error


def optimizer_at(num_steps: Array | float, hparams: DQNHyperparams) -> optax.GradientTransformation:
    """Clipped Adam after a number of environment steps."""
    progress = optimizers.progress(num_steps, hparams.total_steps)
    rate = optimizers.linear_rate(hparams.learning_rate, hparams.anneal, progress)
    return optimizers.flat_adam(
        rate, eps=1e-5, max_grad_norm=hparams.max_grad_norm, multiples=rates(hparams)
    )


def make_batch(
    learner: Learner,
    moments: normalise.RunningMoments,
    window: replay.Window,
    weight: Array,
    network: QNetwork,
    config: DQNConfig,
) -> Batch:
    """Value the windows' ends and attach the targets; weight 0 where the end is not known."""
    next_features = features_of(network, moments, config, window.next_obs.obs)
    next_target = network.values(learner.target_params, next_features)
    next_value = network.values(learner.params, next_features) if config.double else next_target
    target = td_target(window, next_value, next_target)
    return Batch(
        features=features_of(network, moments, config, window.obs.obs),
        action=window.action,
        target=target,
        weight=per_agent(jnp.where(window.is_known, weight, 0.0), target),
    )


def update(
    learner: Learner, batch: Batch, network: QNetwork, num_steps: Array, hparams: DQNHyperparams
) -> tuple[Learner, Array, Metrics]:
    """One gradient step; the learner, the errors [M, ...], and what is worth watching."""
    (loss, error), gradient = jax.value_and_grad(dqn_loss, has_aux=True)(
        learner.params, batch, network, hparams
    )
    params, opt_state = optimizers.descend(
        optimizer_at(num_steps, hparams), gradient, learner.opt_state, learner.params
    )
    num_updates = learner.num_updates + 1
    period = jnp.maximum(jnp.asarray(hparams.target_period, jnp.int32), 1)
    share = jnp.where(num_updates % period == 0, hparams.tau, 0.0)
    mix = lambda target, online: target + share * (online - target)
    target_params = jax.tree.map(mix, learner.target_params, params)
    metrics = {"loss": loss, "abs_error": jnp.abs(error).mean(), "target": batch.target.mean()}
    return Learner(params, target_params, opt_state, num_updates), error, metrics
