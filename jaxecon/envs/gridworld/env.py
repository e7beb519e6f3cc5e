"""Gridworld with actions that often do nothing: mazes, islands, and a door with its key."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.gridworld.layouts import MOVES, SIZE, named_layout
from jaxecon.envs.preconditions import Preconditions
from jaxecon.types import Array, Key

FEATURES = (
    *("blocked_up", "blocked_right", "blocked_down", "blocked_left"),
    *("key_near", "has_key", "door_near", "door_open"),
)
PRECONDITIONS = Preconditions(
    {
        "up": "~blocked_up",
        "right": "~blocked_right",
        "down": "~blocked_down",
        "left": "~blocked_left",
        "pickup": "key_near & ~has_key",
        "open": "door_near & has_key & ~door_open",
    },
    FEATURES,
)
PICKUP, OPEN = 4, 5
NUM_PLANES = 7  # wall, agent, goal, key, closed door, open door, key in hand


@struct.dataclass
class EnvParams(base.EnvParams):
    """The map; every task has these shapes, so one program serves all and can be vmapped.

    `layouts.make_layout` writes all fields but the last from a drawing.
    """

    wall: Any = None  # [7, 7] bool
    goal: Any = None  # [2] int32 row and column
    key: Any = None  # [2] int32, off the map if there is none
    door: Any = None  # [2] int32, off the map if there is none
    start: Any = None  # [7, 7] bool where an episode may begin
    distance: Any = None  # [7, 7] fewest actions from there to the goal
    max_steps_in_episode: int = 196


@struct.dataclass
class EnvState(base.EnvState):
    """Where the agent stands and what it has done."""

    position: Array  # [2] int32 row and column
    has_key: Array  # bool
    door_open: Array  # bool
    distance: Array  # fewest actions from the episode's start to the goal
    num_inapplicable: Array  # int32 actions of the episode that did nothing


@dataclasses.dataclass(frozen=True)
class GridWorld(base.Environment):
    """Walk to the goal; where there is a door, fetch the key and open it first.

    Actions: 0 up, 1 right, 2 down, 3 left, 4 pick up, 5 open. An action that does not apply leaves
    everything as it is, but time passes. Moves apply unless wall, the closed door or the key is in
    the way; pick up beside the key; open beside the closed door, with the key in hand. The door
    stays open.

    Observation: [7, 7, 7], rows, columns and planes of 0 and 1: wall, agent, goal, key, closed
    door, open door, key in hand (everywhere or nowhere).

    Reward: d/t on reaching the goal in t actions, where d is the least number that will do; 0
    otherwise. The best return is 1. The goal ends the episode.

    Source: after Ardon, Pozanco, Borrajo & Ganesh (2022), Inapplicable Actions Learning for
    Knowledge Transfer in Reinforcement Learning, arXiv 2211.15589.
    """

    _supports_transition_gradients = False  # cells are whole numbers

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called, [6]."""
        return PRECONDITIONS.actions

    @property
    def name(self) -> str:
        """The registry's id."""
        return "GridWorld-v0"

    @property
    def default_params(self) -> EnvParams:
        """The maze."""
        return make_params("maze")

    def action_space(self, params: EnvParams) -> base.Discrete:
        """Four moves, pick up, open; the same six on every map."""
        return base.Discrete(len(PRECONDITIONS.actions))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Planes of 0 and 1, [7, 7, 7]."""
        return base.Box(0.0, 1.0, (SIZE, SIZE, NUM_PLANES), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """A start drawn evenly from those of the map."""
        chance = jnp.reshape(params.start, (-1,)).astype(params.distance.dtype)
        cell = jax.random.choice(key, chance.shape[0], p=chance / chance.sum())
        position = jnp.stack(jnp.divmod(cell.astype(jnp.int32), jnp.int32(SIZE)))
        state = EnvState(
            time=jnp.int32(0),
            position=position,
            has_key=jnp.bool_(False),
            door_open=jnp.bool_(False),
            distance=params.distance[position[0], position[1]],
            num_inapplicable=jnp.int32(0),
        )
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Act if the action applies; info has `applicable`."""
        chex.assert_shape(action, ())
        applies = self.action_mask(state, params)[action]
        moves = jnp.asarray((*MOVES, (0, 0), (0, 0)), jnp.int32)
        state = state.replace(
            time=state.time + 1,
            position=state.position + jnp.where(applies, moves[action], 0),
            has_key=state.has_key | (applies & (action == PICKUP)),
            door_open=state.door_open | (applies & (action == OPEN)),
            num_inapplicable=state.num_inapplicable + (~applies).astype(jnp.int32),
        )
        terminated = self.is_terminated(state, params)
        reward = jnp.where(terminated, state.distance / state.time.astype(state.distance.dtype), 0)
        obs = self.observe(key, state, action, params)
        return obs, state, reward, terminated, {"applicable": applies}

    def features(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """What preconditions speak of, bool scalars by name."""
        target = state.position[None, :] + jnp.asarray(MOVES, jnp.int32)  # [4, 2]
        is_key = jnp.all(target == params.key[None, :], axis=1)
        is_door = jnp.all(target == params.door[None, :], axis=1)
        shut = (is_key & ~state.has_key) | (is_door & ~state.door_open)
        blocked = params.wall[target[:, 0], target[:, 1]] | shut
        values = (*blocked, is_key.any(), state.has_key, is_door.any(), state.door_open)
        return dict(zip(FEATURES, values, strict=True))

    def action_mask(self, state: EnvState, params: EnvParams) -> Array:
        """Actions that change something, bool [6]."""
        return PRECONDITIONS.mask(self.features(state, params))

    def effect_view(self, state: EnvState) -> Any:
        """Position, key and door: all that an action can change."""
        return state.position, state.has_key, state.door_open

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Planes of 0 and 1, [7, 7, 7]."""

        def plane(position: Array, shown: Array | bool = True) -> Array:
            rows = jnp.arange(SIZE, dtype=jnp.int32) == position[0]
            columns = jnp.arange(SIZE, dtype=jnp.int32) == position[1]
            return rows[:, None] & columns[None, :] & shown

        planes = (
            params.wall,
            plane(state.position),
            plane(params.goal),
            plane(params.key, ~state.has_key),
            plane(params.door, ~state.door_open),
            plane(params.door, state.door_open),
            jnp.broadcast_to(state.has_key, (SIZE, SIZE)),
        )
        return jnp.stack(planes, axis=-1).astype(jnp.result_type(float))

    def applicability_view(self, obs: Array) -> Array:
        """The 3 x 3 cells around the agent, [..., 63] of observations [..., 7, 7, 7].

        Applicability is a matter of what is near; seen like this, it is the same on every map.
        """
        leading = obs.shape[:-3]
        flat = jnp.reshape(obs, (-1, SIZE, SIZE, NUM_PLANES))
        cell = jnp.argmax(jnp.reshape(flat[..., 1], (-1, SIZE * SIZE)), axis=1)
        row, column = jnp.divmod(cell, jnp.asarray(SIZE, cell.dtype))

        def crop(planes: Array, row: Array, column: Array) -> Array:
            corner = (row - 1, column - 1, jnp.zeros_like(row))
            return jax.lax.dynamic_slice(planes, corner, (3, 3, NUM_PLANES))

        return jnp.reshape(jax.vmap(crop)(flat, row, column), (*leading, 9 * NUM_PLANES))

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the agent stands on the goal."""
        return jnp.all(state.position == params.goal)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`inapplicable`, the actions that did nothing, and `at_goal`, 1 if it was reached."""
        as_float = lambda x: x.astype(state.distance.dtype)
        return {
            "inapplicable": as_float(state.num_inapplicable),
            "at_goal": as_float(self.is_terminated(state, params)),
        }

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """The shortest path: return 1, and its mean length over the starts."""
        mean = jnp.mean(params.distance, where=params.start)
        shortest = {"return": 1.0, "length": float(mean), "inapplicable": 0.0, "at_goal": 1.0}
        return {"shortest path": shortest}


def make_params(task: str) -> EnvParams:
    """The economy of a task: "maze", "x_island_1", "x_island_2", "key_door_1" or "key_door_2"."""
    layout = named_layout(task)._asdict()
    fields: dict[str, Any] = {name: jnp.asarray(value) for name, value in layout.items()}
    return EnvParams(**fields)


def make_gridworld(task: str = "maze") -> tuple[GridWorld, EnvParams]:
    """A gridworld and the map of a task, see `make_params`.

    Raises:
      ValueError: the task is unknown; the message names the nearest ones.
    """
    return GridWorld(), make_params(task)
