"""Returns of whole episodes in environments of their own, inside the compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxecon.algos.rollout import legal_actions
from jaxecon.envs import autoreset
from jaxecon.types import Array, Key, Metrics, PyTree


def evaluate_policy(
    key: Key,
    act: Callable[[Key, Array, Array | None], Array],
    env: Any,
    env_params: Any,
    num_episodes: int,
) -> Metrics:
    """Play one episode in each of `num_episodes` fresh environments.

    Each environment contributes exactly its first episode, however long it is, so that short
    episodes are not over-represented. The loop stops when the last one has ended.

    Args:
      key: PRNG key.
      act: (key, obs [B, ...], mask [B, K] or None) -> actions [B, ...].
      env: the environment.
      env_params: its economy, whose time limit bounds the loop.
      num_episodes: B.

    Returns:
      Scalars "return" and "return_std" (over episodes, summed over time and averaged over
      agents), "length", and the mean of each entry of the environment's `episode_summary`.
    """
    key_reset, key_loop = jax.random.split(key)
    obs, env_state = autoreset.reset_batch(key_reset, env, env_params, num_episodes)

    def step(carry: dict) -> dict:
        key_act, key_step = jax.random.split(jax.random.fold_in(key_loop, carry["time"]))
        mask = legal_actions(env, env_params, carry["env_state"])
        action = act(key_act, carry["obs"], mask)
        keys = jax.random.split(key_step, num_episodes)
        after = autoreset.step_batch(keys, env, env_params, carry["env_state"], action)
        reward = after.reward if after.reward.ndim == 1 else after.reward.mean(axis=-1)
        running = ~carry["done"]
        obs, state = autoreset.select(
            carry["done"], (carry["obs"], carry["env_state"]), (after.obs, after.state)
        )
        return {
            "obs": obs,
            "env_state": state,
            "done": carry["done"] | after.terminated | after.truncated,
            "return": carry["return"] + jnp.where(running, reward, 0.0),
            "length": carry["length"] + running.astype(jnp.float32),
            "time": carry["time"] + 1,
        }

    start = {
        "obs": obs,
        "env_state": env_state,
        "done": jnp.zeros(num_episodes, bool),
        "return": jnp.zeros(num_episodes),
        "length": jnp.zeros(num_episodes),
        "time": jnp.int32(0),
    }
    end = jax.lax.while_loop(lambda carry: ~jnp.all(carry["done"]), step, start)
    return {
        "return": end["return"].mean(),
        "return_std": end["return"].std(),
        "length": end["length"].mean(),
        **_mean_summary(env, env_params, end["env_state"]),
    }


def _mean_summary(env: Any, env_params: Any, env_state: PyTree) -> Metrics:
    """Mean over B finished episodes of the environment's summary; gymnax's have none."""
    if not hasattr(env, "episode_summary"):
        return {}
    summary = jax.vmap(env.episode_summary, in_axes=(0, None))(env_state, env_params)
    return jax.tree.map(jnp.mean, summary)
