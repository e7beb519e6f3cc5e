"""Automatic reset of a batch of environments without a full reset in every step.

gymnax, and nearly every suite after it, resets every environment in every step and throws almost
all of those resets away. Two exact alternatives, both free of duplicated first states:

  * `ahead`: before a rollout of T steps, draw the first states of T x N episodes in one
    vectorised call, and let step t select from row t. Nothing is reset inside the loop.
  * `on_demand`: reset only when some episode ended, a group of environments at a time. The
    `while_loop` runs no iteration in a step without endings, and this survives `vmap` (a
    `lax.cond` would become a select). The best choice where episodes end together, and on CPUs
    for small and for large batches.

`bench/env_throughput.py` measures both beside a reset in every step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array, Key, PyTree

MODES = ("auto", "ahead", "on_demand")
SMALL_BATCH = 16  # environments up to which a step with an ending is the exception
LARGE_BATCH = 256  # from here on, resetting groups beats drawing every first state ahead
GROUPS = 16  # share of a batch that one reset on demand serves, where endings are scattered


class BatchStep(NamedTuple):
    """What a batch of B environments hands back after one step."""

    obs: Array  # [B, ...] where to act next
    state: PyTree  # leaves [B, ...]
    reward: Array  # [B] or [B, N]
    terminated: Array  # [B] bool
    truncated: Array  # [B] bool
    final_obs: Array  # [B, ...] before any reset
    info: dict[str, Any]


def choose_mode(env: Any, mode: str, num_envs: int) -> str:
    """`mode`, or for "auto" the one that suits the environment, the batch and the device.

    On demand where episodes end together; on CPUs also for small batches, where most steps see no
    ending, and for large ones, where a group of resets serves a step. Ahead otherwise: the loop of
    resets on demand has a price in every step, most of all on accelerators.
    """
    if mode not in MODES:
        raise ValueError(f"reset mode must be one of {MODES}, got {mode!r}.")
    if mode != "auto":
        return mode
    is_medium = SMALL_BATCH < num_envs < LARGE_BATCH
    suits_cpu = jax.default_backend() == "cpu" and not is_medium
    return "on_demand" if getattr(env, "ends_together", False) or suits_cpu else "ahead"


def choose_group(env: Any, num_envs: int) -> int:
    """Environments reset at a time on demand: all that end together, else one in sixteen."""
    return num_envs if getattr(env, "ends_together", False) else -(-num_envs // GROUPS)


def strong(tree: PyTree) -> PyTree:
    """The same values with no weakly typed leaf, so that loop carries keep their type."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)


def select(done: Array, where_done: PyTree, otherwise: PyTree) -> PyTree:
    """Leaf-wise choice by a [B] mask between trees with leaves [B, ...]."""

    def choose(new: Array, old: Array) -> Array:
        mask = jnp.reshape(done, (-1,) + (1,) * (old.ndim - 1))
        return jnp.where(mask, new.astype(old.dtype), old)

    return jax.tree.map(choose, where_done, otherwise)


def reset_batch(key: Key, env: Any, env_params: Any, num_envs: int) -> tuple[Array, PyTree]:
    """First observations [B, ...] and states of `num_envs` episodes."""
    keys = jax.random.split(key, num_envs)
    return strong(jax.vmap(env.reset_env, in_axes=(0, None))(keys, env_params))


def step_batch(keys: Key, env: Any, env_params: Any, state: PyTree, action: Array) -> BatchStep:
    """One step of every environment, without any reset: `obs` is `final_obs`.

    Args:
      keys: [B] PRNG keys.
      env: the environment.
      env_params: its economy, shared by the batch.
      state: leaves [B, ...].
      action: [B, ...].
    """
    step = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
    obs, next_state, reward, terminated, info = step(keys, state, action, env_params)
    truncated = jax.vmap(env.is_truncated, in_axes=(0, None))(next_state, env_params)
    num_agents = getattr(env, "num_agents", None)
    batch = (terminated.shape[0],) if num_agents is None else (terminated.shape[0], num_agents)
    return BatchStep(
        obs=obs,
        state=strong(next_state),
        reward=jnp.reshape(reward, batch).astype(jnp.float32),
        terminated=terminated.astype(bool),
        truncated=truncated.astype(bool),
        final_obs=obs,
        info=info,
    )


def reset_on_demand(
    key: Key, env: Any, env_params: Any, step: BatchStep, group: int | None = None
) -> BatchStep:
    """`step` with every finished environment at the start of a fresh episode.

    Args:
      key: PRNG key of the resets.
      env: the environment.
      env_params: its economy.
      step: result of `step_batch`.
      group: number of environments reset at a time, at most B; B if None.
    """
    num_envs = step.terminated.shape[0]
    group = num_envs if group is None else group

    def serve(carry: tuple) -> tuple:
        pending, obs, state, key = carry
        key, key_reset = jax.random.split(key)
        fresh = reset_batch(key_reset, env, env_params, group)
        rank = jnp.cumsum(pending) - 1
        served = pending & (rank < group)
        if group < num_envs:
            fresh = jax.tree.map(lambda x: x[jnp.clip(rank, 0, group - 1)], fresh)
        obs, state = select(served, fresh, (obs, state))
        return pending & ~served, obs, state, key

    start = (step.terminated | step.truncated, step.obs, step.state, key)
    _, obs, state, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[0]), serve, start)
    return step._replace(obs=obs, state=state)
