"""What SAC promises besides learning: hand-computed steps, reproducible, resumable, swept."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.algos import SACConfig, SACHyperparams, make_sac, replay, train_iterations
from jaxecon.algos.registry import ALGORITHMS
from jaxecon.algos.sac_update import Batch, init_learner, rates_at, sac_loss, soft_target, update
from jaxecon.networks.continuous import make_actor_twin_critic

CONFIG = SACConfig(
    num_envs=4,
    rollout_length=8,
    update_interval=2,
    num_updates=2,
    buffer_size=256,
    batch_size=16,
    n_step=2,
    hidden_sizes=(8,),
    normalise_observations=True,
    num_eval_episodes=4,
)


@pytest.fixture(scope="module")
def task():
    """A pendulum of gymnax with a time limit of five steps."""
    env, env_params = jaxecon.make("Pendulum-v1")
    env_params = env_params.replace(max_steps_in_episode=5)
    algorithm = make_sac(env, CONFIG)
    hparams = algorithm.hparams.replace(
        learning_starts=40.0, total_steps=200.0, anneal=0.5, tau=0.5
    )
    return algorithm, env_params, jax.tree.map(jnp.float32, hparams)


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
def begin(task):
    """Compiled `init` as a function of the hyperparameters."""
    algorithm, env_params, _ = task
    init = jax.jit(algorithm.init)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield lambda hparams: init(jax.random.key(0), env_params, hparams)


def test_a_seed_reproduces_and_segments_equal_the_uncut_run(task, go, begin, key):
    _, env_params, hparams = task
    run, start = go[0], begin(hparams)
    whole, metrics = run(key, start, env_params, hparams, 0, 4)
    again, _ = run(key, start, env_params, hparams, 0, 4)
    chex.assert_trees_all_equal(whole, again)
    half, _ = run(key, start, env_params, hparams, 0, 2)
    rest, _ = run(key, half, env_params, hparams, 2, 2)
    chex.assert_trees_all_equal(whole, rest)
    other, _ = run(jax.random.key(1), start, env_params, hparams, 0, 4)
    assert (other.replay.action != whole.replay.action).any()
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics))
    assert metrics["known_share"] == 1.0
    assert metrics["episode_length"] == 5.0
    assert (whole.replay.final[:8] >= 0).sum() == 4  # one time limit per environment
    assert (jnp.abs(whole.replay.action) <= 1.0).all()


def test_every_hyperparameter_has_an_effect_and_none_traces_again(task, go, begin, key):
    _, env_params, hparams = task
    run, traces = go

    def learner(hparams):
        return run(key, begin(hparams), env_params, hparams, 0, 4)[0].learner

    first = learner(hparams)
    before = len(traces)
    for name in type(hparams).__annotations__:  # what is inherited acts in some modes alone
        other = learner(hparams.replace(**{name: 0.3 * getattr(hparams, name)}))
        same = jax.tree.map(lambda a, b: bool((a == b).all()), first, other)
        assert not all(jax.tree.leaves(same)), f"{name} has no effect"
    assert len(traces) == before
    assert set(ALGORITHMS["sac"].bounds) == set(vars(hparams))


def test_vmap_over_seeds_and_hyperparameters_equals_single_runs(task, go, begin):
    """Some lanes learn while others still wait."""
    _, env_params, hparams = task
    run, start = go[0], begin(hparams)
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
        # float32 products are summed in another order when batched
        chex.assert_trees_all_close(lane.replay.action, single.replay.action, atol=1e-3)
        chex.assert_trees_all_close(lane.learner.params, single.learner.params, atol=1e-3)
    untrained = jax.tree.map(lambda x: x[2], batched.learner)
    chex.assert_trees_all_equal(untrained, start.learner)


def test_policies_act_alike_inside_the_bounds(task, begin, key):
    algorithm, env_params, hparams = task
    obs = 1e3 * jax.random.normal(key, (50, 3))
    policy = algorithm.policy(begin(hparams))
    action = algorithm.act(key, policy, obs, None, env_params)
    again = algorithm.act(jax.random.key(1), policy, obs, None, env_params)
    np.testing.assert_array_equal(action, again)
    assert action.shape == (50, 1)
    assert (jnp.abs(action) <= 2.0).all()


def test_targets_take_the_smaller_critic_and_the_entropy_and_stop_at_endings():
    window = replay.Window(
        obs=None,
        action=None,
        reward=jnp.array([1.0, 1.0]),
        discount=jnp.array([0.5, 0.0]),
        next_obs=None,
        is_known=jnp.ones(2, bool),
    )
    next_value = jnp.array([[4.0, 4.0], [3.0, 9.0]])
    target = soft_target(window, next_value, jnp.array([-2.0, -2.0]), 0.25)
    np.testing.assert_array_equal(target, [1.0 + 0.5 * (3.0 + 0.5), 1.0])
    agents = window._replace(reward=jnp.ones((2, 2)))
    both = jnp.repeat(next_value[..., None], 2, axis=-1)
    target = soft_target(agents, both, jnp.zeros((2, 2)), 1.0)
    np.testing.assert_array_equal(target, [[2.5, 2.5], [1.0, 1.0]])


@pytest.fixture(scope="module")
def step():
    """A learner, a batch and noise for one gradient step on a box of one dimension."""
    env, env_params = jaxecon.make("Newsvendor-v0")
    network = make_actor_twin_critic(env, env_params, (8,))
    keys = jax.random.split(jax.random.key(0), 4)
    hparams = SACHyperparams(initial_temperature=0.5)
    learner = jax.jit(lambda: init_learner(keys[0], network, hparams))()
    batch = Batch(
        features=jax.random.normal(keys[1], (6, *network.obs_shape)),
        action=jax.random.uniform(keys[2], (6, 1), minval=-1.0),
        target=jnp.arange(6.0),
        weight=jnp.ones(6).at[0].set(0.0),
    )
    return network, learner, batch, jax.random.normal(keys[3], (6, 1)), hparams


def test_each_loss_moves_its_own_parameters_alone(step):
    network, learner, batch, noise, _ = step

    @jax.jit
    def gradient(batch, noise):
        return jax.grad(sac_loss, has_aux=True)(learner.params, batch, noise, network, -1.0)[0]

    base = gradient(batch, noise)
    other_noise = gradient(batch, noise + 1.0)
    other_target = gradient(batch._replace(target=batch.target + 1.0), noise)
    chex.assert_trees_all_equal(base["critics"], other_noise["critics"])
    chex.assert_trees_all_equal(base["actor"], other_target["actor"])
    assert base["log_temperature"] == other_target["log_temperature"]
    # a row whose end is not known teaches the critics nothing
    forgotten = gradient(batch._replace(target=batch.target.at[0].set(1e3)), noise)
    chex.assert_trees_all_equal(base["critics"], forgotten["critics"])


def test_gradients_are_those_of_the_three_objectives(step):
    network, learner, batch, noise, _ = step
    params = learner.params

    def entropy_and_value(actor):
        outputs = network.actor(actor, batch.features)
        latent = outputs[0] + jnp.exp(outputs[1]) * noise
        # change of variables in the action itself, by hand
        density = jnp.exp(-0.5 * jnp.square(noise)) / jnp.sqrt(2.0 * jnp.pi) / jnp.exp(outputs[1])
        log_density = jnp.log(density / (1.0 - jnp.square(jnp.tanh(latent))))[:, 0]
        value = network.critics(params["critics"], batch.features, jnp.tanh(latent))
        return -log_density.mean(), jnp.minimum(value[0], value[1]).mean()

    def actor_objective(actor):
        entropy, value = entropy_and_value(actor)
        return -0.5 * entropy - value

    def critic_objective(critics):
        error = network.critics(critics, batch.features, batch.action) - batch.target[None]
        return jnp.square(error)[:, 1:].sum() / 12.0

    @jax.jit
    def all_of_them():
        ours = jax.grad(sac_loss, has_aux=True)(params, batch, noise, network, -1.0)
        entropy, _ = entropy_and_value(params["actor"])
        by_hand = {
            "actor": jax.grad(actor_objective)(params["actor"]),
            "critics": jax.grad(critic_objective)(params["critics"]),
        }
        return *ours, entropy, by_hand

    gradient, metrics, entropy, by_hand = all_of_them()
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)
    np.testing.assert_allclose(gradient["log_temperature"], 0.5 * (entropy + 1.0), rtol=1e-5)
    for part, expected in by_hand.items():
        chex.assert_trees_all_close(gradient[part], expected, rtol=1e-4, atol=1e-6)


def test_the_first_update_moves_each_part_by_its_own_rate(step):
    """Adam's first step has the size of the rate, and the target follows by the share τ."""
    network, learner, batch, noise, hparams = step
    hparams = hparams.replace(
        learning_rate=1e-2, actor_rate_share=0.5, temperature_rate_share=0.0, tau=0.25
    )
    after, _ = jax.jit(lambda: update(learner, batch, noise, network, jnp.float32(0.0), hparams))()
    moved = jax.tree.map(lambda a, b: a - b, after.params, learner.params)
    largest = lambda tree: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
    np.testing.assert_allclose(largest(moved["critics"]), 1e-2, rtol=1e-3)  # float32
    np.testing.assert_allclose(largest(moved["actor"]), 5e-3, rtol=1e-3)
    assert moved["log_temperature"] == 0.0
    followed = jax.tree.map(lambda a, b: a - b, after.target_critics, learner.target_critics)
    expected = jax.tree.map(lambda x: 0.25 * x, moved["critics"])
    chex.assert_trees_all_close(followed, expected, atol=1e-7)


def test_rates_fall_linearly():
    hparams = SACHyperparams(learning_rate=2.0, actor_rate_share=0.5, anneal=0.5, total_steps=100.0)
    rates = rates_at(jnp.float32(50.0), hparams)
    assert {name: float(rate) for name, rate in rates.items()} == {
        "actor": 0.75,
        "critics": 1.5,
        "log_temperature": 1.5,
    }


@pytest.mark.parametrize("env_id", ["Catch-bsuite", "CartPole-v1"])
def test_discrete_actions_are_refused(env_id, key):
    env, env_params = jaxecon.make(env_id)
    algorithm = make_sac(env)
    with pytest.raises(ValueError, match="action_space must be a Box, Simplex or Ball"):
        algorithm.init(key, env_params, algorithm.hparams)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"n_step": 0}, "n_step must be a"),
        ({"final_size": 0}, "final_size must be a"),
        ({"update_interval": 3}, "update_interval must divide rollout_length = 8, got 3"),
        ({"buffer_size": 16}, "buffer_size must be at least .* = 24, got 16"),
        ({"reset_mode": "never"}, "reset_mode must be one of"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be at least 1 each"),
        ({"network": "mpl"}, "Did you mean 'mlp'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **settings)
