"""Learned auctions keep supply, demand and participation for any parameters; and they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxecon.mechanisms.auctions import (
    KNOWN_MENUS,
    ExchangeableRegretNet,
    RegretNet,
    RochetNet,
    revenue,
    uniform_revenue,
)
from jaxecon.mechanisms.base import AuctionTypes

MECHANISMS = {
    "regretnet": (RegretNet((8, 8)), 3),
    "exchangeable": (ExchangeableRegretNet(8, 1), 3),
    "rochetnet": (RochetNet(7), 1),
}


def draw(key, num_bidders, unit_demand, batch=(64,)):
    return AuctionTypes(jax.random.uniform(key, (*batch, num_bidders, 2)), unit_demand)


def loud(params, key):
    """Parameters far from their initial size, so that heads saturate."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + 3.0 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@pytest.mark.parametrize(
    ("name", "unit_demand"),
    [("regretnet", False), ("regretnet", True), ("exchangeable", True), ("rochetnet", True)],
)
def test_any_parameters_make_a_feasible_auction(name, unit_demand, key):
    mechanism, num_bidders = MECHANISMS[name]
    types = draw(key, num_bidders, unit_demand)
    params = jax.jit(lambda key: loud(mechanism.init(key, types), key))(key)
    run = jax.jit(mechanism)
    outcome = run(types, params)
    assert outcome.allocation.shape == (64, num_bidders, 2)
    assert outcome.payment.shape == (64, num_bidders)
    assert outcome.allocation.min() >= 0.0
    assert outcome.allocation.sum(-2).max() <= 1.0 + 1e-6
    if unit_demand:
        assert outcome.allocation.sum(-1).max() <= 1.0 + 1e-6
    assert types.utility(outcome).min() >= -1e-6  # taking part is voluntary
    one = run(jax.tree.map(lambda x: x[0], types), params)
    np.testing.assert_allclose(one.payment, outcome.payment[0], atol=1e-6)


def test_the_exchangeable_net_follows_the_numbering(key):
    mechanism = ExchangeableRegretNet(8, 1)
    types = AuctionTypes(jax.random.uniform(key, (3, 4)), unit_demand=True)
    params = jax.jit(mechanism.init)(key)
    run = jax.jit(mechanism)
    bidders, items = jnp.array([2, 0, 1]), jnp.array([1, 3, 0, 2])
    moved = AuctionTypes(types.valuations[bidders][:, items], unit_demand=True)
    before, after = run(types, params), run(moved, params)
    np.testing.assert_allclose(after.allocation, before.allocation[bidders][:, items], atol=1e-6)
    np.testing.assert_allclose(after.payment, before.payment[bidders], atol=1e-6)
    larger = AuctionTypes(jax.random.uniform(key, (5, 7)), unit_demand=True)
    assert run(larger, params).allocation.shape == (5, 7)


@pytest.mark.parametrize("unit_demand", [False, True])
def test_rochetnet_is_truthful(unit_demand, key):
    mechanism = RochetNet(20)
    types = draw(key, 1, unit_demand, (500,))
    params = jax.jit(mechanism.init)(key, types)
    run = jax.jit(mechanism)
    honest = types.utility(run(types, params))
    lies = AuctionTypes(jnp.roll(types.valuations, 1, axis=0), unit_demand)
    assert (types.utility(run(lies, params)) - honest).max() <= 1e-6


def test_money_scales_with_the_unit(key):
    types = draw(key, 1, False)
    cents = AuctionTypes(100.0 * types.valuations)
    for cls in (RochetNet, RegretNet):
        params = jax.jit(cls().init)(key, types)
        paid, paid_cents = jax.jit(cls())(types, params), jax.jit(cls(scale=100.0))(cents, params)
        np.testing.assert_allclose(paid_cents.payment, 100.0 * paid.payment, rtol=1e-4, atol=1e-4)


def test_a_menu_learns_to_sell_two_items(key):
    """Within 1% of the optimum for one bidder with additive uniform values, exactly measured."""
    mechanism = RochetNet(20)
    num_steps = 3000
    optimiser = optax.adam(optax.cosine_decay_schedule(0.02, num_steps))

    def loss(params, key):
        types = draw(key, 1, False, (256,))
        return -revenue(mechanism(types, params, smoothing=0.01)).mean()

    def step(carry, key):
        params, state = carry
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train(key):
        params = mechanism.init(key, draw(key, 1, False))
        carry = (params, optimiser.init(params))
        (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key, num_steps))
        return params

    known = KNOWN_MENUS["additive"]
    learned = uniform_revenue(mechanism.menu(train(key)), known.region())
    assert 0.99 * known.revenue <= learned <= known.revenue + 1e-5  # float32 areas


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegretNet((0,)), "hidden_sizes must be a whole number of at least 1, got 0"),
        (lambda: RegretNet(activation="tan"), "Did you mean 'tanh'"),
        (lambda: RegretNet(scale=0.0), r"scale must be a positive amount of money, got 0\.0"),
        (lambda: ExchangeableRegretNet(width=0), "width must be"),
        (lambda: RochetNet(0), "num_options must be"),
        (
            lambda: RochetNet().init(jax.random.key(0), AuctionTypes(jnp.ones((2, 2)))),
            "RochetNet must face 1 bidder, got 2; use RegretNet",
        ),
    ],
)
def test_bad_structure_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
