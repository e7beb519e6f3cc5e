"""What the single and the vector environment share: building, options, info, text."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnax.wrappers import purerl

from jaxecon.envs.registry import make
from jaxecon.interop.foreign import foreign_settings
from jaxecon.interop.spaces import to_gymnasium_space
from jaxecon.types import PyTree

RENDER_MODES = ["ansi"]


def build(env_id_or_env: Any, env_params: Any, static: dict[str, Any]) -> tuple[Any, Any]:
    """(env, env_params) from an id of `jaxecon.make` or from an environment itself."""
    if isinstance(env_id_or_env, str):
        env, default_params = make(env_id_or_env, **static)
    elif static:
        raise TypeError(
            f"{sorted(static)} only apply to an environment id; build the environment with them."
        )
    else:
        env = env_id_or_env
        if isinstance(env, purerl.GymnaxWrapper) or not hasattr(env, "step_env"):
            raise TypeError(f"expected an environment with reset_env and step_env, got {env!r}.")
        with foreign_settings(env):
            default_params = env.default_params
    return env, default_params if env_params is None else env_params


def gymnasium_spaces(env: Any, env_params: Any) -> tuple[gymnasium.Space, gymnasium.Space]:
    """(observation space, action space) of one environment."""
    with foreign_settings(env):
        spaces = env.observation_space(env_params), env.action_space(env_params)
    observation_space, action_space = map(to_gymnasium_space, spaces)
    return observation_space, action_space


def describe(env_id_or_env: Any, entry_point: str, keywords: dict[str, Any]) -> EnvSpec:
    """A spec from which Gymnasium can build the same environment again."""
    is_id = isinstance(env_id_or_env, str)
    name = env_id_or_env if is_id else type(env_id_or_env).__name__
    keywords = {key: value for key, value in keywords.items() if value is not None}
    return EnvSpec(
        id=f"jaxecon/{name}",
        entry_point=f"jaxecon.interop:{entry_point}",
        kwargs={"env_id_or_env": env_id_or_env, **keywords},
    )


def check_render_mode(render_mode: str | None) -> str | None:
    """The render mode, if it is one of RENDER_MODES or None."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be None or one of {RENDER_MODES}, got {render_mode!r}.")
    return render_mode


def read_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """A copy of reset's options, whose names must be known."""
    options = dict(options or {})
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown reset options {unknown}; known: {', '.join(known)}.")
    return options


def seed_word(generator: np.random.Generator) -> np.uint32:
    """The 32 bits that start a key stream."""
    return generator.integers(2**32, dtype=np.uint32)


def info_to_numpy(info: dict[str, Any]) -> dict[str, Any]:
    """Info with NumPy arrays, NumPy scalars and Python bools, as Gymnasium's batching expects."""

    def convert(leaf: Any) -> Any:
        array = np.array(leaf)
        return bool(array) if array.dtype == np.bool_ and array.ndim == 0 else array[()]

    return jax.tree.map(convert, info)


def batch_info(info: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Info of the sub-environments in `rows`, [B] bool, in Gymnasium's vector form.

    Every key has a companion `_key` that marks the rows it speaks for; the others are zero. Keys
    that speak for no row are absent.
    """
    if not rows.any():
        return {}
    batched: dict[str, Any] = {}
    for name, value in info.items():
        nested = isinstance(value, Mapping)
        batched[name] = batch_info(value, rows) if nested else _keep(value, rows)
        batched[f"_{name}"] = rows.copy()
    return batched


def _keep(value: PyTree, rows: np.ndarray) -> PyTree:
    def keep(leaf: Any) -> np.ndarray:
        array = np.array(leaf)
        array[~rows] = 0
        return array

    return jax.tree.map(keep, value)


def merge_info(*infos: dict[str, Any]) -> dict[str, Any]:
    """Infos that speak for different rows as one; a key in several of them is joined by row."""
    merged: dict[str, Any] = {}
    for info in infos:
        for name, value in info.items():
            if name not in merged:
                merged[name] = value
            elif isinstance(value, Mapping):
                merged[name] = merge_info(merged[name], dict(value))
            elif name.startswith("_"):
                merged[name] = merged[name] | value
            else:
                merged[name] = _take(value, info[f"_{name}"], merged[name])
    return merged


def _take(new: np.ndarray, rows: np.ndarray, old: np.ndarray) -> np.ndarray:
    joined = old.copy()
    joined[rows] = new[rows]
    return joined


def state_text(name: str, state: PyTree) -> str:
    """One line per field of the state, under the environment's name."""
    lines = [name]
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            continue
        text = np.array2string(np.asarray(leaf), precision=4, threshold=12, suppress_small=True)
        lines.append(f"  {jax.tree_util.keystr(path).lstrip('.')}: {text}")
    return "\n".join(lines)
