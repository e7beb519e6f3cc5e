"""`to_gymnasium_vector`: a batch of environments behind the Gymnasium vector interface."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from jaxecon.interop import build, programs
from jaxecon.interop.foreign import foreign_settings
from jaxecon.interop.spaces import action_from_numpy, map_space, observation_to_numpy

OPTIONS = ("env_params", "reset_mask")


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """B copies of one environment, stepped by one program; build it with `to_gymnasium_vector`.

    Attributes:
      jax_env: the environment inside.
      env_params: the economy all copies share.
      autoreset_mode: when an ended episode makes way for the next, see `to_gymnasium_vector`.
      state: pytree with leaves [B, ...], None before the first reset.
    """

    def __init__(
        self,
        env: Any,
        env_params: Any,
        num_envs: int,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ):
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            "render_modes": list(build.RENDER_MODES),
            "render_fps": 1,
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = build.check_render_mode(render_mode)
        self.jax_env, self.env_params, self.num_envs = env, env_params, num_envs
        spaces = build.gymnasium_spaces(env, env_params)
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in spaces)
        self.state: Any = None
        self._keys: Any = None
        self._obs: Any = None
        self._ended = np.zeros(num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every sub-environment, or in those of `options["reset_mask"]`.

        Args:
          seed: None continues each random stream; an int seeds sub-environment i with seed + i; a
            sequence seeds each with its own entry, None continuing that one.
          options: "reset_mask", [B] bool, and "env_params", a new economy for all.

        Returns:
          (obs, infos), obs [B, ...]; infos speak for the sub-environments that were reset.
        """
        options = build.read_options(options, OPTIONS)
        mask = self._reset_mask(options.get("reset_mask"))
        self.env_params = options.get("env_params", self.env_params)
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._seed_streams(seed, mask)
        with foreign_settings(self.jax_env):
            if self.state is None:
                start = programs.reset_all(self.jax_env, self._keys, self.env_params)
            else:
                before = (self._keys, self.state, self._obs)
                start = programs.reset_where(self.jax_env, mask, *before, self.env_params)
        self._keys, self.state, self._obs, info = start
        self._ended = self._ended & ~mask
        return self._read(self._obs), build.batch_info(jax.device_get(info), mask)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every sub-environment by one period.

        Args:
          actions: a member of `action_space`.

        Returns:
          (obs, rewards, terminations, truncations, infos); rewards [B] are float64 and, with
          several agents, means over agents.

        Raises:
          gymnasium.error.ResetNeeded: before the first reset, or with AutoresetMode.DISABLED a
            sub-environment whose episode is over.
          ValueError: the actions have the wrong shape or are out of range.
        """
        self._require_episode()
        actions = action_from_numpy(self.single_action_space, actions, (self.num_envs,))
        before = (self._ended, self._keys, self.state, actions, self.env_params)
        with foreign_settings(self.jax_env):
            outcome = programs.step_all(self.jax_env, self.autoreset_mode, *before)
        turn, played, start_info = outcome
        self._keys, self.state, self._obs = turn.key, turn.state, turn.obs
        flags, info, start_info = jax.device_get((turn[3:6], played.info, start_info))
        reward, terminated, truncated = (np.array(flag) for flag in flags)
        restarted, self._ended = self._ended, terminated | truncated
        infos = self._infos(info, start_info, restarted, played.obs)
        return self._read(self._obs), reward.astype(np.float64), terminated, truncated, infos

    def render(self) -> tuple[str, ...] | None:
        """A text of each sub-environment's state if `render_mode` is "ansi", else None."""
        if self.render_mode is None:
            return None
        if self.state is None:
            raise gymnasium.error.ResetNeeded("render was called before reset; call reset().")
        name = type(self.jax_env).__name__
        rows = range(self.num_envs)
        return tuple(
            build.state_text(name, jax.tree.map(lambda leaf, row=row: leaf[row], self.state))
            for row in rows
        )

    def _infos(self, info: Any, start_info: Any, restarted: np.ndarray, final_obs: Any) -> dict:
        """Infos of one step in Gymnasium's vector form, for each autoreset mode."""
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            ended = self._ended
            final: dict[str, Any] = {}
            if ended.any():
                final["final_obs"] = self._split(final_obs, ended)
                final["final_info"] = build.batch_info(info, ended)
                final.update({f"_{name}": ended.copy() for name in list(final)})
            rows = build.batch_info(info, ~ended), build.batch_info(start_info, ended)
            return {**final, **build.merge_info(*rows)}
        parts = build.batch_info(info, ~restarted), build.batch_info(start_info, restarted)
        return build.merge_info(*parts)

    def _split(self, obs: Any, rows: np.ndarray) -> np.ndarray:
        """[B] object array with an observation in each row of `rows` and None elsewhere."""
        obs = jax.device_get(obs)
        split = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(rows):
            part = jax.tree.map(lambda leaf, row=row: leaf[row], obs)
            split[row] = observation_to_numpy(self.single_observation_space, part)
        return split

    def _read(self, obs: Any) -> Any:
        """The batch of observations in NumPy, dtypes as in the single space."""
        space, obs = self.single_observation_space, jax.device_get(obs)
        return map_space(lambda leaf, x: np.array(x, dtype=leaf.dtype), space, obs)

    def _reset_mask(self, mask: Any) -> np.ndarray:
        """The sub-environments to reset, [B] bool; all of them if None."""
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise ValueError(f"reset_mask must be a NumPy array of bools, got {mask!r}.")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask must have shape ({self.num_envs},) and a True: {mask}.")
        if self.state is None and not mask.all():
            raise gymnasium.error.ResetNeeded("the first reset must be of all sub-environments.")
        return mask

    def _seed_streams(self, seed: Any, mask: np.ndarray) -> None:
        """Restart the key streams that `seed` names, and all of them before the first reset."""
        seeds = [None] * self.num_envs if seed is None else seed
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seeds
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must have num_envs={self.num_envs} entries, got {len(seeds)}.")
        fresh = mask & np.array([each is not None for each in seeds])
        if self._keys is None:
            fresh = np.ones(self.num_envs, np.bool_)
        if not fresh.any():
            return
        words = np.zeros(self.num_envs, np.uint32)
        for row in np.flatnonzero(fresh):
            generator = self.np_random if seeds[row] is None else seeding.np_random(seeds[row])[0]
            words[row] = build.seed_word(generator)
        new = programs.streams(words)
        self._keys = new if self._keys is None else programs.choose(fresh, new, self._keys)

    def _require_episode(self) -> None:
        if self.state is None:
            raise gymnasium.error.ResetNeeded("step was called before reset; call reset().")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise gymnasium.error.ResetNeeded(
                f"the episodes of sub-environments {np.flatnonzero(self._ended).tolist()} are "
                "over; call reset(options={'reset_mask': mask}) for them."
            )


def to_gymnasium_vector(
    env_id_or_env: Any,
    num_envs: int,
    env_params: Any = None,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    **static: Any,
) -> GymnasiumVectorEnv:
    """A `gymnasium.vector.VectorEnv` of B copies of one environment, one program per step.

    Sub-environment i, seeded s + i, replays `to_gymnasium` under seed s + i, and every mode gives
    what `gymnasium.vector.SyncVectorEnv` around B of those gives:

    * NEXT_STEP (default): the step after an ending ignores the action and resets; its reward is
      0, its flags are False and its info is reset's.
    * SAME_STEP: the step that ends an episode also resets. `obs` is the next episode's first;
      `infos["final_obs"]`, [B] of objects, and `infos["final_info"]` hold the last ones, with
      `_final_obs` and `_final_info` marking the rows they speak for.
    * DISABLED: reset ended rows with `reset(options={"reset_mask": mask})`; to step them raises.

    Args:
      env_id_or_env: an id of `jaxecon.make`, or an environment, jaxecon's or gymnax's.
      num_envs: B, number of copies.
      env_params: the economy all share; the default if None.
      autoreset_mode: a `gymnasium.vector.AutoresetMode` or its value, such as "SameStep".
      render_mode: None, or "ansi" for texts of the states.
      **static: structure of the environment, with an id only.

    Raises:
      ValueError: unknown id, mode or render mode, or num_envs < 1.
      TypeError: not an environment, or `static` beside an environment.
    """
    env, built_params = build.build(env_id_or_env, env_params, static)
    wrapped = GymnasiumVectorEnv(env, built_params, num_envs, autoreset_mode, render_mode)
    keywords = {"env_params": env_params, "num_envs": num_envs, **static}
    wrapped.spec = build.describe(env_id_or_env, "to_gymnasium_vector", keywords)
    return wrapped
