"""Upper bounds: they hold whatever is sampled, and close in on the maximum as cells shrink."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.mechanisms import (
    AuctionTypes,
    EqualShare,
    Outcome,
    ProportionalFairness,
    draw_allocation_types,
    exhaustive_exploitability,
    exploitability,
    gain_upper_bound,
    grid_candidates,
    interval_bounds,
)

WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def times(x, weights):
    return x @ jnp.asarray(weights, x.dtype)


FUNCTIONS = {
    "affine": lambda x: [times(x, WEIGHTS) + 1.0, times(-x[:, ::-1].T, WEIGHTS[:2]), x.T - x.T / 2],
    "powers": lambda x: [x**2, x**3, x * x, x[0] * x[1], (x + 3.0) ** -2, (x + 3.0) ** 1.5, x**0],
    "quotients": lambda x: [1.0 / (x + 3.0), x / (3.0 + x[::-1]), x / 2.0],
    "smooth": lambda x: [jnp.tanh(2.0 * x), jnp.exp(x), jax.nn.sigmoid(3.0 * x), jnp.expm1(x)],
    "roots": lambda x: [f(x + 3.0) for f in (jnp.log, jnp.sqrt, jax.lax.rsqrt, jnp.log1p)],
    "activations": lambda x: [jax.nn.relu(x), jax.nn.silu(x), jax.nn.gelu(x, approximate=False)],
    "kinks": lambda x: [jnp.abs(x), jnp.minimum(x, 0.3), jnp.clip(x, -0.5, 0.5), jnp.sign(x)],
    "softmax": lambda x: [jax.nn.softmax(3.0 * x, axis) for axis in (0, 1)],
    "logsumexp": lambda x: [jax.nn.logsumexp(x, axis=1), jax.nn.log_softmax(x, axis=0)],
    "misaligned": lambda x: (lambda e: e / e.sum(0)[:, None])(jnp.exp((x.T @ x)[:2, :2])),
    "choices": lambda x: [jnp.where(x > x[::-1], x, 2.0), jnp.where((x < 0) & (x != 1), x, 0.0)],
    "steps": lambda x: [
        (x >= 0.2).astype(x.dtype),
        jnp.floor(2.0 * x),
        jnp.where(~(x <= 0), x, -x),
    ],
    "extremes": lambda x: [x.max(0), x.min(1), jnp.maximum(x[0], x[1]), x.mean(), x.var(1)],
    "order": lambda x: [jnp.cumsum(x, 1), jnp.pad(x, 1), jnp.stack([x, x]), x.at[0].add(x[1])],
    "known": lambda x: [jnp.sort(WEIGHTS), jnp.ones_like(x), jnp.arange(3)],
    "network": lambda x: jnp.tanh(times(jnp.tanh(times(x, WEIGHTS)), WEIGHTS.T)),
}


def every_function(x):
    return {name: function(x) for name, function in FUNCTIONS.items()}


bounds = jax.jit(interval_bounds, static_argnums=0)
bounds_of_all = jax.jit(lambda low, high: interval_bounds(every_function, low, high))
values_of_all = jax.jit(jax.vmap(every_function))


@given(st.integers(0, 2**31 - 1), st.floats(0.0, 1.0))
def test_bounds_contain_every_sample(seed, width):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        low = rng.uniform(-1.5, 1.0, (2, 3))
        high = low + width * rng.uniform(0.0, 1.0, (2, 3))
        corners = rng.integers(0, 2, (20, 2, 3))
        share = np.concatenate([corners, rng.uniform(0.0, 1.0, (40, 2, 3))])
        values = values_of_all(low + share * (high - low))
        lower, upper = bounds_of_all(low, high)

        def check(path, value, low, high):
            place = jax.tree_util.keystr(path)
            value, low, high = map(np.asarray, (value, low, high))
            assert (value >= low - 1e-12 * (1 + np.abs(low))).all(), place  # rounding
            assert (value <= high + 1e-12 * (1 + np.abs(high))).all(), place

        jax.tree_util.tree_map_with_path(check, values, lower, upper)


def test_affine_functions_are_bounded_exactly_and_what_cancels_is_gone():
    low, high = -jnp.ones((2, 3)), 2.0 * jnp.ones((2, 3))
    lower, upper = bounds(lambda x: times(x, WEIGHTS), low, high)
    positive, negative = np.maximum(WEIGHTS, 0.0).sum(0), np.minimum(WEIGHTS, 0.0).sum(0)
    np.testing.assert_allclose(upper[0], 2.0 * positive - negative, rtol=1e-5)  # float32
    np.testing.assert_allclose(lower[0], 2.0 * negative - positive, rtol=1e-5)
    nothing = bounds(lambda x: x - 0.5 * (x + x), low, high)
    np.testing.assert_array_equal(nothing, 0.0)


@pytest.mark.parametrize("name", ["network", "softmax", "quotients", "powers"])
def test_the_excess_falls_with_the_square_of_the_width(name):
    with jax.enable_x64(True):
        centre = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 3))
        share = np.random.default_rng(2).integers(0, 2, (400, 2, 3))
        excess = []
        for radius in (0.04, 0.02):
            low, high = centre - radius, centre + radius
            upper = jax.tree.leaves(bounds_of_all(low, high)[1][name])
            values = jax.tree.leaves(values_of_all(low + share * (high - low))[name])
            pairs = zip(upper, values, strict=True)
            excess.append(max(float((u - v.max(0)).max()) for u, v in pairs))
        assert 3.0 < excess[0] / excess[1] < 5.5, excess  # 4, and what corners miss


def test_what_cannot_be_bounded_is_infinite_or_named():
    low, high = -jnp.ones(2), jnp.ones(2)
    _, upper = bounds(lambda x: 1.0 / x, low, high)
    assert not jnp.isfinite(upper).any()
    _, upper = bounds(lambda x: jnp.where(1.0 / x - 1.0 / x > 5.0, 1.0, 0.0), low, high)
    np.testing.assert_array_equal(upper, 1.0)  # nothing is known of the condition
    with pytest.raises(NotImplementedError, match="operation 'sort'"):
        bounds(jnp.sort, low, high)
    with pytest.raises(NotImplementedError, match="operation 'convert_element_type'"):
        bounds(lambda x: x.astype(jnp.int32), low, high)


def auction(reports, params):
    """A small network that sells two items to two bidders; bidders pay a share of their value."""
    first, second, third = params
    *leading, num_bidders, num_items = reports.valuations.shape
    flat = jnp.reshape(reports.valuations, (*leading, num_bidders * num_items))
    hidden = jnp.tanh(flat @ first)
    logits = jnp.reshape(hidden @ second, (*leading, num_bidders + 1, num_items))
    allocation = jax.nn.softmax(logits, axis=-2)[..., :-1, :]
    value = jnp.sum(allocation * reports.valuations, axis=-1)
    return Outcome(allocation, jax.nn.sigmoid(hidden @ third) * value)


def auction_and_types(key):
    keys = jax.random.split(key, 4)
    shapes = ((4, 12), (12, 6), (12, 2))
    params = tuple(
        jax.random.normal(key, shape, jnp.float64)
        for key, shape in zip(keys[:3], shapes, strict=True)
    )
    return params, AuctionTypes(jax.random.uniform(keys[3], (3, 2, 2), jnp.float64))


def test_the_bound_closes_in_on_the_maximum_from_above(key):
    with jax.enable_x64(True):
        params, types = auction_and_types(key)
        space = {"valuations": (0.0, 1.0)}
        attack = exploitability(
            auction, types, params, key=key, space=space, num_restarts=4, num_steps=60
        )
        sweep = exhaustive_exploitability(auction, types, grid_candidates(space, 41, 2), params)
        bound = lambda cells, rounds: gain_upper_bound(
            auction, types, params, space=space, cells_per_axis=cells, num_refinements=rounds
        )
        coarse, finest = bound(4, 0), bound(16, 12)
        assert sweep.gain.max() > 0.05
        assert (finest >= sweep.gain - 1e-12).all()  # rounding
        assert (finest >= attack.gain - 1e-12).all()
        assert (finest <= coarse - 1e-3).all()
        assert (finest <= np.maximum(attack.gain, sweep.gain) + 1e-4).all(), "tight in the end"
        assert finest.shape == (3, 2)


def test_truthful_rules_have_nothing_above_zero_and_solvers_are_named(key):
    types = draw_allocation_types(key, 2, 1)
    bound = gain_upper_bound(EqualShare(), types, private=("demands",), cells_per_axis=4)
    np.testing.assert_allclose(bound, 0.0, atol=1e-5)  # float32, 2^-16 of the space at the kink
    with pytest.raises(NotImplementedError, match="No bounds are known for the operation"):
        gain_upper_bound(ProportionalFairness(), types)
    with pytest.raises(ValueError, match="cells_per_axis must be at least 1, got 0"):
        gain_upper_bound(EqualShare(), types, cells_per_axis=0)
