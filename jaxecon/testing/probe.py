"""One environment under examination: what several contract checks need, computed once."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.wrappers import purerl

from jaxecon.envs.base import Environment
from jaxecon.types import Key, PyTree

# XLA fuses and reassociates float32 arithmetic, so two programs for one formula differ by a few
# units in the last place (1.2e-7 relative); a step of a few dozen operations stays far inside.
RTOL, ATOL = 1e-4, 1e-5
NO_LIMIT = 1_000_000_000


class CheckFailed(Exception):
    """A check did not hold; the message says what was seen, expected, and how to mend it."""


class NotApplicable(Exception):
    """A check has nothing to say about this environment; the message says why."""


def expect(condition: Any, *, seen: str | None, expected: str, mend: str) -> None:
    """Raise `CheckFailed` with the three parts of a useful message unless `condition` holds."""
    if not condition:
        raise CheckFailed(f"seen: {seen}; expected: {expected}; mend: {mend}")


class Transition(NamedTuple):
    """One call of `env.step` and what came out."""

    key: Key
    state: PyTree
    action: PyTree
    obs: PyTree
    next_state: PyTree
    reward: Any
    terminated: Any
    truncated: Any
    info: dict


@dataclasses.dataclass(eq=False)
class Probe:
    """An environment, its parameters and the rollouts the checks share.

    Attributes:
      env: the environment.
      env_params: its economy.
      key: PRNG key all draws come from.
      num_steps: length of the random play.
    """

    env: Any
    env_params: Any
    key: Key
    num_steps: int

    @functools.cached_property
    def reset(self):
        """Compiled `env.reset(key, env_params)`."""
        return jax.jit(lambda key, env_params: self.env.reset(key, env_params))

    @functools.cached_property
    def step(self):
        """Compiled `env.step(key, state, action, env_params)`."""
        return jax.jit(lambda *arguments: self.env.step(*arguments))

    @functools.cached_property
    def draw_action(self):
        """Compiled draw of a legal action: (key, state, env_params) -> action."""
        return jax.jit(lambda *arguments: legal_action(self.env, *arguments))

    @functools.cached_property
    def transitions(self) -> list[Transition]:
        """Random legal play of `num_steps` steps through automatic resets."""
        key_reset, key_play = jax.random.split(self.key)
        _, state = self.reset(key_reset, self.env_params)
        transitions = []
        for key in jax.random.split(key_play, self.num_steps):
            transitions.append(self.turn(key, state, self.env_params))
            state = transitions[-1].next_state
        return transitions

    @functools.cached_property
    def last_steps(self) -> list[tuple[Transition, Transition]]:
        """First steps from four resets, each under a limit of one step and under no limit."""
        pairs = []
        for key in jax.random.split(jax.random.fold_in(self.key, 1), 4):
            key_reset, key_turn = jax.random.split(key)
            _, state = self.reset(key_reset, self.env_params)
            last, free = (self.turn(key_turn, state, self.limited(n)) for n in (1, NO_LIMIT))
            pairs.append((last, free))
        return pairs

    def turn(self, key: Key, state: PyTree, env_params: Any) -> Transition:
        """Draw a legal action and step."""
        key_act, key_step = jax.random.split(key)
        action = self.draw_action(key_act, state, env_params)
        return Transition(key_step, state, action, *self.step(key_step, state, action, env_params))

    def limited(self, num_steps: int) -> Any:
        """The economy with `max_steps_in_episode` replaced, its type kept."""
        limit = getattr(self.env_params, "max_steps_in_episode", None)
        if limit is None:
            raise NotApplicable("env_params has no max_steps_in_episode")
        new = jnp.asarray(num_steps, limit.dtype) if hasattr(limit, "dtype") else num_steps
        return dataclasses.replace(self.env_params, max_steps_in_episode=new)

    def plain_reset(self, key: Key) -> tuple:
        """`reset_env`, outside any compiled program."""
        self.require_own_transition()
        return self.env.reset_env(key, self.env_params)

    def plain_step(self, turn: Transition, env_params: Any = None) -> tuple:
        """`step_env` under the key that `step` gave it, outside any compiled program."""
        self.require_own_transition()
        key_step, _ = jax.random.split(turn.key)
        env_params = self.env_params if env_params is None else env_params
        return self.env.step_env(key_step, turn.state, turn.action, env_params)

    @functools.cached_property
    def first_plain_reset(self) -> tuple:
        """`plain_reset` under the probe's own key, worked out once."""
        return self.plain_reset(self.key)

    @functools.cached_property
    def first_plain_steps(self) -> list[tuple]:
        """`plain_step` of the first three transitions, worked out once."""
        return [self.plain_step(turn) for turn in self.transitions[:3]]

    def require_own_transition(self) -> None:
        """Raise `NotApplicable` for gymnax wrappers, which wrap `reset` and `step` alone."""
        if isinstance(self.env, purerl.GymnaxWrapper):
            raise NotApplicable("a gymnax wrapper has no reset_env and step_env of its own")


def legal_action(env: Any, key: Key, state: PyTree, env_params: Any) -> PyTree:
    """A random member of the action space that the mask, if there is one, allows."""
    space = env.action_space(env_params)
    mask = action_mask(env, state, env_params)
    if mask is None or not jnp.issubdtype(space.dtype, jnp.integer):
        return space.sample(key)
    first = getattr(space, "low", 0)
    choice = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
    return (choice + jnp.asarray(first, choice.dtype)).astype(space.dtype)


def action_mask(env: Any, state: PyTree, env_params: Any) -> Any:
    """The environment's action mask, or None where it offers none."""
    return env.action_mask(state, env_params) if isinstance(env, Environment) else None


def leaf_spaces(space: Any, path: str = "") -> Iterator[tuple[str, tuple, Any]]:
    """(path for messages, keys to follow, space) of every array-valued part of a space."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces
        items = parts.items() if isinstance(parts, Mapping) else enumerate(parts)
        for name, part in items:
            for label, keys, leaf in leaf_spaces(part, f"{path}[{name!r}]"):
                yield label, (name, *keys), leaf
    else:
        yield path, (), space


def follow(value: Any, keys: tuple) -> Any:
    """The part of a nested value that `keys` name, by item or, in a dataclass, by attribute."""
    for key in keys:
        value = value[key] if isinstance(value, Mapping | tuple | list) else getattr(value, key)
    return value


def membership_problem(space: Any, values: dict[str, list]) -> str | None:
    """What keeps one of `values`, lists by what they are, from being a member of `space`, or None.

    One compiled program judges all values of a leaf.
    """
    for label, keys, leaf in leaf_spaces(space):
        parts = [
            (what, index, follow(value, keys))
            for what, members in values.items()
            for index, value in enumerate(members)
        ]
        for what, _, part in parts:
            if np.shape(part) != tuple(leaf.shape) or part.dtype != leaf.dtype:
                wanted = f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}"
                return f"{what}{label} is {part.dtype}{list(np.shape(part))}, not {wanted}"
        inside = np.asarray(jax.jit(jax.vmap(leaf.contains))(np.stack([p for *_, p in parts])))
        if not inside.all():
            what, index, part = parts[int(np.argmin(inside))]
            return f"{what}{label} number {index} is {np.asarray(part)}, outside {leaf}"
    return None


def signature(tree: PyTree) -> dict[str, str]:
    """dtype, shape and weakness of every leaf of an abstract tree, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): describe(leaf) for path, leaf in leaves}


def describe(leaf: Any) -> str:
    """Such as `float32[3]` or, for a weakly typed leaf, `int32[] (weak)`."""
    weak = " (weak)" if getattr(leaf, "weak_type", False) else ""
    return f"{leaf.dtype}{list(leaf.shape)}{weak}"


def first_difference(left: PyTree, right: PyTree, *, exact: bool = False) -> str | None:
    """Where two pytrees of values differ, in words; None where they agree within RTOL, ATOL."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (left, right)]
    if structures[0] != structures[1]:
        return f"structure {structures[0]} against {structures[1]}"
    pairs = zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True)
    for (path, a), b in pairs:
        a, b = numbers(a), numbers(b)
        rtol, atol = (RTOL, ATOL) if a.dtype.kind == "f" and not exact else (0.0, 0.0)
        if a.shape != b.shape or not np.allclose(a, b, rtol, atol, equal_nan=True):
            return f"{jax.tree_util.keystr(path)}: {a} against {b}"
    return None


def numbers(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; PRNG keys give their raw words, bools and ints become int64."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.astype(np.int64 if array.dtype.kind in "biu" else np.float64)
