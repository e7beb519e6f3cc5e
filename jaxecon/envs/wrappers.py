"""Environments made of other environments.

A wrapper is itself a frozen, hashable `Environment` around another one (jaxecon's or gymnax's), so
it composes, trains and passes the contract tests like any environment. It changes `step_env` and
`reset_env`, which algorithms call; gymnax's own wrappers change `step` alone and therefore suit
gymnax-style loops, not jaxecon's algorithms.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from jaxecon.envs import base
from jaxecon.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Wrapper(base.Environment):
    """An environment that behaves like `env`; subclasses override what they change.

    Attributes:
      env: the environment inside.
    """

    env: Any

    @property
    def num_agents(self) -> int | None:  # type: ignore[override]
        """That of the environment inside."""
        return getattr(self.env, "num_agents", None)

    @property
    def ends_together(self) -> bool:  # type: ignore[override]
        """That of the environment inside."""
        return getattr(self.env, "ends_together", False)

    @property
    def name(self) -> str:
        """Name of the wrapper and of what it wraps."""
        return f"{type(self).__name__}({self.env.name})"

    @property
    def default_params(self) -> Any:
        """The economy of the environment inside."""
        return self.env.default_params

    def reset_env(self, key: Key, params: Any) -> tuple[Any, Any]:
        """First observation and state."""
        return self.env.reset_env(key, params)

    def step_env(self, key: Key, state: Any, action: Any, params: Any) -> tuple:
        """One step without reset."""
        return self.env.step_env(key, state, action, params)

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the time limit of the environment inside has come."""
        return self.env.is_truncated(state, params)

    def observation_space(self, params: Any) -> Any:
        """Observations of the environment inside."""
        return self.env.observation_space(params)

    def action_space(self, params: Any) -> Any:
        """Actions of the environment inside."""
        return self.env.action_space(params)

    def action_mask(self, state: Any, params: Any) -> Array | None:
        """Legal actions of the environment inside."""
        mask = getattr(self.env, "action_mask", None)
        return None if mask is None else mask(state, params)

    def episode_summary(self, state: Any, params: Any) -> dict[str, Array]:
        """Summary of the environment inside."""
        summary = getattr(self.env, "episode_summary", None)
        return {} if summary is None else summary(state, params)

    def baselines(self, params: Any) -> dict[str, dict[str, float]]:
        """Known policies of the environment inside."""
        known = getattr(self.env, "baselines", None)
        return {} if known is None else known(params)


@dataclasses.dataclass(frozen=True)
class FlattenObservation(Wrapper):
    """Observations as one float32 vector [F], whatever their structure.

    Arrays, and dictionaries and tuples of them, are raveled and joined in the order of
    `jax.tree.leaves`. With N agents, each keeps its row: [N, F].
    """

    def _flatten(self, obs: Any) -> Array:
        leading = () if self.num_agents is None else (self.num_agents,)
        rows = [jnp.reshape(x, (*leading, -1)).astype(jnp.float32) for x in jax.tree.leaves(obs)]
        return jnp.concatenate(rows, axis=-1)

    def reset_env(self, key: Key, params: Any) -> tuple[Array, Any]:
        """First observation [F] and state."""
        obs, state = self.env.reset_env(key, params)
        return self._flatten(obs), state

    def step_env(self, key: Key, state: Any, action: Any, params: Any) -> tuple:
        """One step with a flat observation."""
        obs, *rest = self.env.step_env(key, state, action, params)
        return self._flatten(obs), *rest

    def observation_space(self, params: Any) -> base.Box:
        """Box of [F] or [N, F]: the bounds of a box are kept, those of other spaces are open."""
        inside = self.env.observation_space(params)
        leading = () if self.num_agents is None else (self.num_agents,)
        if isinstance(inside, spaces.Box):
            bounds = (jnp.asarray(x, jnp.float32) for x in (inside.low, inside.high))
            full = (jnp.broadcast_to(x, inside.shape) for x in bounds)
            low, high = (jnp.reshape(x, (*leading, -1)) for x in full)
            return base.Box(low, high, low.shape, jnp.float32)
        shapes = jax.eval_shape(self.env.reset_env, jax.random.key(0), params)[0]
        sizes = [math.prod(x.shape) // math.prod(leading) for x in jax.tree.leaves(shapes)]
        return base.Box(-np.inf, np.inf, (*leading, sum(sizes)), jnp.float32)


@dataclasses.dataclass(frozen=True)
class ScaleReward(Wrapper):
    """Rewards times a constant, such as 1e-3 where profits run into thousands.

    Attributes:
      env: the environment inside.
      scale: factor; returns, and so `evaluation/return`, are scaled too, summaries are not.
    """

    scale: float = 1.0

    def __post_init__(self):
        if not math.isfinite(self.scale) or self.scale <= 0.0:
            raise ValueError(f"scale must be a positive number, got {self.scale}.")

    def step_env(self, key: Key, state: Any, action: Any, params: Any) -> tuple:
        """One step with a scaled reward."""
        obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return obs, state, self.scale * reward, terminated, info


def refuse_gymnax_wrapper(env: Any) -> None:
    """Raise TypeError for a gymnax wrapper, whose `step_env` is that of what it wraps.

    Algorithms would otherwise train on the unwrapped environment without a word.
    """
    from gymnax.wrappers.purerl import GymnaxWrapper

    if isinstance(env, GymnaxWrapper):
        raise TypeError(
            f"{type(env).__name__} changes step() alone, and algorithms call step_env(). Use a "
            "wrapper of jaxecon.envs.wrappers, or the environment inside."
        )
