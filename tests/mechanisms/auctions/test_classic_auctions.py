"""Sealed-bid auctions, bundling and VCG: who wins, what they pay, and that truth is dominant."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.mechanisms.auctions import (
    VCG,
    AllPay,
    BundleSecondPrice,
    FirstPrice,
    SecondPrice,
    best_welfare,
    revenue,
    welfare,
)
from jaxecon.mechanisms.base import AuctionTypes

BIDS = jnp.array([[0.75, 0.25], [0.5, 1.0], [0.125, 0.5]])
numbers = st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6)


@pytest.mark.parametrize(
    ("mechanism", "reserve", "winners", "payment"),
    [
        (FirstPrice(), (), [0, 1], [0.75, 1.0, 0.0]),
        (SecondPrice(), (), [0, 1], [0.5, 0.5, 0.0]),
        (SecondPrice(), 0.625, [0, 1], [0.625, 0.625, 0.0]),
        (SecondPrice(), np.array([0.8, 0.0], np.float32), [None, 1], [0.0, 0.5, 0.0]),
        (AllPay(), (), [0, 1], [1.0, 1.5, 0.625]),
        (AllPay(), 0.5, [0, 1], [0.75, 1.5, 0.5]),
        (BundleSecondPrice(), (), [1, 1], [0.0, 1.0, 0.0]),
        (BundleSecondPrice(), 1.25, [1, 1], [0.0, 1.25, 0.0]),
        (VCG(), (), [0, 1], [0.5, 0.5, 0.0]),
    ],
)
def test_by_hand(mechanism, reserve, winners, payment):
    types = AuctionTypes(BIDS)
    outcome = mechanism(types, reserve)
    expected = np.zeros((3, 2))
    for item, winner in enumerate(winners):
        if winner is not None:
            expected[winner, item] = 1.0
    np.testing.assert_array_equal(outcome.allocation, expected)
    np.testing.assert_array_equal(outcome.payment, payment)
    assert revenue(outcome) == sum(payment)
    np.testing.assert_allclose(welfare(types, outcome), (expected * BIDS).sum())


def test_batches_and_ties():
    bids = jnp.full((4, 5, 3, 2), 0.5)
    outcome = SecondPrice()(AuctionTypes(bids))
    assert outcome.allocation.shape == (4, 5, 3, 2)
    np.testing.assert_array_equal(outcome.allocation[0, 0], [[1, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(outcome.payment[0, 0], [1.0, 0.0, 0.0])
    alone = SecondPrice()(AuctionTypes(jnp.full((1, 2), 0.5)), 0.25)
    np.testing.assert_array_equal(alone.payment, [0.5])


@pytest.mark.parametrize(("num_bidders", "num_items"), [(2, 2), (3, 10)])
def test_revenue_of_vcg_for_additive_bidders(num_bidders, num_items):
    """M (n - 1) / (n + 1): .666667 and 5."""
    with jax.enable_x64(True):
        types = AuctionTypes(
            jax.random.uniform(jax.random.key(0), (20_000, num_bidders, num_items))
        )
        paid = revenue(jax.jit(VCG())(types))
        exact = num_items * (num_bidders - 1) / (num_bidders + 1)
        assert abs(paid.mean() - exact) < 4.0 * paid.std() / 20_000**0.5


def test_revenue_of_vcg_for_unit_demand():
    types = AuctionTypes(jax.random.uniform(jax.random.key(0), (200_000, 2, 2)), unit_demand=True)
    paid = revenue(jax.jit(VCG())(types))
    # "About .100" is itself a simulation's; this one's standard error is 2e-4.
    assert abs(paid.mean() - 0.1) < 4.0 * paid.std() / 200_000**0.5


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
def test_matching_against_all_assignments(shape, key):
    valuations = jax.random.uniform(key, (50, *shape))
    rows, columns = shape
    tables = np.asarray(valuations if rows <= columns else valuations.mT)
    short, long_ = min(shape), max(shape)
    best = np.max([
        tables[:, np.arange(short), list(order)].sum(-1)
        for order in itertools.permutations(range(long_), short)
    ], axis=0)  # fmt: skip
    ours = jax.jit(lambda v: best_welfare(v, unit_demand=True))(valuations)
    np.testing.assert_allclose(ours, best, rtol=1e-6)  # float32 sums of up to three
    types = AuctionTypes(valuations, unit_demand=True)
    outcome = jax.jit(VCG())(types)
    assert set(np.unique(outcome.allocation)) <= {0.0, 1.0}
    assert outcome.allocation.sum(-1).max() <= 1.0
    assert outcome.allocation.sum(-2).max() <= 1.0
    np.testing.assert_allclose(welfare(types, outcome), best, rtol=1e-6)


@jax.jit
def gains(values, lies):
    """Each bidder's gain from a lie under each truthful mechanism, [4, 3]."""

    def gain(mechanism, params, unit_demand):
        truth = AuctionTypes(values, unit_demand)

        def utility(i):
            report = AuctionTypes(values.at[i].set(lies[i]), unit_demand)
            return truth.utility(mechanism(report, params))[i]

        return jax.vmap(utility)(jnp.arange(3)) - truth.utility(mechanism(truth, params))

    cases = [(SecondPrice(), 0.3), (BundleSecondPrice(), 0.9), (VCG(), ())]
    return jnp.stack([*(gain(*case, False) for case in cases), gain(VCG(), (), True)])


@given(values=numbers, lies=numbers)
def test_truth_is_dominant(values, lies):
    values, lies = (jnp.asarray(each, jnp.float32).reshape(3, 2) for each in (values, lies))
    assert gains(values, lies).max() <= 1e-6  # float32 sums


def test_an_optimal_lottery_where_allocations_tie():
    outcome = VCG()(AuctionTypes(jnp.ones((2, 1))))
    np.testing.assert_allclose(outcome.allocation, [[0.5], [0.5]])
    np.testing.assert_allclose(outcome.payment, [0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SecondPrice()(AuctionTypes(-BIDS)), r"must be at least 0 .* got -0\.75"),
        (lambda: VCG()(AuctionTypes(BIDS * jnp.nan)), "valuations must be at least 0 and not nan"),
        (lambda: FirstPrice()(AuctionTypes(BIDS[0])), r"bidders, items\], got \(2,\)"),
        (lambda: FirstPrice()(AuctionTypes(BIDS), -0.1), r"reserve must be at least 0 money"),
        (lambda: AllPay()(AuctionTypes(BIDS), jnp.ones(3)), r"of 2 items, got shape \(3,\)"),
        (lambda: SecondPrice()(AuctionTypes(BIDS, True)), "unit_demand must be False"),
        (lambda: VCG()(AuctionTypes(jnp.ones((13, 13)), True)), "at most 12 bidders or items"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_traced_bids_pass():
    negative = jax.jit(SecondPrice())(AuctionTypes(-BIDS))
    np.testing.assert_array_equal(negative.allocation, 0.0)
