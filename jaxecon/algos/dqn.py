"""Deep Q-learning for discrete, masked and multi-agent environments: double, duelling, n-step,
prioritised.

    make_dqn(env, DQNConfig(num_envs=10)) -> Algorithm(init, step, evaluate, act, ...)

What fixes shapes sits in `DQNConfig`; every number sits in `DQNHyperparams` and is traced. The
replay buffer is part of the state, so that a run resumes exactly; jit with the state donated.

Sources: Mnih et al. (2015), Human-level Control through Deep Reinforcement Learning; van Hasselt,
Guez & Silver (2016), Deep Reinforcement Learning with Double Q-learning; Hessel et al. (2018),
Rainbow.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.algos import normalise, optimizers, replay, rollout
from jaxecon.algos.applicability import (
    APPLICABILITY,
    Chooser,
    Learned,
    Model,
    Shown,
    learn_from,
    make_chooser,
)
from jaxecon.algos.augmentation import augmenting_spec, carry_window, draw_elements
from jaxecon.algos.base import Algorithm
from jaxecon.algos.dqn_config import DQNConfig, DQNHyperparams
from jaxecon.algos.evaluation import evaluate_policy
from jaxecon.algos.observed import ObservedEnv
from jaxecon.algos.off_policy import agent_axes, features_of, init_buffer
from jaxecon.algos.q_learning import (
    Learner,
    epsilon_at,
    epsilon_greedy,
    make_batch,
    optimizer_at,
    update,
)
from jaxecon.algos.symmetry import spread_metrics
from jaxecon.envs.wrappers import refuse_gymnax_wrapper
from jaxecon.networks.heads import mask_logits
from jaxecon.networks.value import QNetwork, make_q_network
from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key, Metrics, PyTree


@struct.dataclass
class DQNPolicy:
    """What acting needs: enough to save a trained policy."""

    params: PyTree
    obs_moments: normalise.RunningMoments  # of features [F]
    applicability: Model | None = None


@struct.dataclass
class DQNState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    learner: Learner
    obs_moments: normalise.RunningMoments  # of features [F]
    rollout: rollout.RolloutState
    replay: replay.ReplayState
    iteration: Array  # () int32
    applicability: Learned | None = None


def make_dqn(env: Any, config: DQNConfig | None = None) -> Algorithm:
    """DQN for one environment with discrete actions.

    Args:
      env: a jaxecon or gymnax environment. In a multi-agent one all agents share the network, and
        each learns from its own reward.
      config: static settings.

    Returns:
      An `Algorithm` whose functions are pure; run it with `jaxecon.algos.train`. Until learning
      starts, the metrics of updates are 0.

    Raises:
      TypeError: the environment is in a gymnax wrapper, which algorithms would step around.
      ValueError: at the first use, if actions are not discrete.
    """
    refuse_gymnax_wrapper(env)
    config = DQNConfig() if config is None else config
    return Algorithm(
        init=functools.partial(_init, env, config),
        step=functools.partial(_step, env, config),
        evaluate=functools.partial(_evaluate, env, config),
        policy=_policy,
        act=functools.partial(_act, env, config),
        hparams=DQNHyperparams(),
        steps_per_iteration=config.num_envs * config.rollout_length,
    )


def _network(env: Any, config: DQNConfig, env_params: Any) -> QNetwork:
    return make_q_network(
        env,
        env_params,
        config.hidden_sizes,
        config.activation,
        config.dueling,
        config.network,
        config.num_banks,
    )


def _init(
    env: Any, config: DQNConfig, key: Key, env_params: Any, hparams: DQNHyperparams
) -> DQNState:
    """Fresh weights and environments, and an empty buffer."""
    key_params, key_envs = jax.random.split(key)
    network = _network(env, config, env_params)
    params = network.init(key_params)
    start = rollout.init_rollout(key_envs, ObservedEnv(env), env_params, config.num_envs)
    seen: Any = start.obs
    action = jnp.zeros((config.num_envs, *agent_axes(env)), jnp.int32)
    chooser = make_chooser(env, config, env_params)
    learned = None
    if chooser is not None and chooser.learns:
        learned = chooser.init(jax.random.fold_in(key, APPLICABILITY), seen.obs, hparams)
    return DQNState(
        learner=Learner(params, params, optimizer_at(0.0, hparams).init(params), jnp.int32(0)),
        obs_moments=normalise.init_moments((network.features(seen.obs).shape[-1],)),
        rollout=start,
        replay=init_buffer(config, env, seen, action, prioritised=config.prioritised),
        iteration=jnp.int32(0),
        applicability=learned,
    )


def _policy(state: DQNState) -> DQNPolicy:
    """What acting needs of a state."""
    model = None if state.applicability is None else state.applicability.model
    return DQNPolicy(state.learner.params, state.obs_moments, model)


class Inputs(NamedTuple):
    """What one cycle of an iteration consumes, drawn before the loop."""

    noise: Array  # [T, B, ..., K + 1] of the actions
    key_envs: Key
    bits: Array  # uint32 [U, M] of the draws from the buffer
    num_steps: Array  # () environment steps taken when the cycle ends
    ignores: Array  # [T, B] uniform, for the steps that offer every action
    elements: PyTree  # int32 [U, M] along which transitions are carried; None if they are not


def _inputs(
    key: Key, config: DQNConfig, network: QNetwork, spec: SymmetrySpec | None, state: DQNState
) -> Inputs:
    """Randomness of an iteration's cycles, leaves [rollout_length / T, ...]."""
    key_noise, key_envs, key_bits = jax.random.split(key, 3)
    cycles = config.rollout_length // config.update_interval
    per_cycle = config.update_interval * config.num_envs
    draws = (cycles, config.num_updates, config.batch_size)
    agents = state.replay.reward.shape[2:]
    acting = (cycles, config.update_interval, config.num_envs, *agents, network.num_actions + 1)
    before = state.iteration.astype(jnp.float32) * (cycles * per_cycle)
    return Inputs(
        noise=jax.random.uniform(key_noise, acting),
        key_envs=jax.random.split(key_envs, cycles),
        bits=jax.random.bits(key_bits, draws),
        num_steps=before + jnp.arange(1, cycles + 1, dtype=jnp.float32) * per_cycle,
        ignores=jax.random.uniform(jax.random.fold_in(key, APPLICABILITY), acting[:3]),
        elements=None if spec is None else draw_elements(key, spec, draws),
    )


def _step(
    env: Any,
    config: DQNConfig,
    key: Key,
    state: DQNState,
    env_params: Any,
    hparams: DQNHyperparams,
) -> tuple[DQNState, dict[str, Any]]:
    """Act and learn in turn for `rollout_length` steps of each environment."""
    network = _network(env, config, env_params)
    spec = augmenting_spec(env, env_params, network.obs_shape, config)
    chooser = make_chooser(env, config, env_params)

    def cycle(state: DQNState, inputs: Inputs) -> tuple[DQNState, tuple]:
        state, trajectory, totals = _collect(
            state, inputs, env, env_params, network, chooser, config, hparams
        )
        state, metrics = _learn(state, inputs, network, chooser, spec, config, hparams)
        obs = trajectory.obs.obs if config.normalise_observations else None
        shown = None
        if chooser is not None:
            shown = Shown(trajectory.obs.obs, trajectory.latent, trajectory.record)
        return state, (metrics, totals, obs, shown)

    inputs = _inputs(key, config, network, spec, state)
    obs: Array
    metrics: Metrics
    state, (metrics, totals, obs, shown) = jax.lax.scan(cycle, state, inputs)
    metrics = jax.tree.map(jnp.mean, metrics)
    if chooser is not None:
        shown = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[3:])), shown)
        key_fit = jax.random.fold_in(key, APPLICABILITY + 1)
        learned, more = learn_from(key_fit, state.applicability, shown, chooser, hparams)
        state, metrics = dataclasses.replace(state, applicability=learned), metrics | more
    metrics |= spread_metrics(state.learner.params)
    metrics["epsilon"] = epsilon_at(inputs.num_steps[-1], hparams)
    metrics["episodes"] = jax.tree.map(jnp.sum, totals)
    moments = state.obs_moments
    if config.normalise_observations:
        features = network.features(obs)
        rows = jnp.reshape(features, (-1, features.shape[-1]))
        moments = normalise.update_moments(moments, rows)
    return dataclasses.replace(state, obs_moments=moments, iteration=state.iteration + 1), metrics


def _collect(
    state: DQNState,
    inputs: Inputs,
    env: Any,
    env_params: Any,
    network: QNetwork,
    chooser: Chooser | None,
    config: DQNConfig,
    hparams: DQNHyperparams,
) -> tuple[DQNState, Any, rollout.EpisodeTotals]:
    """T steps into the buffer; also the trajectory and the episodes that ended."""
    taken = inputs.num_steps - config.update_interval * config.num_envs
    epsilon = epsilon_at(taken, hparams)

    model = None if state.applicability is None else state.applicability.model
    ignores = inputs.ignores < hparams.applicability_eps

    def act(seen: Any, _: Array | None, noise: tuple) -> tuple[Array, Array, Array]:
        features = features_of(network, state.obs_moments, config, seen.obs)
        value = network.values(state.learner.params, features)
        mask = seen.mask
        if chooser is not None:
            mask = chooser.mask(model, seen.obs, mask, noise[1])
        action = epsilon_greedy(value, mask, noise[0], epsilon)
        return action, jnp.zeros(action.shape), action

    end, trajectory, totals = rollout.collect(
        inputs.key_envs,
        state.rollout,
        act,
        (inputs.noise, ignores),
        ObservedEnv(env),
        env_params,
        reset_mode=config.reset_mode,
        record=None if chooser is None else chooser.label,
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
    state: DQNState,
    inputs: Inputs,
    network: QNetwork,
    chooser: Chooser | None,
    spec: SymmetrySpec | None,
    config: DQNConfig,
    hparams: DQNHyperparams,
) -> tuple[DQNState, Metrics]:
    """`num_updates` gradient steps, or none before learning starts."""
    is_ready = inputs.num_steps >= hparams.learning_starts
    is_ready &= replay.num_starts(state.replay) > 0
    progress = optimizers.progress(inputs.num_steps, hparams.total_steps)
    beta = hparams.importance_exponent + progress * (1.0 - hparams.importance_exponent)

    def learn(carry: tuple, drawn: tuple) -> tuple[tuple, Metrics]:
        (learner, buffer), (bits, elements) = carry, drawn
        if config.prioritised:
            slot, weight = replay.draw_prioritised(bits, buffer, beta)
        else:
            slot, weight = replay.draw_uniform(bits, buffer), jnp.ones(config.batch_size)
        window = replay.read_windows(buffer, slot, config.n_step, hparams.gamma)
        if chooser is not None:
            model = None if state.applicability is None else state.applicability.model
            mask = chooser.mask(model, window.next_obs.obs, window.next_obs.mask)
            window = window._replace(next_obs=window.next_obs._replace(mask=mask))
        if spec is not None:
            window = carry_window(spec, elements, window)

        def do(learner: Learner) -> tuple[Learner, Array, Metrics]:
            batch = make_batch(learner, state.obs_moments, window, weight, network, config)
            return update(learner, batch, network, inputs.num_steps, hparams)

        def skip(learner: Learner) -> tuple[Learner, Array, Metrics]:
            _, error, metrics = jax.eval_shape(do, learner)
            zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)
            return learner, zeros(error), jax.tree.map(zeros, metrics)

        learner, error, metrics = jax.lax.cond(is_ready, do, skip, learner)
        if config.prioritised:
            buffer = _reprioritise(buffer, slot, error, is_ready, hparams)
        metrics["known_share"] = window.is_known.astype(jnp.float32).mean()
        return (learner, buffer), metrics

    carry, drawn = (state.learner, state.replay), (inputs.bits, inputs.elements)
    (learner, buffer), metrics = jax.lax.scan(learn, carry, drawn)
    state = dataclasses.replace(state, learner=learner, replay=buffer)
    return state, jax.tree.map(jnp.mean, metrics)


def _reprioritise(
    buffer: replay.ReplayState, slot: Array, error: Array, used: Array, hparams: DQNHyperparams
) -> replay.ReplayState:
    """Priorities (|error| + 1e-6)^α, the error averaged over agents."""
    size = jnp.abs(error)
    size = size if size.ndim == 1 else size.mean(axis=-1)
    mass = jnp.power(size + 1e-6, hparams.priority_exponent)
    return replay.set_priorities(buffer, slot, mass, used)


def _act(
    env: Any,
    config: DQNConfig,
    key: Key,
    policy: DQNPolicy,
    obs: Array,
    mask: Array | None,
    env_params: Any,
) -> Array:
    """Best actions [B, ...] for observations [B, ...]; the key is not used."""
    del key
    network = _network(env, config, env_params)
    value = network.values(policy.params, features_of(network, policy.obs_moments, config, obs))
    chooser = make_chooser(env, config, env_params)
    if chooser is not None:
        mask = chooser.mask(policy.applicability, obs, mask)
    return jnp.argmax(mask_logits(value, mask), axis=-1).astype(jnp.int32)


def _evaluate(env: Any, config: DQNConfig, key: Key, state: DQNState, env_params: Any) -> Metrics:
    """Metrics of `num_eval_episodes` whole episodes, played greedily."""
    policy = _policy(state)

    def act(key: Key, obs: Array, mask: Array | None) -> Array:
        return _act(env, config, key, policy, obs, mask, env_params)

    return evaluate_policy(key, act, env, env_params, config.num_eval_episodes)
