"""The compiled programs behind the Gymnasium environments: one per reset, one per step.

All are functions of a key stream. A stream starts from a 32-bit word drawn by NumPy's seeded
generator, and every reset and every step splits one key off it, alone or in a batch. Copy i in a
vector environment therefore replays the single environment with the same seed.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium.vector import AutoresetMode

from jaxecon.envs.base import Environment
from jaxecon.interop.spaces import onto_set
from jaxecon.types import Array, Key, PyTree

# what fixes a program; equal environments share one
compiled = functools.partial(jax.jit, static_argnames="env")


class Start(NamedTuple):
    """What a reset gives."""

    key: Key  # the stream, one split further
    state: PyTree
    obs: PyTree
    info: dict[str, Any]


class Turn(NamedTuple):
    """What a step gives."""

    key: Key
    state: PyTree
    obs: PyTree
    reward: Array  # () or [N]
    terminated: Array  # () bool
    truncated: Array  # () bool
    info: dict[str, Any]


def start_episode(env: Any, key: Key, env_params: Any) -> Start:
    """First state and observation of an episode."""
    key, key_reset = jax.random.split(key)
    obs, state = env.reset_env(key_reset, env_params)
    return Start(key, strong(state), obs, mask_info(env, state, env_params))


def advance(env: Any, key: Key, state: PyTree, action: PyTree, env_params: Any) -> Turn:
    """One period, without automatic reset."""
    key, key_step = jax.random.split(key)
    action = onto_set(env.action_space(env_params), action)
    obs, state, reward, terminated, info = env.step_env(key_step, state, action, env_params)
    truncated = env.is_truncated(state, env_params)
    info = {**info, **mask_info(env, state, env_params)}
    if getattr(env, "num_agents", None) is not None:
        info["rewards"] = reward
    return Turn(key, strong(state), obs, reward, terminated, truncated, info)


def mask_info(env: Any, state: PyTree, env_params: Any) -> dict[str, Array]:
    """{"action_mask": int8, 1 = legal} where the environment offers a mask, else {}."""
    mask = env.action_mask(state, env_params) if isinstance(env, Environment) else None
    return {} if mask is None else {"action_mask": mask.astype(jnp.int8)}


def strong(tree: PyTree) -> PyTree:
    """The same values with no weakly typed leaf, so that reset and step compile once."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)


def scalar_reward(reward: Array) -> Array:
    """The mean over agents of [N] rewards, or the reward itself where there is one agent."""
    return jnp.mean(reward)


@compiled
def reset_one(env: Any, key: Key, env_params: Any) -> Start:
    """Start an episode of one environment."""
    return start_episode(env, key, env_params)


@compiled
def step_one(env: Any, key: Key, state: PyTree, action: PyTree, env_params: Any) -> Turn:
    """Advance one environment; the reward is a scalar."""
    turn = advance(env, key, state, action, env_params)
    return turn._replace(reward=scalar_reward(turn.reward))


@jax.jit
def streams(words: Array) -> Key:
    """[B] key streams from [B] uint32 words."""
    return jax.vmap(jax.random.key)(words)


@compiled
def reset_all(env: Any, keys: Key, env_params: Any) -> Start:
    """Start an episode in each of B environments."""
    return jax.vmap(start_episode, in_axes=(None, 0, None))(env, keys, env_params)


@compiled
def reset_where(env: Any, mask: Array, keys: Key, state: PyTree, obs: PyTree, env_params: Any):
    """Start an episode where `mask`, [B] bool, says so; elsewhere nothing moves."""
    started = reset_all(env, keys, env_params)
    old = Start(keys, state, obs, started.info)
    return choose(mask, started, old)


@functools.partial(jax.jit, static_argnames=("env", "mode"))
def step_all(
    env: Any,
    mode: AutoresetMode,
    ended: Array,
    keys: Key,
    state: PyTree,
    action: PyTree,
    env_params: Any,
) -> tuple[Turn, Turn, dict[str, Any]]:
    """Advance B environments and restart those whose episode is over.

    Args:
      env: the environment, static.
      mode: SAME_STEP restarts what ends in this step, NEXT_STEP what ended in the one before,
        DISABLED nothing; static.
      ended: [B] bool, environments whose episode ended in the step before.
      keys: [B] key streams.
      state: leaves [B, ...].
      action: leaves [B, ...].
      env_params: the economy all share.

    Returns:
      (turn, played, start_info): `turn` is what the caller sees and continues from; `played` is
      the step before any restart, with final observations and infos; `start_info` is the info of
      the restarts. With NEXT_STEP a restarted row of `turn` is no ending and earns nothing; with
      SAME_STEP it keeps reward and flags of the step that ended.
    """
    axes = (None, 0, 0, 0, None)
    played = jax.vmap(advance, in_axes=axes)(env, keys, state, action, env_params)
    played = played._replace(reward=jax.vmap(scalar_reward)(played.reward))
    if mode == AutoresetMode.DISABLED:
        return played, played, {}
    same_step = mode == AutoresetMode.SAME_STEP
    restart = (played.terminated | played.truncated) if same_step else ended
    start = jax.lax.cond(
        restart.any(),
        lambda: reset_all(env, played.key if same_step else keys, env_params),
        lambda: _no_start(env, played, env_params),
    )
    key, state, obs = choose(restart, tuple(start[:3]), (played.key, played.state, played.obs))
    turn = played._replace(key=key, state=state, obs=obs)
    return (turn if same_step else _no_ending(turn, restart)), played, start.info


def _no_ending(turn: Turn, restarted: Array) -> Turn:
    """The turn with nothing earned and nothing ended in the rows that restarted."""
    return turn._replace(
        reward=jnp.where(restarted, jnp.zeros_like(turn.reward), turn.reward),
        terminated=turn.terminated & ~restarted,
        truncated=turn.truncated & ~restarted,
    )


def _no_start(env: Any, played: Turn, env_params: Any) -> Start:
    """Placeholder of the types that `reset_all` gives, for a step in which nothing restarts."""
    start = jax.eval_shape(lambda keys: reset_all(env, keys, env_params), played.key)
    obs, info = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (start.obs, start.info))
    return Start(played.key, played.state, obs, info)


def choose(mask: Array, where_true: PyTree, otherwise: PyTree) -> PyTree:
    """Leaf-wise choice between two trees by a [B] mask; dtypes as in `otherwise`."""

    def pick(new: Array, old: Array) -> Array:
        rows = jnp.reshape(mask, mask.shape + (1,) * (old.ndim - 1))
        if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
            return jnp.where(rows, new, old)
        return jnp.where(rows, new.astype(old.dtype), old)

    return jax.tree.map(pick, where_true, otherwise)
