"""A point mass pushed to a target in the plane, with wind and a skewed actuator as breaks."""

import dataclasses
import functools
import math
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.symmetric import SymmetricEnvironment
from jaxecon.suggest import unknown_name
from jaxecon.symmetry import Block, Representation, SymmetrySpec, act, cyclic, dihedral, standard
from jaxecon.types import Array, Key

Group = Literal["D4", "C8"]


@struct.dataclass
class EnvParams(base.EnvParams):
    """Mechanics and the two breaks; every field may be a traced scalar."""

    break_strength: float = 0.0  # β in [0, 1], times wind and skew; at 0 the symmetry is exact
    time_step: float = 0.1  # h
    drag: float = 0.1  # d, velocity lost per unit of time
    effort_cost: float = 0.05  # c, of a force of 1
    wind: float = 0.05  # w, velocity added every step along +x
    skew: float = math.pi / 3  # φ, turn of the force where x > 0 [rad]
    max_steps_in_episode: int = 100


@struct.dataclass
class EnvState(base.EnvState):
    """The point, seen from the target."""

    position: Array  # [2]
    velocity: Array  # [2]
    effort_sum: Array  # of squared forces


@dataclasses.dataclass(frozen=True)
class PointReach2D(SymmetricEnvironment):
    """Push a point to the origin of the plane and hold it there.

        v' = v + h (Rot(βφ 1[x > 0]) a - d v) + β (w, 0),   e' = e + h v'
        reward  -|e'| - c |a|²

    Position e = (x, y) and velocity v. The step is semi-implicit: e moves by the new velocity. At
    β = 0 all rotations and reflections of the plane are symmetries, of which the environment
    declares a finite group. Wind and a force that turns on one side of the plane break them.

    Action: [2], a force of length at most 1; a longer one is shortened to 1.

    Observation: [4], position and velocity. Episodes start at rest, uniformly in the unit disc, and
    end only at the time limit.

    Attributes:
      symmetry_group: "D4", four rotations and four reflections, or "C8", eight rotations.
    """

    symmetry_group: Group = "D4"

    ends_together = True

    def __post_init__(self):
        if self.symmetry_group not in get_args(Group):
            raise ValueError(unknown_name("symmetry group", self.symmetry_group, get_args(Group)))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "PointReach2D-v0"

    @property
    def default_params(self) -> EnvParams:
        """Neither wind nor skew: an exact symmetry."""
        return EnvParams()

    def symmetry(self) -> SymmetrySpec:
        """Rotations (and reflections) of position, velocity and force."""
        rep = plane(self.symmetry_group)
        return SymmetrySpec(rep.group, (Block(0, 4, 2, rep),), rep)

    def action_space(self, params: EnvParams) -> base.Ball:
        """Forces, [2] of length at most 1."""
        return base.Ball(2)

    def observation_space(self, params: EnvParams) -> base.Box:
        """Position and velocity, [4], unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (4,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """At rest, uniformly in the unit disc."""
        position = jax.random.ball(key, 2)
        state = EnvState(jnp.int32(0), position, jnp.zeros(2), jnp.zeros((), float))
        return self.observe(key, state, None, params), state

    def noise(self, key: Key, params: EnvParams) -> tuple[()]:
        """Nothing is random after the start."""
        return ()

    def transition(
        self, state: EnvState, action: Array, noise: tuple[()], params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """Push for one step; info has the `distance` to the target."""
        chex.assert_shape(action, (2,))
        action = jnp.asarray(action, float)
        force = action / jnp.maximum(_length(action), 1.0)
        strength, time_step, drag, wind, skew = (
            jnp.asarray(getattr(params, field), float)
            for field in ("break_strength", "time_step", "drag", "wind", "skew")
        )
        turn = jnp.where(state.position[0] > 0.0, strength * skew, 0.0)
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        pushed = jnp.stack([cos * force[0] - sin * force[1], sin * force[0] + cos * force[1]])
        blown = jnp.stack([strength * wind, jnp.zeros_like(wind)])
        velocity = state.velocity + time_step * (pushed - drag * state.velocity) + blown
        position = state.position + time_step * velocity
        distance, effort = _length(position), jnp.sum(force**2)
        reward = -distance - jnp.asarray(params.effort_cost, float) * effort
        state = EnvState(state.time + 1, position, velocity, state.effort_sum + effort)
        return state, reward, {"distance": distance}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Position and velocity, [4]."""
        return jnp.concatenate([state.position, state.velocity])

    def act_on_state(self, element: Array | int, state: EnvState) -> EnvState:
        """Position and velocity turned or reflected."""
        rep = plane(self.symmetry_group)
        return state.replace(
            position=act(rep, element, state.position), velocity=act(rep, element, state.velocity)
        )

    def reward_mismatch(self, params: EnvParams) -> Array:
        """Largest |R(gs, ga) - R(s, a)| over states, actions and the group.

        Seen from s, carrying step and state along g changes the next position by u' - u with
        u = h² Rot(θ) a + hβ (w, 0) and u' its image, where θ, θ' are 0 or βφ. The reward is the
        distance, so the gap is at most |u' - u|, and it is met where the rest of the position
        points that way. A rotation has |Rot(θ) - Rot(θ')| = 2 sin(βφ/2) at most; a reflection,
        which turns θ' round, 2 sin(βφ/2), or 2 sin(βφ) where it leaves points with x > 0 there.
        Expects βφ in [0, π/2].
        """
        strength, time_step = (
            jnp.asarray(x, float) for x in (params.break_strength, params.time_step)
        )
        wind = strength * jnp.asarray(params.wind, float)
        angle = strength * jnp.asarray(params.skew, float)
        gaps = []
        for matrix in plane(self.symmetry_group).matrices[1:]:
            along = matrix[0, 0]  # g's cosine of the x axis with its image
            turns_twice = along * matrix[1, 1] - matrix[0, 1] * matrix[1, 0] < 0 and along > -0.999
            force = 2.0 * jnp.sin(angle if turns_twice else 0.5 * angle)
            blown = wind * float(max(2.0 - 2.0 * along, 0.0)) ** 0.5
            gaps.append(time_step**2 * force + time_step * blown)
        return jnp.stack(gaps).max()

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`distance` at the end and mean squared force, `effort`; no effort before a step."""
        steps = jnp.maximum(state.time, 1).astype(state.effort_sum.dtype)
        return {"distance": _length(state.position), "effort": state.effort_sum / steps}


@functools.cache
def plane(name: Group) -> Representation:
    """The named group's rotations and reflections of the plane."""
    return standard(dihedral(4) if name == "D4" else cyclic(8))


def _length(vector: Array) -> Array:
    """Euclidean length with gradient 0, not nan, at the origin."""
    square = jnp.sum(vector**2)
    is_zero = square == 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))
