"""What PPO promises besides learning: reproducible, resumable, swept without compiling anew."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.algos import PPOConfig, make_ppo, train, train_iterations

CONFIG = PPOConfig(
    num_envs=4,
    rollout_length=16,
    num_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
    num_eval_episodes=4,
)


@pytest.fixture(scope="module")
def task():
    env, env_params = jaxecon.make("Cournot-v0")
    algorithm = make_ppo(env, CONFIG)
    return algorithm, env_params.replace(max_steps_in_episode=7), algorithm.hparams


TRACES = []


@pytest.fixture(scope="module")
def run(task):
    """Compiled `train`; each trace adds to TRACES."""

    def counted(*args):
        TRACES.append(1)
        return train(task[0], *args, num_iterations=4, num_evaluations=2)

    return jax.jit(counted)


@pytest.fixture(scope="module")
def start(task):
    algorithm, env_params, hparams = task
    return jax.jit(algorithm.init)(jax.random.key(0), env_params, hparams)


def test_a_seed_reproduces_bit_for_bit(task, run, key):
    _, env_params, hparams = task
    chex.assert_trees_all_equal(run(key, env_params, hparams), run(key, env_params, hparams))
    other = run(jax.random.key(1), env_params, hparams)[1]["evaluation/return"]
    assert (other != run(key, env_params, hparams)[1]["evaluation/return"]).any()


def test_new_hyperparameters_and_economies_do_not_trace_again(task, run, key):
    _, env_params, hparams = task
    run(key, env_params, hparams)
    before = len(TRACES)
    names = [name for name in vars(hparams) if name != "total_steps"]
    changed = hparams.replace(**{name: 0.5 * getattr(hparams, name) for name in names})
    run(key, env_params.replace(intercept=20.0), changed)
    assert len(TRACES) == before


def test_every_hyperparameter_changes_the_result(task, run, key):
    _, env_params, hparams = task
    hparams = hparams.replace(anneal=0.5, ent_coef=0.01, total_steps=260.0, learning_rate=0.01)

    def params(hparams):
        return run(key, env_params, hparams)[0].policy.params

    base = params(hparams)
    own = type(hparams).__annotations__  # what is inherited acts in some modes alone
    for name in own:
        other = params(hparams.replace(**{name: 0.3 * getattr(hparams, name)}))
        same = jax.tree.map(lambda a, b: bool((a == b).all()), base, other)
        assert not all(jax.tree.leaves(same)), f"{name} has no effect"


def test_segments_equal_the_uncut_run(task, start, key):
    algorithm, env_params, hparams = task
    go = jax.jit(
        functools.partial(train_iterations, algorithm), static_argnames=("num_iterations",)
    )
    whole, _ = go(key, start, env_params, hparams, first_iteration=0, num_iterations=6)
    half, _ = go(key, start, env_params, hparams, first_iteration=0, num_iterations=3)
    rest, _ = go(key, half, env_params, hparams, first_iteration=3, num_iterations=3)
    chex.assert_trees_all_equal(whole, rest)


def test_vmap_over_seeds_and_hyperparameters_equals_single_runs(task, run):
    _, env_params, hparams = task
    keys = jax.random.split(jax.random.key(0), 2)
    grid = hparams.replace(learning_rate=jnp.array([1e-3, 1e-2]))
    axes = hparams.replace(**dict.fromkeys(vars(hparams)))
    axes = axes.replace(learning_rate=0)
    over_seeds = jax.vmap(run, in_axes=(0, None, None))
    sweep = jax.vmap(over_seeds, in_axes=(None, None, axes))
    batched = sweep(keys, env_params, grid)[1]["evaluation/quantity"]  # [2, 2, E]
    for i, rate in enumerate((1e-3, 1e-2)):
        for j in range(2):
            single = run(keys[j], env_params, hparams.replace(learning_rate=rate))[1]
            # float32 products are summed in another order when batched
            np.testing.assert_allclose(batched[i, j], single["evaluation/quantity"], rtol=1e-3)


def test_evaluation_counts_each_environments_first_episode_once(task, start, key):
    algorithm, env_params, _ = task
    metrics = jax.jit(algorithm.evaluate)(key, start, env_params)
    assert metrics["length"] == 7.0
    env, _ = jaxecon.make("Cournot-v0")
    action = algorithm.act(
        key,
        algorithm.policy(start),
        jnp.zeros((1, *env.observation_space(env_params).shape)),
        None,
        env_params,
    )
    assert action.shape == (1, 2)


def test_both_reset_modes_never_lose_or_repeat_a_step(key):
    """Each episode of Cournot lasts exactly its limit, whatever the mode and the cut."""
    env, env_params = jaxecon.make("Cournot-v0")
    for mode in ("ahead", "on_demand"):
        algorithm = make_ppo(env, PPOConfig(**{**vars(CONFIG), "reset_mode": mode}))
        run = jax.jit(functools.partial(train, algorithm, num_iterations=7))
        params = env_params.replace(max_steps_in_episode=5)
        state, metrics = run(key, params, algorithm.hparams)
        assert metrics["train/episode_length"][-1] == 5.0
        np.testing.assert_array_equal(state.rollout.env_state.time, (7 * 16) % 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"num_minibatches": 3}, "must divide num_envs"),
        ({"shuffle": "fast"}, "shuffle must be one of"),
        ({"reset_mode": "never"}, "reset_mode must be one of"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be at least 1 each"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)


def test_iterations_must_divide_into_evaluations(task, key):
    algorithm, env_params, hparams = task
    with pytest.raises(ValueError, match="positive multiple of num_evaluations=2, got 3"):
        train(algorithm, key, env_params, hparams, num_iterations=3, num_evaluations=2)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Catch-bsuite"])
def test_gymnax_environments_train(env_id, standard_promotion, key):
    env, env_params = jaxecon.make(env_id)
    algorithm = make_ppo(env, CONFIG)
    run = jax.jit(functools.partial(train, algorithm, num_iterations=2))
    _, metrics = run(key, env_params.replace(max_steps_in_episode=20), algorithm.hparams)
    assert jnp.isfinite(metrics["evaluation/return"]).all()
