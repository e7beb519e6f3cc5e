"""Bandit policies: regressions against closed forms, EMKF against its parts, accounts of play."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.algos.bandits import (
    POLICIES,
    RESTLESS_POLICIES,
    BanditConfig,
    BanditHyperparams,
    make_bandit,
    make_policy,
    play,
)
from jaxecon.algos.bandits import emkf as emkf_module
from jaxecon.algos.bandits.contextual import contextual
from jaxecon.algos.bandits.learners import (
    estimate,
    learn,
    linear_thompson,
    linear_ucb,
    noise_ratio,
    sample_coefficients,
    start_regression,
    ucb1,
    windowed,
)
from jaxecon.algos.bandits.policy import History, Problem, View
from jaxecon.algos.registry import ALGORITHMS
from jaxecon.envs.bandits import (
    REGRETS,
    ContextualBandit,
    make_dynamical_bandit,
    make_partially_observed_bandit,
    make_restless_bandit,
)

KEY = jax.random.key(0)
HPARAMS = BanditHyperparams()


def some_rounds(num_rounds, num_arms=3, size=2, dtype=np.float64):
    draw = np.random.default_rng(0)
    context = draw.normal(size=(num_rounds, size)).astype(dtype)
    action = draw.integers(num_arms, size=num_rounds).astype(np.int32)
    coefficients = draw.normal(size=(num_arms, size))
    reward = (coefficients[action] * context).sum(1) + 0.3 * draw.normal(size=num_rounds)
    return jnp.asarray(context), jnp.asarray(action), jnp.asarray(reward.astype(dtype))


def fed(learner, context, action, reward, hparams, num_arms=3):
    """The learner after all rounds."""
    start = learner.init(jnp.zeros((num_arms, context.shape[1]), context.dtype), False, hparams)

    def step(state, now):
        h, a, r = now
        features = jnp.broadcast_to(h, (num_arms, h.shape[0]))
        return learner.update(state, features, a, r, hparams), None

    return jax.jit(lambda: jax.lax.scan(step, start, (context, action, reward))[0])()


def test_the_posterior_is_ridge_regression_after_a_thousand_updates():
    with jax.enable_x64(True):
        context, action, reward = some_rounds(1000)
        hparams = HPARAMS.replace(prior_scale=2.0, noise_variance=0.5)
        state = fed(linear_thompson(), context, action, reward, hparams)
        mean, covariance = estimate(state)
        misfit = 0.0
        for arm in range(3):
            h, r = (np.asarray(x)[np.asarray(action) == arm] for x in (context, reward))
            precision = np.eye(2) / 4.0 + h.T @ h / 0.5
            np.testing.assert_allclose(covariance[arm], np.linalg.inv(precision), atol=1e-12)
            ridge = np.linalg.solve(precision, h.T @ r / 0.5)
            np.testing.assert_allclose(mean[arm], ridge, atol=1e-12)
            misfit += (np.square(r).sum() - r @ h @ ridge) / 0.5
        ratio = noise_ratio(state, mean, hparams)
        np.testing.assert_allclose(ratio, (1.0 + misfit / 2) / (1.0 + 500), rtol=1e-10)
        assert noise_ratio(state, mean, hparams.replace(learn_noise=0.0)) == 1.0


def test_draws_have_the_posteriors_mean_and_covariance():
    context, action, reward = some_rounds(30, dtype=np.float32)
    hparams = HPARAMS.replace(learn_noise=0.0)
    state = fed(linear_thompson(), context, action, reward, hparams)
    mean, covariance = estimate(state)
    keys = jax.random.split(KEY, 20_000)
    draws = np.asarray(jax.vmap(lambda k: sample_coefficients(k, state, hparams))(keys))
    error = np.sqrt(np.asarray(jnp.diagonal(covariance, axis1=1, axis2=2)) / len(keys))
    assert (np.abs(draws.mean(0) - mean) <= 4.0 * error).all()
    for arm in range(3):
        scatter = np.cov(draws[:, arm].T)
        np.testing.assert_allclose(scatter, covariance[arm], atol=0.05 * scatter.max())


def test_a_window_forgets_and_a_discount_fades():
    with jax.enable_x64(True):
        context, action, reward = some_rounds(60)
        hparams = HPARAMS.replace(discount=0.9)
        recent = fed(windowed(linear_ucb(), 20), context, action, reward, hparams).regression
        alone = fed(linear_ucb(), context[-20:], action[-20:], reward[-20:], hparams)
        for mine, theirs in zip(recent, alone, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)
        faded = fed(linear_ucb(discounted=True), context, action, reward, hparams)
        weight = np.where(np.asarray(action) == 1, 0.9 ** np.arange(59, -1, -1), 0.0)
        h = np.asarray(context)
        np.testing.assert_allclose(
            faded.precision[1], np.eye(2) + (h * weight[:, None]).T @ h, atol=1e-12
        )


def test_upper_bounds_by_hand():
    hparams = HPARAMS.replace(exploration=2.0, learn_noise=0.0)
    features = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    state = learn(start_regression(features, True, hparams), 0, features[0], 3.0, 1.0)
    scores = linear_ucb().scores(KEY, state, features, hparams)
    # B = diag(2, 1), f = (3, 0): 1.5 + 2 √½ and 0 + 2·2
    np.testing.assert_allclose(scores, [1.5 + 2.0**0.5, 4.0], rtol=1e-6)
    arms = ucb1()
    state = arms.init(features, False, hparams)
    assert jnp.isinf(arms.scores(KEY, state, features, hparams)).all()
    state = arms.update(state, features, jnp.int32(0), jnp.float32(1.0), hparams)
    assert jnp.argmax(arms.scores(KEY, state, features, hparams)) == 1


@pytest.fixture(scope="module")
def bandit():
    return make_partially_observed_bandit()


def runs_of(bandit, name, *, num_rounds=600, num_seeds=4, hparams=HPARAMS, **config):
    env, env_params = bandit
    config = BanditConfig(policy=name, horizon=num_rounds, **config)

    def one(key):
        policy = make_policy(env, env_params, config)
        return play(env, policy, key, env_params, hparams, num_rounds=num_rounds, fits=config.fits)

    return jax.jit(jax.vmap(one))(jax.random.split(KEY, num_seeds))


@pytest.fixture(scope="module")
def emkf(bandit):
    return runs_of(bandit, "emkf")


def test_emkf_fits_its_schedule_and_beats_no_context(bandit, emkf):
    np.testing.assert_array_equal(emkf.state.num_fits, 4)  # 64, 128, 256, 512
    np.testing.assert_array_equal(emkf.state.num_failed, 0)
    assert all(len(set(actions)) > 1 for actions in np.asarray(emkf.action[:, :64]))
    blind = runs_of(bandit, "no_context")
    assert (emkf.regret[..., 0] >= 0.0).all()
    assert emkf.regret[:, 64:, 1].mean() < 0.5 * blind.regret[:, 64:, 1].mean()


def test_where_nothing_persists_emkf_is_thompson_sampling():
    """A = 0 and d = p: no fit explains x better than independent draws, so z = x throughout."""
    bandit = make_partially_observed_bandit(context_dim=2, radius=(0.0, 0.0))
    emkf, plain = (runs_of(bandit, name, num_seeds=2) for name in ("emkf", "ts"))
    assert (emkf.state.model.transition == 0.0).all()
    last = lambda run: np.asarray(run.regret)[:, :, 1].sum(1)
    np.testing.assert_allclose(last(emkf), last(plain), rtol=0.3, atol=5.0)


def test_play_follows_the_policys_schedule_and_refuses_fits_outside_the_run(bandit):
    env, env_params = bandit
    policy = make_policy(env, env_params, BanditConfig(horizon=4000))
    counting = lambda key, state, *rest: state._replace(num_fits=state.num_fits + 1)
    policy = policy._replace(refit=counting)
    run = lambda **more: play(env, policy, KEY, env_params, HPARAMS, num_rounds=70, **more)
    assert jax.jit(lambda: run().state.num_fits)() == 1  # at 64
    assert policy.schedule(300) == (64, 128, 256)
    for fits in ((0,), (70,), (20, 10), (20, 20)):
        with pytest.raises(ValueError, match="fits must ascend, each above 0 and below"):
            run(fits=fits)


def test_a_window_plays_in_double_precision_without_warnings():
    with jax.enable_x64(True):
        env, env_params = make_partially_observed_bandit()
        policy = make_policy(env, env_params, BanditConfig(policy="window_linucb", window=5))
        play_it = lambda: play(env, policy, KEY, env_params, HPARAMS, num_rounds=20)
        assert jax.eval_shape(play_it).regret.dtype == jnp.float64


def test_policies_meet_the_same_instances(bandit, emkf):
    """Under one key the clairvoyant payoff of each round does not depend on the policy."""
    other = runs_of(bandit, "oracle_filter")
    first = emkf.regret[:, :, 0] - emkf.regret[:, :, 1]  # best less the feasible rule's
    np.testing.assert_allclose(first, other.regret[:, :, 0] - other.regret[:, :, 1], atol=1e-4)
    assert other.regret[..., 1].mean() < emkf.regret[..., 1].mean()


def test_a_known_full_observation_without_noise_is_plain_thompson_sampling():
    """C = I, R -> 0: EMKF's contexts are x itself, so both play alike under common numbers."""
    env, env_params = make_partially_observed_bandit(
        context_dim=2, observation_dim=2, observation=np.eye(2), observation_noise=1e-8,
        observation_known=True, num_arms=3,
    )  # fmt: skip
    bandit = (env, env_params)
    plain = contextual(Problem(3, 2, 2, 100), "lags", linear_thompson())
    policy = make_policy(env, env_params, BanditConfig(horizon=100))
    model = emkf_module.LinearGaussian(
        *map(jnp.asarray, (0.8 * np.eye(2), 0.1 * np.eye(2), np.eye(2), 1e-8 * np.eye(2))),
        jnp.zeros(2), jnp.eye(2),
    )  # fmt: skip
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)

    def init(key, view, hparams):
        state = policy.init(key, view, hparams)
        return state._replace(model=model, num_fits=jnp.int32(1))

    knowing = policy._replace(init=init, refit=None)
    run = lambda policy: jax.jit(
        lambda: play(*bandit[:1], policy, KEY, env_params, HPARAMS, num_rounds=100)
    )()
    np.testing.assert_array_equal(run(knowing).action, run(plain).action)


def test_statistics_are_stale_once_coordinates_have_changed():
    """After T, recomputed statistics and f -> T f predict alike; old ones with new contexts not."""
    with jax.enable_x64(True):
        context, action, reward = some_rounds(200)
        turn = np.array([[1.5, 0.4], [-0.3, 0.8]])
        hparams = HPARAMS.replace(prior_scale=1e4)  # the prior is not invariant
        before = fed(linear_thompson(), context, action, reward, hparams)
        again = fed(linear_thompson(), context @ turn.T, action, reward, hparams)
        moved = before._replace(
            precision=turn @ before.precision @ turn.T, target=before.target @ turn.T
        )
        now = np.asarray(context[:20]) @ turn.T
        predict = lambda state: now @ np.asarray(estimate(state)[0]).T
        np.testing.assert_allclose(predict(again), predict(moved), atol=1e-5)
        assert np.abs(predict(before) - predict(again)).max() > 0.1


def test_payoffs_in_the_filter_narrow_the_belief():
    """C known and no fits: both play in turn, under one model and with equal regressions."""
    env, env_params = make_partially_observed_bandit(observation_known=True)

    def beliefs(name):
        policy = make_policy(env, env_params, BanditConfig(policy=name, horizon=100))
        still = policy._replace(refit=None)
        return play(env, still, KEY, env_params, HPARAMS, num_rounds=100).state.belief

    plain, plus = jax.jit(lambda: (beliefs("emkf"), beliefs("emkf_plus")))()
    assert jnp.trace(plus.covariance) < jnp.trace(plain.covariance) - 1e-3  # of 2.5
    for mine, theirs in zip(plain.learner, plus.learner, strict=True):
        assert mine.shape == theirs.shape
    assert plus.error > plus.spread > 0.0


def test_a_policy_that_forgets_plays(bandit):
    run = runs_of(bandit, "discounted_linucb", num_rounds=80, num_seeds=2)
    assert np.isfinite(run.regret).all()
    assert run.action.min() >= 0
    assert run.action.max() <= 4


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_plays_arms_that_share_a_parameter(name):
    """Traced, not run: shapes and dtypes hold still in every loop."""
    shared = {"num_features": 3, "observes_subset": True, "observation_known": True}
    env, env_params = make_partially_observed_bandit(**shared)
    config = BanditConfig(policy=name, horizon=200)
    policy = make_policy(env, env_params, config)
    run = jax.eval_shape(
        lambda: play(env, policy, KEY, env_params, HPARAMS, num_rounds=200, fits=config.fits)
    )
    assert (run.action.shape, run.regret.shape) == ((200,), (200, 3))
    assert jnp.issubdtype(run.action.dtype, jnp.integer)


def test_hyperparameters_are_traced(bandit):
    env, env_params = bandit
    policy = make_policy(env, env_params, BanditConfig(policy="ts", horizon=50))
    run = lambda v: play(
        env, policy, KEY, env_params, HPARAMS.replace(exploration=v), num_rounds=50
    )
    regrets = jax.jit(jax.vmap(run))(jnp.array([0.0, 10.0])).regret
    assert (regrets[0] != regrets[1]).any()


def test_dynlin_ucb_holds_arms_ever_longer_and_finds_the_best():
    env, env_params = make_dynamical_bandit()
    hparams = HPARAMS.replace(exploration=3.0, max_radius=0.5)
    run = runs_of((env, env_params), "dynlin_ucb", num_rounds=600, num_seeds=2, hparams=hparams)
    changes = np.diff(np.asarray(run.action), axis=1) != 0
    assert changes.mean() < 0.3
    assert (np.asarray(run.action)[:, -300:] == 3).mean() > 0.9  # (1, 1), worth 3.05


def test_whittles_index_has_the_least_regret_and_its_opposite_the_most():
    """The myopic index, as all gains are equal, keeps up the arms that need it least."""
    bandit = make_restless_bandit()
    runs = {name: runs_of(bandit, name) for name in RESTLESS_POLICIES}
    lost = {name: float(run.regret[..., 1].mean()) for name, run in runs.items()}
    error = max(run.regret[..., 1].sum(1).std() / 600 for run in runs.values())  # of runs of 600
    assert lost["whittle"] < lost["random"] - 4 * error
    assert lost["random"] < lost["myopic"] - 4 * error
    assert 0.0 < lost["whittle"] < 0.08 * runs["whittle"].reward.mean()
    assert runs["whittle"].action.shape == (4, 600, 5)


def test_a_bandit_is_an_algorithm_that_reveals_its_run(bandit):
    env, env_params = bandit
    algorithm = make_bandit(env, BanditConfig(policy="ts", horizon=100))
    state = jax.jit(algorithm.init)(KEY, env_params, HPARAMS)
    step, evaluate = jax.jit(algorithm.step), jax.jit(algorithm.evaluate)
    assert algorithm.steps_per_iteration == 1
    for _ in range(3):
        state, metrics = step(KEY, state, env_params, HPARAMS)
    report = evaluate(KEY, state, env_params)
    np.testing.assert_allclose(report["return"], state.earned[2], rtol=1e-5)
    assert report["rounds"] == 3
    np.testing.assert_allclose(report[REGRETS[1]], state.regret[2, 1])
    assert metrics["episodes"].count == 1
    with pytest.raises(TypeError, match="learns while it acts"):
        algorithm.act(KEY, state.policy, state.earned, None, env_params)
    assert set(ALGORITHMS["bandit"].bounds) == {f.name for f in dataclasses.fields(HPARAMS)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "emfk"}, "Did you mean 'emkf'"),
        ({"growth": 1.0}, "growth must be above 1"),
        ({"growth": float("inf")}, "growth must be above 1 and finite"),
        ({"first_fit": 1}, "first_fit must be at least 2"),
        ({"num_restarts": 0, "warm_start": False}, "num_restarts must be at least 1"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"policy": "whittle"}, "policy must be one of emkf, "),
    ],
)
def test_bad_settings_are_explained(bandit, settings, message):
    with pytest.raises(ValueError, match=message):
        make_bandit(bandit[0], BanditConfig(**settings))


def test_environments_that_do_not_fit_are_explained():
    from jaxecon.envs.games.cournot import Cournot

    with pytest.raises(ValueError, match="Cournot-v0 offers no num_arms"):
        make_bandit(Cournot())
    with pytest.raises(ValueError, match="needs a hidden context"):
        make_bandit(ContextualBandit(), BanditConfig(policy="oracle_filter"))
    restless = make_restless_bandit()[0]
    with pytest.raises(ValueError, match="policy must be one of whittle, myopic, random"):
        make_bandit(restless, BanditConfig(policy="ts"))
    assert "emkf" in POLICIES


def test_a_fit_on_bad_numbers_keeps_the_model_and_counts(bandit):
    env, env_params = bandit
    policy = make_policy(env, env_params, BanditConfig(horizon=40))
    view = View(jnp.zeros(2))
    state = jax.jit(policy.init)(KEY, view, HPARAMS)
    history = History(jnp.full((40, 2), jnp.nan), jnp.zeros(40, jnp.int32), jnp.zeros(40))
    after = jax.jit(policy.refit)(KEY, state, history, jnp.int32(20), view, HPARAMS)
    assert after.num_failed == 1
    for old, new in zip(state.model, after.model, strict=True):
        np.testing.assert_array_equal(old, new)
