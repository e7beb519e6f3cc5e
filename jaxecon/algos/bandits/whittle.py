"""Policies for restless bandits: activate the arms whose states have the highest indices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxecon.algos.bandits.policy import BanditHyperparams, Policy, View
from jaxecon.types import Array, Key

Index = Callable[[Any, Any], Array]  # (env, env_params) -> [S], an index for each state

INDICES: dict[str, Index] = {
    "whittle": lambda env, env_params: env.indices(env_params),
    "myopic": lambda env, env_params: env.myopic_indices(env_params),
}
RESTLESS_POLICIES = (*INDICES, "random")


def index_policy(env: Any, env_params: Any, index: Index) -> Policy:
    """The policy of an index, for a restless bandit whose arms' laws are known.

    Args:
      env: its observations are the states of the arms, and its actions their priorities [N].
      env_params: its economy.
      index: one of `INDICES`: Whittle's, or the immediate gain of being active.
    """

    def init(key: Key, view: View, hparams: BanditHyperparams) -> Array:
        return index(env, env_params)

    def act(key: Key, state: Array, view: View, hparams: BanditHyperparams) -> tuple[Array, Array]:
        chosen = state[view.obs.astype(jnp.int32)]
        spread = jnp.max(state) - jnp.min(state)
        scaled = (chosen - jnp.min(state)) / jnp.where(spread > 0.0, spread, 1.0)
        return scaled, state  # priorities lie within [0, 1]

    return Policy(init, act, _learn_nothing)


def random_priorities() -> Policy:
    """The policy that draws which arms are active."""

    def init(key: Key, view: View, hparams: BanditHyperparams) -> tuple[()]:
        return ()

    def act(key: Key, state: tuple[()], view: View, hparams: BanditHyperparams) -> tuple:
        return jax.random.uniform(key, view.obs.shape, view.obs.dtype), state

    return Policy(init, act, _learn_nothing)


def _learn_nothing(
    state: Any, view: View, action: Array, reward: Array, hparams: BanditHyperparams
) -> Any:
    return state
