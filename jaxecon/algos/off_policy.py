"""What algorithms that learn from replay share: their static settings, and an empty buffer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxecon.algos import normalise, replay
from jaxecon.envs import autoreset
from jaxecon.envs.base import require_count
from jaxecon.networks.layers import ACTIVATIONS
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig:
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
    def num_cycles(self) -> int:
        """Times per iteration that acting and learning take turns."""
        return self.rollout_length // self.update_interval

    @property
    def steps_per_cycle(self) -> int:
        """Environment steps between updates, T x B."""
        return self.update_interval * self.num_envs

    @property
    def num_rows(self) -> int:
        """Rows of the replay buffer, a multiple of `update_interval`."""
        return -(-self.buffer_size // self.steps_per_cycle) * self.update_interval


def agent_axes(env: Any) -> tuple[int, ...]:
    """(N,) in an environment with N agents, else ()."""
    num_agents = getattr(env, "num_agents", None)
    return () if num_agents is None else (num_agents,)


def init_buffer(
    config: OffPolicyConfig, env: Any, obs: PyTree, action: Array, *, prioritised: bool = False
) -> replay.ReplayState:
    """An empty buffer for observations with leaves [B, ...] and actions [B, ...] such as these."""
    batch = (1, config.num_envs)
    obs = jax.tree.map(lambda x: x[None], obs)
    flag = jnp.zeros(batch, bool)
    example = replay.Steps(
        obs=obs,
        action=action[None],
        reward=jnp.zeros((*batch, *agent_axes(env))),
        terminated=flag,
        truncated=flag,
        final_obs=obs,
    )
    return replay.init_replay(example, config.num_rows, config.final_size, prioritised=prioritised)


def features_of(
    network: Any, moments: normalise.RunningMoments, config: OffPolicyConfig, obs: Array
) -> Array:
    """What networks see of observations [B, ...]: rows [B, F], normalised if asked for."""
    features = network.features(obs)
    return normalise.normalise(moments, features) if config.normalise_observations else features
