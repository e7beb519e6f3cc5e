"""Cart-pole, arm and point mass: equations of motion from a Lagrangian, energy, stops, rewards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.control import cartpole_swingup, reacher
from jaxecon.envs.control.cartpole_swingup import CartPoleSwingUp, tolerance
from jaxecon.envs.control.point_reach import PointReach2D
from jaxecon.envs.control.reacher import WRIST_LIMIT, Reacher, fingertip
from jaxecon.solvers.runge_kutta import runge_kutta_step

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def turn(env, state, action, noise, params):
    return env.transition(state, action, noise, params)


def cart_pole_lagrangian(coordinates, velocities, params):
    """Kinetic less potential energy, from where cart, hinge and tip are in the vertical plane."""
    tilt = params.break_strength * params.slope

    def ends(coordinates):
        along, angle = coordinates
        hinge = along * jnp.stack([jnp.cos(tilt), jnp.sin(tilt)])
        return hinge, hinge + params.pole_length * jnp.stack([jnp.sin(angle), jnp.cos(angle)])

    (hinge, tip), (u, v) = jax.jvp(ends, (coordinates,), (velocities,))
    kinetic = 0.5 * params.cart_mass * u @ u + rod_energy(params.pole_mass, u, v)
    height = params.cart_mass * hinge[1] + params.pole_mass * 0.5 * (hinge + tip)[1]
    return kinetic - params.gravity * height, kinetic + params.gravity * height


def arm_lagrangian(angles, rates, params):
    def ends(angles):
        length = params.link_length
        first, both = angles[0], angles[0] + angles[1]
        elbow = length * jnp.stack([jnp.cos(first), jnp.sin(first)])
        return elbow, elbow + length * jnp.stack([jnp.cos(both), jnp.sin(both)])

    (elbow, tip), (u, v) = jax.jvp(ends, (angles,), (rates,))
    kinetic = rod_energy(params.link_mass, jnp.zeros(2), u) + rod_energy(params.link_mass, u, v)
    height = params.link_mass * 0.5 * (elbow + elbow + tip)[1]
    potential = params.break_strength * params.gravity * height
    return kinetic - potential, kinetic + potential


def rod_energy(mass, u, v):
    """Kinetic energy of a uniform rod whose ends move with u and v."""
    return mass / 6.0 * (u @ u + u @ v + v @ v)


def motion(lagrangian, coordinates, velocities, force, params):
    """q'' from Euler and Lagrange's equation d/dt ∂L/∂q' - ∂L/∂q = force."""

    def value(q, v):
        return lagrangian(q, v, params)[0]

    inertia = jax.hessian(value, 1)(coordinates, velocities)
    moving = jax.jacobian(jax.grad(value, 1), 0)(coordinates, velocities) @ velocities
    pull = force + jax.grad(value, 0)(coordinates, velocities) - moving
    a, b, c = inertia[0, 0], inertia[0, 1], inertia[1, 1]
    return jnp.stack([c * pull[0] - b * pull[1], a * pull[1] - b * pull[0]]) / (a * c - b * b)


def random_motion():
    key_q, key_v, key_f = jax.random.split(KEY, 3)
    shape = (16, 2)
    return (
        jax.random.uniform(key_q, shape, minval=-3.0, maxval=3.0),
        3.0 * jax.random.normal(key_v, shape),
        jax.random.normal(key_f, shape),
    )


def test_the_cart_pole_moves_as_lagrange_says():
    with jax.enable_x64(True):
        params = CartPoleSwingUp().default_params.replace(break_strength=0.7)

        def both(q, v, force):
            expected = motion(cart_pole_lagrangian, q, v, force * jnp.array([1.0, 0.0]), params)
            return cartpole_swingup.accelerations(q, v, force[0], params), expected

        found, expected = jax.jit(jax.vmap(both))(*random_motion())
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)  # float64


def test_the_arm_moves_as_lagrange_says():
    with jax.enable_x64(True):
        params = Reacher().default_params.replace(break_strength=0.7)

        def both(q, v, torque):
            force = torque - params.damping * v
            expected = motion(arm_lagrangian, q, v, force, params)
            return reacher.accelerations(q, v, torque, params), expected

        found, expected = jax.jit(jax.vmap(both))(*random_motion())
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)  # float64


def drift_of_energy(env, lagrangian, params, state, fields, num_steps):
    """Largest change of energy over free motion, relative to its range of kinetic energy."""

    def step(state, _):
        action = jnp.zeros(env.action_space(params).shape)
        state = env.transition(state, action, jnp.ones(()), params)[0]
        kinetic_less, energy = lagrangian(*(getattr(state, f) for f in fields), params)
        return state, (energy, 0.5 * (kinetic_less + energy))

    _, (energy, kinetic) = jax.jit(lambda s: jax.lax.scan(step, s, length=num_steps))(state)
    return jnp.abs(energy - energy[0]).max() / kinetic.max()


def test_free_motion_keeps_its_energy():
    with jax.enable_x64(True):
        env = CartPoleSwingUp()
        params = env.default_params.replace(rail=1e3, break_strength=0.3, max_steps_in_episode=500)
        _, state = env.reset_env(KEY, params)
        state = state.replace(coordinates=jnp.array([0.0, 0.3]), velocities=jnp.array([0.5, 0.0]))
        fields = ("coordinates", "velocities")
        drift = drift_of_energy(env, cart_pole_lagrangian, params, state, fields, 500)
        assert drift < 1e-7  # 500 steps of error O(h⁵), h = 1/25 of the fastest time

        env = Reacher()
        params = env.default_params.replace(damping=0.0, break_strength=1.0, repeat_chance=0.0)
        _, state = env.reset_env(KEY, params)
        state = state.replace(angles=jnp.array([-1.1, 0.4]), rates=jnp.zeros(2))
        drift = drift_of_energy(env, arm_lagrangian, params, state, ("angles", "rates"), 250)
        assert drift < 1e-6  # 1,000 substeps of 5 ms


def test_the_integrator_is_of_fourth_order():
    with jax.enable_x64(True):
        start = {"x": jnp.array(1.0), "v": jnp.array(0.0)}

        def error(num_steps):
            step = 2.0 / num_steps
            state = start
            for _ in range(num_steps):
                state = runge_kutta_step(lambda s: {"x": s["v"], "v": -s["x"]}, state, step)
            return jnp.hypot(state["x"] - jnp.cos(2.0), state["v"] + jnp.sin(2.0))

        ratio = error(10) / error(20)
        assert 15.0 < ratio < 17.0  # 2⁴ as h falls
        assert error(20) < 1e-5


def test_cart_pole_rewards_by_hand():
    env = CartPoleSwingUp()
    params = env.default_params
    _, state = env.reset_env(KEY, params)
    upright = state.replace(coordinates=jnp.zeros(2), velocities=jnp.zeros(2))
    assert turn(env, upright, jnp.zeros(1), (), params)[1] == 1.0
    hanging = upright.replace(coordinates=jnp.array([0.0, np.pi]))
    assert turn(env, hanging, jnp.zeros(1), (), params)[1] < 1e-6
    # A full push moves little in a step: 4/5 of the height, then the rates.
    after, reward, info = turn(env, upright, jnp.ones(1), (), params)
    cart, rate = np.asarray(after.coordinates)[0], np.asarray(after.velocities)[1]
    expected = 0.8 * (1 + 0.1 ** (rate / 5) ** 2) / 2 * (1 + 0.1 ** (cart / 2) ** 2) / 2
    np.testing.assert_allclose(reward, expected * info["upright"], rtol=1e-5)  # float32
    np.testing.assert_allclose(tolerance(jnp.array([0.0, 2.0]), 2.0), [1.0, 0.1], rtol=1e-6)


def test_the_cart_stops_at_the_ends_of_its_rail():
    env = CartPoleSwingUp()
    params = env.default_params
    _, state = env.reset_env(KEY, params)
    state = state.replace(coordinates=jnp.array([1.79, np.pi]), velocities=jnp.array([3.0, 0.0]))
    after = turn(env, state, jnp.ones(1), (), params)[0]
    np.testing.assert_allclose(after.coordinates[0], 1.8)
    assert after.velocities[0] == 0.0
    back = turn(env, after, -jnp.ones(1), (), params)[0]
    assert back.velocities[0] < 0.0, "a push inwards leaves the stop"
    assert env.observe(KEY, after, None, params).shape == (5,)


def test_the_wrist_stops_at_its_limit_and_commands_last_at_most_two_steps():
    env = Reacher()
    params = env.default_params.replace(break_strength=1.0, gravity=0.0)
    _, state = env.reset_env(KEY, params)
    state = state.replace(angles=jnp.array([0.0, WRIST_LIMIT - 0.01]), rates=jnp.array([0.0, 5.0]))
    after = turn(env, state, jnp.ones(2), jnp.float32(0.9), params)[0]
    np.testing.assert_allclose(after.angles[1], WRIST_LIMIT, rtol=1e-6)
    assert after.rates[1] <= 0.0

    def wrist_rate(noise, last, command):
        still = state.replace(
            angles=jnp.zeros(2), rates=jnp.zeros(2), last_command=jnp.float32(last)
        )
        action = jnp.array([0.0, command])
        return turn(env, still, action, jnp.float32(noise), params)[0]

    fresh, repeated = wrist_rate(0.6, 1.0, -1.0), wrist_rate(0.4, 1.0, -1.0)
    assert fresh.rates[1] < 0.0 < repeated.rates[1]
    assert fresh.last_command == repeated.last_command == -1.0


def test_reaching_pays_one_within_the_radii():
    env = Reacher()
    params = env.default_params
    _, state = env.reset_env(KEY, params)
    tip = fingertip(state.angles, params)
    for offset, reward in ((0.0599, 1.0), (0.0601, 0.0)):
        near = state.replace(target=tip + jnp.array([offset, 0.0]))
        still = turn(env, near, jnp.zeros(2), jnp.float32(0.0), params)
        assert still[1] == reward
    np.testing.assert_allclose(still[2]["distance"], 0.0601, rtol=1e-4)
    obs = env.observe(KEY, near, None, params)
    np.testing.assert_allclose(obs[4:6], [0.0601, 0.0], atol=1e-6)
    np.testing.assert_allclose(fingertip(jnp.zeros(2), params), [0.24, 0.0], rtol=1e-6)


def test_targets_and_postures_cover_their_ranges():
    env = Reacher()
    reset = jax.jit(jax.vmap(env.reset_env, in_axes=(0, None)))
    _, state = reset(jax.random.split(KEY, 2000), env.default_params)
    distance = np.linalg.norm(state.target, axis=1)
    assert 0.05 <= distance.min() < 0.052
    assert 0.198 < distance.max() <= 0.2 + 1e-6
    assert np.abs(state.angles[:, 0]).max() <= np.pi + 1e-6
    assert np.abs(state.angles[:, 1]).max() <= WRIST_LIMIT + 1e-6
    assert abs(np.asarray(state.target).mean()) < 3 * 0.1 / np.sqrt(4000)  # no preferred side


def test_the_point_moves_by_hand():
    env = PointReach2D()
    params = env.default_params.replace(break_strength=0.5)
    _, state = env.reset_env(KEY, params)
    state = state.replace(position=jnp.array([0.3, -0.4]), velocity=jnp.array([1.0, 2.0]))
    after, reward, info = turn(env, state, jnp.array([3.0, 4.0]), (), params)
    angle = 0.5 * np.pi / 3
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    velocity = np.array([1.0, 2.0]) + 0.1 * (spin @ [0.6, 0.8] - 0.1 * np.array([1.0, 2.0]))
    velocity += 0.5 * np.array([0.05, 0.0])
    position = np.array([0.3, -0.4]) + 0.1 * velocity
    np.testing.assert_allclose(after.velocity, velocity, rtol=1e-6)  # float32
    np.testing.assert_allclose(after.position, position, rtol=1e-6)
    np.testing.assert_allclose(reward, -np.linalg.norm(position) - 0.05, rtol=1e-6)
    np.testing.assert_allclose(info["distance"], np.linalg.norm(position), rtol=1e-6)
    left = state.replace(position=jnp.array([-0.3, -0.4]))
    straight = turn(env, left, jnp.array([0.6, 0.8]), (), params)[0]
    np.testing.assert_allclose(
        straight.velocity - after.velocity,
        0.1 * (np.array([0.6, 0.8]) - spin @ [0.6, 0.8]),
        atol=1e-6,
    )


def test_resting_at_the_target_has_finite_gradients():
    env = PointReach2D()
    params = env.default_params
    _, state = env.reset_env(KEY, params)
    still = state.replace(position=jnp.zeros(2), velocity=jnp.zeros(2))
    gradient = jax.grad(lambda a: turn(env, still, a, (), params)[1])(jnp.zeros(2))
    np.testing.assert_array_equal(gradient, 0.0)


def test_bad_structure_is_named():
    with pytest.raises(ValueError, match=r"Unknown symmetry group 'D5'.*'D4'"):
        PointReach2D("D5")
    with pytest.raises(ValueError, match="num_substeps must be at least 1, got 0"):
        Reacher(num_substeps=0)


def test_summaries_are_means_over_steps():
    env = CartPoleSwingUp()
    params = env.default_params
    _, state = env.reset_env(KEY, params)
    assert env.episode_summary(state, params)["upright"] == 0.0
    heights = []
    for push in (1.0, -1.0):
        state, _, info = turn(env, state, jnp.array([push]), (), params)
        heights.append(info["upright"])
    np.testing.assert_allclose(
        env.episode_summary(state, params)["upright"], np.mean(heights), rtol=1e-5
    )
