"""Batched resets: every finished environment gets a first state of its own, no other is touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.envs import autoreset


@pytest.fixture
def stepped(standard_promotion, key):
    """Twelve CartPoles in the middle of an episode."""
    env, env_params = jaxecon.make("CartPole-v1")
    _, state = autoreset.reset_batch(key, env, env_params, 12)
    state = state.replace(time=state.time + 7)
    keys = jax.random.split(key, 12)
    action = jnp.zeros(12, jnp.int32)
    return env, env_params, autoreset.step_batch(keys, env, env_params, state, action)


@pytest.mark.parametrize("group", [1, 2, 5, 12])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_groups_serve_every_ending_once(stepped, group, share, key):
    env, env_params, step = stepped
    done = jnp.asarray(np.random.default_rng(0).random(12) < share)
    step = step._replace(truncated=done)
    reset = jax.jit(autoreset.reset_on_demand, static_argnums=(1, 4))
    after = reset(key, env, env_params, step, group)
    np.testing.assert_array_equal(after.state.time, np.where(done, 0, 8))
    np.testing.assert_array_equal(after.obs[~done], step.obs[~done])
    assert np.all(np.abs(after.obs[done]) <= 0.05), "CartPole starts within 0.05 of upright"
    firsts = np.asarray(after.obs[done])
    assert len(np.unique(firsts, axis=0)) == len(firsts), "no first state is handed out twice"
    np.testing.assert_array_equal(after.final_obs, step.final_obs)


def test_a_reset_on_demand_survives_vmap(stepped, key):
    env, env_params, step = stepped
    done = jnp.asarray(np.random.default_rng(1).random((3, 12)) < 0.5)

    def run(done):
        return autoreset.reset_on_demand(key, env, env_params, step._replace(truncated=done), 4).obs

    for row, single in zip(jax.vmap(run)(done), done, strict=True):
        np.testing.assert_array_equal(row, run(single))


@pytest.mark.parametrize(
    ("env_id", "num_envs", "expected"),
    [
        ("CartPole-v1", 4, "on_demand"),
        ("CartPole-v1", 64, "ahead"),
        ("CartPole-v1", 4096, "on_demand"),
        ("Cournot-v0", 64, "on_demand"),
    ],
)
def test_auto_suits_environment_and_batch(env_id, num_envs, expected, standard_promotion):
    env, _ = jaxecon.make(env_id)
    assert autoreset.choose_mode(env, "auto", num_envs) == expected
    assert autoreset.choose_mode(env, "ahead", num_envs) == "ahead"
