"""What DQN promises besides learning: reproducible, resumable, swept without compiling anew."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.algos import (
    DQNConfig,
    DQNHyperparams,
    make_dqn,
    q_learning,
    replay,
    train,
    train_iterations,
)
from jaxecon.algos.observed import Observed
from jaxecon.algos.registry import ALGORITHMS
from jaxecon.networks.value import make_q_network

CONFIG = DQNConfig(
    num_envs=4,
    rollout_length=8,
    update_interval=2,
    num_updates=2,
    buffer_size=256,
    batch_size=16,
    n_step=2,
    dueling=True,
    prioritised=True,
    hidden_sizes=(8,),
    num_eval_episodes=4,
)


@pytest.fixture(scope="module")
def task():
    """Catch of bsuite: three actions, episodes of nine steps."""
    env, env_params = jaxecon.make("Catch-bsuite")
    algorithm = make_dqn(env, CONFIG)
    hparams = algorithm.hparams.replace(
        learning_starts=40.0, total_steps=200.0, anneal=0.5, tau=0.5, huber_delta=0.02
    )
    hparams = hparams.replace(max_grad_norm=0.01, epsilon_end=0.2, epsilon_share=1.0)
    return algorithm, env_params, jax.tree.map(jnp.float32, hparams)  # one type: one program


@pytest.fixture(scope="module")
def go(task):
    """Compiled `train_iterations`, and how often it was traced."""
    traces = []

    @functools.partial(jax.jit, static_argnames="num_iterations")
    def run(key, state, env_params, hparams, first_iteration, num_iterations):
        traces.append(num_iterations)
        return train_iterations(
            task[0],
            key,
            state,
            env_params,
            hparams,
            first_iteration=first_iteration,
            num_iterations=num_iterations,
        )

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield run, traces


@pytest.fixture(scope="module")
def start(task):
    algorithm, env_params, hparams = task
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.jit(algorithm.init)(jax.random.key(0), env_params, hparams)


def test_a_seed_reproduces_and_segments_equal_the_uncut_run(task, go, start, key):
    _, env_params, hparams = task
    run, _ = go
    whole, metrics = run(key, start, env_params, hparams, 0, 4)
    again, _ = run(key, start, env_params, hparams, 0, 4)
    chex.assert_trees_all_equal(whole, again)
    half, _ = run(key, start, env_params, hparams, 0, 2)
    rest, _ = run(key, half, env_params, hparams, 2, 2)
    chex.assert_trees_all_equal(whole, rest)
    other, _ = run(jax.random.key(1), start, env_params, hparams, 0, 4)
    assert (other.replay.action != whole.replay.action).any()
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics))


def test_every_hyperparameter_has_an_effect_and_none_traces_again(task, go, start, key):
    _, env_params, hparams = task
    run, traces = go

    def learner(hparams):
        return run(key, start, env_params, hparams, 0, 4)[0].learner

    base = learner(hparams)
    before = len(traces)
    own = type(hparams).__annotations__  # what is inherited acts in some modes alone
    for name in own:
        factor = 4.0 if name == "target_period" else 0.3
        other = learner(hparams.replace(**{name: factor * getattr(hparams, name)}))
        same = jax.tree.map(lambda a, b: bool((a == b).all()), base, other)
        assert not all(jax.tree.leaves(same)), f"{name} has no effect"
    assert len(traces) == before
    assert set(ALGORITHMS["dqn"].bounds) == set(vars(hparams))


def test_vmap_over_seeds_and_hyperparameters_equals_single_runs(
    task, go, start, standard_promotion
):
    """Some lanes learn while others still wait."""
    _, env_params, hparams = task
    run, _ = go
    keys = jax.random.split(jax.random.key(0), 3)
    starts = jnp.array([40.0, 100.0, 1000.0])
    axes = hparams.replace(**dict.fromkeys(vars(hparams))).replace(learning_starts=0)
    over = jax.vmap(
        lambda key, hparams: run(key, start, env_params, hparams, 0, 4), in_axes=(0, axes)
    )
    batched, _ = over(keys, hparams.replace(learning_starts=starts))
    for i in range(3):
        single, _ = run(
            keys[i], start, env_params, hparams.replace(learning_starts=starts[i]), 0, 4
        )
        lane = jax.tree.map(lambda x, i=i: x[i], batched)
        np.testing.assert_array_equal(lane.replay.action, single.replay.action)
        # float32 products are summed in another order when batched
        chex.assert_trees_all_close(lane.learner.params, single.learner.params, atol=1e-4)
        assert lane.learner.num_updates == single.learner.num_updates
    assert batched.learner.num_updates[2] == 0


def test_nothing_is_learned_before_learning_starts(task, go, start, key):
    _, env_params, hparams = task
    run, _ = go
    state, metrics = run(
        key, start, env_params, hparams.replace(learning_starts=jnp.float32(64.0)), 0, 2
    )
    # two iterations are 8 blocks of 8 steps, and the last reaches 64 with its two updates
    assert state.learner.num_updates == 2
    assert metrics["epsilon"] > 0.0


def test_policies_act_on_legal_choices_only(task, start, key, standard_promotion):
    algorithm, env_params, _ = task
    obs = jax.random.normal(key, (50, 10, 5))
    mask = jax.random.uniform(key, (50, 3)) < 0.4
    mask = mask.at[:, 1].set(True)
    action = algorithm.act(key, algorithm.policy(start), obs, mask, env_params)
    assert action.shape == (50,)
    assert mask[jnp.arange(50), action].all()


def test_random_actions_are_even_over_the_legal_ones(key):
    noise = jax.random.uniform(key, (30_000, 4))
    mask = jnp.tile(jnp.array([True, False, True]), (30_000, 1))
    value = jnp.tile(jnp.array([1.0, 5.0, 0.0]), (30_000, 1))
    counts = np.bincount(q_learning.epsilon_greedy(value, mask, noise, 0.6), minlength=3) / 30_000
    np.testing.assert_allclose(counts, [0.7, 0.0, 0.3], atol=0.015)  # 5 standard deviations
    assert (q_learning.epsilon_greedy(value, mask, noise, 0.0) == 0).all()


def test_double_targets_are_chosen_by_one_network_and_valued_by_the_other():
    window = replay.Window(
        obs=None,
        action=jnp.zeros(3, jnp.int32),
        reward=jnp.array([1.0, 1.0, 1.0]),
        discount=jnp.array([0.5, 0.5, 0.0]),
        next_obs=Observed(
            jnp.zeros((3, 1)), jnp.array([[True, True], [True, False], [True, True]])
        ),
        is_known=jnp.ones(3, bool),
    )
    online = jnp.array([[1.0, 2.0]] * 3)
    target = jnp.array([[10.0, 4.0]] * 3)
    np.testing.assert_array_equal(q_learning.td_target(window, online, target), [3.0, 6.0, 1.0])
    np.testing.assert_array_equal(q_learning.td_target(window, target, target), [6.0, 6.0, 1.0])


def test_epsilon_falls_linearly_after_learning_starts():
    hparams = DQNHyperparams(
        epsilon_start=0.8, epsilon_end=0.2, epsilon_share=0.5, total_steps=400.0, learning_starts=50
    )
    steps = jnp.array([0.0, 49.0, 50.0, 100.0, 200.0, 400.0])
    expected = [1.0, 1.0, 0.65, 0.5, 0.2, 0.2]
    np.testing.assert_allclose(q_learning.epsilon_at(steps, hparams), expected, rtol=1e-6)


def test_a_dueling_network_ranks_by_advantage_around_the_value(key):
    env, env_params = jaxecon.make("Catch-bsuite")
    network = make_q_network(env, env_params, (8,), "tanh", dueling=True)
    params = network.init(key)
    features = network.features(jax.random.normal(key, (5, 10, 5)))
    before = network.values(params, features)
    params["Dense_2"]["bias"] = params["Dense_2"]["bias"] + 1.0  # of all advantages
    np.testing.assert_allclose(network.values(params, features), before, atol=1e-5)  # float32
    params["Dense_1"]["bias"] = params["Dense_1"]["bias"] + 1.0  # of the value
    np.testing.assert_allclose(network.values(params, features), before + 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("Cournot-v0", "action_space must be MultiDiscrete with 2 agents for action values"),
        ("Pendulum-v1", "action_space must be Discrete for action values, got Box"),
    ],
)
def test_continuous_actions_are_refused(env_id, message, key):
    env, env_params = jaxecon.make(env_id)
    algorithm = make_dqn(env)
    with pytest.raises(ValueError, match=message):
        algorithm.init(key, env_params, algorithm.hparams)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a"),
        ({"n_step": 0}, "n_step must be a"),
        ({"final_size": 0}, "final_size must be a"),
        ({"update_interval": 3}, "update_interval must divide rollout_length = 8, got 3"),
        ({"buffer_size": 16}, "buffer_size must be at least .* = 24, got 16"),
        ({"reset_mode": "never"}, "reset_mode must be one of"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be at least 1 each"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **settings)


def test_gymnax_environments_train(standard_promotion, key):
    env, env_params = jaxecon.make("CartPole-v1")
    algorithm = make_dqn(env, dataclasses.replace(CONFIG, prioritised=False, dueling=False))
    run = jax.jit(functools.partial(train, algorithm, num_iterations=2))
    state, metrics = run(key, env_params.replace(max_steps_in_episode=5), algorithm.hparams)
    assert metrics["evaluation/length"][-1] == 5.0
    assert (state.replay.final[:8] >= 0).sum() > 0
