"""Swing a pole up on a cart: a mirror symmetry that a sloping rail and a strong side break."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.symmetric import SymmetricEnvironment
from jaxecon.solvers.runge_kutta import runge_kutta_step
from jaxecon.symmetry import Block, SymmetrySpec, act, copies, sign, trivial, z2
from jaxecon.types import Array, Key

AT_MARGIN = 0.1  # value of a Gaussian tolerance at its margin


@struct.dataclass
class EnvParams(base.EnvParams):
    """Mechanics and the two breaks; every field may be a traced scalar."""

    break_strength: float = 0.0  # β in [0, 1], times slope and strong side; 0: exact symmetry
    time_step: float = 0.01  # h [s]
    cart_mass: float = 1.0  # [kg]
    pole_mass: float = 0.1  # [kg], a uniform rod
    pole_length: float = 1.0  # [m]
    gravity: float = 9.81  # [m/s²]
    gear: float = 10.0  # force of an action of 1 [N]
    rail: float = 1.8  # half length of the rail [m]
    slope: float = math.pi / 12  # of the rail, rising towards +x, at β = 1 [rad]
    strong_side: float = 0.3  # what a positive force gains at β = 1
    max_steps_in_episode: int = 1000


@struct.dataclass
class EnvState(base.EnvState):
    """Cart and pole."""

    coordinates: Array  # [2] cart along the rail [m], angle of the pole from upright [rad]
    velocities: Array  # [2] their rates
    upright_sum: Array  # of the height of the pole, in [0, 1] each step


@dataclasses.dataclass(frozen=True)
class CartPoleSwingUp(SymmetricEnvironment):
    """Swing up a pole that hangs from a cart and hold it upright in the middle of the rail.

    With x along a rail of slope α, θ from upright, half length l and J the rod's inertia about its
    hinge, F the force and M the mass of both:

        M x'' + m l cos(θ+α) θ'' - m l sin(θ+α) θ'² + M g sin α = F
        m l cos(θ+α) x'' + J θ'' - m g l sin θ = 0

    One classical Runge-Kutta step of length h per action; nothing is damped. At an end of the rail
    the cart stops dead, and the pole swings on.

    The mirror (x, θ, F) -> -(x, θ, F) is a symmetry at β = 0. The slope α = 15° β and a force that
    is (1 + 0.3 β) times as strong towards +x break it, in the transition alone.

    Action: [1], the force over `gear`; outside [-1, 1] it is clipped.

    Observation: [5], x, cos θ, sin θ, x', θ'.

    Reward: in [0, 1], after the step, the product of (1 + cos θ)/2, (4 + 1 - a²)/5,
    (1 + t(θ'; 5))/2 and (1 + t(x; 2))/2 with t(z; m) = 0.1^((z/m)²). Episodes start with the pole
    hanging, all coordinates and rates within a normal of deviation 0.01, and end only at the time
    limit.

    Source: reward, masses and sizes after the cart-pole swing-up of Tassa et al. (2018), DeepMind
    Control Suite, arXiv 1801.00690; breaks, stops and integrator are our own.
    """

    ends_together = True

    @property
    def name(self) -> str:
        """The registry's id."""
        return "CartPoleSwingUp-v0"

    @property
    def default_params(self) -> EnvParams:
        """A level rail and an even motor: an exact symmetry."""
        return EnvParams()

    def symmetry(self) -> SymmetrySpec:
        """Z2: the mirror flips all but the cosine."""
        flips, keeps = sign(z2()), trivial(z2())
        blocks = (Block(0, 1, 1, flips), Block(1, 2, 1, keeps), Block(2, 5, 3, flips))
        return SymmetrySpec(flips.group, blocks, flips)

    def action_space(self, params: EnvParams) -> base.Box:
        """Force over its largest, [1] in [-1, 1]."""
        return base.Box(-1.0, 1.0, (1,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Cart, pole and their rates, [5], unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (5,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """The pole hangs, nearly at rest."""
        small = 0.01 * jax.random.normal(key, (4,))
        hanging = jnp.asarray([0.0, math.pi], small.dtype)
        state = EnvState(jnp.int32(0), hanging + small[:2], small[2:], jnp.zeros((), float))
        return self.observe(key, state, None, params), state

    def noise(self, key: Key, params: EnvParams) -> tuple[()]:
        """Nothing is random after the start."""
        return ()

    def transition(
        self, state: EnvState, action: Array, noise: tuple[()], params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """One step of the dynamics; info has `upright`, the height of the pole in [0, 1]."""
        chex.assert_shape(action, (1,))
        push = jnp.clip(jnp.asarray(action[0], float), -1.0, 1.0)
        strength, side = (
            jnp.asarray(x, float) for x in (params.break_strength, params.strong_side)
        )
        force = push * jnp.asarray(params.gear, float)
        force = jnp.where(push > 0.0, (1.0 + strength * side) * force, force)

        def derivative(moving: tuple[Array, Array]) -> tuple[Array, Array]:
            return moving[1], accelerations(*moving, force, params)

        moving = (state.coordinates, state.velocities)
        moving = runge_kutta_step(derivative, moving, jnp.asarray(params.time_step, float))
        coordinates, velocities = _stop_at_ends(moving, jnp.asarray(params.rail, float))
        upright = 0.5 * (1.0 + jnp.cos(coordinates[1]))
        reward = upright * (5.0 - push**2) / 5.0 * 0.5 * (1.0 + tolerance(velocities[1], 5.0))
        reward = reward * 0.5 * (1.0 + tolerance(coordinates[0], 2.0))
        state = EnvState(state.time + 1, coordinates, velocities, state.upright_sum + upright)
        return state, reward, {"upright": upright}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """x, cos θ, sin θ, x', θ', [5]."""
        cart, angle = state.coordinates
        return jnp.stack([cart, jnp.cos(angle), jnp.sin(angle), *state.velocities])

    def act_on_state(self, element: Array | int, state: EnvState) -> EnvState:
        """Coordinates and rates mirrored."""
        both = copies(sign(z2()), 2)
        return state.replace(
            coordinates=act(both, element, state.coordinates),
            velocities=act(both, element, state.velocities),
        )

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`upright`, mean height of the pole in [0, 1]; 0 before the first step."""
        steps = jnp.maximum(state.time, 1).astype(state.upright_sum.dtype)
        return {"upright": state.upright_sum / steps}


def accelerations(coordinates: Array, velocities: Array, force: Array, params: EnvParams) -> Array:
    """x'' and θ'' [2], the solution of the two equations of `CartPoleSwingUp`."""
    cart, pole, gravity = (
        jnp.asarray(x, float) for x in (params.cart_mass, params.pole_mass, params.gravity)
    )
    half = 0.5 * jnp.asarray(params.pole_length, float)
    tilt = jnp.asarray(params.break_strength, float) * jnp.asarray(params.slope, float)
    angle, rate = coordinates[1], velocities[1]
    mass, inertia = cart + pole, pole * (2.0 * half) ** 2 / 3.0
    coupling = pole * half * jnp.cos(angle + tilt)
    along = force + pole * half * jnp.sin(angle + tilt) * rate**2 - mass * gravity * jnp.sin(tilt)
    about = pole * gravity * half * jnp.sin(angle)
    scale = 1.0 / (mass * inertia - coupling**2)
    return scale * jnp.stack([inertia * along - coupling * about, mass * about - coupling * along])


def tolerance(value: Array, margin: float) -> Array:
    """0.1^((z/m)²): 1 at 0 and 0.1 at the margin."""
    return jnp.exp(math.log(AT_MARGIN) * (value / margin) ** 2)


def _stop_at_ends(moving: tuple[Array, Array], rail: Array) -> tuple[Array, Array]:
    """The cart back on the rail, and no velocity outwards at its ends."""
    coordinates, velocities = moving
    cart, speed = coordinates[0], velocities[0]
    outwards = (jnp.abs(cart) >= rail) & (cart * speed > 0.0)
    return (
        coordinates.at[0].set(jnp.clip(cart, -rail, rail)),
        velocities.at[0].set(jnp.where(outwards, 0.0, speed)),
    )
