"""What learning a mechanism promises: less to gain from lies, at a price, swept and resumed."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxecon
from jaxecon.algos import (
    MechanismConfig,
    make_mechanism_designer,
    recipe,
    train,
    train_iterations,
)
from jaxecon.algos.mechanism_config import KINDS, build_mechanism
from jaxecon.algos.mechanism_penalty import (
    MechanismHyperparams,
    constraint_term,
    excess_gain,
    next_multiplier,
    positive_gain,
    weight_at,
)
from jaxecon.algos.mechanism_recipes import RECIPES
from jaxecon.algos.registry import ALGORITHMS
from jaxecon.devices import compiler_options
from jaxecon.mechanisms.base import AuctionTypes

PLAIN = "regretnet_allocation"  # no inner solve: the quickest to compile
SMALL = {
    "width": 8,
    "depth": 1,
    "hidden_sizes": (8,),
    "num_options": 5,
    "pool_size": 256,
    "batch_size": 32,
    "attack_steps": 2,
    "num_eval_types": 64,
    "eval_restarts": 2,
    "eval_steps": 8,
}


NUM_ITERATIONS = 400


@pytest.fixture(scope="module")
def task():
    env, env_params = jaxecon.make("AllocationDesigner-v0")
    algorithm = make_mechanism_designer(env, MechanismConfig(**SMALL, mechanism=PLAIN))
    total = float(NUM_ITERATIONS * SMALL["batch_size"])
    return algorithm, env_params, algorithm.hparams.replace(learning_rate=1e-2, total_steps=total)


@pytest.fixture(scope="module")
def run(task):
    return jax.jit(
        functools.partial(train, task[0], num_iterations=NUM_ITERATIONS, num_evaluations=2)
    )


@pytest.fixture(scope="module")
def init(task):
    return jax.jit(task[0].init)


@pytest.fixture(scope="module")
def step(task):
    return jax.jit(task[0].step)


def test_a_network_learns_to_leave_liars_little(task, run, key):
    """From a network that withholds 2% to near equal share, which nobody can exploit."""
    _, env_params, hparams = task
    _, metrics = run(key, env_params, hparams.replace(exploitability_weight=8.0))
    assert metrics["evaluation/exploitability"][-1] < 0.01
    # equal share: -2.68 on many types, s.e. 0.07 on 64
    np.testing.assert_allclose(metrics["evaluation/log_nash_welfare"][-1], -2.68, atol=0.25)
    half = metrics["evaluation/log_nash_welfare"][-1] / 2
    np.testing.assert_allclose(metrics["evaluation/return"][-1], half, rtol=1e-5)  # float32
    np.testing.assert_allclose(metrics["evaluation/efficiency"][-1], 0.949, atol=0.03)


def test_a_heavier_weight_buys_less_to_gain_for_welfare(task, run, key):
    _, env_params, hparams = task
    light, heavy = (
        run(key, env_params, hparams.replace(exploitability_weight=weight))[1]
        for weight in (0.1, 8.0)
    )
    for name in ("log_nash_welfare", "exploitability"):
        assert light[f"evaluation/{name}"][-1] > heavy[f"evaluation/{name}"][-1]


def test_a_seed_reproduces_bit_for_bit(task, run, key):
    _, env_params, hparams = task
    first = run(key, env_params, hparams)
    chex.assert_trees_all_equal(first, run(key, env_params, hparams))
    other = run(jax.random.key(1), env_params, hparams)[1]["evaluation/return"]
    assert (other != first[1]["evaluation/return"]).all()


def test_training_is_its_steps_in_turn(task, step, init, key):
    """So a run cut into segments equals the uncut one: iteration i has its own key."""
    algorithm, env_params, hparams = task
    state = init(key, env_params, hparams)
    go = jax.jit(functools.partial(train_iterations, algorithm, num_iterations=2))
    whole, metrics = go(key, state, env_params, hparams, first_iteration=5)
    for i in (5, 6):
        state, _ = step(jax.random.fold_in(key, i), state, env_params, hparams)
    # one program or two: float32 sums in another order
    chex.assert_trees_all_close(whole, state, atol=1e-6)
    np.testing.assert_allclose(metrics["episode_return"], metrics["objective"], rtol=1e-6)
    assert metrics["episode_length"] == 1.0


def test_vmap_over_seeds_and_weights_equals_single_runs(task, step, init):
    algorithm, env_params, hparams = task
    keys, weights = jax.random.split(jax.random.key(0), 2), jnp.array([1.0, 8.0])
    states = [init(key, env_params, hparams) for key in keys]
    weighted = lambda weight: hparams.replace(exploitability_weight=weight)
    over_seeds = jax.vmap(
        lambda key, state, weight: algorithm.step(key, state, env_params, weighted(weight))[1],
        in_axes=(0, 0, None),
    )
    sweep = jax.jit(jax.vmap(over_seeds, in_axes=(None, None, 0)))
    batched = sweep(keys, jax.tree.map(lambda *x: jnp.stack(x), *states), weights)  # [2, 2]
    for i, weight in enumerate(weights):
        for j, (key, state) in enumerate(zip(keys, states, strict=True)):
            single = step(key, state, env_params, weighted(float(weight)))[1]  # as other tests do
            for name in ("objective", "exploitability"):
                # float32 products are summed in another order when batched
                np.testing.assert_allclose(batched[name][i, j], single[name], rtol=1e-4)


UNUSED = {  # by each mode; a plain network has nothing to smooth
    "penalty": {
        *("target_exploitability", "multiplier_step", "multiplier_period"),
        *("penalty", "smoothing"),
    },
    "augmented": {"initial_weight", "warm_share", "smoothing"},
    "log_ratio": {"initial_weight", "warm_share", "penalty", "smoothing"},
}


@pytest.mark.parametrize("mode", sorted(UNUSED))
def test_every_hyperparameter_of_a_mode_changes_the_result_without_tracing(key, mode):
    is_auction = mode == "log_ratio"
    env, env_params = jaxecon.make(f"{'Auction' if is_auction else 'Allocation'}Designer-v0")
    kind = "regretnet" if is_auction else PLAIN
    algorithm = make_mechanism_designer(env, MechanismConfig(**SMALL, mechanism=kind, mode=mode))
    hparams = MechanismHyperparams(initial_weight=9.0, total_steps=300.0, final_rate_share=0.5)
    start = jax.jit(algorithm.init)(key, env_params, hparams)
    traces = []

    @jax.jit
    def step(state, hparams):
        traces.append(1)
        return algorithm.step(key, state, env_params, hparams)[0]

    def params(hparams):
        weight = jnp.float32(hparams.exploitability_weight)
        state = step(dataclasses.replace(start, multiplier=weight), hparams)
        return jax.tree.leaves(step(state, hparams).params)

    base = params(hparams)
    for name in vars(hparams):
        factor = 3.0 if name == "multiplier_period" else 0.3
        other = params(hparams.replace(**{name: factor * getattr(hparams, name)}))
        has_changed = any((a != b).any() for a, b in zip(other, base, strict=True))
        assert has_changed == (name not in UNUSED[mode]), name
    assert len(traces) == 1


def test_pool_and_misreports_come_round_in_turn(task, step, init, key):
    _, env_params, hparams = task
    start = init(key, env_params, hparams)
    state, _ = step(key, start, env_params, hparams)
    moved = state.misreports["demands"] != start.misreports["demands"]
    assert moved[:32].any()
    assert not moved[32:].any()
    chex.assert_trees_all_equal(state.pool, start.pool)
    state, _ = step(key, state, env_params, hparams)
    assert (state.misreports["demands"] != start.misreports["demands"])[32:64].any()
    for name, (low, high) in {"valuations": (0.1, 1.0), "demands": (0.1, 1.0)}.items():
        assert (state.misreports[name] >= low).all()
        assert (state.misreports[name] <= high + 1e-6).all()  # float32


def test_the_weight_falls_in_a_straight_line():
    hparams = MechanismHyperparams(exploitability_weight=2.0, initial_weight=10.0, warm_share=0.5)
    weights = [float(weight_at(jnp.float32(t), hparams)) for t in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(weights, [10.0, 6.0, 2.0, 2.0])
    assert weight_at(jnp.float32(0.0), hparams.replace(initial_weight=0.0)) == 2.0


def test_gains_are_relative_where_asked_and_never_negative():
    utility, deviating = jnp.array([2.0, 2.0, 0.0]), jnp.array([3.0, 1.0, 0.0])
    np.testing.assert_array_equal(positive_gain(utility, deviating, relative=True), [0.5, 0, 0])
    np.testing.assert_array_equal(positive_gain(utility, deviating, relative=False), [1.0, 0, 0])


def test_the_augmented_term_has_the_multiplier_as_its_slope_where_the_constraint_binds():
    config = MechanismConfig(mode="augmented")
    hparams = MechanismHyperparams(penalty=10.0)
    slope = jax.grad(constraint_term)
    weight = jnp.float32(3.0)
    np.testing.assert_allclose(slope(jnp.float32(0.0), weight, config, hparams), 3.0)
    np.testing.assert_allclose(slope(jnp.float32(0.2), weight, config, hparams), 5.0)
    assert slope(jnp.float32(-1.0), weight, config, hparams) == 0.0  # far inside: no pull
    assert constraint_term(jnp.float32(0.0), weight, config, hparams) == 0.0


def test_a_multiplier_rises_while_too_much_can_be_gained(task, step, init, key):
    _, env_params, hparams = task
    for target, direction in ((0.0, 1.0), (0.9, -1.0)):
        aimed = hparams.replace(target_exploitability=target)
        state, _ = step(key, init(key, env_params, aimed), env_params, aimed)
        assert np.sign(state.multiplier - 2.0) == direction


AUCTION = MechanismConfig(mechanism="regretnet", mode="log_ratio")


def test_the_multiplier_of_logarithms_by_hand():
    """λ + η log(N · gain / objective / ε), every third iteration."""
    hparams = MechanismHyperparams(
        target_exploitability=0.01, multiplier_step=0.5, multiplier_period=3.0
    )

    def after(iteration, gain, objective, multiplier=5.0):
        metrics = {"exploitability": jnp.float32(gain), "objective": jnp.float32(objective)}
        now = jnp.float32(multiplier), jnp.int32(iteration)
        return float(next_multiplier(*now, metrics, 2, AUCTION, hparams))

    np.testing.assert_allclose(after(2, 0.004, 0.8), 5.0, rtol=1e-6)  # on target: stays
    np.testing.assert_allclose(after(2, 0.04, 0.8), 5.0 + 0.5 * np.log(10.0), rtol=1e-6)
    np.testing.assert_allclose(after(5, 0.0004, 0.8), 5.0 - 0.5 * np.log(10.0), rtol=1e-6)
    assert after(2, 0.0004, 0.8, 0.1) == 0.0
    assert after(0, 0.04, 0.8) == after(1, 0.04, 0.8) == 5.0
    for extreme in (after(2, 0.0, 0.8), after(2, 0.04, 0.0), after(2, 0.04, -1.0)):
        assert np.isfinite(extreme)
    gain = jnp.array([[0.1, 0.2], [0.3, 0.0]])
    np.testing.assert_allclose(excess_gain(gain, AUCTION, hparams), 0.3, rtol=1e-6)
    fixed = MechanismConfig(mode="lagrangian")
    np.testing.assert_allclose(excess_gain(gain, fixed, hparams), 0.14, rtol=1e-6)


def test_the_multiplier_of_logarithms_finds_its_target(key):
    """A network for one bidder and two items: regret over revenue ends near the target."""
    env, env_params = jaxecon.make("AuctionDesigner-v0", num_bidders=1, num_items=2)
    settings = recipe("regretnet")
    sizes = {"pool_size": 4096, "hidden_sizes": (16, 16), "num_eval_types": 2048}
    config = MechanismConfig(**settings.config | sizes | {"eval_restarts": 2, "eval_steps": 20})
    algorithm = make_mechanism_designer(env, config)
    num_iterations, target = 600, 5e-3
    own = {"target_exploitability": target, "multiplier_period": 10.0, "learning_rate": 5e-3}
    total = float(num_iterations * config.batch_size)
    hparams = algorithm.hparams.replace(**settings.hparams | own, total_steps=total)
    run = jax.jit(functools.partial(train, algorithm, num_iterations=num_iterations))
    options = compiler_options("cpu")  # long loops can hang under the default scheduler
    _, metrics = run.lower(key, env_params, hparams).compile(options)(key, env_params, hparams)
    ratio = metrics["evaluation/regret"][-1] / metrics["evaluation/revenue"][-1]
    assert target / 3 < ratio < 3 * target  # the multiplier follows noisy ratios of batches
    # positive regret inflates revenue above the optimum 0.5492; 2,048 types have an s.e. of 1.5%
    np.testing.assert_allclose(metrics["evaluation/revenue"][-1], 0.56, rtol=0.08)


def test_fresh_batches_need_no_pool_and_truthful_menus_no_lies(key):
    env, env_params = jaxecon.make("AuctionDesigner-v0", num_bidders=1, num_items=2)
    settings = {**SMALL, "pool_size": 0}
    menu = make_mechanism_designer(
        env, MechanismConfig(**{**settings, "attack_steps": 0}, mechanism="rochetnet")
    )
    state = jax.jit(menu.init)(key, env_params, menu.hparams)
    assert state.pool is None
    assert state.misreports == {}
    step = jax.jit(menu.step)
    _, metrics = step(key, state, env_params, menu.hparams)
    assert metrics["exploitability"] == 0.0
    _, other = step(jax.random.key(1), state, env_params, menu.hparams)
    assert metrics["objective"] != other["objective"], "each key draws its own batch"
    network = make_mechanism_designer(env, MechanismConfig(**settings, mechanism="regretnet"))
    state = jax.eval_shape(network.init, key, env_params, network.hparams)
    after, _ = jax.eval_shape(network.step, key, state, env_params, network.hparams)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_recipes_are_settings_of_the_learner(kind):
    settings = recipe(kind, num_agents=3, value_scale=2.0)
    config = MechanismConfig(**{"mechanism": kind} | settings.config)
    assert config.mechanism == kind
    hparams = MechanismHyperparams(**settings.hparams)
    assert settings.total_steps % config.batch_size == 0
    if kind == "rochetnet":
        assert (config.value_scale, hparams.smoothing) == (2.0, 0.02)
    elif kind in RECIPES:
        np.testing.assert_allclose(hparams.target_exploitability, 6e-4)
    assert recipe(kind, num_agents=3, value_scale=2.0) == settings, "recipes must not be consumed"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_mechanism_trains(kind, key):
    """Traced only, to save compiling: a step hands back the state it was given, with its types."""
    is_auction = KINDS[kind].types is AuctionTypes
    env_id = "AuctionDesigner-v0" if is_auction else "AllocationDesigner-v0"
    static = {"num_bidders": 1, "num_items": 2} if is_auction else {}
    env, env_params = jaxecon.make(env_id, **static)
    algorithm = make_mechanism_designer(env, MechanismConfig(**SMALL, mechanism=kind))
    state = jax.eval_shape(algorithm.init, key, env_params, algorithm.hparams)
    after, _ = jax.eval_shape(algorithm.step, key, state, env_params, algorithm.hparams)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    assert "return" in jax.eval_shape(algorithm.evaluate, key, state, env_params)


def test_a_menu_learns_to_sell_two_items_to_one_bidder(key):
    """Within 3% of (12 + 2√2)/27, which Manelli & Vincent (2007) prove to be the most."""
    env, env_params = jaxecon.make("AuctionDesigner-v0", num_bidders=1, num_items=2)
    settings = recipe("rochetnet")
    sizes = {"num_options": 20, "num_eval_types": 4096, "eval_restarts": 2, "eval_steps": 8}
    algorithm = make_mechanism_designer(env, MechanismConfig(**settings.config | sizes))
    run = jax.jit(functools.partial(train, algorithm, num_iterations=600))
    shorter = settings.hparams | {"learning_rate": 2e-2, "total_steps": 600.0 * 512}
    hparams = algorithm.hparams.replace(**shorter)
    _, metrics = run(key, env_params, hparams)
    best = (12 + 2 * 2**0.5) / 27
    # 4,096 draws have a standard error of 0.8%
    np.testing.assert_allclose(metrics["evaluation/revenue"][-1], best, rtol=0.03)
    assert metrics["evaluation/max_regret"][-1] <= 1e-6  # truthful by construction


def test_a_learned_mechanism_acts_in_its_environment(task, init, key):
    algorithm, env_params, hparams = task
    env, _ = jaxecon.make("AllocationDesigner-v0")
    state = init(key, env_params, hparams)
    obs, env_state = env.reset_env(key, env_params)
    policy = algorithm.policy(state)
    action = jax.jit(algorithm.act)(key, policy, obs[None], None, env_params)
    assert action.shape == (1, 3, 2)
    allocation = env.allocate(action[0], env_state.reports)
    mechanism = build_mechanism(env, **SMALL, mechanism=PLAIN)
    expected = mechanism(env_state.reports, policy).allocation
    np.testing.assert_allclose(allocation, expected, rtol=1e-5)  # float32 shares


def test_environments_that_offer_no_prior_are_refused():
    cournot, _ = jaxecon.make("Cournot-v0")
    with pytest.raises(TypeError, match=r"Cournot-v0 offers no draw_types.*AllocationDesigner-v0"):
        make_mechanism_designer(cournot)
    auction, env_params = jaxecon.make("AuctionDesigner-v0")
    with pytest.raises(ValueError, match=r"mechanism must be one of .*'regretnet'.*got 'exs'"):
        make_mechanism_designer(auction, MechanismConfig(mechanism="exs"))
    allocation, _ = jaxecon.make("AllocationDesigner-v0")
    with pytest.raises(ValueError, match=r"AllocationDesigner-v0, got 'log_ratio'"):
        make_mechanism_designer(allocation, MechanismConfig(mode="log_ratio"))
    algorithm = make_mechanism_designer(auction, MechanismConfig(mechanism="regretnet"))
    with pytest.raises(TypeError, match="call the mechanism itself"):
        algorithm.act(None, None, jnp.zeros((1, 2)), None, env_params)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mechanism": "expf-q"}, "Unknown mechanism 'expf-q'"),
        ({"mode": "penality"}, "Did you mean 'penalty'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"pool_size": -1}, "pool_size must be at least 0, got -1"),
        ({"mode": "log_ratio", "attack_steps": 0}, "attack_steps must be at least 1 in mode"),
        ({"pool_size": 100}, "pool_size must be a multiple of batch_size=64, got 100"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MechanismConfig(**settings)


def test_the_registry_bounds_every_hyperparameter():
    entry = ALGORITHMS["mechanism"]
    assert set(entry.bounds) == set(vars(MechanismHyperparams()))
