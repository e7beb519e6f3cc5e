"""The Whittle index policy: each round, activate the arms whose state has the highest index."""

from typing import Any

import jax.numpy as jnp

from jaxecon.algos.bandits.policy import BanditHyperparams, Policy, View
from jaxecon.types import Array, Key


def whittle_policy(env: Any, env_params: Any) -> Policy:
    """The policy for a restless bandit whose arms' laws are known.

    Args:
      env: offers `indices(env_params)`, [S] an index for each state; its observations are the
        states of the arms, and its actions their priorities [N].
      env_params: its economy.
    """

    def init(key: Key, view: View, hparams: BanditHyperparams) -> Array:
        return env.indices(env_params)

    def act(key: Key, state: Array, view: View, hparams: BanditHyperparams) -> tuple[Array, Array]:
        index = state[view.obs.astype(jnp.int32)]
        spread = jnp.max(state) - jnp.min(state)
        scaled = (index - jnp.min(state)) / jnp.where(spread > 0.0, spread, 1.0)
        return scaled, state  # priorities lie within [0, 1]

    def update(
        state: Array, view: View, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> Array:
        return state

    return Policy(init, act, update)
