"""What a gradient step of soft actor-critic is: targets, the three losses, and the update.

Actor, critics and temperature take their steps together, each at the others' old values, so that
one gradient and one optimiser serve all three.

Sources: see `jaxecon.algos.sac`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxecon.algos import normalise, optimizers, replay
from jaxecon.algos.off_policy import features_of
from jaxecon.algos.returns import per_agent
from jaxecon.algos.sac_config import SACConfig, SACHyperparams
from jaxecon.algos.symmetry import penalised, rates
from jaxecon.networks.continuous import ActorTwinCritic
from jaxecon.types import Array, Key, Metrics, PyTree

METRICS = ("critic_loss", "actor_loss", "temperature", "entropy", "target")


@struct.dataclass
class Learner:
    """What a gradient step changes."""

    params: PyTree  # {"actor", "critics", "log_temperature"}
    target_critics: PyTree
    opt_state: PyTree


class Batch(NamedTuple):
    """What a gradient step learns from; N agents follow M where there are several."""

    features: Array  # [M, F] or [M, N, F]
    action: Array  # [M, A] or [M, N, A], unit actions
    target: Array  # [M] or [M, N]
    weight: Array  # [M] or [M, N]


def init_learner(key: Key, network: ActorTwinCritic, hparams: SACHyperparams) -> Learner:
    """Fresh weights, the target critics equal to the online ones."""
    params = network.init(key)
    log_temperature = jnp.log(jnp.asarray(hparams.initial_temperature, jnp.float32))
    params = params | {"log_temperature": log_temperature}
    return Learner(params, params["critics"], _optimizer(hparams).init(params))


def _optimizer(hparams: SACHyperparams) -> optax.GradientTransformation:
    """Adam of step size 1, for `rates_at` to scale."""
    return optimizers.flat_adam(1.0, multiples=rates(hparams))


def rates_at(num_steps: Array, hparams: SACHyperparams) -> dict[str, Array]:
    """Step sizes after a number of environment steps."""
    progress = optimizers.progress(num_steps, hparams.total_steps)
    rate = optimizers.linear_rate(hparams.learning_rate, hparams.anneal, progress)
    return {
        "actor": rate * hparams.actor_rate_share,
        "critics": rate,
        "log_temperature": rate * hparams.temperature_rate_share,
    }


def soft_target(
    window: replay.Window, next_value: Array, next_log_density: Array, temperature: Array
) -> Array:
    """Regression target of the value of the window's first action, [M] or [M, N].

        y = R + discount * (min over i of Q'_i(s', a') - α log π(a' | s'))

    Args:
      window: M windows.
      next_value: target critics' values of a' ~ π(. | s'), [2, M] or [2, M, N].
      next_log_density: log π(a' | s'), [M] or [M, N].
      temperature: α.
    """
    value = next_value.min(axis=0) - temperature * next_log_density
    return window.reward + per_agent(window.discount, value) * value


def make_batch(
    learner: Learner,
    moments: normalise.RunningMoments,
    window: replay.Window,
    noise: Array,
    network: ActorTwinCritic,
    config: SACConfig,
) -> Batch:
    """Value the windows' ends and attach the targets; weight 0 where the end is not known.

    Args:
      noise: [M, D] or [M, N, D], of the next actions.
    """
    features = features_of(network, moments, config, window.next_obs)
    outputs = network.actor(learner.params["actor"], features)
    latent, log_density = network.head.draw(outputs, noise)
    action = network.head.unit_action(latent)
    value = network.critics(learner.target_critics, features, action)
    temperature = jnp.exp(learner.params["log_temperature"])
    target = soft_target(window, value, log_density, temperature)
    return Batch(
        features=features_of(network, moments, config, window.obs),
        action=window.action,
        target=target,
        weight=per_agent(window.is_known.astype(target.dtype), target),
    )


def sac_loss(
    params: PyTree,
    batch: Batch,
    noise: Array,
    network: ActorTwinCritic,
    target_entropy: Array,
) -> tuple[Array, Metrics]:
    """Sum of the three losses, each with a gradient in its own parameters alone; and metrics.

        critics:      sum over i of mean (Q_i(s, a) - y)² / 2
        actor:        mean of α log π(ã | s) - min over i of Q_i(s, ã),  ã ~ π(. | s)
        temperature:  α (mean entropy - target entropy)

    Args:
      params: {"actor", "critics", "log_temperature"}.
      batch: M samples.
      noise: [M, D] or [M, N, D], of the actor's own actions ã.
      network: actor and critics.
      target_entropy: in nats.
    """
    head = network.head
    value = network.critics(params["critics"], batch.features, batch.action)  # [2, M]
    error = value - batch.target[None]
    critic_loss = 0.5 * jnp.sum(jnp.mean(batch.weight[None] * jnp.square(error), axis=1))
    temperature = jnp.exp(params["log_temperature"])
    latent, log_density = head.draw(network.actor(params["actor"], batch.features), noise)
    critics = jax.lax.stop_gradient(params["critics"])
    own_value = network.critics(critics, batch.features, head.unit_action(latent)).min(axis=0)
    actor_loss = jnp.mean(jax.lax.stop_gradient(temperature) * log_density - own_value)
    entropy = -jax.lax.stop_gradient(log_density).mean()
    temperature_loss = temperature * (entropy - target_entropy)
    watched = (critic_loss, actor_loss, temperature, entropy, batch.target.mean())
    metrics = dict(zip(METRICS, watched, strict=True))
    return critic_loss + actor_loss + temperature_loss, metrics


def update(
    learner: Learner,
    batch: Batch,
    noise: Array,
    network: ActorTwinCritic,
    num_steps: Array,
    hparams: SACHyperparams,
) -> tuple[Learner, Metrics]:
    """One gradient step of all parameters, and of the target critics towards the online ones."""
    target_entropy = -hparams.target_entropy_share * network.head.num_outputs

    def loss(params: PyTree) -> tuple[Array, Metrics]:
        value, metrics = sac_loss(params, batch, noise, network, target_entropy)
        return penalised(value, params, hparams), metrics

    gradient, metrics = jax.grad(loss, has_aux=True)(learner.params)
    params, opt_state = optimizers.descend(
        _optimizer(hparams),
        gradient,
        learner.opt_state,
        learner.params,
        rates_at(num_steps, hparams),
    )
    mix = lambda target, online: target + hparams.tau * (online - target)
    target_critics = jax.tree.map(mix, learner.target_critics, params["critics"])
    return Learner(params, target_critics, opt_state), metrics
