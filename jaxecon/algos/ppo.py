"""Proximal policy optimisation: discrete, masked, continuous, simplex-valued and multi-agent.

    make_ppo(env, PPOConfig(num_envs=16)) -> Algorithm(init, step, evaluate, act, ...)

What fixes shapes sits in `PPOConfig`; every number sits in `PPOHyperparams` and is traced, so a
new learning rate or clip range never compiles anew and whole grids run in one program.

Source: Schulman et al. (2017), Proximal Policy Optimization Algorithms.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxecon.algos import augmentation, losses, normalise, optimizers, returns, rollout, shuffle
from jaxecon.algos.applicability import (
    APPLICABILITY,
    Chooser,
    Learned,
    Model,
    Shown,
    declared_mask,
    learn_from,
    make_chooser,
)
from jaxecon.algos.base import Algorithm
from jaxecon.algos.evaluation import evaluate_policy
from jaxecon.algos.ppo_config import PPOConfig, PPOHyperparams
from jaxecon.algos.symmetry import penalised, rates, spread_metrics
from jaxecon.envs.wrappers import refuse_gymnax_wrapper
from jaxecon.networks.policy import ActorCritic, make_actor_critic
from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key, Metrics, PyTree


@struct.dataclass
class PPOPolicy:
    """What acting needs: enough to save a trained policy."""

    params: PyTree
    obs_moments: normalise.RunningMoments  # of features [F]
    applicability: Model | None = None


@struct.dataclass
class PPOState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    policy: PPOPolicy
    opt_state: PyTree
    rollout: rollout.RolloutState
    return_moments: normalise.RunningMoments  # scalar
    discounted_return: Array  # [B] or [B, N], running
    iteration: Array  # () int32
    applicability: Learned | None = None


class Batch(NamedTuple):
    """Samples of one rollout, flattened to [M, ...]."""

    features: Array
    mask: Array | None
    latent: Array
    log_prob: Array
    value: Array
    advantage: Array
    target: Array


def _optimizer(hparams: PPOHyperparams, num_steps: Array | float) -> optax.GradientTransformation:
    """Clipped Adam after a number of environment steps."""
    progress = optimizers.progress(num_steps, hparams.total_steps)
    rate = optimizers.linear_rate(hparams.learning_rate, hparams.anneal, progress)
    return optimizers.flat_adam(
        rate, eps=1e-5, max_grad_norm=hparams.max_grad_norm, multiples=rates(hparams)
    )


def ppo_loss(
    params: PyTree, batch: Batch, network: ActorCritic, hparams: PPOHyperparams
) -> tuple[Array, Metrics]:
    """Loss of one minibatch, and what is worth watching about it."""
    outputs = network.policy(params, batch.features, batch.mask)
    log_ratio = network.head.log_prob(outputs, batch.latent) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = losses.standardise(batch.advantage)
    policy_loss = losses.clipped_surrogate(ratio, advantage, hparams.clip_eps)
    value = network.value(params, batch.features)
    value_loss = losses.clipped_value_loss(value, batch.value, batch.target, hparams.clip_eps)
    entropy = network.head.entropy(outputs).mean()
    loss = policy_loss + hparams.vf_coef * value_loss - hparams.ent_coef * entropy
    loss = penalised(loss, params, hparams)
    outside = jnp.abs(ratio - 1.0) > hparams.clip_eps
    return loss, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": losses.approximate_kl(log_ratio),
        "clip_fraction": outside.astype(jnp.float32).mean(),
    }


def update(
    key: Key,
    state: PPOState,
    batch: Batch,
    network: ActorCritic,
    config: PPOConfig,
    hparams: PPOHyperparams,
) -> tuple[PPOState, Metrics]:
    """`num_epochs` shuffled passes over a batch; returns the metrics' mean over minibatches."""
    optimizer = _optimizer(hparams, state.iteration.astype(jnp.float32) * config.batch_size)
    size = batch.advantage.shape[0]
    keys = jax.random.split(key, config.num_epochs)
    order = jax.vmap(lambda key: shuffle.permutation(key, size, config.shuffle))(keys)
    minibatches = jnp.reshape(order, (config.num_epochs * config.num_minibatches, -1))

    def step(carry: tuple, index: Array) -> tuple:
        params, opt_state = carry
        minibatch = jax.tree.map(lambda x: x[index], batch)
        gradient, metrics = jax.grad(ppo_loss, has_aux=True)(params, minibatch, network, hparams)
        return optimizers.descend(optimizer, gradient, opt_state, params), metrics

    carry = (state.policy.params, state.opt_state)
    metrics: Metrics
    (params, opt_state), metrics = jax.lax.scan(step, carry, minibatches)
    state = dataclasses.replace(
        state, policy=dataclasses.replace(state.policy, params=params), opt_state=opt_state
    )
    return state, jax.tree.map(jnp.mean, metrics)


def _features(network: ActorCritic, policy: PPOPolicy, config: PPOConfig, obs: Array) -> Array:
    """What the networks see of observations [B, ...]: rows [B, F], normalised if asked for."""
    features = network.features(obs)
    if not config.normalise_observations:
        return features
    return normalise.normalise(policy.obs_moments, features)


def _scale_rewards(
    state: PPOState, trajectory: rollout.Trajectory, done: Array, gamma: Array
) -> tuple[PPOState, Array]:
    """Rewards over the running deviation of the discounted return, and the updated moments."""

    def accumulate(total: Array, inputs: tuple) -> tuple:
        reward, done = inputs
        total = reward + gamma * total
        return jnp.where(done, 0.0, total), total

    total: Array
    totals: Array
    total, totals = jax.lax.scan(accumulate, state.discounted_return, (trajectory.reward, done))
    moments = normalise.update_moments(state.return_moments, jnp.reshape(totals, (-1,)))
    state = dataclasses.replace(state, discounted_return=total, return_moments=moments)
    return state, normalise.scale_only(moments, trajectory.reward)


def make_batch(
    state: PPOState,
    trajectory: rollout.Trajectory,
    network: ActorCritic,
    config: PPOConfig,
    hparams: PPOHyperparams,
) -> tuple[PPOState, Batch, Metrics]:
    """Value a trajectory, estimate its advantages and flatten it for learning."""
    policy = state.policy

    def value_of(obs: Array) -> Array:
        return network.value(policy.params, _features(network, policy, config, obs))

    features = _features(network, policy, config, trajectory.obs)
    value = network.value(policy.params, features)
    following = rollout.following_values(value_of, trajectory, value, value_of(state.rollout.obs))
    terminated = returns.per_agent(trajectory.terminated, value)
    done = terminated | returns.per_agent(trajectory.truncated, value)
    reward = trajectory.reward
    if config.normalise_rewards:
        state, reward = _scale_rewards(state, trajectory, done, hparams.gamma)
    advantage, target = returns.generalised_advantage(
        reward, value, following, terminated, done, hparams.gamma, hparams.gae_lambda
    )
    samples = Batch(
        features, trajectory.mask, trajectory.latent, trajectory.log_prob, value, advantage, target
    )
    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[value.ndim :])), samples)
    metrics = {"explained_variance": losses.explained_variance(value, target)}
    if config.normalise_observations:
        raw = jnp.reshape(network.features(trajectory.obs), (-1, features.shape[-1]))
        moments = normalise.update_moments(policy.obs_moments, raw)
        state = dataclasses.replace(state, policy=dataclasses.replace(policy, obs_moments=moments))
    return state, flat, metrics


def carry_batch(key: Key, batch: Batch, spec: SymmetrySpec) -> Batch:
    """Samples carried along random elements; probabilities, values and advantages stay.

        (s, a)  ->  (g·s, g·a)   with  log π(a | s), V(s), A and R

    Where the task has the symmetry, these are samples of the carried policy, π_g(g·a | g·s) =
    π(a | s), with its own values and advantages. So π_θ(g·a | g·s) / π(a | s) is the importance
    weight of what was drawn, and clipping holds π_θ near π_g, not near π: towards symmetric. For an
    exact policy the two are one and nothing changes; for others ratios do not start at 1, and
    `clip_fraction` counts their asymmetry too. Where the task lacks the symmetry, A and R are off
    by its mismatch.

    To value carried samples anew by π, for ratios of 1 at the start, would take g·a for draws of π.
    The gradient is then that at π_g: what of π is not symmetric feels no pull, and drifts.

    Elements are drawn once per update: a sample is compared with one policy through all epochs.
    """
    elements = augmentation.draw_elements(key, spec, batch.advantage.shape)
    return batch._replace(
        features=augmentation.carry_obs(spec, elements, batch.features),
        mask=augmentation.carry_mask(spec, elements, batch.mask),
        latent=augmentation.carry_action(spec, elements, batch.latent),
    )


def make_ppo(env: Any, config: PPOConfig | None = None) -> Algorithm:
    """PPO for one environment.

    Args:
      env: a jaxecon or gymnax environment.
      config: static settings.

    Returns:
      An `Algorithm` whose functions are pure; run it with `jaxecon.algos.train`.

    Raises:
      TypeError: the environment is in a gymnax wrapper, which algorithms would step around.
    """
    refuse_gymnax_wrapper(env)
    config = PPOConfig() if config is None else config
    return Algorithm(
        init=functools.partial(_init, env, config),
        step=functools.partial(_step, env, config),
        evaluate=functools.partial(_evaluate, env, config),
        policy=_policy,
        act=functools.partial(_act, env, config),
        hparams=PPOHyperparams(),
        steps_per_iteration=config.batch_size,
    )


def _network(env: Any, config: PPOConfig, env_params: Any) -> ActorCritic:
    sizes, activation = config.hidden_sizes, config.activation
    return make_actor_critic(env, env_params, sizes, activation, config.network, config.num_banks)


def _init(
    env: Any, config: PPOConfig, key: Key, env_params: Any, hparams: PPOHyperparams
) -> PPOState:
    """Fresh weights and environments."""
    key_params, key_envs = jax.random.split(key)
    network = _network(env, config, env_params)
    params = network.init(key_params)
    start = rollout.init_rollout(key_envs, env, env_params, config.num_envs)
    num_agents = getattr(env, "num_agents", None)
    agents = () if num_agents is None else (num_agents,)
    chooser = make_chooser(env, config, env_params)
    learned = None
    if chooser is not None and chooser.learns:
        learned = chooser.init(jax.random.fold_in(key, APPLICABILITY), start.obs, hparams)
    moments = normalise.init_moments((network.features(start.obs).shape[-1],))
    return PPOState(
        policy=PPOPolicy(params, moments),
        opt_state=_optimizer(hparams, 0.0).init(params),
        rollout=start,
        return_moments=normalise.init_moments(()),
        discounted_return=jnp.zeros((config.num_envs, *agents)),
        iteration=jnp.int32(0),
        applicability=learned,
    )


def _policy(state: PPOState) -> PPOPolicy:
    """What acting needs of a state."""
    learned = state.applicability
    if learned is None:
        return state.policy
    return dataclasses.replace(state.policy, applicability=learned.model)


def _step(
    env: Any,
    config: PPOConfig,
    key: Key,
    state: PPOState,
    env_params: Any,
    hparams: PPOHyperparams,
) -> tuple[PPOState, dict[str, Any]]:
    """Collect a rollout and learn from it."""
    key_noise, key_envs, key_update = jax.random.split(key, 3)
    network = _network(env, config, env_params)
    num_agents = getattr(env, "num_agents", None)
    agents = () if num_agents is None else (num_agents,)
    noise = network.head.noise(key_noise, (config.rollout_length, config.num_envs, *agents))

    def act(obs: Array, mask: Array | None, noise: Array) -> tuple[Array, Array, Array]:
        features = _features(network, state.policy, config, obs)
        outputs = network.policy(state.policy.params, features, mask)
        latent = network.head.sample(outputs, noise)
        return latent, network.head.log_prob(outputs, latent), network.head.to_action(latent)

    chooser = make_chooser(env, config, env_params)
    if chooser is None:
        end, trajectory, totals = rollout.collect(
            key_envs, state.rollout, act, noise, env, env_params, reset_mode=config.reset_mode
        )
    else:
        end, trajectory, totals = _collect_choosing(
            key, key_envs, state, act, noise, chooser, config, hparams
        )
    state, batch, metrics = make_batch(
        dataclasses.replace(state, rollout=end), trajectory, network, config, hparams
    )
    spec = augmentation.augmenting_spec(env, env_params, network.obs_shape, config)
    if spec is not None:
        batch = carry_batch(key, batch, spec)
    state, update_metrics = update(key_update, state, batch, network, config, hparams)
    state = dataclasses.replace(state, iteration=state.iteration + 1)
    metrics |= update_metrics | spread_metrics(state.policy.params)
    if chooser is not None:
        shown = Shown(trajectory.obs, trajectory.latent, trajectory.record)
        shown = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[2:])), shown)
        key_fit = jax.random.fold_in(key, APPLICABILITY + 1)
        learned, more = learn_from(key_fit, state.applicability, shown, chooser, hparams)
        state, metrics = dataclasses.replace(state, applicability=learned), metrics | more
    return state, metrics | {"episodes": totals}


def _collect_choosing(
    key: Key,
    key_envs: Key,
    state: PPOState,
    act: rollout.ActFn,
    noise: Array,
    chooser: Chooser,
    config: PPOConfig,
    hparams: PPOHyperparams,
) -> tuple[rollout.RolloutState, rollout.Trajectory, rollout.EpisodeTotals]:
    """A rollout under the chooser's masks, with the actions' effects noted."""
    env, env_params = chooser.env, chooser.env_params
    model = None if state.applicability is None else state.applicability.model
    key_ignore = jax.random.fold_in(key, APPLICABILITY)
    ignores = jax.random.uniform(key_ignore, noise.shape[:2]) < hparams.applicability_eps

    def mask_of(env_state: PyTree, obs: Array, noise: tuple) -> Array | None:
        declared = declared_mask(env, env_params, env_state)
        return chooser.mask(model, obs, declared, noise[1])

    return rollout.collect(
        key_envs,
        state.rollout,
        lambda obs, mask, noise: act(obs, mask, noise[0]),
        (noise, ignores),
        env,
        env_params,
        reset_mode=config.reset_mode,
        mask_of=mask_of,
        record=chooser.label,
    )


def _act(
    env: Any,
    config: PPOConfig,
    key: Key,
    policy: PPOPolicy,
    obs: Array,
    mask: Array | None,
    env_params: Any,
) -> Array:
    """Actions [B, ...] of a policy for observations [B, ...]."""
    network = _network(env, config, env_params)
    chooser = make_chooser(env, config, env_params)
    if chooser is not None:
        mask = chooser.mask(policy.applicability, obs, mask)
    outputs = network.policy(policy.params, _features(network, policy, config, obs), mask)
    if config.greedy_evaluation:
        return network.head.to_action(network.head.mode(outputs))
    leading = obs.shape[: obs.ndim - len(network.obs_shape)]
    return network.head.to_action(network.head.sample(outputs, network.head.noise(key, leading)))


def _evaluate(env: Any, config: PPOConfig, key: Key, state: PPOState, env_params: Any) -> Metrics:
    """Metrics of `num_eval_episodes` whole episodes."""
    policy = _policy(state)

    def act(key: Key, obs: Array, mask: Array | None) -> Array:
        return _act(env, config, key, policy, obs, mask, env_params)

    return evaluate_policy(key, act, env, env_params, config.num_eval_episodes)
