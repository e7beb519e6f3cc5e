"""Learned mechanisms: feasible whatever the weights, equal to known rules at known weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from jaxecon.mechanisms.base import AllocationTypes
from jaxecon.mechanisms.learned import (
    ExPF,
    ExPFQuadratic,
    ExS,
    RegretNetAllocation,
    fill,
    pair_features,
)
from jaxecon.mechanisms.rules import ProportionalFairness

TRUNKS = {"expf": ExPF(8, 1), "expf_quadratic": ExPFQuadratic(8, 1), "exs": ExS(8, 1)}
REFILL = ExS(8, 1, refill=True)
MECHANISMS = {**TRUNKS, "exs_refill": REFILL, "regretnet": RegretNetAllocation((8,))}
FILL = jax.jit(fill)
TARGET = jax.jit(lambda mechanism, *args: mechanism.target(*args), static_argnums=0)
RUN = jax.jit(lambda mechanism, types, params: mechanism(types, params), static_argnums=0)


def draw(key, num_agents=3, num_resources=2, batch=()):
    keys = jax.random.split(key, 4)
    table = (*batch, num_agents, num_resources)
    valuations = jax.random.uniform(keys[0], table, minval=0.1)
    demands = jax.random.uniform(keys[1], table, minval=0.1)
    share = jax.random.uniform(keys[2], (*batch, num_resources), minval=0.2)
    weights = jax.random.uniform(keys[3], (*batch, num_agents), minval=0.5, maxval=2.0)
    return AllocationTypes(valuations, demands, share * demands.sum(-2), weights)


def init(mechanism, types, scale=1.0, seed=0):
    params = mechanism.init(jax.random.key(seed), types)
    return jax.tree.map(lambda leaf: scale * leaf, params)


@pytest.mark.parametrize("name", sorted(MECHANISMS))
@given(seed=st.integers(0, 999), scale=st.floats(0, 30, width=32))
def test_every_mechanism_is_feasible_whatever_its_weights(name, seed, scale):
    mechanism = MECHANISMS[name]
    types = draw(jax.random.key(seed))
    outcome = RUN(mechanism, types, init(mechanism, types, scale, seed))
    allocation = np.asarray(outcome.allocation)
    assert np.isfinite(allocation).all()
    assert (allocation >= 0.0).all()
    # float32 sums of three shares of a supply
    assert (allocation <= types.demands * (1.0 + 1e-5)).all()
    assert (allocation.sum(0) <= types.supplies * (1.0 + 1e-5)).all()
    np.testing.assert_array_equal(outcome.payment, np.zeros(3))


@given(seed=st.integers(0, 999))
def test_without_a_network_expf_is_proportional_fairness(seed):
    types = draw(jax.random.key(seed))
    params = init(TRUNKS["expf"], types)
    silent = params._replace(pair=jax.tree.map(jnp.zeros_like, params.pair))
    fair = RUN(ProportionalFairness(), types, ())
    chosen = RUN(TRUNKS["expf"], types, silent)
    # the same solve; programs that differ may round differently
    np.testing.assert_allclose(chosen.allocation, fair.allocation, atol=1e-5)


@pytest.mark.parametrize(("log_pull", "reaches"), [(-30.0, "fair"), (15.0, "target")])
def test_the_pull_leads_from_proportional_fairness_to_the_target(key, log_pull, reaches):
    mechanism = TRUNKS["expf_quadratic"]
    types = draw(key)
    params = init(mechanism, types, 5.0)
    head = params.pooled._replace(
        kernel=jnp.zeros_like(params.pooled.kernel), bias=jnp.full(1, log_pull)
    )
    params = params._replace(pooled=head)
    ends = {
        "fair": RUN(ProportionalFairness(), types, ()).allocation,
        "target": TARGET(mechanism, types, params)[0],
    }
    chosen = RUN(mechanism, types, params).allocation
    # the barrier keeps 1e-5 from bounds that the target may touch
    np.testing.assert_allclose(chosen, ends[reaches], atol=3e-3)
    other = ends["target" if reaches == "fair" else "fair"]
    assert np.abs(chosen - other).max() > 0.05


@given(seed=st.integers(0, 999))
def test_the_target_is_always_feasible(seed):
    mechanism = TRUNKS["expf_quadratic"]
    types = draw(jax.random.key(seed))
    target, pull = TARGET(mechanism, types, init(mechanism, types, 10.0))
    assert (target <= types.demands).all()
    assert (target.sum(-2) <= types.supplies * (1.0 + 1e-5)).all()  # float32 sums
    assert pull > 0.0


@pytest.mark.parametrize("name", sorted(set(MECHANISMS) - {"regretnet"}))
def test_units_of_values_and_weights_do_not_matter(name, key):
    mechanism = MECHANISMS[name]
    types = draw(key)
    params = init(mechanism, types)
    rescaled = types.replace(
        valuations=types.valuations * jnp.array([[0.1], [3.0], [40.0]]),
        weights=5.0 * types.weights,
    )
    first, second = (RUN(mechanism, each, params).allocation for each in (types, rescaled))
    np.testing.assert_allclose(first, second, atol=2e-4)  # two float32 solves


@pytest.mark.parametrize("name", sorted(set(MECHANISMS) - {"regretnet"}))
def test_relabelling_relabels_and_parameters_fit_every_size(name, key):
    mechanism = MECHANISMS[name]
    types = draw(key)
    params = init(mechanism, types)
    agents, resources = jnp.array([2, 0, 1]), jnp.array([1, 0])
    table = lambda x: x[agents][:, resources]
    moved = AllocationTypes(
        table(types.valuations),
        table(types.demands),
        types.supplies[resources],
        types.weights[agents],
    )
    first = table(RUN(mechanism, types, params).allocation)
    np.testing.assert_allclose(RUN(mechanism, moved, params).allocation, first, atol=2e-4)
    large = draw(key, 10, 3, batch=(2,))
    assert jax.eval_shape(mechanism, large, params).allocation.shape == (2, 10, 3)


@pytest.mark.parametrize("name", ["expf_quadratic", "exs_refill"])
def test_gradients_match_finite_differences(name, key):
    with jax.enable_x64(True):
        mechanism = MECHANISMS[name]
        types = draw(key)
        params = jax.tree.map(lambda leaf: leaf.astype(float), init(mechanism, types, 2.0))

        @jax.jit
        @functools.partial(jax.value_and_grad, argnums=0)
        def welfare(inputs):
            values, demands, params = inputs
            reports = types.replace(valuations=values, demands=demands)
            return jnp.log(types.utility(mechanism(reports, params, 1e-3))).sum()

        inputs, unravel = ravel_pytree((types.valuations, types.demands, params))
        direction = jax.random.normal(key, inputs.shape)
        slope = ravel_pytree(welfare(unravel(inputs))[1])[0] @ direction
        step = 1e-6
        above, below = (welfare(unravel(inputs + s * direction))[0] for s in (step, -step))
        # away from the kinks of min(a, x): central differences err by eps^2 and rounding/eps
        np.testing.assert_allclose((above - below) / (2 * step), slope, rtol=1e-5)


def test_float32_parameters_serve_float64_types(key):
    with jax.enable_x64(True):
        types = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), draw(key))
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), init(TRUNKS["exs"], types))
        assert jax.eval_shape(TRUNKS["exs"], types, params).allocation.dtype == jnp.float64


@given(seed=st.integers(0, 999), scarcity=st.floats(0.0625, 1.5, width=32))
def test_refilling_hands_out_all_that_is_not_withheld(seed, scarcity):
    key_claims, key_demands = jax.random.split(jax.random.key(seed))
    demands = jax.random.uniform(key_demands, (5, 3), minval=0.05)
    claims = jax.random.uniform(key_claims, (5, 3), minval=0.05)
    claims = scarcity * claims / claims.sum(0, keepdims=True)
    used = FILL(claims, demands)
    wanted = jnp.minimum(claims.sum(0), demands.sum(0))
    np.testing.assert_allclose(used.sum(0), wanted, rtol=1e-5)  # float32
    # those who are not sated got more in one proportion
    open_ = np.asarray(used < demands * (1 - 1e-5))
    ratio = np.asarray(used / claims)
    for m in range(3):
        if open_[:, m].any():
            np.testing.assert_allclose(np.ptp(ratio[open_[:, m], m]), 0.0, atol=1e-4)


def test_without_caps_a_silent_exs_is_equal_share(key):
    types = draw(key).replace(demands=jnp.full((3, 2), 10.0))
    params = init(TRUNKS["exs"], types, 0.0)
    kept = params._replace(pooled=params.pooled._replace(bias=jnp.full(1, -30.0)))
    allocation = RUN(TRUNKS["exs"], types, kept).allocation
    equal = jnp.broadcast_to(types.supplies[None] / 3.0, (3, 2))
    np.testing.assert_allclose(allocation, equal, rtol=1e-6)  # float32


def test_features_see_shares_and_no_scale(key):
    types = draw(key)
    features = pair_features(types)
    assert features.shape == (3, 2, 4)
    np.testing.assert_allclose(features[..., 0].sum(-1), 1.0, rtol=1e-6)  # float32
    np.testing.assert_allclose(features[:, 0, 3].mean(), 1.0, rtol=1e-6)
    boundless = types.replace(demands=jnp.full((3, 2), jnp.inf))
    np.testing.assert_array_equal(pair_features(boundless)[..., 2], 2.0)


@pytest.mark.parametrize("setting", ["width", "depth"])
def test_bad_sizes_are_refused(setting):
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
        ExS(**{setting: 0})
