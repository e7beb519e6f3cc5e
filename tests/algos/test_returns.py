"""Advantages against their O(T^2) definition, and bootstrapping where an episode was cut off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.algos import returns, rollout

T, B = 12, 5


def definition(reward, value, following, terminated, done, gamma, gae_lambda):
    """Sum of discounted errors, written out for each step in float64."""
    advantage = np.zeros((T, B))
    for b in range(B):
        for t in range(T):
            weight = 1.0
            for s in range(t, T):
                live = 0.0 if terminated[s, b] else 1.0
                error = reward[s, b] + gamma * live * following[s, b] - value[s, b]
                advantage[t, b] += weight * error
                if done[s, b]:
                    break
                weight *= gamma * gae_lambda
    return advantage


@pytest.fixture
def trajectory():
    rng = np.random.default_rng(0)
    reward, value, following = rng.normal(size=(3, T, B)).astype(np.float32)
    terminated = rng.random((T, B)) < 0.2
    done = terminated | (rng.random((T, B)) < 0.2)
    return reward, value, following, terminated, done


@pytest.mark.parametrize(
    ("gamma", "gae_lambda"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0.0, 0.5)]
)
def test_advantages_equal_their_definition(trajectory, gamma, gae_lambda):
    got = jax.jit(returns.generalised_advantage)(
        *trajectory, jnp.float32(gamma), jnp.float32(gae_lambda)
    )
    expected = definition(*trajectory, gamma, gae_lambda)
    np.testing.assert_allclose(got.advantage, expected, atol=1e-5)  # float32 sums of 12 terms
    np.testing.assert_allclose(got.target, expected + trajectory[1], atol=1e-5)


def test_both_forms_of_the_recursion_agree():
    x, decay = jax.random.uniform(jax.random.key(0), (2, 40, 3))
    loop, scan = returns._backward_loop(x, decay), returns._backward_scan(x, decay)
    np.testing.assert_allclose(loop, scan, rtol=1e-5)


def make_trajectory(truncated, terminated):
    obs = jnp.arange(T * B, dtype=jnp.float32).reshape(T, B, 1)
    blank = jnp.zeros((T, B))
    return rollout.Trajectory(
        obs, None, blank, blank, blank, terminated, truncated, final_obs=obs + 1000.0
    )


def value_of(obs):
    return 2.0 * obs[..., 0]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_only_truncated_steps_bootstrap_from_the_final_observation(share):
    rng = np.random.default_rng(1)
    truncated = jnp.asarray(rng.random((T, B)) < share)
    terminated = jnp.asarray(rng.random((T, B)) < 0.2)
    trajectory = make_trajectory(truncated, terminated)
    value, last = value_of(trajectory.obs), jnp.full(B, -7.0)
    got = jax.jit(lambda: rollout.following_values(value_of, trajectory, value, last))()
    plain = jnp.concatenate([value[1:], last[None]])
    expected = jnp.where(truncated & ~terminated, value_of(trajectory.final_obs), plain)
    np.testing.assert_array_equal(got, expected)


def test_final_values_survive_vmap():
    truncated = jnp.asarray(np.random.default_rng(2).random((3, T, B)) < 0.5)
    none = jnp.zeros((T, B), bool)

    def run(truncated):
        trajectory = make_trajectory(truncated, none)
        value = value_of(trajectory.obs)
        return rollout.following_values(value_of, trajectory, value, jnp.zeros(B))

    batched = jax.vmap(run)(truncated)
    for row, single in zip(batched, truncated, strict=True):
        np.testing.assert_array_equal(row, run(single))
