"""The shared optimiser: its schedules at their ends, Adam's first step, and the flat vector."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxecon.algos import optimizers

PARAMS = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.array([3.0, -4.0])}


def test_progress_stays_between_zero_and_one():
    shares = [float(optimizers.progress(steps, 100.0)) for steps in (0.0, 25.0, 100.0, 1e9)]
    np.testing.assert_allclose(shares, [0.0, 0.25, 1.0, 1.0])


@pytest.mark.parametrize(
    ("schedule", "share", "expected"),
    [
        (optimizers.linear_rate, 0.0, [2.0, 2.0, 2.0]),
        (optimizers.linear_rate, 0.5, [2.0, 1.5, 1.0]),
        (optimizers.cosine_rate, 0.0, [2.0, 1.0, 0.0]),
        (optimizers.cosine_rate, 0.5, [2.0, 1.5, 1.0]),
    ],
)
def test_rates_at_start_middle_and_end(schedule, share, expected):
    rates = [float(schedule(2.0, share, jnp.float32(t))) for t in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)  # float32 cosine of π/2


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    """m/√v = sign(g) after one step, whatever the gradient's size."""
    optimizer = optimizers.flat_adam(0.1)
    gradient = jax.tree.map(lambda x: 7.0 * x - 1.0, PARAMS)
    params, _ = optimizers.descend(optimizer, gradient, optimizer.init(PARAMS), PARAMS)
    for name, before in PARAMS.items():
        moved = params[name] - before
        np.testing.assert_allclose(moved, -0.1 * np.sign(gradient[name]), rtol=1e-5)  # float32


def test_one_vector_moves_as_the_arrays_would():
    flat = optimizers.flat_adam(0.1, eps=1e-5, max_grad_norm=1.0)
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1, eps=1e-5))
    gradient = jax.tree.map(jnp.sin, PARAMS)
    ours, theirs = PARAMS, PARAMS
    our_state, their_state = flat.init(ours), plain.init(theirs)
    for _ in range(3):
        ours, our_state = optimizers.descend(flat, gradient, our_state, ours)
        theirs, their_state = optimizers.descend(plain, gradient, their_state, theirs)
    for name in PARAMS:  # the norm is summed in another order
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)
    unclipped = optimizers.flat_adam(0.1, eps=1e-5)
    other, _ = optimizers.descend(unclipped, gradient, unclipped.init(PARAMS), PARAMS)
    first, _ = optimizers.descend(flat, gradient, flat.init(PARAMS), PARAMS)
    assert (other["bias"] != first["bias"]).any(), "the bound on the norm must bind here"
