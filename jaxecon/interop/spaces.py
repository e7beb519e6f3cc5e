"""Conversion of spaces and their members between gymnax/jaxecon and Gymnasium."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from jaxecon.envs.base import Ball, Simplex
from jaxecon.types import Array, PyTree


def to_gymnasium_space(space: Any) -> gymnasium.Space:
    """The Gymnasium space with the same members; a Simplex or Ball becomes the Box around it.

    Args:
      space: Discrete, Box, Simplex, Ball, or a Dict or Tuple of them.

    Returns:
      Discrete (int64, as Gymnasium has it), Box with bounds broadcast to its shape, Dict or Tuple.

    Raises:
      TypeError: any other kind of space.
    """
    if isinstance(space, spaces.Discrete):
        return gymnasium.spaces.Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        dtype = np.dtype(space.dtype)
        low, high = (_bound(bound, tuple(space.shape), dtype) for bound in (space.low, space.high))
        return gymnasium.spaces.Box(low, high, dtype=dtype.type)
    if isinstance(space, spaces.Dict):
        return gymnasium.spaces.Dict({k: to_gymnasium_space(v) for k, v in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return gymnasium.spaces.Tuple([to_gymnasium_space(part) for part in space.spaces])
    raise TypeError(f"cannot convert {space!r}; use Discrete, Box, Simplex, Ball, Dict or Tuple.")


def _bound(bound: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.broadcast_to(np.asarray(bound, dtype), shape).copy()


def map_space(leaf: Callable, space: Any, value: Any) -> PyTree:
    """`leaf(space, value)` on every array-valued part of a space, containers as in the space.

    Parts of a value are found by item or, where it is a dataclass, by attribute.
    """
    if isinstance(space, spaces.Dict | gymnasium.spaces.Dict):
        return {k: map_space(leaf, part, _part(value, k)) for k, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple | gymnasium.spaces.Tuple):
        pairs = zip(space.spaces, value, strict=True)
        return tuple(map_space(leaf, part, each) for part, each in pairs)
    return leaf(space, value)


def _part(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)


def observation_to_numpy(space: gymnasium.Space, obs: PyTree) -> PyTree:
    """The observation as writable NumPy values of the Gymnasium space's dtype.

    A scalar of a Discrete space becomes `np.int64`; arrays are copied off the device.
    """
    return map_space(lambda leaf, x: np.array(x, dtype=leaf.dtype)[()], space, obs)


def action_from_numpy(space: gymnasium.Space, action: PyTree, batch: tuple[int, ...] = ()) -> Any:
    """The action as NumPy values of the dtypes that the compiled step takes.

    Args:
      space: Gymnasium action space of one environment.
      action: a member of it, or with `batch` a batch of members; Dict and Tuple spaces take a dict
        or tuple of batches.
      batch: () or (num_envs,).

    Raises:
      ValueError: the shape does not fit, or a discrete action is out of range.
    """

    def convert(leaf: gymnasium.Space, value: Any) -> np.ndarray:
        array, shape = np.asarray(value), batch + tuple(leaf.shape or ())
        if array.shape != shape:
            raise ValueError(f"action must have shape {shape} for {leaf}, got {array.shape}.")
        if isinstance(leaf, gymnasium.spaces.Discrete):
            last = int(leaf.n) - 1
            if array.dtype.kind not in "iu" or (array < 0).any() or (array > last).any():
                raise ValueError(f"action must be integers from 0 to {last}, got {value}.")
            return array.astype(np.int32)
        return array.astype(leaf.dtype)

    return map_space(convert, space, action)


def onto_set(space: Any, action: PyTree) -> PyTree:
    """The action with every part moved onto its Simplex or Ball; traced, for use in a program.

    Gymnasium has neither, so its samplers and policies give any point of the Box around them. On a
    Simplex negative parts count as zero, the others are divided by their sum, and equal shares
    stand in where nothing is positive; onto a Ball longer vectors are shortened to norm one. A
    point of the set stays where it is, up to rounding.
    """

    def project(leaf: Any, value: Array) -> Array:
        if isinstance(leaf, Simplex):
            return _onto_simplex(value)
        if isinstance(leaf, Ball):
            squared = jnp.sum(jnp.square(value), axis=-1, keepdims=True)
            return value * jax.lax.rsqrt(jnp.maximum(squared, 1.0))
        return value

    return map_space(project, space, action)


def _onto_simplex(value: Array) -> Array:
    positive = jnp.maximum(value, 0.0)
    total = jnp.sum(positive, axis=-1, keepdims=True)
    shares = positive / jnp.where(total > 0.0, total, 1.0)
    return jnp.where(total > 0.0, shares, jnp.float32(1.0 / value.shape[-1]))
