"""`to_gymnasium`: one environment behind the Gymnasium interface."""

from typing import Any

import gymnasium
import jax
import numpy as np

from jaxecon.interop import build, programs
from jaxecon.interop.foreign import foreign_settings
from jaxecon.interop.spaces import action_from_numpy, observation_to_numpy

OPTIONS = ("env_params",)


class GymnasiumEnv(gymnasium.Env):
    """One jaxecon or gymnax environment as a `gymnasium.Env`; build it with `to_gymnasium`.

    Attributes:
      jax_env: the environment inside.
      env_params: its economy; `reset(options={"env_params": ...})` replaces it, and nothing
        compiles anew. The spaces stay as they were.
      state: pytree of the current state, None before the first reset.
    """

    def __init__(self, env: Any, env_params: Any, render_mode: str | None = None):
        self.metadata = {"render_modes": list(build.RENDER_MODES), "render_fps": 1}
        self.render_mode = build.check_render_mode(render_mode)
        self.jax_env = env
        self.env_params = env_params
        self.observation_space, self.action_space = build.gymnasium_spaces(env, env_params)
        self.state: Any = None
        self._key: Any = None
        self._ended = True
        self._mask: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
          seed: restarts the random stream; None continues it, or starts one from entropy.
          options: {"env_params": a new economy} or None.

        Returns:
          (obs, info); `info["action_mask"]` is there if the environment has a mask.
        """
        super().reset(seed=seed)
        self.env_params = build.read_options(options, OPTIONS).get("env_params", self.env_params)
        if seed is not None or self._key is None:
            self._key = jax.random.key(build.seed_word(self.np_random))
        with foreign_settings(self.jax_env):
            start = programs.reset_one(self.jax_env, self._key, self.env_params)
        self._key, self.state, obs, info = start
        self._ended = False
        return observation_to_numpy(self.observation_space, obs), self._read(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance one period.

        Args:
          action: a member of `action_space`.

        Returns:
          (obs, reward, terminated, truncated, info). Nothing resets by itself.

        Raises:
          gymnasium.error.ResetNeeded: there is no episode, or it is over.
          ValueError: the action has the wrong shape or is out of range.
        """
        if self._ended:
            why = "before the first reset" if self.state is None else "after the episode ended"
            raise gymnasium.error.ResetNeeded(f"step was called {why}; call reset().")
        action = action_from_numpy(self.action_space, action)
        with foreign_settings(self.jax_env):
            turn = programs.step_one(self.jax_env, self._key, self.state, action, self.env_params)
        self._key, self.state = turn.key, turn.state
        obs = observation_to_numpy(self.observation_space, turn.obs)
        terminated, truncated = bool(turn.terminated), bool(turn.truncated)
        self._ended = terminated or truncated
        return obs, float(turn.reward), terminated, truncated, self._read(turn.info)

    def action_masks(self) -> np.ndarray | None:
        """Legal actions of the current state, bool, or None if all are; for maskable trainers."""
        return None if self._mask is None else self._mask.astype(np.bool_)

    def render(self) -> str | None:
        """A text of the current state if `render_mode` is "ansi", else None."""
        if self.render_mode is None:
            return None
        if self.state is None:
            raise gymnasium.error.ResetNeeded("render was called before reset; call reset().")
        return build.state_text(type(self.jax_env).__name__, self.state)

    def _read(self, info: dict[str, Any]) -> dict[str, Any]:
        info = build.info_to_numpy(info)
        self._mask = info.get("action_mask")
        return info


def to_gymnasium(
    env_id_or_env: Any,
    env_params: Any = None,
    *,
    render_mode: str | None = None,
    **static: Any,
) -> GymnasiumEnv:
    """A `gymnasium.Env` around one environment, for any trainer written for Gymnasium.

    Observations and actions are NumPy values; reset and step are one compiled program each,
    shared by equal environments. The time limit arrives as `truncated`. After an ending, `step`
    raises until `reset` is called.

    * Seeds: `reset(seed=s)` seeds `np_random`, which seeds the JAX key stream; the same seed and
      actions give the same bits. `reset()` continues the stream.
    * Simplex and Ball actions become a Box; any point of it is moved onto the set, see
      `jaxecon.interop.spaces.onto_set`.
    * Several agents: one controller chooses the joint action [N, ...]. `reward` is the mean over
      agents, which stays on the scale of one agent, and `info["rewards"]` has all N.
    * Action masks: `info["action_mask"]`, int8 with 1 = legal, which `action_space.sample(mask)`
      takes, and `action_masks()`.

    Args:
      env_id_or_env: an id of `jaxecon.make`, or an environment, jaxecon's or gymnax's.
      env_params: its economy; the default if None.
      render_mode: None, or "ansi" for a text of the state.
      **static: structure of the environment, with an id only.

    Raises:
      ValueError: unknown id or render mode.
      TypeError: not an environment, or `static` beside an environment.
    """
    env, built_params = build.build(env_id_or_env, env_params, static)
    wrapped = GymnasiumEnv(env, built_params, render_mode)
    keywords = {"env_params": env_params, **static}
    wrapped.spec = build.describe(env_id_or_env, "to_gymnasium", keywords)
    return wrapped
