"""Declared symmetries: exact step by step where nothing breaks them, and broken as said."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.control.cartpole_swingup import CartPoleSwingUp
from jaxecon.envs.control.point_reach import PointReach2D
from jaxecon.envs.control.reacher import Reacher
from jaxecon.envs.trading.planted_symmetry import PlantedSymmetryMarket

KEY = jax.random.key(3)
NUM_STATES, NUM_STEPS = 6, 5
ENVS = [
    PlantedSymmetryMarket(),
    PointReach2D("D4"),
    PointReach2D("C8"),
    CartPoleSwingUp(),
    Reacher(),
]
BROKEN = {"break_strength": 1.0}


def label(env):
    return f"{env.name}-{env.symmetry().group.name}"


@functools.partial(jax.jit, static_argnums=0)
def both_sides(env, params):
    """(step of the carried, step carried) for every element and several states, leaves [n, B]."""
    spec = env.symmetry()
    space = env.action_space(params)

    def start(key):
        key_reset, key_play, key_act, key_noise = jax.random.split(key, 4)
        _, state = env.reset_env(key_reset, params)

        def step(state, key):
            return env.step_env(key, state, space.sample(key), params)[1], None

        state, _ = jax.lax.scan(step, state, jax.random.split(key_play, NUM_STEPS))
        return state, space.sample(key_act), env.noise(key_noise, params)

    states, actions, noises = jax.vmap(start)(jax.random.split(KEY, NUM_STATES))

    def compare(element, state, action, noise):
        carried = env.transition(
            env.act_on_state(element, state),
            spec.act_on_action(element, action),
            env.act_on_noise(element, noise),
            params,
        )
        after, reward, _ = env.transition(state, action, noise, params)
        moved = env.act_on_state(element, after)
        obs = spec.act_on_obs(element, env.observe(KEY, after, action, params))
        seen = env.observe(KEY, carried[0], action, params)
        return (carried[0], seen, carried[1]), (moved, obs, reward)

    over_states = jax.vmap(compare, in_axes=(None, 0, 0, 0))
    over_group = jax.vmap(over_states, in_axes=(0, None, None, None))
    return over_group(jnp.arange(spec.group.order), states, actions, noises)


def largest_gap(direct, carried):
    gaps = [
        np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max()
        for x, y in zip(jax.tree.leaves(direct), jax.tree.leaves(carried), strict=True)
    ]
    return max(gaps)


@pytest.mark.parametrize("env", ENVS, ids=label)
def test_an_unbroken_step_commutes_with_the_group(env):
    direct, carried = both_sides(env, env.default_params)
    assert largest_gap(direct, carried) < 1e-5  # float32 of numbers up to about 10


@pytest.mark.parametrize("env", ENVS, ids=label)
def test_a_broken_step_does_not(env):
    params = env.default_params.replace(**BROKEN)
    direct, carried = both_sides(env, params)
    assert largest_gap(direct, carried) > 1e-3


@functools.partial(jax.jit, static_argnums=0)
def turn(env, state, action, noise, params):
    return env.transition(state, action, noise, params)


@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_the_fee_breaks_the_reward_by_what_it_says_and_no_more(beta):
    env = PlantedSymmetryMarket()
    params = env.default_params.replace(break_strength=beta)
    bound = float(env.reward_mismatch(params))
    (_, _, carried), (_, _, reward) = both_sides(env, params)
    assert 0.0 < np.abs(carried - reward).max() <= bound
    spec = env.symmetry()
    _, state = env.reset_env(KEY, params)
    action, noise = jnp.full(4, -3.0), jnp.zeros(4)
    rewards = [
        turn(env, env.act_on_state(g, state), spec.act_on_action(g, action), noise, params)[1]
        for g in range(spec.group.order)
    ]
    gap = np.abs(np.asarray(rewards) - rewards[0]).max()
    np.testing.assert_allclose(gap, bound, rtol=1e-5)  # float32
    np.testing.assert_allclose(bound, 3.0 * beta * 4.0, rtol=1e-6)


@pytest.mark.parametrize("env", [PointReach2D("D4"), PointReach2D("C8")], ids=label)
def test_wind_and_skew_break_the_reward_by_what_they_say(env):
    """The worst state is far away, with any heading and force; a search comes close to it."""
    with jax.enable_x64(True):
        params = env.default_params.replace(break_strength=jnp.asarray(0.8))
        bound = float(env.reward_mismatch(params))
        spec = env.symmetry()
        angles = jnp.arange(48.0) * (2 * jnp.pi / 48) + 0.01  # off the lines between half planes

        def gap(element, place, heading, push):
            point, action = (jnp.stack([jnp.cos(x), jnp.sin(x)]) for x in (place, push))
            far = 1e3 * jnp.stack([jnp.cos(heading), jnp.sin(heading)])
            _, state = env.reset_env(KEY, params)
            state = state.replace(position=point, velocity=far)
            sides = [
                env.transition(
                    env.act_on_state(g, state), spec.act_on_action(g, action), (), params
                )
                for g in (element, 0)
            ]
            return sides[0][1] - sides[1][1]

        for axis in (3, 2, 1, 0):
            gap = jax.vmap(gap, in_axes=tuple(0 if i == axis else None for i in range(4)))
        places = angles[::6]
        elements = jnp.arange(spec.group.order)
        gaps = jnp.abs(jax.jit(gap)(elements, places, angles, angles))
        assert gaps.max() <= bound * (1 + 1e-3)  # |p| = 100: the second order is 1e-4 of it
        assert gaps.max() >= bound * (1 - 0.02)  # a grid of 7.5 degrees


def test_a_cart_pole_is_its_mirror_image_on_the_opposite_slope():
    env = CartPoleSwingUp()
    uphill = env.default_params.replace(**BROKEN, strong_side=0.0, slope=0.2)
    _, state = env.reset_env(KEY, uphill)
    action = jnp.array([0.7])
    left = turn(env, env.act_on_state(1, state), -action, (), uphill)
    right = turn(env, state, action, (), uphill.replace(slope=-0.2))
    mirrored = env.act_on_state(1, right[0])
    np.testing.assert_allclose(left[0].coordinates, mirrored.coordinates, atol=1e-6)  # float32
    np.testing.assert_allclose(left[0].velocities, mirrored.velocities, atol=1e-6)
    np.testing.assert_allclose(left[1], right[1], atol=1e-6)


def test_the_strong_side_adds_its_share_of_the_force():
    env = CartPoleSwingUp()
    params = env.default_params.replace(**BROKEN, slope=0.0, time_step=1e-3)
    _, state = env.reset_env(KEY, params)
    state = state.replace(coordinates=jnp.array([0.1, 0.4]), velocities=jnp.zeros(2))
    pushed = turn(env, state, jnp.ones(1), (), params)[0]
    pulled = turn(env, env.act_on_state(1, state), -jnp.ones(1), (), params)[0]
    gap = pushed.velocities + pulled.velocities
    # M [x'', θ''] = [ΔF, 0] with ΔF = 3 N, for a millisecond
    coupling, inertia, mass = 0.05 * np.cos(0.4), 0.1 / 3, 1.1
    expected = 3e-3 * np.array([inertia, -coupling]) / (mass * inertia - coupling**2)
    np.testing.assert_allclose(gap, expected, rtol=2e-3)  # O(h) of the step, and float32


@pytest.mark.parametrize(("element", "towards"), [(1, -1.0), (2, -1.0), (3, 1.0)])
def test_gravity_breaks_all_but_the_mirror_of_x(element, towards):
    """Elements: half turn, mirror of y, mirror of x. Turned upside down, gravity pulls up."""
    env = Reacher()
    params = env.default_params.replace(**BROKEN, repeat_chance=0.0)
    _, state = env.reset_env(KEY, params)
    action, noise = jnp.array([0.3, -0.6]), jnp.float32(0.9)
    spec = env.symmetry()
    direct = turn(
        env, env.act_on_state(element, state), spec.act_on_action(element, action), noise, params
    )[0]
    other = params.replace(gravity=towards * params.gravity)
    after = turn(env, state, action, noise, other)[0]
    carried = env.act_on_state(element, after)
    np.testing.assert_allclose(direct.rates, carried.rates, atol=1e-5)  # float32
    np.testing.assert_allclose(direct.angles, carried.angles, atol=1e-5)


def test_repeats_commute_with_the_group():
    env = Reacher()
    params = env.default_params.replace(**BROKEN, gravity=0.0, repeat_chance=1.0)
    direct, carried = both_sides(env, params)
    assert largest_gap(direct, carried) < 1e-5
