"""An environment seen with its action masks, those of final observations included.

Learning from replay needs the legal choices in the state that followed a step, also where a reset
has replaced that state. With the mask in the observation it goes wherever the observation goes.
"""

import dataclasses
from typing import Any, NamedTuple

from jaxecon.types import Array, Key, PyTree


class Observed(NamedTuple):
    """What is seen of a state."""

    obs: Array  # [...]
    mask: Array | None  # [..., K] legal choices; None if all are


@dataclasses.dataclass(frozen=True)
class ObservedEnv:
    """The environment `env` with `Observed` for observations, as `rollout.collect` needs it."""

    env: Any

    def __getattr__(self, name: str) -> Any:
        if name == "action_mask":  # the mask travels with the observation instead
            raise AttributeError(name)
        return getattr(self.env, name)

    def _observed(self, obs: Array, state: PyTree, env_params: Any) -> Observed:
        action_mask = getattr(self.env, "action_mask", None)
        return Observed(obs, None if action_mask is None else action_mask(state, env_params))

    def reset_env(self, key: Key, env_params: Any) -> tuple[Observed, PyTree]:
        """First observation and state of an episode."""
        obs, state = self.env.reset_env(key, env_params)
        return self._observed(obs, state, env_params), state

    def step_env(self, key: Key, state: PyTree, action: Array, env_params: Any) -> tuple:
        """One step, without reset."""
        obs, state, *rest = self.env.step_env(key, state, action, env_params)
        return self._observed(obs, state, env_params), state, *rest
