"""Experience replay: a ring of the latest transitions, kept and read inside the compiled program.

Rows are steps, columns are environments: `[R, B, ...]`. Each observation is stored once. The one
that follows a step is found in the next row, except where an episode was cut off: its final
observation then sits in a second, smaller ring. A buffer of C = R B transitions with observations
of X bytes and actions of Y takes about

    C (X + Y + 9) + F (X + 4) bytes,   F final observations (C / 8 by default)

against C (2 X + Y + 6) with both observations stored. A whole block of rows is written in one
contiguous update, which the compiler performs in place.

What is sampled is a window of n steps, shorter where the episode or the record ends within it.
`priorities` are optional.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.algos import priorities
from jaxecon.types import Array, PyTree


class Steps(NamedTuple):
    """T consecutive steps of B environments."""

    obs: PyTree  # leaves [T, B, ...] where the action was taken
    action: Array  # [T, B, ...] of any shape and dtype
    reward: Array  # [T, B] or [T, B, N]
    terminated: Array  # [T, B] bool
    truncated: Array  # [T, B] bool
    final_obs: PyTree  # leaves [T, B, ...] after the step, before any reset


@struct.dataclass
class Priorities:
    """How much each slot counts in draws."""

    tree: priorities.Tree
    highest: Array  # () largest mass ever set; new transitions get it


@struct.dataclass
class ReplayState:
    """The rings and where they stand. Slot r B + b is row r, environment b."""

    obs: PyTree  # leaves [R, B, ...]
    action: Array  # [R, B, ...]
    reward: Array  # [R, B] or [R, B, N]
    terminated: Array  # [R, B] bool
    final: Array  # [R, B] int32: place of the final observation, -1 where the step was not cut off
    final_obs: PyTree  # leaves [F, ...]
    final_slot: Array  # [F] int32 slot that each final observation belongs to
    next_row: Array  # () int32 row to write next
    num_rows: Array  # () int32 rows written, at most R
    next_final: Array  # () int32 place of the next final observation
    priorities: Priorities | None


class Window(NamedTuple):
    """M windows of up to n steps."""

    obs: PyTree  # leaves [M, ...] at the first step
    action: Array  # [M, ...] at the first step
    reward: Array  # [M] or [M, N] discounted sum over the window
    discount: Array  # [M] factor of the value that follows: 0 after a termination
    next_obs: PyTree  # leaves [M, ...] after the last step, before any reset
    is_known: Array  # [M] bool: False where the final observation has been overwritten


def init_replay(
    example: Steps,
    num_rows: int,
    num_final: int | None = None,
    *,
    prioritised: bool = False,
) -> ReplayState:
    """An empty buffer.

    Args:
      example: shapes and dtypes of the steps to come, leaves [T, B, ...]; values do not matter.
      num_rows: R, at least 2 and a multiple of the T of every block to come.
      num_final: F, how many final observations of episodes that were cut off to keep; a tenth of
        the slots suffices where such episodes last 10 steps or more. None is an eighth.
      prioritised: whether to draw in proportion to priorities.

    Raises:
      ValueError: a count is too small.
    """
    num_envs = example.terminated.shape[1]
    num_final = max(1, -(-num_rows * num_envs // 8)) if num_final is None else num_final
    for name, value, least in (("num_rows", num_rows, 2), ("num_final", num_final, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    ring = lambda x: jnp.zeros((num_rows, *x.shape[1:]), x.dtype)
    zero = jnp.int32(0)
    tree = priorities.init_tree(num_rows * num_envs)
    return ReplayState(
        obs=jax.tree.map(ring, example.obs),
        action=ring(example.action),
        reward=ring(example.reward),
        terminated=ring(example.terminated),
        final=jnp.full((num_rows, num_envs), -1, jnp.int32),
        final_obs=jax.tree.map(
            lambda x: jnp.zeros((num_final, *x.shape[2:]), x.dtype), example.obs
        ),
        final_slot=jnp.full(num_final, -1, jnp.int32),
        next_row=zero,
        num_rows=zero,
        next_final=zero,
        priorities=Priorities(tree, jnp.ones(())) if prioritised else None,
    )


def add(replay: ReplayState, steps: Steps) -> ReplayState:
    """The buffer with T more rows in the place of the oldest; T must divide its number of rows."""
    length, num_envs = steps.terminated.shape
    capacity = replay.terminated.shape[0]
    if capacity % length:
        raise ValueError(f"steps must have a length that divides {capacity} rows, got {length}.")
    replay, final = _keep_final_observations(replay, steps)

    def write(ring: Array, block: Array) -> Array:
        start = (replay.next_row,) + (jnp.int32(0),) * (ring.ndim - 1)
        return jax.lax.dynamic_update_slice(ring, block.astype(ring.dtype), start)

    return dataclasses.replace(
        replay,
        obs=jax.tree.map(write, replay.obs, steps.obs),
        action=write(replay.action, steps.action),
        reward=write(replay.reward, steps.reward),
        terminated=write(replay.terminated, steps.terminated),
        final=write(replay.final, final),
        next_row=(replay.next_row + length) % capacity,
        num_rows=jnp.minimum(replay.num_rows + length, capacity),
        priorities=_enter_priorities(replay, length, num_envs),
    )


def _keep_final_observations(replay: ReplayState, steps: Steps) -> tuple[ReplayState, Array]:
    """Store what followed each step that was cut off; [T, B] places, -1 for the other steps."""
    num_final = replay.final_slot.shape[0]
    shape = steps.terminated.shape
    is_cut = jnp.reshape(steps.truncated & ~steps.terminated, -1)
    rank = jnp.cumsum(is_cut.astype(jnp.int32))
    place = (replay.next_final + rank - 1) % num_final
    is_kept = is_cut & (rank > rank[-1] - num_final)  # the latest, if there are too many
    where = jnp.where(is_kept, place, num_final)
    slot = replay.next_row * shape[1] + jnp.arange(is_cut.shape[0], dtype=jnp.int32)

    def store(ring: Array, x: Array) -> Array:
        return ring.at[where].set(jnp.reshape(x, (-1, *x.shape[2:])), mode="drop")

    replay = dataclasses.replace(
        replay,
        final_obs=jax.tree.map(store, replay.final_obs, steps.final_obs),
        final_slot=replay.final_slot.at[where].set(slot, mode="drop"),
        next_final=(replay.next_final + rank[-1]) % num_final,
    )
    return replay, jnp.reshape(jnp.where(is_cut, place, -1), shape)


def _enter_priorities(replay: ReplayState, length: int, num_envs: int) -> Priorities | None:
    """Highest priority for the new rows; none for the newest, whose successor is not known yet."""
    if replay.priorities is None:
        return None
    num_slots = replay.terminated.size
    first = (replay.next_row - 1) * num_envs  # the row that was newest until now
    offset = jnp.arange((length + 1) * num_envs, dtype=jnp.int32)
    has_successor = offset < length * num_envs
    exists = (offset >= num_envs) | (replay.num_rows > 0)
    mass = jnp.where(has_successor & exists, replay.priorities.highest, 0.0)
    tree = priorities.set_mass(replay.priorities.tree, (first + offset) % num_slots, mass)
    return dataclasses.replace(replay.priorities, tree=tree)


def num_starts(replay: ReplayState) -> Array:
    """Slots that a window may start at, (): every step whose successor is stored."""
    return jnp.maximum(replay.num_rows - 1, 0) * replay.terminated.shape[1]


def draw_uniform(bits: Array, replay: ReplayState) -> Array:
    """Slots drawn evenly and with replacement, int32 [M].

    Args:
      bits: uint32 [M] random bits; the remainder of their division is uneven by less than one part
        in 2^32 / C.
      replay: holds at least two rows; a slot without content comes back otherwise.
    """
    capacity, num_envs = replay.terminated.shape
    number = jnp.maximum(num_starts(replay), 1).astype(jnp.uint32)
    back = (bits % number).astype(jnp.int32)  # counted from the newest start
    row = (replay.next_row - 2 - back // num_envs) % capacity
    return row * num_envs + back % num_envs


def draw_prioritised(
    bits: Array, replay: ReplayState, importance_exponent: Array
) -> tuple[Array, Array]:
    """Slots drawn in proportion to their mass, [M] int32, and importance weights, [M].

        w_i = (C P(i))^-β,  scaled by the largest of the batch

    The unit interval is cut into M equal strata, one draw from each.

    Args:
      bits: uint32 [M].
      replay: built with `prioritised=True`.
      importance_exponent: β in [0, 1]; at 1 the weights undo the uneven draws.

    Source: Schaul et al. (2016), Prioritized Experience Replay.
    """
    assert replay.priorities is not None
    tree = replay.priorities.tree
    size = bits.shape[0]
    unit = (bits >> 8).astype(tree[0].dtype) * 2.0**-24
    slot = priorities.draw(tree, (jnp.arange(size, dtype=unit.dtype) + unit) / size)
    share = priorities.mass_of(tree, slot) / priorities.total_mass(tree)
    share = jnp.maximum(share, jnp.finfo(share.dtype).tiny)
    return slot, (share / share.min()) ** -importance_exponent


def set_priorities(replay: ReplayState, slot: Array, mass: Array, used: Array) -> ReplayState:
    """New masses [M] for slots [M]; `used`, () bool, False leaves all as they are.

    A slot that was drawn twice keeps the larger of its two masses.
    """
    assert replay.priorities is not None
    tree, highest = replay.priorities.tree, replay.priorities.highest
    same = slot[:, None] == slot[None, :]
    mass = jnp.max(jnp.where(same, mass[None, :], 0.0), axis=-1)
    mass = jnp.where(used, mass, priorities.mass_of(tree, slot))
    tree = priorities.set_mass(tree, slot, mass)
    entered = Priorities(tree, jnp.maximum(highest, mass.max()))
    return dataclasses.replace(replay, priorities=entered)


def read_windows(replay: ReplayState, slot: Array, num_steps: int, gamma: Array) -> Window:
    """The windows that start at slots [M], as targets need them.

        R = sum of γ^k r_k over the m steps of the window,  discount = γ^m (1 - terminated)

    m is `num_steps` or less: a window stops with its episode and before the newest row. Rewards of
    later actions come from the policies of their time, uncorrected, as is usual in DQN.

    Args:
      replay: the buffer.
      slot: [M], from a draw.
      num_steps: n >= 1 (static).
      gamma: discount factor per step.
    """
    capacity, num_envs = replay.terminated.shape
    flat = lambda x: jnp.reshape(x, (-1, *x.shape[2:]))
    terminated, final = flat(replay.terminated), flat(replay.final)
    newest = replay.next_row - 1
    left = (newest - slot // num_envs) % capacity  # [M] steps with a known successor
    lag = jnp.arange(num_steps, dtype=jnp.int32)[:, None]
    slots = (slot[None] + lag * num_envs) % terminated.shape[0]  # [n, M]
    ends = terminated[slots] | (final[slots] >= 0)
    goes_on = jnp.cumprod(~ends & (lag + 1 < left[None]), axis=0, dtype=jnp.int32)
    is_in = jnp.concatenate([jnp.ones_like(goes_on[:1]), goes_on[:-1]])
    length = is_in.sum(axis=0)  # m
    last = jnp.take_along_axis(slots, length[None] - 1, axis=0)[0]
    reward = flat(replay.reward)[slots]
    factor = jnp.power(gamma, lag.astype(reward.dtype)) * is_in.astype(reward.dtype)
    factor = jnp.reshape(factor, factor.shape + (1,) * (reward.ndim - 2))
    place = final[last]
    is_cut = place >= 0
    after = (last + num_envs) % terminated.shape[0]

    def following(ring: Array, final_ring: Array) -> Array:
        cut = jnp.reshape(is_cut, (-1,) + (1,) * (ring.ndim - 2))
        return jnp.where(cut, final_ring[place], flat(ring)[after])

    return Window(
        obs=jax.tree.map(lambda x: flat(x)[slot], replay.obs),
        action=flat(replay.action)[slot],
        reward=(factor * reward).sum(axis=0),
        discount=jnp.where(terminated[last], 0.0, jnp.power(gamma, length.astype(reward.dtype))),
        next_obs=jax.tree.map(following, replay.obs, replay.final_obs),
        is_known=~is_cut | (replay.final_slot[place] == last),
    )
