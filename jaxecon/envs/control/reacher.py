"""A two-link arm that reaches for targets in the plane: mirrors and turns, broken by gravity."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.symmetric import SymmetricEnvironment
from jaxecon.solvers.runge_kutta import runge_kutta_step
from jaxecon.symmetry import (
    Block,
    Representation,
    SymmetrySpec,
    act,
    copies,
    determinant,
    dihedral,
    standard,
    trivial,
)
from jaxecon.types import Array, Key

WRIST_LIMIT = math.radians(160.0)
NEAREST, FARTHEST = 0.05, 0.20  # a target's distance from the shoulder [m]


@struct.dataclass
class EnvParams(base.EnvParams):
    """Mechanics, targets and the two breaks; every field may be a traced scalar."""

    break_strength: float = 0.0  # β in [0, 1], times gravity and repeats; 0: exact symmetry
    time_step: float = 0.02  # h [s]
    link_length: float = 0.12  # of each link [m]
    link_mass: float = 0.042  # of each link, a uniform rod [kg]
    gear: float = 0.05  # torque of an action of 1 [N m]
    damping: float = 0.01  # of each joint [N m s]
    target_radius: float = 0.05  # [m]; 0.015 is the hard task
    finger_radius: float = 0.01  # [m]
    gravity: float = 1.0  # towards -y at β = 1 [m/s²]
    repeat_chance: float = 0.5  # that the wrist repeats its last command, at β = 1
    max_steps_in_episode: int = 1000


@struct.dataclass
class EnvState(base.EnvState):
    """Arm and target."""

    angles: Array  # [2] shoulder from the x axis, wrist from the upper arm [rad]
    rates: Array  # [2] [rad/s]
    target: Array  # [2] [m]
    last_command: Array  # of the wrist, in [-1, 1]
    reached_sum: Array  # steps with the finger at the target


@dataclasses.dataclass(frozen=True)
class Reacher(SymmetricEnvironment):
    """Bring the tip of a planar arm of two equal links to a target and keep it there.

    With M the mass matrix of two uniform rods, C their centrifugal and G their weight terms, all
    written out in `accelerations`:

        M(q) q'' + C(q, q') + G(q) = gear · a - damping · q'

    Each action lasts `num_substeps` classical Runge-Kutta steps of h / num_substeps; with four, the
    fastest decay (about 250/s) is well inside the stable range. The wrist stops dead at ±160°.

    The mirrors in both axes and the half turn (the group D2) are symmetries at β = 0. Gravity β g
    towards -y breaks all but the mirror of x. With chance β/2 the wrist repeats the command of the
    step before, which is hidden: a command of the wrist acts at most twice. Repeats keep the
    symmetry but hide part of the state.

    Action: [2], torques of shoulder and wrist over `gear`; outside [-1, 1] they are clipped.

    Observation: [8], direction of the upper arm (cos, sin), cosine and sine of the wrist, vector
    from fingertip to target [m], joint rates [rad/s].

    Reward: after the step, 1 if the tip is within target_radius + finger_radius of the target, else
    0. Episodes start at rest in a random posture, with a target at a uniform angle and at a uniform
    distance of 5 to 20 cm. They end only at the time limit.

    Attributes:
      num_substeps: integration steps per action.

    Source: task, lengths, gear and damping after the reacher of Tassa et al. (2018), DeepMind
    Control Suite, arXiv 1801.00690; rods, stops, integrator and breaks are our own.
    """

    num_substeps: int = 4

    ends_together = True

    def __post_init__(self):
        base.require_count("num_substeps", self.num_substeps)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "Reacher-v0"

    @property
    def default_params(self) -> EnvParams:
        """The easy task without gravity or repeats: an exact symmetry."""
        return EnvParams()

    def symmetry(self) -> SymmetrySpec:
        """D2: the plane's mirrors and half turn; mirrors flip the wrist and all turning."""
        plane, turning, keeps = plane_and_turning()
        blocks = (
            Block(0, 2, 1, plane),
            Block(2, 3, 1, keeps),
            Block(3, 4, 1, turning),
            Block(4, 6, 1, plane),
            Block(6, 8, 2, turning),
        )
        return SymmetrySpec(plane.group, blocks, copies(turning, 2))

    def action_space(self, params: EnvParams) -> base.Box:
        """Torques over their largest, [2] in [-1, 1]."""
        return base.Box(-1.0, 1.0, (2,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Posture, way to the target and rates, [8], unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (8,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """A random posture at rest and a random target."""
        shoulder, wrist, angle, share = jax.random.uniform(key, (4,))
        angles = jnp.stack([(2.0 * shoulder - 1.0) * math.pi, (2.0 * wrist - 1.0) * WRIST_LIMIT])
        distance = NEAREST + share * (FARTHEST - NEAREST)
        zero = jnp.zeros((), float)
        state = EnvState(
            time=jnp.int32(0),
            angles=angles,
            rates=jnp.zeros_like(angles),
            target=distance * direction(2.0 * math.pi * angle),
            last_command=zero,
            reached_sum=zero,
        )
        return self.observe(key, state, None, params), state

    def noise(self, key: Key, params: EnvParams) -> Array:
        """A uniform draw that decides on a repeat; no element of the group moves it."""
        return jax.random.uniform(key)

    def transition(
        self, state: EnvState, action: Array, noise: Array, params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """One step of the dynamics; info has the `distance` of the tip from the target [m]."""
        chex.assert_shape(action, (2,))
        command = jnp.clip(jnp.asarray(action, float), -1.0, 1.0)
        chance = jnp.asarray(params.break_strength, float) * jnp.asarray(
            params.repeat_chance, float
        )
        wrist = jnp.where(noise < chance, state.last_command, command[1])
        torque = jnp.asarray(params.gear, float) * jnp.stack([command[0], wrist])
        angles, rates = self._integrate(state.angles, state.rates, torque, params)
        state = state.replace(
            time=state.time + 1, angles=angles, rates=rates, last_command=command[1]
        )
        to_target = state.target - fingertip(angles, params)
        radius = jnp.asarray(params.target_radius, float) + jnp.asarray(params.finger_radius, float)
        square = jnp.sum(to_target**2)
        reward = jnp.where(square <= radius**2, jnp.ones_like(square), 0.0)
        state = state.replace(reached_sum=state.reached_sum + reward)
        return state, reward, {"distance": jnp.sqrt(square)}

    def _integrate(
        self, angles: Array, rates: Array, torque: Array, params: EnvParams
    ) -> tuple[Array, Array]:
        """Angles and rates one action later."""
        step = jnp.asarray(params.time_step, float) / self.num_substeps

        def derivative(moving: tuple[Array, Array]) -> tuple[Array, Array]:
            return moving[1], accelerations(*moving, torque, params)

        def substep(moving: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            return _stop_wrist(*runge_kutta_step(derivative, moving, step)), None

        return jax.lax.scan(substep, (angles, rates), length=self.num_substeps)[0]

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Posture, way to the target and rates, [8]."""
        upper, wrist = direction(state.angles[0]), direction(state.angles[1])
        to_target = state.target - fingertip(state.angles, params)
        return jnp.concatenate([upper, wrist, to_target, state.rates])

    def act_on_state(self, element: Array | int, state: EnvState) -> EnvState:
        """Arm and target turned or mirrored."""
        plane, turning, _ = plane_and_turning()
        start = np.arctan2(plane.matrices[:, 1, 0], plane.matrices[:, 0, 0])  # of the x axis
        turned = jnp.asarray(start, state.angles.dtype)[element]
        both = copies(turning, 2)
        angles = act(both, element, state.angles)
        return state.replace(
            angles=angles.at[0].add(turned),
            rates=act(both, element, state.rates),
            target=act(plane, element, state.target),
            last_command=act(turning, element, state.last_command[None])[0],
        )

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`reached`, share of steps with the finger at the target; 0 before the first."""
        steps = jnp.maximum(state.time, 1).astype(state.reached_sum.dtype)
        return {"reached": state.reached_sum / steps}


@functools.cache
def plane_and_turning() -> tuple[Representation, Representation, Representation]:
    """D2 on vectors of the plane, on angles turned by, and on numbers."""
    plane = standard(dihedral(2))
    return plane, determinant(plane), trivial(plane.group)


def direction(angle: Array) -> Array:
    """(cos, sin) of an angle, [2]."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def fingertip(angles: Array, params: EnvParams) -> Array:
    """Where the arm ends, [2] [m]."""
    length = jnp.asarray(params.link_length, float)
    return length * (direction(angles[0]) + direction(angles[0] + angles[1]))


def accelerations(angles: Array, rates: Array, torque: Array, params: EnvParams) -> Array:
    """q'' [2] of two uniform rods, each of mass m and length l.

    M₁₁ = m l² (5/3 + cos q₂),  M₁₂ = m l² (1/3 + cos q₂ / 2),  M₂₂ = m l²/3
    C₁ = -k q₂' (2 q₁' + q₂'),  C₂ = k q₁'²,  k = m l² sin q₂ / 2
    G₁ = m g l (3/2 cos q₁ + 1/2 cos(q₁+q₂)),  G₂ = m g l cos(q₁+q₂) / 2
    """
    mass, length, damping, gravity, strength = (
        jnp.asarray(getattr(params, field), float)
        for field in ("link_mass", "link_length", "damping", "gravity", "break_strength")
    )
    unit = mass * length**2
    cos, sin = jnp.cos(angles[1]), jnp.sin(angles[1])
    first, both, second = unit * (5.0 / 3.0 + cos), unit * (1.0 / 3.0 + 0.5 * cos), unit / 3.0
    swing = 0.5 * unit * sin
    centrifugal = swing * jnp.stack([-rates[1] * (2.0 * rates[0] + rates[1]), rates[0] ** 2])
    upper, lower = jnp.cos(angles[0]), jnp.cos(angles[0] + angles[1])
    weight = (
        strength * mass * gravity * length * jnp.stack([1.5 * upper + 0.5 * lower, 0.5 * lower])
    )
    pull = torque - damping * rates - centrifugal - weight
    solved = jnp.stack([second * pull[0] - both * pull[1], first * pull[1] - both * pull[0]])
    return solved / (first * second - both**2)


def _stop_wrist(angles: Array, rates: Array) -> tuple[Array, Array]:
    """The wrist back within its limit, and no rate outwards there."""
    wrist, rate = angles[1], rates[1]
    outwards = (jnp.abs(wrist) >= WRIST_LIMIT) & (wrist * rate > 0.0)
    return (
        angles.at[1].set(jnp.clip(wrist, -WRIST_LIMIT, WRIST_LIMIT)),
        rates.at[1].set(jnp.where(outwards, 0.0, rate)),
    )
