"""Applicability in training: bits, ratios, labels, the guard, what is learned, and its reuse."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.algos import DQNConfig, PPOConfig, make_dqn, make_ppo
from jaxecon.algos import applicability as choosing
from jaxecon.algos.applicability_store import (
    load_applicability,
    reuse_applicability,
    save_applicability,
)
from jaxecon.envs import make
from jaxecon.envs.gridworld import GridWorld, make_params

ENV, PARAMS = GridWorld(), make_params("key_door_1")
SMALL = {"num_envs": 8, "rollout_length": 16, "hidden_sizes": (8,), "num_eval_episodes": 4}
PPO = functools.partial(PPOConfig, num_epochs=2, num_minibatches=2, **SMALL)
ALL = tuple(range(6))


@functools.cache
def program(config, learner):
    algorithm = learner(ENV, config)
    hparams = jax.tree.map(jnp.float32, algorithm.hparams)  # one type whatever a test changes
    return jax.jit(algorithm.init), jax.jit(algorithm.step), hparams


def run(config, learner=make_ppo, num_iterations=3, **changes):
    """State and last metrics after a few iterations."""
    init, step, hparams = program(config, learner)
    changes = {"learning_rate": 0.01} | changes
    hparams = hparams.replace(**{name: jnp.float32(x) for name, x in changes.items()})
    state, metrics = init(jax.random.key(0), PARAMS, hparams), {}
    for i in range(num_iterations):
        state, metrics = step(jax.random.key(i), state, PARAMS, hparams)
    return state, metrics


def chooser(mode="learned", known=()):
    config = PPO(applicability=mode, known_actions=known)
    return choosing.make_chooser(ENV, config, PARAMS)


@functools.cache
def some_states():
    @jax.jit
    def draw(keys):
        obs, states = jax.vmap(ENV.reset_env, (0, None))(keys, PARAMS)
        return obs, states, jax.vmap(ENV.action_mask, (0, None))(states, PARAMS)

    return draw(jax.random.split(jax.random.key(5), 4))


@functools.cache
def new_model():
    hparams = make_ppo(ENV, PPO()).hparams
    init = jax.jit(lambda key, obs: chooser().init(key, obs, hparams).model)
    return init(jax.random.key(0), some_states()[0])


def learned_model(bias=choosing.UNKNOWN, **changes):
    model = new_model()
    last = dict(model.params["Dense_2"], bias=jnp.full(6, bias))
    return model.replace(params=model.params | {"Dense_2": last}, **changes)


def test_ignoring_the_model_always_is_plain_ppo_bit_for_bit():
    plain, _ = run(PPO(applicability="none"))
    ignored, _ = run(PPO(applicability="learned"), applicability_eps=1.0)
    chex.assert_trees_all_equal(plain.policy.params, ignored.policy.params)
    chex.assert_trees_all_equal(plain.rollout, ignored.rollout)


def test_knowing_every_action_is_the_full_mask_bit_for_bit():
    full, _ = run(PPO())
    known, metrics = run(PPO(applicability="partial", known_actions=ALL))
    chex.assert_trees_all_equal(full.policy.params, known.policy.params)
    assert metrics["inapplicable_share"] == 0.0


def test_the_first_ratio_is_one_under_the_stored_mask():
    """A policy that does not learn is, in every update, the very one that acted."""
    still = {"learning_rate": 0.0, "applicability_rate": 0.01, "applicability_min_labels": 0.0}
    _, metrics = run(PPO(applicability="learned"), num_iterations=6, **still)
    assert metrics["false_applicable"] < 0.9  # so that some actions were hidden
    assert abs(metrics["approx_kl"]) < 1e-6  # float32 of a logarithm of one
    assert metrics["clip_fraction"] == 0.0


def test_the_model_learns_from_effects_and_hides_what_has_none():
    config, sharp = PPO(applicability="learned"), {"applicability_rate": 0.01}
    _, first = run(config, num_iterations=1, **sharp)
    state, last = run(config, num_iterations=12, **sharp)
    assert last["applicability_loss"] < 0.2 * first["applicability_loss"]
    assert last["inapplicable_share"] < 0.7 * first["inapplicable_share"]
    assert first["false_applicable"] == 1.0  # nothing is known yet, so all is offered
    assert last["false_applicable"] < 0.3
    assert last["false_inapplicable"] < 0.05
    assert state.applicability.model.num_labels.sum() == 12 * config.batch_size


def test_a_rate_of_zero_freezes_the_model():
    start, _ = run(PPO(applicability="learned"), num_iterations=0)
    end, _ = run(PPO(applicability="learned"), applicability_rate=0.0)
    chex.assert_trees_all_equal(start.applicability.model.params, end.applicability.model.params)


def test_each_mode_offers_what_it_says():
    obs, _, declared = some_states()
    sure = learned_model(num_labels=jnp.full(6, 100.0))
    hides = learned_model(bias=-9.0, num_labels=jnp.array([100.0] * 5 + [3.0]))
    assert chooser("none").mask(None, obs, declared) is None
    partial = chooser("partial", (0, 1)).mask(None, obs, declared)
    np.testing.assert_array_equal(partial[:, :2], declared[:, :2])
    assert partial[:, 2:].all()
    assert chooser().mask(sure, obs, declared).all()
    mask = chooser().mask(hides, obs, declared)
    np.testing.assert_array_equal(mask, [[False] * 5 + [True]] * 4)  # too few labels of the last
    mask = chooser("learned", (0, 2)).mask(hides, obs, declared)
    np.testing.assert_array_equal(mask[:, [0, 2]], declared[:, [0, 2]])
    ignores = jnp.array([True, False, True, False])
    mask = chooser().mask(hides, obs, declared, ignores)
    np.testing.assert_array_equal(mask.all(axis=1), ignores)


def test_one_action_at_least_is_always_offered():
    obs, _, declared = some_states()
    hides_all = learned_model(bias=-9.0, num_labels=jnp.full(6, 100.0))
    assert chooser().mask(hides_all, obs, declared).all()
    everything_known = chooser("learned", ALL).mask(hides_all, obs, declared)
    np.testing.assert_array_equal(everything_known, declared)


def test_classes_weigh_alike_and_one_class_alone_stays_finite():
    applied = jnp.array([True] * 6 + [False] * 2)
    weight = choosing.balanced_weights(applied)
    np.testing.assert_allclose(weight[:6].sum(), weight[6:].sum())
    np.testing.assert_allclose(weight.sum(), 8.0)
    alone = choosing.balanced_weights(jnp.ones(8, bool))
    np.testing.assert_allclose(alone, 0.5)


def test_dqn_uses_the_same_masks_in_acting_and_in_evaluation():
    config = DQNConfig(
        update_interval=4, buffer_size=512, batch_size=16, applicability="learned", **SMALL
    )
    sharp = {"applicability_rate": 0.003, "learning_starts": 64.0, "total_steps": 4000.0}
    state, metrics = run(config, make_dqn, 12, **sharp)
    assert metrics["false_inapplicable"] < 0.3  # greedy play shows the model few pairs
    assert metrics["false_applicable"] < 0.3
    assert np.isfinite(metrics["loss"])
    evaluation = jax.jit(make_dqn(ENV, config).evaluate)(jax.random.key(9), state, PARAMS)
    assert evaluation["inapplicable"] < 0.3 * evaluation["length"]


def test_a_saved_model_starts_another_task(tmp_path):
    state, _ = run(PPO(applicability="learned"))
    path, model = tmp_path / "model.npz", state.applicability.model
    save_applicability(path, model, ENV, PARAMS)
    other, other_params = make("GridWorld-v0", task="key_door_2")
    loaded = load_applicability(path, other, other_params)
    chex.assert_trees_all_equal(loaded, model)
    algorithm = make_ppo(other, PPO(applicability="learned"))

    @jax.jit
    def begin(key):
        reusing = [reuse_applicability(algorithm, loaded, trusted=x) for x in (False, True)]
        states = [each.init(key, other_params, algorithm.hparams) for each in reusing]
        return [state.applicability.model for state in states]

    for trusted, begun in zip((False, True), begin(jax.random.key(1)), strict=True):
        chex.assert_trees_all_equal(begun.params, model.params)
        assert (begun.num_labels.sum() > 0) == trusted


def test_a_model_of_other_actions_is_refused_by_name(tmp_path):
    class Renamed(GridWorld):
        action_names = ("up", "right", "down", "left", "pickup", "lock")

    save_applicability(tmp_path / "model.npz", learned_model(), Renamed(), PARAMS)
    with pytest.raises(ValueError, match="lock"):
        load_applicability(tmp_path / "model.npz", ENV, PARAMS)
    algorithm = reuse_applicability(make_ppo(ENV, PPO()), learned_model())
    with pytest.raises(ValueError, match='applicability="learned"'):
        algorithm.init(jax.random.key(0), PARAMS, algorithm.hparams)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match="a file without action_names"):
        load_applicability(tmp_path / "other.npz", ENV, PARAMS)


def test_a_model_of_other_shapes_is_refused_where_it_is_used():
    algorithm = make_ppo(ENV, PPO(applicability="learned"))
    model = learned_model()
    fewer = model.replace(num_labels=model.num_labels[:5])
    wider = make_ppo(ENV, PPO(applicability="learned", applicability_sizes=(3,)))
    for reused, message in (
        (reuse_applicability(algorithm, fewer), "judge the 6 actions .* got one of 5"),
        (reuse_applicability(wider, model), "must have the layers"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(reused.init, jax.random.key(0), PARAMS, algorithm.hparams)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"applicability": "ful"}, "Did you mean 'full'"),
        ({"applicability": "partial"}, "known_actions must name at least 1 action"),
        ({"known_actions": (1,)}, "known_actions must be empty"),
        ({"applicability": "partial", "known_actions": (-1,)}, "indices from 0 on"),
        ({"applicability_sizes": (8, 0)}, "applicability_sizes must be at least 1 each"),
    ],
)
@pytest.mark.parametrize("config", [PPOConfig, DQNConfig])
def test_settings_that_do_not_fit_are_refused(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_environments_that_do_not_fit_are_refused():
    cournot, cournot_params = make("Cournot-v0")
    algorithm = make_ppo(cournot, PPO(applicability="learned"))
    with pytest.raises(ValueError, match="one agent chooses among discrete actions"):
        algorithm.init(jax.random.key(0), cournot_params, algorithm.hparams)
    algorithm = make_ppo(ENV, PPO(applicability="partial", known_actions=(6,)))
    with pytest.raises(ValueError, match="below the number of actions, 6"):
        algorithm.init(jax.random.key(0), PARAMS, algorithm.hparams)
    cartpole, cartpole_params = make("CartPole-v1")
    algorithm = make_ppo(cartpole, PPO(applicability="partial", known_actions=(1,)))
    with pytest.raises(ValueError, match="declares no mask"):
        algorithm.init(jax.random.key(0), cartpole_params, algorithm.hparams)
