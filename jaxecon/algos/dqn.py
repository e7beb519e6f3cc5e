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
import optax
from flax import struct

from jaxecon.algos import normalise, replay, rollout
from jaxecon.algos.base import Algorithm
from jaxecon.algos.evaluation import evaluate_policy
from jaxecon.algos.observed import ObservedEnv
from jaxecon.envs import autoreset
from jaxecon.envs.base import require_count
from jaxecon.envs.wrappers import refuse_gymnax_wrapper
from jaxecon.networks.heads import mask_logits
from jaxecon.networks.policy import ACTIVATIONS
from jaxecon.networks.value import QNetwork, make_q_network
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class DQNConfig:
    """Static settings: each new value compiles a new program.

    Attributes:
      num_envs: B, environments stepped side by side.
      rollout_length: steps of each environment per iteration; noise is drawn once for all of them.
      update_interval: T, steps of each environment between updates; must divide rollout_length.
      num_updates: gradient steps after every T x B transitions.
      buffer_size: transitions kept, rounded up to a multiple of T x B.
      final_size: final observations of episodes cut off by a time limit that are kept; None is an
        eighth of the buffer. Raise it where such episodes last fewer than 8 steps: transitions
        whose final observation is lost no longer count.
      batch_size: transitions per gradient step; each holds all agents.
      n_step: rewards summed before the value estimate takes over.
      double: choose the next action by the online network, value it by the target network.
      dueling: separate streams for the state's value and the advantages.
      prioritised: draw transitions in proportion to their last error, not evenly.
      hidden_sizes: widths of the hidden layers.
      activation: "tanh", "relu", "swish" or "gelu".
      normalise_observations: centre and scale observations by running moments.
      reset_mode: "auto", "ahead" or "on_demand", see `envs.autoreset`.
      num_eval_episodes: episodes per evaluation, played greedily.
    """

    num_envs: int = 10
    rollout_length: int = 64
    update_interval: int = 1
    num_updates: int = 1
    buffer_size: int = 100_000
    final_size: int | None = None
    batch_size: int = 128
    n_step: int = 1
    double: bool = True
    dueling: bool = False
    prioritised: bool = False
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    normalise_observations: bool = False
    reset_mode: str = "auto"
    num_eval_episodes: int = 128

    def __post_init__(self):
        counts = ("num_envs", "rollout_length", "update_interval", "num_updates", "buffer_size")
        for name in (*counts, "batch_size", "n_step", "num_eval_episodes"):
            require_count(name, getattr(self, name))
        if self.final_size is not None:
            require_count("final_size", self.final_size)
        if self.rollout_length % self.update_interval:
            raise ValueError(
                f"update_interval must divide rollout_length = {self.rollout_length}, "
                f"got {self.update_interval}."
            )
        least = max(2, self.n_step + 1) * self.update_interval * self.num_envs
        if self.buffer_size < least:
            raise ValueError(
                "buffer_size must be at least (n_step + 1) * update_interval * num_envs = "
                f"{least}, got {self.buffer_size}."
            )
        if self.reset_mode not in autoreset.MODES:
            raise ValueError(
                f"reset_mode must be one of {autoreset.MODES}, got {self.reset_mode!r}."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown_name("activation", self.activation, ACTIVATIONS))
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if any(width < 1 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be at least 1 each, got {self.hidden_sizes}.")

    @property
    def num_rows(self) -> int:
        """Rows of the replay buffer, a multiple of `update_interval`."""
        block = self.update_interval * self.num_envs
        return -(-self.buffer_size // block) * self.update_interval


@struct.dataclass
class DQNHyperparams:
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size.
      gamma: discount factor per step, in [0, 1].
      tau: share of the online weights that goes into the target network at each of its updates.
      target_period: gradient steps between updates of the target network, rounded down.
      epsilon_start, epsilon_end: shares of random actions at the start and from then on.
      epsilon_share: share of `total_steps` over which ε falls from start to end.
      learning_starts: environment steps before the first update; all their actions are random.
      huber_delta: error beyond which the loss is linear. Choose it well above the scale of returns:
        a small one hides rare, large losses such as the end of an episode. The default means half
        the squared error for most tasks.
      max_grad_norm: bound on the global norm of a gradient.
      priority_exponent: α; 0 draws evenly. Used by `prioritised` alone.
      importance_exponent: β at the start, rising linearly to 1 over `total_steps`.
      anneal: share of the learning rate that has gone after `total_steps`; 0 is constant, 1 linear
        to zero.
      total_steps: environment steps over which schedules act.
    """

    learning_rate: Any = 1e-3
    gamma: Any = 0.99
    tau: Any = 0.01
    target_period: Any = 1.0
    epsilon_start: Any = 1.0
    epsilon_end: Any = 0.05
    epsilon_share: Any = 0.2
    learning_starts: Any = 1000.0
    huber_delta: Any = 1e3
    max_grad_norm: Any = 1e3
    priority_exponent: Any = 0.6
    importance_exponent: Any = 0.4
    anneal: Any = 0.0
    total_steps: Any = 1e6


@struct.dataclass
class DQNPolicy:
    """What acting needs: enough to save a trained policy."""

    params: PyTree
    obs_moments: normalise.RunningMoments  # of features [F]


@struct.dataclass
class Learner:
    """What a gradient step changes."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    num_updates: Array  # () int32


@struct.dataclass
class DQNState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    learner: Learner
    obs_moments: normalise.RunningMoments  # of features [F]
    rollout: rollout.RolloutState
    replay: replay.ReplayState
    iteration: Array  # () int32


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


def _progress(num_steps: Array | float, hparams: DQNHyperparams) -> Array:
    """Share of `total_steps` that has gone, in [0, 1]."""
    return jnp.clip(num_steps / hparams.total_steps, 0.0, 1.0)


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
    return window.reward + _per_agent(window.discount, value) * value


def _per_agent(x: Array, like: Array) -> Array:
    """[M] in the shape of `like`, [M] or [M, N]."""
    return jnp.broadcast_to(jnp.reshape(x, x.shape + (1,) * (like.ndim - x.ndim)), like.shape)


def dqn_loss(
    params: PyTree, batch: Batch, network: QNetwork, huber_delta: Array
) -> tuple[Array, Array]:
    """Weighted mean Huber loss of the chosen actions' values, and their errors Q - y, [M, ...]."""
    value = network.values(params, batch.features)
    chosen = jax.nn.one_hot(batch.action, network.num_actions, dtype=value.dtype)
    error = jnp.sum(value * chosen, axis=-1) - batch.target
    inside = jnp.minimum(jnp.abs(error), huber_delta)
    huber = inside * (jnp.abs(error) - 0.5 * inside)
    return (batch.weight * huber).mean(), error


def _optimizer(hparams: DQNHyperparams, num_steps: Array | float) -> optax.GradientTransformation:
    """Clipped Adam on the parameters as one flat vector: one kernel instead of one per array."""
    rate = hparams.learning_rate * (1.0 - hparams.anneal * _progress(num_steps, hparams))
    clip = optax.clip_by_global_norm(hparams.max_grad_norm)
    return optax.flatten(optax.chain(clip, optax.adam(rate, eps=1e-5)))


def _features(
    network: QNetwork, moments: normalise.RunningMoments, config: DQNConfig, obs: Array
) -> Array:
    """What the network sees of observations [B, ...]: rows [B, F], normalised if asked for."""
    features = network.features(obs)
    return normalise.normalise(moments, features) if config.normalise_observations else features


def make_batch(
    learner: Learner,
    moments: normalise.RunningMoments,
    window: replay.Window,
    weight: Array,
    network: QNetwork,
    config: DQNConfig,
) -> Batch:
    """Value the windows' ends and attach the targets; weight 0 where the end is not known."""
    next_features = _features(network, moments, config, window.next_obs.obs)
    next_target = network.values(learner.target_params, next_features)
    next_value = network.values(learner.params, next_features) if config.double else next_target
    target = td_target(window, next_value, next_target)
    return Batch(
        features=_features(network, moments, config, window.obs.obs),
        action=window.action,
        target=target,
        weight=_per_agent(jnp.where(window.is_known, weight, 0.0), target),
    )


def update(
    learner: Learner, batch: Batch, network: QNetwork, num_steps: Array, hparams: DQNHyperparams
) -> tuple[Learner, Array, Metrics]:
    """One gradient step; the learner, the errors [M, ...], and what is worth watching."""
    (loss, error), gradient = jax.value_and_grad(dqn_loss, has_aux=True)(
        learner.params, batch, network, hparams.huber_delta
    )
    optimizer = _optimizer(hparams, num_steps)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        updates, opt_state = optimizer.update(gradient, learner.opt_state, learner.params)
    params = optax.apply_updates(learner.params, updates)
    num_updates = learner.num_updates + 1
    period = jnp.maximum(jnp.asarray(hparams.target_period, jnp.int32), 1)
    share = jnp.where(num_updates % period == 0, hparams.tau, 0.0)
    mix = lambda target, online: target + share * (online - target)
    target_params = jax.tree.map(mix, learner.target_params, params)
    metrics = {"loss": loss, "abs_error": jnp.abs(error).mean(), "target": batch.target.mean()}
    return Learner(params, target_params, opt_state, num_updates), error, metrics


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
        policy=lambda state: DQNPolicy(state.learner.params, state.obs_moments),
        act=functools.partial(_act, env, config),
        hparams=DQNHyperparams(),
        steps_per_iteration=config.num_envs * config.rollout_length,
    )


def _network(env: Any, config: DQNConfig, env_params: Any) -> QNetwork:
    return make_q_network(env, env_params, config.hidden_sizes, config.activation, config.dueling)


def _init(
    env: Any, config: DQNConfig, key: Key, env_params: Any, hparams: DQNHyperparams
) -> DQNState:
    """Fresh weights and environments, and an empty buffer."""
    key_params, key_envs = jax.random.split(key)
    network = _network(env, config, env_params)
    params = network.init(key_params)
    start = rollout.init_rollout(key_envs, ObservedEnv(env), env_params, config.num_envs)
    seen: Any = start.obs
    num_agents = getattr(env, "num_agents", None)
    batch = (1, config.num_envs)
    agents = () if num_agents is None else (num_agents,)
    obs = jax.tree.map(lambda x: x[None], seen)
    flag = jnp.zeros(batch, bool)
    example = replay.Steps(
        obs=obs,
        action=jnp.zeros((*batch, *agents), jnp.int32),
        reward=jnp.zeros((*batch, *agents)),
        terminated=flag,
        truncated=flag,
        final_obs=obs,
    )
    return DQNState(
        learner=Learner(params, params, _optimizer(hparams, 0.0).init(params), jnp.int32(0)),
        obs_moments=normalise.init_moments((network.features(seen.obs).shape[-1],)),
        rollout=start,
        replay=replay.init_replay(
            example, config.num_rows, config.final_size, prioritised=config.prioritised
        ),
        iteration=jnp.int32(0),
    )


class Inputs(NamedTuple):
    """What one cycle of an iteration consumes, drawn before the loop."""

    noise: Array  # [T, B, ..., K + 1] of the actions
    key_envs: Key
    bits: Array  # uint32 [U, M] of the draws from the buffer
    num_steps: Array  # () environment steps taken when the cycle ends


def _inputs(key: Key, config: DQNConfig, network: QNetwork, state: DQNState) -> Inputs:
    """Randomness of an iteration's cycles, leaves [rollout_length / T, ...]."""
    key_noise, key_envs, key_bits = jax.random.split(key, 3)
    cycles = config.rollout_length // config.update_interval
    per_cycle = config.update_interval * config.num_envs
    agents = state.replay.reward.shape[2:]
    acting = (cycles, config.update_interval, config.num_envs, *agents, network.num_actions + 1)
    before = state.iteration.astype(jnp.float32) * (cycles * per_cycle)
    return Inputs(
        noise=jax.random.uniform(key_noise, acting),
        key_envs=jax.random.split(key_envs, cycles),
        bits=jax.random.bits(key_bits, (cycles, config.num_updates, config.batch_size)),
        num_steps=before + jnp.arange(1, cycles + 1, dtype=jnp.float32) * per_cycle,
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

    def cycle(state: DQNState, inputs: Inputs) -> tuple[DQNState, tuple]:
        state, obs, totals = _collect(state, inputs, env, env_params, network, config, hparams)
        state, metrics = _learn(state, inputs, network, config, hparams)
        return state, (metrics, totals, obs if config.normalise_observations else None)

    inputs = _inputs(key, config, network, state)
    obs: Array
    metrics: Metrics
    state, (metrics, totals, obs) = jax.lax.scan(cycle, state, inputs)
    metrics = jax.tree.map(jnp.mean, metrics)
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
    config: DQNConfig,
    hparams: DQNHyperparams,
) -> tuple[DQNState, Array, rollout.EpisodeTotals]:
    """T steps into the buffer; also the observations [T, B, ...] and the episodes that ended."""
    taken = inputs.num_steps - config.update_interval * config.num_envs
    epsilon = epsilon_at(taken, hparams)

    def act(seen: Any, _: Array | None, noise: Array) -> tuple[Array, Array, Array]:
        features = _features(network, state.obs_moments, config, seen.obs)
        value = network.values(state.learner.params, features)
        action = epsilon_greedy(value, seen.mask, noise, epsilon)
        return action, jnp.zeros(action.shape), action

    end, trajectory, totals = rollout.collect(
        inputs.key_envs,
        state.rollout,
        act,
        inputs.noise,
        ObservedEnv(env),
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
    seen: Any = trajectory.obs
    return state, seen.obs, totals


def _learn(
    state: DQNState, inputs: Inputs, network: QNetwork, config: DQNConfig, hparams: DQNHyperparams
) -> tuple[DQNState, Metrics]:
    """`num_updates` gradient steps, or none before learning starts."""
    is_ready = inputs.num_steps >= hparams.learning_starts
    is_ready &= replay.num_starts(state.replay) > 0
    progress = _progress(inputs.num_steps, hparams)
    beta = hparams.importance_exponent + progress * (1.0 - hparams.importance_exponent)

    def learn(carry: tuple, bits: Array) -> tuple[tuple, Metrics]:
        learner, buffer = carry
        if config.prioritised:
            slot, weight = replay.draw_prioritised(bits, buffer, beta)
        else:
            slot, weight = replay.draw_uniform(bits, buffer), jnp.ones(config.batch_size)
        window = replay.read_windows(buffer, slot, config.n_step, hparams.gamma)

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

    (learner, buffer), metrics = jax.lax.scan(learn, (state.learner, state.replay), inputs.bits)
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
    value = network.values(policy.params, _features(network, policy.obs_moments, config, obs))
    return jnp.argmax(mask_logits(value, mask), axis=-1).astype(jnp.int32)


def _evaluate(env: Any, config: DQNConfig, key: Key, state: DQNState, env_params: Any) -> Metrics:
    """Metrics of `num_eval_episodes` whole episodes, played greedily."""
    policy = DQNPolicy(state.learner.params, state.obs_moments)

    def act(key: Key, obs: Array, mask: Array | None) -> Array:
        return _act(env, config, key, policy, obs, mask, env_params)

    return evaluate_policy(key, act, env, env_params, config.num_eval_episodes)
