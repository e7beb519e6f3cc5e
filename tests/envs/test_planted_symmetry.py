"""PlantedSymmetryMarket: closed forms against quadrature, deviations and simulation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.trading.planted_symmetry import EnvParams, PlantedSymmetryMarket

KEY = jax.random.key(0)
ENV = PlantedSymmetryMarket()
# mean rewards per step by β, from the specification: 4,096 paths, three digits
PRINTED = {0.0: (0.666, 0.666), 0.5: (0.413, 0.316), 1.0: (0.355, 0.133)}
SIGMA = 0.5 / np.sqrt(1 - 0.5**2)  # of m = a r in the stationary law
FEES = np.linspace(0.5, 1.5, 4)


def quadrature(position):
    """E[w m - w²/2 - fee] of m ~ N(0, σ²), by the trapezoid rule on a fine grid."""
    grid = np.linspace(-8 * SIGMA, 8 * SIGMA, 400_001)
    density = np.exp(-0.5 * (grid / SIGMA) ** 2) / (SIGMA * np.sqrt(2 * np.pi))
    gain, fee = position(grid)
    return np.trapezoid((gain * grid - 0.5 * gain**2 - fee) * density, grid)


def optimal(beta):
    total = 0.0
    for fee in beta * FEES:

        def position(m, fee=fee):
            w = np.where(m > 0, m, -np.maximum(-m - fee, 0))
            w = np.clip(w, -3, 3)
            return w, fee * np.maximum(-w, 0)

        total += quadrature(position)
    return total


def best_equivariant(beta):
    total = 0.0
    for fee in beta * FEES:

        def position(m, fee=fee):
            w = np.sign(m) * np.clip(np.abs(m) - beta * FEES.mean() / 2, 0, 3)
            return w, fee * np.maximum(-w, 0)

        total += quadrature(position)
    return total


@pytest.mark.parametrize("beta", PRINTED)
def test_closed_forms_meet_quadrature_and_the_printed_numbers(beta):
    with jax.enable_x64(True):
        params = EnvParams(break_strength=beta)
        found = float(ENV.optimal_reward(params)), float(ENV.best_equivariant_reward(params))
    np.testing.assert_allclose(found, (optimal(beta), best_equivariant(beta)), atol=1e-6)
    # The printed means of 4,096 x 50 steps have standard errors near 0.001; two are rounded down.
    np.testing.assert_allclose(found, PRINTED[beta], atol=0.003)


def test_the_limit_on_positions_enters_the_closed_form():
    with jax.enable_x64(True):
        params = EnvParams(max_position=0.4)
        found = float(ENV.optimal_reward(params))

    def position(m):
        w = np.clip(m, -0.4, 0.4)
        return w, 0.0

    np.testing.assert_allclose(found, 4 * quadrature(position), atol=1e-6)


@functools.partial(jax.jit, static_argnums=0)
def play(policy, params, keys):
    """Mean reward per step of each episode, [B]."""

    def episode(key):
        key_reset, key_play = jax.random.split(key)
        _, state = ENV.reset_env(key_reset, params)

        def step(state, key):
            action = policy(state.returns[-1], params)
            return ENV.step_env(key, state, action, params)[1], None

        state, _ = jax.lax.scan(step, state, jax.random.split(key_play, 50))
        return ENV.episode_summary(state, params)["mean_reward"]

    return jax.vmap(episode)(keys)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_playing_the_policies_earns_their_rewards(beta):
    params = EnvParams(break_strength=jnp.float32(beta))
    keys = jax.random.split(KEY, 1024)
    for policy, reward in (
        (ENV.optimal_position, ENV.optimal_reward(params)),
        (ENV.best_equivariant_position, ENV.best_equivariant_reward(params)),
    ):
        means = play(policy, params, keys)
        error = means.std(ddof=1) / np.sqrt(len(means))
        assert abs(means.mean() - reward) < 4 * error  # four standard errors
        assert error < 0.01


def test_no_other_position_is_better():
    params = EnvParams(break_strength=0.7)
    returns = jnp.array([1.3, -0.9, -4.0, 0.1])
    mean, fees = 0.5 * returns, ENV.fees(params)
    grid = jnp.linspace(-3.0, 3.0, 6001)[:, None]
    value = grid * mean[None] - 0.5 * grid**2 - fees[None] * jnp.maximum(-grid, 0.0)
    best = grid[value.argmax(axis=0), 0]
    np.testing.assert_allclose(ENV.optimal_position(returns, params), best, atol=1e-3)  # the grid
    # An equivariant policy is paid the mean over its orbit: fee b̄, on one side in two.
    value = grid * mean[None] - 0.5 * grid**2 - 0.5 * fees.mean() * jnp.abs(grid)
    best = grid[value.argmax(axis=0), 0]
    found = ENV.best_equivariant_position(returns, params)
    np.testing.assert_allclose(found, best, atol=1e-3)


def test_returns_start_in_their_stationary_law():
    reset = jax.vmap(ENV.reset_env, in_axes=(0, None))
    _, state = jax.jit(reset)(jax.random.split(KEY, 4000), ENV.default_params)
    returns = np.asarray(state.returns, np.float64)  # [4000, 8, 4]
    for day in (0, 7):
        variance = returns[:, day].var()
        assert abs(variance - 4 / 3) < 3 * (4 / 3) * np.sqrt(2 / 16000)  # 16,000 normal draws
    slope = (returns[:, 6] * returns[:, 7]).mean() / (returns[:, 6] ** 2).mean()
    assert abs(slope - 0.5) < 3 * np.sqrt(0.75 / 16000)


def test_reward_and_window_by_hand():
    params = EnvParams(break_strength=2.0)
    _, state = ENV.reset_env(KEY, params)
    state = state.replace(returns=jnp.arange(32.0).reshape(8, 4) / 10)
    action, noise = jnp.array([1.0, -2.0, 5.0, -0.5]), jnp.array([0.1, 0.2, 0.3, -0.4])
    moved, reward, info = ENV.transition(state, action, noise, params)
    following = 0.5 * np.array([2.8, 2.9, 3.0, 3.1]) + np.asarray(noise)
    held = np.array([1.0, -2.0, 3.0, -0.5])
    fee = 2.0 * (FEES[1] * 2.0 + FEES[3] * 0.5)
    np.testing.assert_allclose(info["fee"], fee, rtol=1e-6)  # float32
    np.testing.assert_allclose(reward, held @ following - 0.5 * held @ held - fee, rtol=1e-5)
    np.testing.assert_allclose(moved.returns[-1], following, rtol=1e-6)
    np.testing.assert_array_equal(moved.returns[:-1], state.returns[1:])
    obs = ENV.observe(KEY, moved, action, params)
    np.testing.assert_array_equal(obs, np.asarray(moved.returns).ravel())


def test_baselines_and_structure():
    table = ENV.baselines(EnvParams(break_strength=1.0, max_steps_in_episode=20))
    assert set(table) == {"optimal", "best_equivariant"}
    for row in table.values():
        np.testing.assert_allclose(row["return"], 20 * row["mean_reward"])
    assert table["optimal"]["mean_reward"] > table["best_equivariant"]["mean_reward"]
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        PlantedSymmetryMarket(window=0)
    one = PlantedSymmetryMarket(num_assets=1, window=1)
    assert one.symmetry().group.order == 2
    assert hash(one) == hash(PlantedSymmetryMarket(1, 1))
