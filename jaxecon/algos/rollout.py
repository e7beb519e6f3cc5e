"""Collecting experience from a batch of environments, and bootstrapping where it was cut off."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import autoreset
from jaxecon.types import Array, Key, PyTree

# (obs [B, ...], mask [B, K] or None, noise [B, ...]) -> (latent, log_prob, action)
ActFn = Callable[[Array, Array | None, Any], tuple[Array, Array, Array]]


@struct.dataclass
class RolloutState:
    """Where each of B environments stands between two rollouts."""

    env_state: PyTree  # leaves [B, ...]
    obs: Array  # [B, ...]
    episode_return: Array  # [B] undiscounted, averaged over agents
    episode_length: Array  # [B] int32


@struct.dataclass
class EpisodeTotals:
    """Sums over the episodes that ended during a rollout; unfinished ones are not counted."""

    count: Array  # ()
    return_sum: Array  # ()
    length_sum: Array  # ()

    def means(self) -> dict[str, Array]:
        """Mean return and length, nan if no episode ended."""
        return {
            "episode_return": self.return_sum / self.count,
            "episode_length": self.length_sum / self.count,
        }


class Trajectory(NamedTuple):
    """T steps of B environments, time-major; N agents follow B where there are several."""

    obs: Array  # [T, B, ...]
    mask: Array | None  # [T, B, ..., K] legal choices
    latent: Array  # [T, B, ...] action before squashing
    log_prob: Array  # [T, B] or [T, B, N]
    reward: Array  # [T, B] or [T, B, N]
    terminated: Array  # [T, B]
    truncated: Array  # [T, B]
    final_obs: Array  # [T, B, ...] before any reset
    record: PyTree = None  # leaves [T, B, ...], what `collect` was asked to note


def init_rollout(key: Key, env: Any, env_params: Any, num_envs: int) -> RolloutState:
    """Every environment at the start of its first episode."""
    obs, env_state = autoreset.reset_batch(key, env, env_params, num_envs)
    zeros = jnp.zeros(num_envs)
    return RolloutState(env_state, obs, zeros, zeros.astype(jnp.int32))


def legal_actions(env: Any, env_params: Any, env_state: PyTree) -> Array | None:
    """Masks [B, ..., K] of a batch of states, or None where every action is always legal."""
    action_mask = getattr(env, "action_mask", None)
    return None if action_mask is None else jax.vmap(action_mask, (0, None))(env_state, env_params)


def collect(
    key: Key,
    state: RolloutState,
    act: ActFn,
    noise: Any,
    env: Any,
    env_params: Any,
    *,
    reset_mode: str = "auto",
    mask_of: Callable[[PyTree, Array, Any], Array | None] | None = None,
    record: Callable[[Key, PyTree, Array, PyTree], PyTree] | None = None,
) -> tuple[RolloutState, Trajectory, EpisodeTotals]:
    """Step B environments T times.

    Everything random is drawn before the loop: the policy's noise (an argument), the keys of the
    environments and, in mode "ahead", the first state of every episode that could begin.

    Args:
      key: PRNG key of the environments.
      state: where the environments stand.
      act: the policy.
      noise: [T, B, ...] noise for `act`, one array or a pytree of them.
      env: the environment.
      env_params: its economy.
      reset_mode: "auto", "ahead" or "on_demand", see `jaxecon.envs.autoreset`.
      mask_of: (env_state, obs, noise) -> masks [B, K] for `act`; the environment's own if None.
      record: (keys [B], env_state, action, state after it) -> what to note of a step, if anything.
    """
    num_steps, num_envs = jax.tree.leaves(noise)[0].shape[:2]
    mode = autoreset.choose_mode(env, reset_mode, num_envs)
    group = autoreset.choose_group(env, num_envs)
    key_steps, key_resets = jax.random.split(key)
    step_keys = jax.random.split(key_steps, (num_steps, num_envs))
    if mode == "ahead":
        reset = jax.vmap(jax.vmap(env.reset_env, (0, None)), (0, None))
        spare = reset(jax.random.split(key_resets, (num_steps, num_envs)), env_params)
    else:
        spare = jax.random.split(key_resets, num_steps)

    def step(carry: tuple, inputs: tuple) -> tuple:
        (state, totals), (noise_t, keys, spare_t) = carry, inputs
        if mask_of is None:
            mask = legal_actions(env, env_params, state.env_state)
        else:
            mask = mask_of(state.env_state, state.obs, noise_t)
        latent, log_prob, action = act(state.obs, mask, noise_t)
        raw = autoreset.step_batch(keys, env, env_params, state.env_state, action)
        done = raw.terminated | raw.truncated
        noted = None if record is None else record(keys, state.env_state, action, raw.state)
        if mode == "ahead":
            obs, env_state = autoreset.select(done, spare_t, (raw.obs, raw.state))
        else:
            after = autoreset.reset_on_demand(spare_t, env, env_params, raw, group)
            obs, env_state = after.obs, after.state
        next_state, totals = _count_episodes(state, totals, raw.reward, done)
        transition = Trajectory(
            obs=state.obs,
            mask=mask,
            latent=latent,
            log_prob=log_prob,
            reward=raw.reward,
            terminated=raw.terminated,
            truncated=raw.truncated,
            final_obs=raw.obs,
            record=noted,
        )
        return (dataclasses.replace(next_state, env_state=env_state, obs=obs), totals), transition

    zero = jnp.zeros(num_envs)
    start = (state, EpisodeTotals(zero, zero, zero))
    trajectory: Trajectory
    (state, totals), trajectory = jax.lax.scan(step, start, (noise, step_keys, spare))
    return state, trajectory, jax.tree.map(jnp.sum, totals)


def _count_episodes(
    state: RolloutState, totals: EpisodeTotals, reward: Array, done: Array
) -> tuple[RolloutState, EpisodeTotals]:
    """Advance the episodes' running return and length; add up those that are done."""
    scalar_reward = reward if reward.ndim == 1 else reward.mean(axis=-1)
    episode_return = state.episode_return + scalar_reward
    episode_length = state.episode_length + 1
    ended = done.astype(jnp.float32)
    totals = EpisodeTotals(
        count=totals.count + ended,
        return_sum=totals.return_sum + ended * episode_return,
        length_sum=totals.length_sum + ended * episode_length.astype(jnp.float32),
    )
    running = dataclasses.replace(
        state,
        episode_return=jnp.where(done, 0.0, episode_return),
        episode_length=jnp.where(done, 0, episode_length),
    )
    return running, totals


def following_values(
    value_of: Callable[[Array], Array], trajectory: Trajectory, value: Array, last_value: Array
) -> Array:
    """Value of the state that followed each step, [T, B, ...].

    One step later the critic has already valued it, except where the episode was truncated: there
    the final observation counts, not the next episode's first. Only those observations pass
    through the critic again, B at a time, so steps without truncation cost nothing.

    Args:
      value_of: critic, maps observations [M, ...] to values [M, ...].
      trajectory: T steps of B environments.
      value: critic's values of `trajectory.obs`, [T, B, ...].
      last_value: values of the observations after the last step, [B, ...].
    """
    chunk = trajectory.truncated.shape[1]

    def flat(x: Array) -> Array:
        return jnp.reshape(x, (-1, *x.shape[2:]))

    final_obs = flat(trajectory.final_obs)
    pending = flat(trajectory.truncated & ~trajectory.terminated)
    following = flat(jnp.concatenate([value[1:], last_value[None]]))

    def replace_chunk(carry: tuple) -> tuple:
        pending, following = carry
        is_pending, index = jax.lax.top_k(pending.astype(jnp.int32), chunk)
        index = jnp.where(is_pending > 0, index, pending.shape[0])
        final_value = value_of(final_obs.at[index].get(mode="clip"))
        following = following.at[index].set(final_value, mode="drop")
        return pending.at[index].set(False, mode="drop"), following

    carry = (pending, following)
    _, following = jax.lax.while_loop(lambda carry: jnp.any(carry[0]), replace_chunk, carry)
    return jnp.reshape(following, value.shape)
