"""Designing and lying as one-step environments: known rules, known prices, no gain where proven."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.envs import make
from jaxecon.envs.mechanisms import (
    AllocationDesigner,
    AllocationParams,
    AuctionDesigner,
    AuctionParams,
    Misreporter,
    designer,
)
from jaxecon.envs.mechanisms.auction import posted_prices, second_prices
from jaxecon.envs.mechanisms.population import exaggerate, tangent_log, unflatten_types
from jaxecon.mechanisms.registry import RULES
from jaxecon.mechanisms.rules import EqualShare, ProportionalFairness

KEY = jax.random.key(0)
DESIGNER, BLENDER = AllocationDesigner(), AllocationDesigner(action="blend")
seeds = st.integers(0, 999)


@functools.partial(jax.jit, static_argnums=0)
def play(env, key, action, env_params):
    obs, state = env.reset_env(key, env_params)
    return obs, state, env.step_env(key, state, action, env_params)


SELL = jax.jit(lambda env, prices, types: env.sell(prices, types), static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def first_state(env, key, env_params):
    return env.reset_env(key, env_params)


@given(seed=seeds, claims=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_claims_become_a_feasible_division_of_what_was_reported(seed, claims):
    action = jnp.reshape(jnp.asarray(claims, jnp.float32), (3, 2))
    params = AllocationParams(misreport_fraction=0.5)
    _, before, (_, after, reward, terminated, info) = play(
        DESIGNER, jax.random.key(seed), action, params
    )
    allocation = np.asarray(after.allocation)
    assert (allocation >= 0.0).all()
    assert (allocation <= before.reports.demands).all()
    # float32 sums of two shares
    assert (allocation.sum(0) <= before.reports.supplies * (1 + 1e-6)).all()
    assert np.isfinite(reward)
    assert terminated
    used = np.minimum(allocation, before.types.demands)
    utility = (before.types.valuations * used).sum(1)
    np.testing.assert_allclose(info["utility"], utility, rtol=1e-5)  # float32


def test_empty_claims_are_withheld_and_the_last_row_withholds():
    action = jnp.array([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    _, before, (_, after, *_) = play(DESIGNER, KEY, action, AllocationParams())
    np.testing.assert_array_equal(after.allocation[:, 0], 0.0)
    supply, demand = before.types.supplies[1], before.types.demands[:, 1]
    np.testing.assert_allclose(after.allocation[:, 1], jnp.minimum(0.25 * supply, demand))


@given(seed=seeds)
def test_a_mechanisms_outcome_is_an_action(seed):
    """Reports read off the observation, divided fairly, come back as the same allocation."""
    params = AllocationParams()
    obs, state = first_state(DESIGNER, jax.random.key(seed), params)
    reports = DESIGNER.read_reports(obs, params)
    outcome = ProportionalFairness()(reports)
    action = DESIGNER.to_action(outcome, reports)
    assert action.shape == (3, 2)
    allocation = DESIGNER.allocate(action, state.reports)
    np.testing.assert_allclose(allocation, outcome.allocation, atol=1e-5)  # float32 shares


def test_blends_lead_from_proportional_fairness_to_equal_share():
    params = AllocationParams()
    _, before, _ = play(BLENDER, KEY, 0, params)
    for action, rule in ((0, ProportionalFairness()), (BLENDER.num_blends - 1, EqualShare())):
        *_, (_, after, reward, _, _) = play(BLENDER, KEY, action, params)
        outcome = rule(before.types)
        np.testing.assert_allclose(after.allocation, outcome.allocation, atol=1e-6)  # float32
        mean_log = jnp.log(before.types.utility(outcome)).mean()
        np.testing.assert_allclose(reward, mean_log, rtol=1e-5)  # float32
    with pytest.raises(TypeError, match="use action='shares'"):
        BLENDER.to_action(EqualShare()(before.types), before.types)


def test_reports_are_true_unless_some_exaggerate():
    honest, liars = AllocationParams(), AllocationParams(misreport_fraction=1.0)
    _, state = first_state(DESIGNER, KEY, honest)
    np.testing.assert_array_equal(state.reports.demands, state.types.demands)
    obs, state = first_state(DESIGNER, KEY, liars)
    assert (state.reports.demands >= state.types.demands).all()
    assert (state.reports.demands > state.types.demands).any()
    assert (obs[4:8] == state.reports.demands.reshape(-1)).all()
    seen = unflatten_types(obs, 2, 2)
    np.testing.assert_array_equal(seen.valuations, state.reports.valuations)


@given(seed=seeds, exaggeration=st.floats(0, 4, width=32))
def test_exaggerations_stay_in_the_box_and_keep_the_favourite(seed, exaggeration):
    params = AllocationParams(exaggeration=exaggeration)
    types = DESIGNER.draw_types(jax.random.key(seed), params)
    told = exaggerate(types, params)
    for field in (told.valuations, told.demands):
        assert (field >= 0.1).all()
        assert (field <= 1.0 + 1e-6).all()  # float32
    np.testing.assert_allclose(told.valuations.max(-1), types.valuations.max(-1), rtol=1e-6)
    if exaggeration == 0.0:
        np.testing.assert_allclose(told.demands, types.demands, rtol=1e-6)


def test_log_utility_goes_on_straight_below_the_floor():
    floor = jnp.float32(0.01)
    x = jnp.array([0.0, 0.005, 0.01, 0.5])
    expected = [np.log(0.01) - 1.0, np.log(0.01) - 0.5, np.log(0.01), np.log(0.5)]
    np.testing.assert_allclose(tangent_log(x, floor), expected, rtol=1e-5)  # float32
    slope = jax.vmap(jax.grad(tangent_log), (0, None))(jnp.array([0.0, 0.5]), floor)
    np.testing.assert_allclose(slope, [100.0, 2.0], rtol=1e-6)


def test_baselines_of_the_designer_have_the_metrics_of_an_evaluation(monkeypatch):
    assert set(designer.BASELINES) == {"proportional_fairness", "partial_allocation", "equal_share"}
    monkeypatch.setattr(designer, "BASELINES", ("equal_share",))  # quick to compile
    table = DESIGNER.baselines(AllocationParams())
    equal = table["equal_share"]
    assert equal["exploitability"] == equal["worst_exploitability"] == 0.0
    # on many types; s.e. 0.04 and 0.005 on 256
    np.testing.assert_allclose(equal["log_nash_welfare"], -2.68, atol=0.15)
    np.testing.assert_allclose(equal["efficiency"], 0.949, atol=0.02)
    # 0.27 on many types; the instances are the same, so the s.e. is 0.02
    np.testing.assert_allclose(equal["welfare_against_fair"], -0.27, atol=0.06)
    half = equal["log_nash_welfare"] / 2
    np.testing.assert_allclose(equal["return"], half, rtol=1e-5)  # no utility is below the floor
    np.testing.assert_allclose(np.log(equal["geometric_mean_utility"]), half, rtol=1e-5)


LIARS = {
    name: Misreporter(mechanism=name, action="menu", num_levels=2)
    for name in ("proportional_fairness", "equal_share")
}


@pytest.mark.parametrize("name", sorted(LIARS))
@given(seed=seeds, choice=st.integers(0, 16))
def test_the_truth_gains_nothing_and_no_lie_helps_against_equal_share(name, seed, choice):
    env, params = LIARS[name], AllocationParams()
    *_, (_, after, reward, terminated, _) = play(env, jax.random.key(seed), choice, params)
    assert terminated
    if choice == 0:
        assert reward == 0.0
    elif name == "equal_share":
        assert reward <= 1e-6  # float32
    summary = env.episode_summary(after, params)
    np.testing.assert_allclose(summary["gain"], reward)


def test_reports_fill_the_priors_box():
    env, params = Misreporter(mechanism="equal_share"), AllocationParams(low=0.2, high=0.6)
    _, state = first_state(env, KEY, params)
    report = env.report(jnp.array([[0.0, 1.0], [0.5, 2.0]]), state.types, params)
    np.testing.assert_allclose(report, [[0.2, 0.6], [0.4, 0.6]], rtol=1e-6)  # float32
    menu = LIARS["proportional_fairness"].menu()
    assert menu.shape == (16, 2, 2)
    assert set(menu.ravel()) == {0.0, 1.0}


def test_the_best_of_the_menu_is_the_best_of_its_choices():
    env, params = LIARS["proportional_fairness"], AllocationParams()
    best = jax.jit(env.best_of_menu)
    gains = []
    for seed in range(4):
        key = jax.random.key(seed)
        _, state = first_state(env, key, params)
        choices = [float(play(env, key, choice, params)[2][2]) for choice in range(17)]
        np.testing.assert_allclose(best(state, params), max(choices), atol=1e-6)  # float32
        gains.append(max(choices))
    assert max(gains) > 0.05  # proportional fairness can be lied to
    table = LIARS["equal_share"].baselines(params)
    assert set(table) == {"truthful", "best_response", "best_of_menu"}
    assert all(row["return"] <= 1e-6 for row in table.values())  # float32; nothing to gain


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_mechanism_can_be_faced(name):
    env, params = Misreporter(mechanism=name), AllocationParams()
    shapes = jax.eval_shape(functools.partial(play, env), KEY, jnp.zeros((2, 2)), params)
    assert shapes[2][2].shape == ()


@pytest.mark.parametrize(
    ("num_bidders", "share", "expected"),
    [(1, 0.5, 1 / 4), (2, 0.0, 1 / 3), (2, 0.5, 5 / 12), (3, 0.5, 17 / 32)],
)
def test_reserve_prices_earn_what_the_closed_forms_say(num_bidders, share, expected):
    env, params = AuctionDesigner(num_bidders), AuctionParams()
    keys = jax.random.split(KEY, 20_000)
    _, _, (_, _, reward, _, _) = jax.vmap(lambda k: play(env, k, jnp.full(1, share), params))(keys)
    np.testing.assert_allclose(reward.mean(), expected, atol=0.01)  # 4 standard errors


def test_posted_prices_earn_what_the_closed_form_says():
    env = AuctionDesigner(1, 2, unit_demand=True)
    keys, action = jax.random.split(KEY, 20_000), jnp.full(2, 3**-0.5)
    _, _, (_, _, reward, _, _) = jax.vmap(lambda k: play(env, k, action, AuctionParams()))(keys)
    np.testing.assert_allclose(reward.mean(), 2 / (3 * 3**0.5), atol=0.008)  # 4 standard errors


def test_prices_and_sales_by_hand():
    values = jnp.array([[0.9, 0.2], [0.4, 0.6]])
    sale = second_prices(values, jnp.array([0.3, 0.7]))
    np.testing.assert_array_equal(sale.allocation, [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(sale.payment, [0.4, 0.0])
    sale = posted_prices(jnp.array([[0.9, 0.8], [0.7, 0.3]]), jnp.array([0.5, 0.2]))
    np.testing.assert_array_equal(sale.allocation, [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(sale.payment, [0.2, 0.5])


@given(seed=seeds, price=st.floats(0, 1, width=32), bid=st.floats(0, 1, width=32))
@pytest.mark.parametrize("unit_demand", [False, True])
def test_no_bid_beats_the_truth(unit_demand, seed, price, bid):
    env = AuctionDesigner(2, 2, unit_demand)
    types = env.draw_types(jax.random.key(seed), AuctionParams())
    prices = jnp.array([price, 0.4])
    truthful = types.utility(SELL(env, prices, types))
    for bidder in range(2):
        lie = types.replace(valuations=types.valuations.at[bidder].set(jnp.array([bid, 0.5])))
        gain = types.utility(SELL(env, prices, lie)) - truthful
        assert gain[bidder] <= 1e-6  # float32


def test_the_best_price_of_the_baselines_is_myersons():
    table = AuctionDesigner(2).baselines(AuctionParams())
    # the largest of 101 means of 4,096 draws each, s.e. 0.004
    np.testing.assert_allclose(table["best_common_price"]["return"], 5 / 12, atol=0.012)
    np.testing.assert_allclose(table["no_reserve"]["revenue"], 1 / 3, atol=0.012)


def test_summaries_of_a_sale_add_up():
    env = AuctionDesigner(3, 2)
    *_, (_, after, reward, _, info) = play(env, KEY, jnp.zeros(2), AuctionParams(high=2.0))
    summary = env.episode_summary(after, AuctionParams())
    np.testing.assert_allclose(summary["revenue"], reward)
    np.testing.assert_allclose(info["payment"].sum(), reward, rtol=1e-6)  # float32
    best = after.types.valuations.max(0).sum()
    np.testing.assert_allclose(summary["welfare"], best, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AllocationDesigner(0), "num_claimants must be at least 1, got 0"),
        (lambda: AllocationDesigner(2, 0), "num_resources must be at least 1, got 0"),
        (lambda: AllocationDesigner(action="blends"), "Did you mean 'blend'"),
        (lambda: AllocationDesigner(num_blends=1), "num_blends must be at least 2, got 1"),
        (lambda: AllocationDesigner(family="unifrom"), "Did you mean 'uniform'"),
        (
            lambda: Misreporter(mechanism="proportional"),
            "Did you mean 'proportional_fairness'",
        ),
        (lambda: Misreporter(action="menus"), "Did you mean 'menu'"),
        (lambda: Misreporter(num_levels=1), "num_levels must be at least 2, got 1"),
        (lambda: AuctionDesigner(0), "num_bidders must be at least 1, got 0"),
    ],
)
def test_bad_structure_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "env_id", ["AllocationDesigner-v0", "Misreporter-v0", "AuctionDesigner-v0"]
)
def test_one_step_ends_the_episode_and_names_match_the_registry(env_id):
    env, params = make(env_id)
    assert env.name == env_id
    _, state = env.reset(KEY, params)
    action = env.action_space(params).sample(KEY)
    _, state, _, terminated, truncated, _ = env.step(KEY, state, action, params)
    assert terminated
    assert not truncated
    assert state.time == 0
