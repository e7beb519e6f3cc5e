"""Revenue with both estimates of regret: exact where lying is worth a known amount."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.mechanisms import Outcome
from jaxecon.mechanisms.auctions import RochetNet, SecondPrice, judge, judging
from jaxecon.mechanisms.base import AuctionTypes, FunctionMechanism

SHARE = 0.8
SPACE = {"valuations": (0.0, 1.0)}
SMALL = {"num_restarts": 2, "num_steps": 60, "cells_per_axis": 8, "num_refinements": 8}


def pay_for_probability(reports):
    """One item: a bid b brings it with probability b, for s b²; the best bid is v / (2 s)."""
    bids = reports.valuations
    return Outcome(bids, SHARE * jnp.sum(bids**2, -1))


def test_both_estimates_enclose_a_known_regret(key):
    """v b - s b² gains v² (1 - 2 s)² / (4 s) at b = v / (2 s) over b = v."""
    with jax.enable_x64(True):
        values = jnp.linspace(0.05, 0.95, 7)[:, None, None]
        found = judge(
            FunctionMechanism(pay_for_probability),
            AuctionTypes(values),
            key=key,
            space=SPACE,
            num_judged=5,
            **SMALL,
        )
        known = values[:5].ravel() ** 2 * (1 - 2 * SHARE) ** 2 / (4 * SHARE)
        np.testing.assert_allclose(found.revenue, SHARE * (values**2).mean(), rtol=1e-12)
        assert found.regret_found <= known.mean() + 1e-15
        assert found.regret_found_max <= known.max() + 1e-15
        assert found.regret_bound >= known.mean() - 1e-15
        assert found.regret_bound_max >= known.max() - 1e-15
        # 60 steps of Adam end within 1e-3 of the best bid, of whose square the gain falls short
        np.testing.assert_allclose(found.regret_found, known.mean(), atol=1e-5)
        np.testing.assert_allclose(found.regret_bound, known.mean(), atol=1e-5)


def test_a_menu_leaves_nothing_to_gain(key):
    with jax.enable_x64(True):
        types = AuctionTypes(jax.random.uniform(key, (5, 1, 2), float))
        mechanism = RochetNet(6)
        params = jax.jit(mechanism.init)(key, types)
        found = judge(mechanism, types, params, key=key, space=SPACE, **SMALL)
        paid = jax.jit(mechanism)(types, params).payment.sum(-1)
        np.testing.assert_allclose(found.revenue, paid.mean(), rtol=1e-12)
        np.testing.assert_allclose(found.standard_error, paid.std() / 5**0.5, rtol=1e-12)
        assert found.regret_found <= 1e-15  # rounding
        assert found.regret_bound == found.regret_bound_max == 0.0


def test_an_auction_without_bound_or_proof_is_refused(key):
    types = AuctionTypes(jax.random.uniform(key, (2, 2, 1)))
    with pytest.raises(NotImplementedError, match="No bounds are known for the operation"):
        judge(SecondPrice(), types, key=key, space=SPACE, **SMALL)
    with pytest.raises(ValueError, match="num_judged must be at least 1, got 0"):
        judge(SecondPrice(), types, key=key, space=SPACE, num_judged=0)


@pytest.mark.parametrize(("num_items", "cells"), [(1, 16), (3, 16), (4, 8), (12, 2), (13, 1)])
def test_the_first_cells_stay_affordable(num_items, cells):
    assert judging._affordable_cells(16, num_items) == cells
