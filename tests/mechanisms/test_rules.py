"""Allocation rules: textbook divisions, guarantees in their theorems, and no names."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.econ.allocation import efficiency, log_nash_welfare, nash_welfare
from jaxecon.mechanisms import (
    AllocationTypes,
    EqualShare,
    ExPF,
    ExS,
    Outcome,
    PartialAllocation,
    ProportionalFairness,
    SerialRule,
    draw_allocation_types,
    exhaustive_exploitability,
    grid_candidates,
    report_space,
)

BATCH = 8
RULES = (ProportionalFairness(), PartialAllocation(), EqualShare(), SerialRule())
seeds = st.integers(0, 2**31 - 1)

draw_one = jax.jit(lambda seed: draw_allocation_types(jax.random.key(seed), 3, 2))
draw = jax.jit(jax.vmap(lambda key: draw_allocation_types(key, 3, 2)))
divide = {rule: jax.jit(rule) for rule in RULES}
eat = {capacity: jax.jit(SerialRule(capacity=capacity)) for capacity in (0.3, float("inf"))}


def in_float64(types):
    return jax.tree.map(lambda x: x.astype(jnp.float64), types)


def housing(values, capacity=None):
    """One unit of each good, as much demanded as there is."""
    num_agents, num_goods = np.shape(values)
    return AllocationTypes(
        valuations=jnp.asarray(values, float),
        demands=jnp.ones((num_agents, num_goods)),
        supplies=jnp.ones(num_goods),
        weights=jnp.ones(num_agents),
    )


TASTES = housing([[4, 3, 2, 1], [4, 3, 2, 1], [3, 4, 1, 2], [3, 4, 1, 2]])


def test_eating_gives_the_textbook_lottery():
    allocation = SerialRule()(TASTES).allocation
    expected = [[0.5, 0, 0.5, 0]] * 2 + [[0, 0.5, 0, 0.5]] * 2
    np.testing.assert_allclose(allocation, expected, atol=1e-6)  # Bogomolnaia & Moulin (2001)


def test_random_serial_dictatorship_gives_the_textbook_lottery():
    orders = list(itertools.permutations(range(4)))
    lotteries = [SerialRule(order, capacity=1.0)(TASTES).allocation for order in orders]
    expected = [[5, 1, 5, 1]] * 2 + [[1, 5, 1, 5]] * 2
    np.testing.assert_allclose(12 * sum(lotteries) / len(orders), expected, atol=1e-5)


def test_dictators_take_in_turn_what_is_left():
    types = AllocationTypes(
        valuations=jnp.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]]),
        demands=jnp.array([[0.3, 0.4], [5.0, 0.5], [1.0, jnp.inf]]),
        supplies=jnp.array([1.0, 1.0]),
        weights=jnp.ones(3),
    )
    allocation = SerialRule((1, 0, 2))(types).allocation
    np.testing.assert_allclose(allocation, [[0.0, 0.4], [1.0, 0.5], [0.0, 0.1]], atol=1e-6)
    capped = SerialRule((1, 0, 2), capacity=0.5)(types).allocation
    np.testing.assert_allclose(capped, [[0.1, 0.4], [0.5, 0.0], [0.0, 0.5]], atol=1e-6)


def test_eating_follows_weights_and_demands():
    types = AllocationTypes(
        valuations=jnp.array([[2.0, 1.0], [2.0, 1.0]]),
        demands=jnp.array([[0.1, jnp.inf], [jnp.inf, 0.2]]),
        supplies=jnp.array([1.0, 1.0]),
        weights=jnp.array([3.0, 1.0]),
    )
    # At time 1/30 agent 0 has its 0.1 and moves on to the second, which it empties at time 11/30
    # alone: agent 1 is busy with the first until 14.5/15.
    allocation = SerialRule()(types).allocation
    np.testing.assert_allclose(allocation, [[0.1, 1.0], [0.9, 0.0]], atol=1e-6)


@given(seeds, st.sampled_from([0.3, float("inf")]))
def test_eating_is_feasible_and_wastes_nothing(seed, capacity):
    types = draw_one(seed)
    allocation = np.asarray(eat[capacity](types).allocation)
    given_out, supplies = allocation.sum(0), np.asarray(types.supplies)
    room = capacity - allocation.sum(1)
    assert (given_out <= supplies + 1e-6).all()  # float32
    assert (allocation <= types.demands + 1e-6).all()
    assert (room >= -1e-6).all()
    spare = np.asarray(types.demands) - allocation
    is_wanted = ((spare > 1e-5) & (room > 1e-5)[:, None]).any(0)
    assert (~is_wanted | (given_out >= supplies - 1e-5)).all(), "somebody could still eat"


@given(seeds)
def test_nobody_envies_another_meal(seed):
    types = dataclasses.replace(draw_one(seed), demands=jnp.full((3, 2), jnp.inf))
    allocation = divide[SerialRule()](types).allocation
    worth = types.valuations @ allocation.T  # [i, j]: j's meal to i
    assert (worth <= jnp.diag(worth)[:, None] + 1e-5).all()  # float32


@pytest.mark.parametrize("capacity", [float("inf"), 0.5])
def test_no_report_helps_against_dictators(key, capacity):
    types = draw(jax.random.split(key, BATCH))
    candidates = grid_candidates(report_space(), 4, 2)
    sweep = exhaustive_exploitability(SerialRule((2, 0, 1), capacity), types, candidates)
    assert sweep.gain.max() <= 1e-6  # float32


def test_lies_about_values_help_against_eaters_and_about_demands_do_not(key):
    types = draw(jax.random.split(key, BATCH))
    sweep = lambda field: exhaustive_exploitability(
        SerialRule(), types, grid_candidates({field: (0.1, 1.0)}, 10, 2)
    )
    assert sweep("valuations").gain.max() > 0.01
    assert sweep("demands").gain.max() <= 1e-6  # float32


def test_eating_has_gradients_in_everything_but_values(key):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(key, BATCH)))
        keys = jax.random.split(key, 4)
        change = jax.tree.unflatten(
            jax.tree.structure(types),
            [
                jax.random.normal(key, x.shape, x.dtype)
                for key, x in zip(keys, jax.tree.leaves(types), strict=True)
            ],
        )
        move = lambda step: jax.tree.map(lambda x, dx: x + step * dx, types, change)
        slope = jax.jit(jax.jacfwd(lambda step: SerialRule()(move(step)).allocation))(0.0)
        ends = [divide[SerialRule()](move(step)).allocation for step in (-1e-6, 1e-6)]
        # piecewise smooth: differences are good away from the kinks
        np.testing.assert_allclose(slope, (ends[1] - ends[0]) / 2e-6, rtol=1e-5, atol=1e-6)
        gradient = jax.jit(jax.grad(lambda t: jnp.sum(SerialRule()(t).allocation ** 2)))(types)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert gradient.demands.any()
        assert gradient.weights.any()
        assert not gradient.valuations.any()


@given(seeds)
def test_one_resource_is_filled_like_water(seed):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(jax.random.key(seed), BATCH)))
        types = dataclasses.replace(  # nobody has use for the other one
            types,
            valuations=types.valuations.at[..., 1].set(0.0),
            weights=jnp.broadcast_to(jnp.array([1.0, 2.0, 1.0]), (BATCH, 3)),
        )
        allocation = np.asarray(divide[RULES[0]](types).allocation)[..., 0]
        supplies, weights = np.asarray(types.supplies)[:, 0], np.array([1.0, 2.0, 1.0])
        demands = np.asarray(types.demands)[..., 0]
        for index in range(BATCH):
            spilt = lambda level, i=index: (
                np.minimum(demands[i], weights * level).sum() - supplies[i]
            )
            level = scipy.optimize.brentq(spilt, 0.0, 2.0)
            expected = np.minimum(demands[index], weights * level)
            np.testing.assert_allclose(allocation[index], expected, atol=1e-5)  # smoothing


def test_without_caps_everyone_keeps_a_share_of_1_over_e(key):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(key, BATCH)))
        types = dataclasses.replace(types, demands=jnp.full_like(types.demands, jnp.inf))
        kept = types.utility(divide[RULES[1]](types)) / types.utility(divide[RULES[0]](types))
        assert kept.min() >= 1.0 / np.e
        assert kept.max() <= 1.0
        assert kept.min() < 0.9, "it must cost something"


def test_the_share_kept_is_what_the_others_lose(key):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(key, BATCH)))
        fair, partial = divide[RULES[0]](types), divide[RULES[1]](types)
        for agent in range(3):
            without = dataclasses.replace(types, weights=types.weights.at[:, agent].set(0.0))
            others = np.arange(3) != agent
            before = types.utility(divide[RULES[0]](without))[:, others]
            share = jnp.prod(types.utility(fair)[:, others] / before, axis=-1)
            expected = share[:, None] * fair.allocation[:, agent]
            np.testing.assert_allclose(partial.allocation[:, agent], expected, rtol=1e-6)


def test_an_absent_agent_does_not_matter_and_a_lone_one_keeps_everything(key):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(key, BATCH)))
        absent = dataclasses.replace(types, weights=types.weights.at[:, 2].set(0.0))
        other = dataclasses.replace(absent, valuations=types.valuations.at[:, 2].set(9.0))
        for rule in RULES[:2]:
            allocation = divide[rule](absent).allocation
            np.testing.assert_allclose(divide[rule](other).allocation, allocation, atol=1e-7)
            np.testing.assert_array_equal(allocation[:, 2], 0.0)
        lone = dataclasses.replace(absent, weights=absent.weights.at[:, 0].set(0.0))
        partial, fair = divide[RULES[1]](lone), divide[RULES[0]](lone)
        np.testing.assert_allclose(partial.allocation, fair.allocation, atol=1e-12)


def test_equal_shares_follow_weights_and_keep_back_what_is_not_wanted():
    types = dataclasses.replace(
        TASTES, demands=TASTES.demands.at[0, 0].set(0.1), weights=jnp.array([1.0, 1.0, 2.0, 4.0])
    )
    allocation = EqualShare()(types).allocation
    expected = np.repeat(np.array([[1], [1], [2], [4]]) / 8.0, 4, axis=1)
    expected[0, 0] = 0.1
    np.testing.assert_allclose(allocation, expected, rtol=1e-6)  # float32


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_neither_agents_nor_resources_have_names(key, rule):
    with jax.enable_x64(True):
        types = in_float64(draw(jax.random.split(key, BATCH)))
        agents, goods = jnp.array([2, 0, 1]), jnp.array([1, 0])
        moved = AllocationTypes(
            valuations=types.valuations[:, agents][..., goods],
            demands=types.demands[:, agents][..., goods],
            supplies=types.supplies[:, goods],
            weights=types.weights[:, agents],
        )
        outcome = divide[rule](types)
        expected = outcome.allocation[:, agents][..., goods]
        # float64, and the solver stops early by the same amount
        np.testing.assert_allclose(divide[rule](moved).allocation, expected, atol=1e-7)
        assert outcome.payment.shape == (BATCH, 3)
        assert not outcome.payment.any()
        assert hash(rule) == hash(dataclasses.replace(rule))


@pytest.mark.parametrize("rule", [EqualShare(), SerialRule(), SerialRule((1, 2, 0), 0.5)])
def test_leading_axes_are_a_batch(key, rule):
    types = draw(jax.random.split(key, BATCH))
    alone = jax.jit(jax.vmap(rule))(types)
    np.testing.assert_allclose(rule(types).allocation, alone.allocation, atol=1e-6)


def test_welfare_and_efficiency_by_hand():
    weights = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(nash_welfare(jnp.array([3.0, 2.0]), weights), 12.0, rtol=1e-6)
    assert log_nash_welfare(jnp.array([0.0, 1.0]), weights) == -jnp.inf
    assert log_nash_welfare(jnp.array([0.0, 1.0]), jnp.array([0.0, 2.0])) == 0.0
    types = AllocationTypes(
        valuations=jnp.ones((2, 3)),
        demands=jnp.array([[1.0, 0.2, 0.0], [1.0, 0.2, 0.0]]),
        supplies=jnp.ones(3),
        weights=jnp.ones(2),
    )
    given_out = Outcome(jnp.array([[0.5, 0.2, 0.0], [0.3, 0.1, 0.0]]), jnp.zeros(2))
    np.testing.assert_allclose(efficiency(given_out, types), (0.8 + 0.75 + 1.0) / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SerialRule((0, 2)), r"order must name each agent from 0 to 1 once, got \(0, 2\)"),
        (lambda: SerialRule(capacity=0.0), r"capacity must be above 0, got 0\.0"),
        (lambda: SerialRule((0, 1))(TASTES), r"order must name the 4 agents, got 2"),
        (lambda: ProportionalFairness(num_iterations=0), "num_iterations must be at least 1"),
        (lambda: PartialAllocation(smoothing=0.0), r"smoothing must be above 0, got 0\.0"),
    ],
)
def test_senseless_rules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("mechanism", [PartialAllocation(), EqualShare(), SerialRule()])
def test_an_agent_who_wants_nothing_gets_nothing_and_harms_nobody(mechanism):
    types = AllocationTypes(
        valuations=jnp.array([[0.3, 0.7], [0.6, 0.4]]),
        demands=jnp.array([[0.0, 0.0], [1.0, 1.0]]),
        supplies=jnp.ones(2),
        weights=jnp.ones(2),
    )
    allocation = mechanism(types).allocation
    assert np.isfinite(allocation).all()
    np.testing.assert_allclose(allocation[0], 0.0, atol=1e-6)
    assert (allocation[1] > 0.1).all()


@pytest.mark.parametrize("mechanism", [PartialAllocation(), EqualShare(), ExS(), ExPF()])
@pytest.mark.parametrize(
    "change",
    [{"supplies": np.zeros(2)}, {"weights": np.zeros(2)}, {"demands": -np.ones((2, 2))}],
)
def test_bad_numbers_are_refused_or_leave_finite_shares(mechanism, change):
    good = {
        "valuations": np.ones((2, 2)), "demands": np.ones((2, 2)), "supplies": np.ones(2),
        "weights": np.ones(2),
    }  # fmt: skip
    make = lambda numbers: AllocationTypes(
        **{name: jnp.asarray(x, jnp.float32) for name, x in numbers.items()}
    )
    params = mechanism.init(jax.random.key(0), make(good))
    bad = make(good | change)
    (name,) = change
    if name != "weights":
        with pytest.raises(ValueError, match=f"{name} must be"):
            mechanism(bad, params)
    allocation = jax.jit(lambda types: mechanism(types, params).allocation)(bad)
    assert np.isfinite(allocation).all()
    assert (allocation >= 0.0).all()
