"""Kalman filter, smoother and EM: textbook numbers, joint Gaussians, and an independent package.

`lds_fixture.npz` holds a series of 60 steps and what pykalman 0.11.2 makes of it.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.solvers.kalman import (
    LinearGaussian,
    Prior,
    canonical_form,
    change_coordinates,
    expectation_maximisation,
    kalman_filter,
    kalman_smoother,
    parallel_filter,
    parallel_smoother,
    spectral_radius,
    stationary_covariance,
    weak_prior,
)

FIXTURE = np.load(pathlib.Path(__file__).parent / "lds_fixture.npz")
FIELDS = ("A", "Q", "C", "R", "m", "P")
NUM_TIMES = len(FIXTURE["x"])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def fixture_model(prefix="", dtype=jnp.float64):
    return LinearGaussian(*(jnp.asarray(FIXTURE[prefix + name], dtype) for name in FIELDS))


@pytest.fixture
def model():
    return fixture_model()


@pytest.fixture
def x():
    return jnp.asarray(FIXTURE["x"])


run_filter, run_smoother = jax.jit(kalman_filter), jax.jit(kalman_smoother)


@functools.partial(jax.jit, static_argnames=("num_iterations", "fixed"))
def fit(model, x, mask=None, prior=None, length=None, *, num_iterations=10, fixed=()):
    """EM without tolerance or floor; few static settings, for few compilations."""
    return expectation_maximisation(
        model,
        x,
        jnp.ones(x.shape[0], bool) if mask is None else mask,
        prior=Prior() if prior is None else prior,
        length=x.shape[0] if length is None else length,
        num_iterations=num_iterations,
        fixed=fixed,
        tol=0.0,
        covariance_floor=0.0,
    )


@jax.jit
def fit_bounded(model, x):
    """EM that may stop early, with a low bound on the spectral radius."""
    return expectation_maximisation(model, x, num_iterations=50, tol=1e-3, max_spectral_radius=0.9)


def scalar_model():
    one = lambda value: jnp.full((1, 1), value)
    return LinearGaussian(one(0.9), one(0.1), one(1.0), one(0.5), jnp.zeros(1), one(1.0))


def test_the_scalar_steady_state():
    """The Riccati equation of A = .9, C = 1, Q = .1, R = .5, solved by hand."""
    filtered = kalman_filter(scalar_model(), jnp.zeros((300, 1)))
    last = filtered.covariance[-1, 0, 0]
    predicted = 0.81 * last + 0.1
    np.testing.assert_allclose(last, 0.1557046577, atol=1e-10)
    np.testing.assert_allclose(predicted, 0.2261207727, atol=1e-10)
    np.testing.assert_allclose(predicted / (predicted + 0.5), 0.3114093154, atol=1e-10)
    variance = stationary_covariance(jnp.full((1, 1), 0.9), jnp.full((1, 1), 0.1))
    np.testing.assert_allclose(variance, 0.5263157895, atol=1e-10)


def test_filter_and_smoother_match_an_independent_package(model, x):
    filtered = run_filter(model, x)
    smoothed = run_smoother(model, filtered)
    np.testing.assert_allclose(filtered.mean, FIXTURE["filtered_mean"], atol=1e-9)
    np.testing.assert_allclose(filtered.covariance, FIXTURE["filtered_covariance"], atol=1e-9)
    np.testing.assert_allclose(filtered.log_likelihood, FIXTURE["log_likelihood"], rtol=1e-9)
    np.testing.assert_allclose(smoothed.mean, FIXTURE["smoothed_mean"], atol=1e-9)
    np.testing.assert_allclose(smoothed.covariance, FIXTURE["smoothed_covariance"], atol=1e-9)


def test_missing_observations_match_an_independent_package(model, x):
    mask = jnp.asarray(FIXTURE["mask"])
    filtered = run_filter(model, jnp.where(mask[:, None], x, jnp.nan), mask)
    smoothed = run_smoother(model, filtered)
    np.testing.assert_allclose(filtered.mean, FIXTURE["masked_filtered_mean"], atol=1e-9)
    np.testing.assert_allclose(filtered.log_likelihood, FIXTURE["masked_log_likelihood"])
    np.testing.assert_allclose(smoothed.mean, FIXTURE["masked_smoothed_mean"], atol=1e-9)


def joint_posterior(model, x):
    """Mean and covariance of (z_1, ..., z_T) given x, by conditioning one big Gaussian."""
    A, Q, C, R, m, P = map(np.asarray, model)
    num_times, d = len(x), len(m)
    mean = np.concatenate([np.linalg.matrix_power(A, t) @ m for t in range(num_times)])
    covariance = np.zeros((num_times * d, num_times * d))
    variance = P
    for s in range(num_times):
        for t in range(s, num_times):
            block = np.linalg.matrix_power(A, t - s) @ variance
            covariance[t * d : (t + 1) * d, s * d : (s + 1) * d] = block
            covariance[s * d : (s + 1) * d, t * d : (t + 1) * d] = block.T
        variance = A @ variance @ A.T + Q
    observe = np.kron(np.eye(num_times), C)
    noise = np.kron(np.eye(num_times), R)
    gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + noise)
    return mean + gain @ (np.ravel(x) - observe @ mean), covariance - gain @ observe @ covariance


def test_smoothing_conditions_the_joint_gaussian(model, x):
    x, d = x[:6], 3
    mean, covariance = joint_posterior(model, x)
    smoothed = kalman_smoother(model, kalman_filter(model, x))
    np.testing.assert_allclose(smoothed.mean.ravel(), mean, atol=1e-12)
    for t in range(6):
        now, later = slice(t * d, (t + 1) * d), slice((t + 1) * d, (t + 2) * d)
        np.testing.assert_allclose(smoothed.covariance[t], covariance[now, now], atol=1e-12)
        if t < 5:
            np.testing.assert_allclose(smoothed.lag_one[t], covariance[later, now], atol=1e-12)


def test_em_matches_an_independent_package(model, x):
    fitted = fit(model, x)
    for name, field in zip(FIELDS, fitted.value, strict=True):
        np.testing.assert_allclose(field, FIXTURE[f"em10_{name}"], atol=1e-10)
    for done in (1, 10):
        expected = FIXTURE[f"em{done}_log_likelihood"]
        np.testing.assert_allclose(fitted.log_likelihood[done], expected, rtol=1e-11)
    assert fitted.log_likelihood.shape == (11,)


@pytest.mark.parametrize("prior", [Prior(), weak_prior(3)], ids=["plain", "prior"])
def test_em_never_lowers_the_objective(model, x, prior):
    prior, history = Prior(*map(float, prior)), []
    for _ in range(5):
        fitted = fit(model, x, None, prior)
        history += [np.asarray(fitted.log_likelihood)]
        model = fitted.value
        assert not fitted.diverged
        assert fitted.num_clipped == 0
    assert np.diff(np.concatenate(history)).min() >= -1e-8  # rounding of a sum of 60 terms


def test_fixed_blocks_stay_and_the_rest_still_rises(model, x):
    fixed = ("observation", "transition_noise")
    fitted = fit(model, x, fixed=fixed)
    for name in fixed:
        np.testing.assert_array_equal(getattr(fitted.value, name), getattr(model, name))
    assert np.diff(fitted.log_likelihood).min() >= -1e-8
    assert fitted.log_likelihood[-1] > fitted.log_likelihood[0] + 0.1


def test_a_converged_replica_stops_and_says_so(model, x):
    fitted = fit_bounded(model, x)
    assert fitted.converged
    assert fitted.residual < 1e-3
    assert fitted.log_likelihood[-1] == fitted.log_likelihood[-2]
    assert fitted.num_clipped == 0


def test_the_law_of_x_does_not_depend_on_coordinates(model, x):
    turn = np.random.default_rng(1).normal(size=(3, 3))
    moved = LinearGaussian(*map(jnp.asarray, change_coordinates(model, turn)))
    before, after = run_filter(model, x), run_filter(moved, x)
    np.testing.assert_allclose(before.log_likelihood, after.log_likelihood, rtol=1e-9)
    payoff = np.array([0.3, -0.2, 0.9])
    np.testing.assert_allclose(
        before.mean @ payoff, after.mean @ np.linalg.solve(turn.T, payoff), atol=1e-9
    )
    here, there = canonical_form(model)[0], canonical_form(moved)[0]
    for name in ("transition", "transition_noise", "observation"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), atol=1e-8)
    np.testing.assert_allclose(
        stationary_covariance(*map(jnp.asarray, here[:2])), np.eye(3), atol=1e-9
    )
    assert abs(np.tril(here.transition, -1)).max() < 1e-9 or here.transition[1, 0] != 0.0


@pytest.mark.parametrize("num_observed", [1, 2, 3])
def test_models_with_complex_pairs_have_one_canonical_form(num_observed):
    draw = np.random.default_rng(num_observed)
    A = np.zeros((5, 5))
    A[:2, :2] = [[0.7, -0.5], [0.5, 0.7]]
    A[2:4, 2:4] = [[-0.2, -0.6], [0.6, -0.2]]
    A[4, 4] = -0.3
    C = draw.normal(size=(num_observed, 5))
    model = LinearGaussian(A, np.eye(5), C, np.eye(num_observed), np.ones(5), np.eye(5))
    first = canonical_form(model)[0]
    np.testing.assert_allclose(
        stationary_covariance(*map(jnp.asarray, first[:2])), np.eye(5), atol=1e-9
    )
    np.testing.assert_allclose(np.tril(first.transition, -2), 0.0, atol=1e-9)
    for _ in range(10):
        basis = np.linalg.qr(draw.normal(size=(5, 5)))[0]
        moved = change_coordinates(model, basis * draw.uniform(0.3, 3.0, 5))
        for mine, theirs in zip(canonical_form(moved)[0], first, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-8)


def test_a_falling_likelihood_has_not_converged(model, x):
    """A is cut back from radius .9 to .1, which costs likelihood at once."""
    fit = jax.jit(
        lambda: expectation_maximisation(model, x, num_iterations=2, max_spectral_radius=0.1)
    )
    fitted = fit()
    assert fitted.num_clipped > 0
    assert fitted.residual < 0.0
    assert not fitted.converged


def test_bad_series_are_explained(model, x):
    wrong = {
        "mask must have the shape": lambda: kalman_filter(model, x, jnp.ones(x.shape, bool)),
        "mask must have": lambda: kalman_filter(model, x, jnp.ones(len(x) - 1, bool)),
        "x must have at least one time": lambda: kalman_filter(model, x[:0]),
        "x must have the model's dtype": lambda: kalman_filter(model, x.astype(jnp.float32)),
        "x must be of a float dtype": lambda: kalman_filter(model, x.astype(jnp.int32)),
        "transition_noise must be of a float dtype": lambda: kalman_filter(
            model._replace(transition_noise=jnp.eye(len(model.transition), dtype=jnp.int32)), x
        ),
        "transition must be finite, got nan": lambda: kalman_filter(
            model._replace(transition=jnp.nan * model.transition), x
        ),
        "observation must have the shape": lambda: kalman_filter(
            jax.tree.map(lambda leaf: leaf[None], model)._replace(
                observation=jnp.ones((1, x.shape[1], 7))
            ),
            x,
        ),
        "length must be a whole number of times from 2": lambda: expectation_maximisation(
            model, x, length=len(x) + 1
        ),
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_a_prefix_mask_is_a_truncation_and_em_needs_only_the_length(model, x):
    mask = jnp.arange(NUM_TIMES) < 25
    masked, cut = run_filter(model, x, mask), run_filter(model, x[:25], mask[:25])
    np.testing.assert_allclose(masked.mean[:25], cut.mean, atol=1e-13)
    np.testing.assert_allclose(masked.log_likelihood, cut.log_likelihood, rtol=1e-13)
    one_step = functools.partial(fit, num_iterations=1)
    ragged = lambda length: one_step(model, x, None, None, length)
    both = jax.vmap(ragged)(jnp.array([25, NUM_TIMES]))
    for row, alone in ((0, one_step(model, x[:25])), (1, one_step(model, x))):
        for mine, theirs in zip(both.value, alone.value, strict=True):
            np.testing.assert_allclose(mine[row], theirs, atol=1e-11)


def test_em_with_missing_rows_equals_the_moments_of_the_smoother(model, x):
    """One step, with sums over the smoother's output written out."""
    mask = np.asarray(FIXTURE["mask"])
    fitted = fit(model, x, jnp.asarray(mask), num_iterations=1).value
    smoothed = kalman_smoother(model, run_filter(model, x, jnp.asarray(mask)))
    mean, covariance = map(np.asarray, smoothed[:2])
    second = covariance + mean[:, :, None] * mean[:, None, :]
    crossed = np.asarray(smoothed.lag_one) + mean[1:, :, None] * mean[:-1, None, :]
    A = crossed.sum(0) @ np.linalg.inv(second[:-1].sum(0))
    Q = (second[1:].sum(0) - A @ crossed.sum(0).T) / (NUM_TIMES - 1)
    xs = np.asarray(x)[mask]
    C = xs.T @ mean[mask] @ np.linalg.inv(second[mask].sum(0))
    R = (xs.T @ xs - C @ mean[mask].T @ xs) / mask.sum()
    for name, expected in zip(FIELDS, (A, Q, C, R, mean[0], covariance[0]), strict=True):
        got = fitted[FIELDS.index(name)]
        np.testing.assert_allclose(got, expected, atol=1e-10, err_msg=name)


def test_scans_over_time_in_parallel_give_the_same(model, x):
    mask = jnp.asarray(FIXTURE["mask"])
    one, other = run_filter(model, x, mask), jax.jit(parallel_filter)(model, x, mask)
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)
    smooth = jax.jit(parallel_smoother)(model, one)
    for mine, theirs in zip(run_smoother(model, one), smooth, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_replicas_are_independent_and_gradients_flow(model, x):
    scales = jnp.array([1.0, 0.5, 2.0])
    models = jax.vmap(lambda s: model._replace(transition_noise=s * model.transition_noise))(scales)
    batched = kalman_filter(models, x)
    mapped = jax.vmap(run_filter, in_axes=(0, None))(models, x)
    np.testing.assert_allclose(batched.mean, mapped.mean, atol=1e-13)
    alone = run_filter(jax.tree.map(lambda field: field[2], models), x)
    np.testing.assert_allclose(batched.mean[2], alone.mean, atol=1e-13)

    def likelihood(scale):
        noise = scale * model.transition_noise
        return run_filter(model._replace(transition_noise=noise), x[:20]).log_likelihood

    step = 1e-5
    difference = (likelihood(1.0 + step) - likelihood(1.0 - step)) / (2.0 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(likelihood))(1.0), difference, rtol=1e-7)


def test_single_precision_keeps_its_digits(model, x):
    far = x + 100.0  # where sums of squares would lose all digits
    exact = fit(model, far)
    with jax.enable_x64(False):
        single = jnp.asarray(far, jnp.float32)
        fitted = fit(fixture_model(dtype=jnp.float32), single)
        assert all(field.dtype == jnp.float32 for field in fitted.value)
    assert not fitted.diverged
    mine, right = float(fitted.log_likelihood[-1]), float(exact.log_likelihood[-1])
    assert abs(mine - right) <= 2e-3 * abs(right)


def test_em_recovers_the_law_of_a_long_series():
    """Eigenvalues within .05, likelihood within .01 nats a step; bench/bandits.py has 1e5 steps."""
    draw, num_times = np.random.default_rng(3), 4_000
    A, C = np.array([[0.9, 0.2], [-0.2, 0.6]]), np.array([[1.0, 0.5], [0.2, -0.7]])
    z, x = np.zeros(2), np.zeros((num_times, 2))
    for t in range(num_times):
        x[t] = C @ z + 0.3 * draw.normal(size=2)
        z = A @ z + 0.4 * draw.normal(size=2)
    fields = (A, 0.16 * np.eye(2), C, 0.09 * np.eye(2), np.zeros(2), np.eye(2))
    truth = LinearGaussian(*map(jnp.asarray, fields))
    guess = truth._replace(transition=0.6 * jnp.eye(2), transition_noise=0.3 * jnp.eye(2))
    fitted = fit(guess, jnp.asarray(x), num_iterations=20)
    likelihood = run_filter(truth, jnp.asarray(x)).log_likelihood
    assert fitted.log_likelihood[-1] / num_times >= likelihood / num_times - 0.01
    eigenvalues = lambda a: np.sort_complex(np.linalg.eigvals(np.asarray(a)))
    gap = np.abs(eigenvalues(fitted.value.transition) - eigenvalues(A)).max()
    assert gap < 0.05


def test_spectral_radius_of_matrices_known_by_hand():
    rotation = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    jordan = jnp.array([[0.5, 100.0], [0.0, 0.5]])
    radius = spectral_radius(jnp.stack([rotation, jordan, 0.0 * jordan]))
    np.testing.assert_allclose(radius, [1.0, 0.5, 0.0], atol=1e-4)


def test_bad_models_are_explained(model, x):
    unstable = model._replace(transition=2.0 * model.transition)
    with pytest.raises(ValueError, match="transition must have a spectral radius below 1"):
        kalman_filter(unstable, x)
    with pytest.raises(ValueError, match="observation_noise must be positive definite"):
        kalman_filter(model._replace(observation_noise=jnp.diag(jnp.array([1.0, -1.0]))), x)
    with pytest.raises(ValueError, match=r"x must have the shape \[..., T, 2\]"):
        kalman_filter(model, x[:, :1])
    with pytest.raises(ValueError, match=r"observation must have the shape \(2, 3\)"):
        kalman_filter(model._replace(observation=jnp.ones((2, 4))), x)
    with pytest.raises(ValueError, match=r"Unknown block of the model 'transitions'.*'transition'"):
        expectation_maximisation(model, x, fixed=("transitions",))


def test_an_em_run_that_diverges_says_so(model, x):
    fitted = fit(model, x.at[10].set(jnp.inf))
    assert fitted.diverged
    assert not fitted.converged
    assert all(np.isfinite(field).all() for field in fitted.value)


def test_a_radius_beyond_the_bound_is_scaled_back_and_counted(model, x):
    walk = jnp.cumsum(x, axis=0) * jnp.linspace(1.0, 20.0, NUM_TIMES)[:, None]
    fitted = fit_bounded(model, walk)
    assert fitted.num_clipped > 0
    assert spectral_radius(fitted.value.transition) <= 0.9 + 1e-6
