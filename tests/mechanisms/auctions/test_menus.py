"""Menus for one bidder: known revenues to the last digit, and areas that fill the region."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.mechanisms.auctions import KNOWN_MENUS, Menu, box, choose, uniform_revenue
from jaxecon.mechanisms.auctions.menus import below_sum, choice_areas, polygon_area

shares = st.lists(st.floats(0, 1), min_size=12, max_size=12)


@pytest.mark.parametrize("name", sorted(KNOWN_MENUS))
def test_known_revenues(name):
    with jax.enable_x64(True):
        known = KNOWN_MENUS[name]
        revenue = uniform_revenue(known.menu(), known.region())
        digits = 5e-7 if "lottery" in name else 1e-12  # of the constants
        assert revenue == pytest.approx(known.revenue, rel=digits)


def test_known_revenue_in_float32():
    known = KNOWN_MENUS["additive"]
    revenue = uniform_revenue(known.menu(), known.region())
    assert revenue.dtype == jnp.float32
    assert revenue == pytest.approx(known.revenue, rel=1e-6)


def test_printed_digits():
    digits = {name: round(known.revenue, 6) for name, known in KNOWN_MENUS.items()}
    assert digits["additive"] == 0.549201
    assert digits["additive, bundle only"] == 0.544331
    assert digits["unit demand"] == 0.3849
    assert digits["additive, unequal ranges"] == 9.777778
    assert digits["additive, bundle of U[0, 4] and U[0, 3]"] == 1.885618


@pytest.mark.parametrize(
    "name", [name for name in sorted(KNOWN_MENUS) if KNOWN_MENUS[name].is_optimal]
)
def test_no_other_prices_earn_more(name):
    """At the optimum the revenue is flat in every price, and lower all around."""
    with jax.enable_x64(True):
        known = KNOWN_MENUS[name]
        menu, region = known.menu(), known.region()
        steps = jax.random.normal(jax.random.key(0), (200, len(known.options))) * 0.02
        prices = menu.prices[None, :] + steps
        revenue = jax.jit(jax.vmap(lambda p: uniform_revenue(Menu(menu.allocations, p), region)))
        assert revenue(prices).max() <= known.revenue + 5e-7


@given(shares)
def test_areas_agree_with_draws(numbers):
    with jax.enable_x64(True):
        table = jnp.asarray(numbers).reshape(4, 3)
        menu = Menu(table[:, :2], table[:, 2])
        areas, revenue, by_draws, fraction = describe(menu, box(jnp.zeros(2), jnp.ones(2)))
        assert (areas >= 0.0).all()
        assert areas.sum() <= 1.0 + 1e-9
        # 200² midpoints: each of the few edges misplaces at most the cells that it crosses.
        np.testing.assert_allclose(areas, fraction[:-1], atol=0.04)
        np.testing.assert_allclose(revenue, by_draws, atol=0.04)


@jax.jit
def describe(menu, region):
    share = jnp.asarray((np.arange(200) + 0.5) / 200)
    valuations = jnp.stack(jnp.meshgrid(share, share, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    outcome = choose(menu, valuations)
    surplus = valuations[:, 0] @ menu.allocations.T - menu.prices[None, :]
    surplus = jnp.concatenate([surplus, jnp.zeros_like(surplus[:, :1])], axis=1)
    fraction = jnp.bincount(jnp.argmax(surplus, axis=1), length=5) / 200**2
    by_draws = outcome.payment.mean()
    return choice_areas(menu, region), uniform_revenue(menu, region), by_draws, fraction


def test_repeated_and_useless_options_change_nothing():
    with jax.enable_x64(True):
        known = KNOWN_MENUS["additive"]
        menu = known.menu()
        twice = Menu(*(jnp.concatenate([x, x, x[:1]]) for x in menu))
        dear = Menu(twice.allocations, twice.prices.at[-1].add(1.0))
        for other in (twice, dear):
            revenue = uniform_revenue(other, known.region())
            assert revenue == pytest.approx(known.revenue, rel=1e-12)


def test_areas_of_simple_regions():
    region = box(jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0]))
    assert polygon_area(region) == pytest.approx(6.0)
    assert polygon_area(below_sum(region, 4.0)) == pytest.approx(0.5)
    assert polygon_area(below_sum(region, 2.0)) == 0.0


def test_gradient_of_revenue_in_prices():
    with jax.enable_x64(True):
        region = box(jnp.zeros(2), jnp.ones(2))
        bundle = lambda price: uniform_revenue(Menu(jnp.ones((1, 2)), price[None]), region)
        price = jnp.asarray(0.5)
        # p (1 - p² / 2) for p <= 1
        assert jax.grad(bundle)(price) == pytest.approx(1.0 - 1.5 * 0.25, rel=1e-9)


def test_softened_choices_tend_to_the_exact_one():
    menu = KNOWN_MENUS["additive"].menu()
    valuations = jnp.array([[[0.9, 0.1]], [[0.9, 0.9]], [[0.1, 0.1]]])
    exact = choose(menu, valuations)
    np.testing.assert_allclose(exact.payment[:, 0], [2 / 3, (4 - 2**0.5) / 3, 0.0], rtol=1e-6)
    soft = choose(menu, valuations, temperature=1e-3)
    np.testing.assert_allclose(soft.payment, exact.payment, atol=1e-6)
    assert abs(choose(menu, valuations, temperature=1.0).payment - exact.payment).max() > 0.01


@pytest.mark.parametrize(
    ("menu", "message"),
    [
        (Menu(np.ones((2, 2)), np.ones(3)), r"got shapes \(2, 2\) and \(3,\)"),
        (Menu(np.full((1, 2), 1.5), np.ones(1)), r"allocations must be probabilities .* got 1\.5"),
        (Menu(np.ones((1, 2)), np.array([-0.1])), r"prices must be at least 0; .* got -0\.1"),
        (Menu(np.ones((1, 3)), np.ones(1)), "A menu must have 2 items here, got 3"),
    ],
)
def test_bad_menus_are_refused(menu, message):
    with pytest.raises(ValueError, match=message):
        uniform_revenue(menu, box(jnp.zeros(2), jnp.ones(2)))


def test_bad_boxes_are_refused():
    with pytest.raises(ValueError, match="low must lie below high"):
        box(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match="low must be at least 0"):
        box(-jnp.ones(2), jnp.ones(2))
