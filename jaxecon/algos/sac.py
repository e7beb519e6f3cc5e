"""Soft actor-critic for continuous actions: boxes, simplices, balls, one agent or several.

    make_sac(env, SACConfig(num_envs=10)) -> Algorithm(init, step, evaluate, act, ...)

What fixes shapes sits in `SACConfig`; every number sits in `SACHyperparams` and is traced. The
replay buffer is part of the state, so that a run resumes exactly; jit with the state donated.

Sources: Haarnoja et al. (2018), Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement
Learning with a Stochastic Actor; Haarnoja et al. (2018), Soft Actor-Critic Algorithms and
Applications, for the temperature; Fujimoto, van Hoof & Meger (2018), Addressing Function
Approximation Error in Actor-Critic Methods, for the twin critics.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.algos import normalise, replay, rollout
from jaxecon.algos.augmentation import augmenting_spec, carry_window, draw_elements
from jaxecon.algos.base import Algorithm
from jaxecon.algos.evaluation import evaluate_policy
from jaxecon.algos.off_policy import agent_axes, features_of, init_buffer
from jaxecon.algos.sac_config import SACConfig, SACHyperparams
from jaxecon.algos.sac_update import METRICS, Learner, init_learner, make_batch, update
from jaxecon.algos.symmetry import spread_metrics
from jaxecon.envs.wrappers import refuse_gymnax_wrapper
from jaxecon.networks.continuous import ActorTwinCritic, make_actor_twin_critic
from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key, Metrics, PyTree


@struct.dataclass
class SACPolicy:
    """What acting needs: enough to save a trained policy."""

    params: PyTree  # of the actor
    obs_moments: normalise.RunningMoments  # of features [F]


@struct.dataclass
class SACState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    learner: Learner
    obs_moments: normalise.RunningMoments  # of features [F]
    rollout: rollout.RolloutState
    replay: replay.ReplayState  # its actions are unit actions
    iteration: Array  # () int32


def make_sac(env: Any, config: SACConfig | None = None) -> Algorithm:
    """SAC for one environment with continuous actions.

    Args:
      env: a jaxecon or gymnax environment. In a multi-agent one all agents share the networks, and
        each learns from its own observation, action and reward.
      config: static settings.

    Returns:
      An `Algorithm` whose functions are pure; run it with `jaxecon.algos.train`. It is evaluated,
      and `act` acts, by the mode of the latent Gaussian. Until learning starts, the metrics of
      updates are 0.

    Raises:
      TypeError: the environment is in a gymnax wrapper, which algorithms would step around.
      ValueError: at the first use, if actions are not continuous.
    """
    refuse_gymnax_wrapper(env)
    config = SACConfig() if config is None else config
    return Algorithm(
        init=functools.partial(_init, env, config),
        step=functools.partial(_step, env, config),
        evaluate=functools.partial(_evaluate, env, config),
        policy=_policy,
        act=functools.partial(_act, env, config),
        hparams=SACHyperparams(),
        steps_per_iteration=config.num_envs * config.rollout_length,
    )


def _network(env: Any, config: SACConfig, env_params: Any) -> ActorTwinCritic:
    sizes, activation = config.hidden_sizes, config.activation
    return make_actor_twin_critic(
        env, env_params, sizes, activation, config.network, config.num_banks
    )


def _init(
    env: Any, config: SACConfig, key: Key, env_params: Any, hparams: SACHyperparams
) -> SACState:
    """Fresh weights and environments, and an empty buffer."""
    key_params, key_envs = jax.random.split(key)
    network = _network(env, config, env_params)
    start = rollout.init_rollout(key_envs, env, env_params, config.num_envs)
    action = jnp.zeros((config.num_envs, *agent_axes(env), network.head.unit_size))
    return SACState(
        learner=init_learner(key_params, network, hparams),
        obs_moments=normalise.init_moments((network.features(start.obs).shape[-1],)),
        rollout=start,
        replay=init_buffer(config, env, start.obs, action),
        iteration=jnp.int32(0),
    )


def _policy(state: SACState) -> SACPolicy:
    """What acting needs of a state."""
    return SACPolicy(state.learner.params["actor"], state.obs_moments)


class Inputs(NamedTuple):
    """What one cycle of an iteration consumes, drawn before the loop."""

    noise: Array  # [T, B, ..., D] of the actions
    key_envs: Key
    bits: Array  # uint32 [U, M] of the draws from the buffer
    learning_noise: Array  # [U, 2, M, ..., D] of the next actions and of the actor's own
    num_steps: Array  # () environment steps taken when the cycle ends
    elements: PyTree  # int32 [U, M] along which transitions are carried; None if they are not


def _inputs(
    key: Key,
    env: Any,
    config: SACConfig,
    network: ActorTwinCritic,
    spec: SymmetrySpec | None,
    state: SACState,
) -> Inputs:
    """Randomness of an iteration's cycles, leaves [num_cycles, ...]."""
    key_noise, key_envs, key_bits, key_learning = jax.random.split(key, 4)
    cycles, agents = config.num_cycles, agent_axes(env)
    draws = (cycles, config.num_updates, config.batch_size)
    before = state.iteration.astype(jnp.float32) * (cycles * config.steps_per_cycle)
    passed = jnp.arange(1, cycles + 1, dtype=jnp.float32) * config.steps_per_cycle
    acting = (cycles, config.update_interval, config.num_envs, *agents)
    return Inputs(
        noise=network.head.noise(key_noise, acting),
        key_envs=jax.random.split(key_envs, cycles),
        bits=jax.random.bits(key_bits, draws),
        learning_noise=network.head.noise(key_learning, (*draws[:2], 2, draws[2], *agents)),
        num_steps=before + passed,
        elements=None if spec is None else draw_elements(key, spec, draws),
    )


def _step(
    env: Any,
    config: SACConfig,
    key: Key,
    state: SACState,
    env_params: Any,
    hparams: SACHyperparams,
) -> tuple[SACState, dict[str, Any]]:
    """Act and learn in turn for `rollout_length` steps of each environment."""
    network = _network(env, config, env_params)
    spec = augmenting_spec(env, env_params, network.obs_shape, config)

    def cycle(state: SACState, inputs: Inputs) -> tuple[SACState, tuple]:
        state, trajectory, totals = _collect(state, inputs, env, env_params, network, config)
        state, metrics = _learn(state, inputs, network, spec, config, hparams)
        obs = trajectory.obs if config.normalise_observations else None
        return state, (metrics, totals, obs)

    obs: Array
    metrics: Metrics
    inputs = _inputs(key, env, config, network, spec, state)
    state, (metrics, totals, obs) = jax.lax.scan(cycle, state, inputs)
    metrics = jax.tree.map(jnp.mean, metrics)
    metrics |= spread_metrics(state.learner.params)
    metrics["episodes"] = jax.tree.map(jnp.sum, totals)
    moments = state.obs_moments
    if config.normalise_observations:
        features = network.features(obs)
        rows = jnp.reshape(features, (-1, features.shape[-1]))
        moments = normalise.update_moments(moments, rows)
    return dataclasses.replace(state, obs_moments=moments, iteration=state.iteration + 1), metrics


def _collect(
    state: SACState,
    inputs: Inputs,
    env: Any,
    env_params: Any,
    network: ActorTwinCritic,
    config: SACConfig,
) -> tuple[SACState, rollout.Trajectory, rollout.EpisodeTotals]:
    """T steps into the buffer; also the trajectory and the episodes that ended."""

    def act(obs: Array, _: Array | None, noise: Array) -> tuple[Array, Array, Array]:
        features = features_of(network, state.obs_moments, config, obs)
        outputs = network.actor(state.learner.params["actor"], features)
        latent = network.head.sample(outputs, noise)
        unit_action = network.head.unit_action(latent)  # what the buffer keeps
        return unit_action, jnp.zeros(latent.shape[:-1]), network.head.to_action(latent)

    end, trajectory, totals = rollout.collect(
        inputs.key_envs,
        state.rollout,
        act,
        inputs.noise,
        env,
        env_params,
        reset_mode=config.reset_mode,
    )
    steps = replay.Steps(
        obs=trajectory.obs,
        action=trajectory.latent,
        reward=trajectory.reward,
        terminated=trajectory.terminated,
        truncated=trajectory.truncated,
        final_obs=trajectory.final_obs,
    )
    state = dataclasses.replace(state, rollout=end, replay=replay.add(state.replay, steps))
    return state, trajectory, totals


def _learn(
    state: SACState,
    inputs: Inputs,
    network: ActorTwinCritic,
    spec: SymmetrySpec | None,
    config: SACConfig,
    hparams: SACHyperparams,
) -> tuple[SACState, Metrics]:
    """`num_updates` gradient steps, or none before learning starts."""
    slot = replay.draw_uniform(jnp.reshape(inputs.bits, -1), state.replay)
    window = replay.read_windows(state.replay, slot, config.n_step, hparams.gamma)
    if spec is not None:
        window = carry_window(spec, jnp.reshape(inputs.elements, -1), window)
    per_update = lambda x: jnp.reshape(x, (*inputs.bits.shape, *x.shape[1:]))
    windows: replay.Window = jax.tree.map(per_update, window)

    def learn(learner: Learner, drawn: tuple) -> tuple[Learner, Metrics]:
        window, (next_noise, own_noise) = drawn
        batch = make_batch(learner, state.obs_moments, window, next_noise, network, config)
        return update(learner, batch, own_noise, network, inputs.num_steps, hparams)

    def do(learner: Learner) -> tuple[Learner, Metrics]:
        learner, metrics = jax.lax.scan(learn, learner, (windows, inputs.learning_noise))
        return learner, jax.tree.map(jnp.mean, metrics)

    def skip(learner: Learner) -> tuple[Learner, Metrics]:
        return learner, {name: jnp.zeros(()) for name in METRICS}

    is_ready = inputs.num_steps >= hparams.learning_starts
    is_ready &= replay.num_starts(state.replay) > 0
    learner, metrics = jax.lax.cond(is_ready, do, skip, state.learner)
    metrics["known_share"] = window.is_known.astype(jnp.float32).mean()
    return dataclasses.replace(state, learner=learner), metrics


def _act(
    env: Any,
    config: SACConfig,
    key: Key,
    policy: SACPolicy,
    obs: Array,
    mask: Array | None,
    env_params: Any,
) -> Array:
    """Actions [B, ...] of the policy's mode for observations [B, ...]; the key is not used."""
    del key, mask
    network = _network(env, config, env_params)
    outputs = network.actor(policy.params, features_of(network, policy.obs_moments, config, obs))
    return network.head.to_action(network.head.mode(outputs))


def _evaluate(env: Any, config: SACConfig, key: Key, state: SACState, env_params: Any) -> Metrics:
    """Metrics of `num_eval_episodes` whole episodes, played by the policy's mode."""
    policy = _policy(state)

    def act(key: Key, obs: Array, mask: Array | None) -> Array:
        return _act(env, config, key, policy, obs, mask, env_params)

    return evaluate_policy(key, act, env, env_params, config.num_eval_episodes)
