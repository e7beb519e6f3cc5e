"""Whether an action did anything, and whether a declared mask agrees with that.

An action is inapplicable in a state where it surely changes nothing. What counts as a change is the
environment's `effect_view`. Where the state also moves by itself (prices, demand) the environment
names its `noop_action`, and an action counts as applied if it led elsewhere than doing nothing
under the same random numbers.

Source: Ardon, Pozanco, Borrajo & Ganesh (2022), Inapplicable Actions Learning for Knowledge
Transfer in Reinforcement Learning, arXiv 2211.15589.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.envs import base
from jaxecon.types import Array, Key, PyTree


class MaskReport(NamedTuple):
    """How a declared mask compares with what the actions do."""

    num_pairs: int  # pairs of a state and an action that were tried
    wrongly_applicable: int  # declared applicable, but nothing ever changed
    wrongly_inapplicable: int  # declared inapplicable, but something changed
    num_stuck: int  # states whose mask allows no action
    by_action: tuple[tuple[int, int], ...]  # the two counts of each action, [A]

    @property
    def agrees(self) -> bool:
        """Whether no error of either kind, and no state without an action, was found."""
        return self.wrongly_applicable == self.wrongly_inapplicable == self.num_stuck == 0


def effect_view(env: Any, state: PyTree) -> PyTree:
    """What an action can change; of an environment without `effect_view`, all but the clock."""
    if hasattr(env, "effect_view"):
        return env.effect_view(state)
    return state.replace(time=jnp.zeros_like(state.time)) if hasattr(state, "time") else state


def differs(view: PyTree, other: PyTree, tolerance: float = 0.0) -> Array:
    """Whether two views of a state are further apart than `tolerance` in any entry, () bool."""

    def apart(x: Array, y: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.any(x != y)
        return jnp.any(jnp.abs(x - y) > tolerance)

    leaves = jax.tree.leaves(jax.tree.map(apart, view, other))
    return jnp.any(jnp.stack(leaves)) if leaves else jnp.bool_(False)


def had_effect(
    key: Key, env: Any, env_params: Any, state: PyTree, action: Array, after: PyTree
) -> Array:
    """Whether an action applied, () bool; the label that models of applicability learn from.

    Args:
      key: the key of the step that led from `state` to `after`.
      env: an environment with discrete actions. If it names a `noop_action`, one more step is
        taken, and the no-op itself counts as applied.
      env_params: its economy.
      state: before the step.
      action: () int32.
      after: the state after the step, before any reset.
    """
    noop, tolerance = getattr(env, "noop_action", None), getattr(env, "effect_tolerance", 0.0)
    if noop is None:
        return differs(effect_view(env, state), effect_view(env, after), tolerance)
    idle = jnp.full_like(action, noop)
    _, otherwise, *_ = env.step_env(key, state, idle, env_params)
    moved = differs(effect_view(env, otherwise), effect_view(env, after), tolerance)
    return moved | (action == noop)


def require_legal_actions(env: Any, env_params: Any, key: Key, *, num_states: int = 32) -> None:
    """Raise ValueError if some episode starts in a state whose mask allows no action.

    Traced masks cannot be judged, so this looks at concrete first states before training starts;
    `check_mask` looks at states on the way too.

    Args:
      env: any environment; one that declares no mask passes.
      env_params: its economy, concrete.
      key: PRNG key of the starts.
      num_states: how many starts.
    """
    if not declares_mask(env, env_params):
        return
    start = jax.jit(
        lambda key: env.action_mask(env.reset_env(key, env_params)[1], env_params).any(axis=-1)
    )
    stuck = ~jax.vmap(start)(jax.random.split(key, num_states))
    if stuck.any():
        raise ValueError(
            f"action_mask of {env.name} must allow at least one action in every state, got none "
            f"in {int(stuck.any(axis=tuple(range(1, stuck.ndim))).sum())} of {num_states} first "
            "states. Let one action, such as waiting, always be legal."
        )


def declares_mask(env: Any, env_params: Any) -> bool:
    """Whether an environment says which actions apply."""
    if not hasattr(env, "action_mask"):
        return False
    mask = lambda key: env.action_mask(env.reset_env(key, env_params)[1], env_params)
    return jax.eval_shape(mask, jax.random.key(0)) is not None


def check_mask(
    env: Any, env_params: Any, key: Key, *, num_states: int = 256, num_steps: int = 32
) -> MaskReport:
    """Errors of `action_mask` over states that random play visits.

    Every action is tried in every state, four times with different random numbers. A pair is
    wrongly inapplicable if any try had an effect, wrongly applicable if none had.

    Args:
      env: a single-agent environment with discrete actions and an `action_mask`.
      env_params: its economy.
      key: PRNG key of the play.
      num_states: episodes that are played side by side.
      num_steps: how far each is played; the states on the way are all tried.

    Raises:
      ValueError: the environment declares no mask, has several agents, or actions that are not
        one discrete choice.
    """
    space = env.action_space(env_params)
    if getattr(env, "num_agents", None) is not None or not isinstance(space, base.Discrete):
        raise ValueError(f"env must have one agent and discrete actions, got {space!r}.")
    if not declares_mask(env, env_params):
        raise ValueError("env must declare action_mask, got None; every action then applies.")
    num_actions = space.n
    key_reset, key_play = jax.random.split(key)
    _, start = jax.vmap(env.reset_env, (0, None))(
        jax.random.split(key_reset, num_states), env_params
    )
    actions = jnp.arange(num_actions, dtype=jnp.int32)

    def has_effect(key: Key, state: PyTree, action: Array) -> Array:
        _, after, *_ = env.step_env(key, state, action, env_params)
        return had_effect(key, env, env_params, state, action, after)

    def compare(state: PyTree, keys: Key) -> tuple[Array, Array, Array]:
        tried = jax.vmap(jax.vmap(has_effect, (None, None, 0)), (0, None, None))
        changes, mask = tried(keys, state, actions).any(axis=0), env.action_mask(state, env_params)
        return mask & ~changes, ~mask & changes, ~mask.any()

    def visit(states: PyTree, key: Key) -> tuple[PyTree, tuple[Array, Array, Array]]:
        key_tries, key_actions, key_steps, key_fresh = jax.random.split(key, 4)
        errors = jax.vmap(compare, (0, None))(states, jax.random.split(key_tries, 4))
        chosen = jax.random.randint(key_actions, (num_states,), 0, num_actions, jnp.int32)
        keys = jax.random.split(key_steps, num_states)
        _, after, _, ended, _ = jax.vmap(env.step_env, (0, 0, 0, None))(
            keys, states, chosen, env_params
        )
        _, fresh = jax.vmap(env.reset_env, (0, None))(
            jax.random.split(key_fresh, num_states), env_params
        )
        again = lambda new, old: jax.vmap(jnp.where)(ended, new, old)
        return jax.tree.map(again, fresh, after), jax.tree.map(lambda x: x.sum(axis=0), errors)

    _, errors = jax.jit(lambda s, k: jax.lax.scan(visit, s, k))(
        start, jax.random.split(key_play, num_steps)
    )
    wide, narrow, stuck = (error.sum(axis=0).tolist() for error in errors)
    return MaskReport(
        num_states * num_steps * num_actions,
        sum(wide),
        sum(narrow),
        stuck,
        tuple(zip(wide, narrow, strict=True)),
    )
