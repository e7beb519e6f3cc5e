"""What simple investors earn: baselines that trade through the environment's own accounting."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.types import Array

BASELINES = ("equal_weight", "buy_and_hold", "minimum_variance")


def equal_weights(num_assets: int) -> np.ndarray:
    """Weights [A] of 1/A each."""
    return np.full(num_assets, 1.0 / num_assets)


def minimum_variance_weights(covariance: np.ndarray) -> np.ndarray:
    """Long-only weights of least variance.

        min w'Σw  over w >= 0, Σ_i w_i = 1

    Without the sum, min w'Σw/2 - 1'w over w >= 0 has the same direction, and with Σ = LL' it is the
    non-negative least-squares problem min |L'w - L⁻¹1|, which an active-set method solves exactly.

    Args:
      covariance: Σ, [A, A] symmetric, positive definite; its units do not matter.

    Returns:
      [A] float64, non-negative, sums to one.

    Raises:
      ValueError: Σ is not positive definite.

    Source: Markowitz (1952), Portfolio Selection, Journal of Finance 7; Lawson and Hanson (1974),
    Solving Least Squares Problems, ch. 23.
    """
    import scipy.linalg
    import scipy.optimize

    covariance = np.asarray(covariance, np.float64)
    scale = np.mean(np.diag(covariance))  # numbers near 1, whatever the units
    try:
        factor = np.linalg.cholesky(covariance / scale)  # L
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"covariance must be positive definite, of {len(covariance)} assets that none repeats "
            f"another, estimated on more days than assets."
        ) from error
    target = scipy.linalg.solve_triangular(factor, np.ones(len(covariance)), lower=True)
    weights, _ = scipy.optimize.nnls(factor.T, target)
    return weights / weights.sum()


def training_covariance(env_params: Any) -> np.ndarray:
    """Sample covariance [A, A] of daily simple returns on rows 0 to `train_last_day`.

    Raises:
      ValueError: there are not more training returns than assets.
    """
    last = int(env_params.train_last_day)
    prices = np.asarray(env_params.prices, np.float64)[: last + 1]
    num_returns, num_assets = last, prices.shape[1]
    if num_returns <= num_assets:
        raise ValueError(
            f"A covariance of {num_assets} assets needs more than {num_assets} training returns, "
            f"got {num_returns}. Use fewer assets or a later train_end."
        )
    returns = prices[1:] / prices[:-1] - 1.0
    return np.cov(returns, rowvar=False).reshape(num_assets, num_assets)


def run_baselines(env: Any, env_params: Any) -> dict[str, dict[str, float]]:
    """Summaries of one episode of each baseline, from the first possible day of the range.

    - equal_weight: 1/A in each asset, restored every day.
    - buy_and_hold: 1/A in each asset on the first day, and no trade after it.
    - minimum_variance: the long-only portfolio of least variance, restored every day. Its
      covariance is estimated on the training days alone (up to `train_last_day`).

    Cash is never held, costs are the environment's. The episode is `max_steps_in_episode` long or
    until `last_day`, whichever comes first: on a validation or test split, all of it.

    Args:
      env: a PortfolioTrading or StockTrading.
      env_params: concrete parameters (not traced), such as one of `split_params`.

    Returns:
      {baseline: {metric: value}} with the metrics of `env.episode_summary`.
    """
    equal = equal_weights(env.num_assets)
    minimum = minimum_variance_weights(training_covariance(env_params))
    targets = np.pad(np.stack([equal, equal, minimum]), ((0, 0), (1, 0)))  # [3, K], no cash
    does_hold = np.array([False, True, False])

    def policy(inputs: tuple[Array, Array], state: Any, _: Any) -> Array:
        target, does_hold = inputs
        return jnp.where(does_hold & (state.time > 0), state.weights, target)

    inputs = jnp.asarray(targets, float), jnp.asarray(does_hold)
    table = run_policies(env, env_params, policy, inputs)
    return {
        name: {metric: float(values[row]) for metric, values in table.items()}
        for row, name in enumerate(BASELINES)
    }


def run_oracle(env: Any, env_params: Any) -> dict[str, float]:
    """Summary of an episode of one who knows the mean returns m of the next day, `signal`.

        w = G Σ⁻¹m / |Σ⁻¹m|₁,   Σ from training days, G the gross limit

    the direction of greatest Sharpe ratio for a day, blind to costs; negative parts of Σ⁻¹m count
    as 0 where nothing can be sold short.

    Args:
      env: a StockTrading.
      env_params: concrete parameters, with a `signal`.
    """
    precision = np.linalg.inv(training_covariance(env_params))
    inverse = jnp.asarray(precision / np.abs(precision).max(), float)  # in reach of float32
    limit = jnp.asarray(env_params.gross_limit, float)

    def policy(inverse: Array, state: Any, env_params: Any) -> Array:
        mean = jax.lax.dynamic_index_in_dim(env_params.signal, state.day, keepdims=False)
        wish = jnp.sum(inverse * mean[None], axis=1)
        wish = wish if env.mode == "long_short" else jnp.maximum(wish, 0.0)
        gross = jnp.sum(jnp.abs(wish))
        return jnp.pad(limit * wish / jnp.where(gross > 0.0, gross, 1.0), (1, 0))

    table = run_policies(env, env_params, policy, inverse[None])
    return {metric: float(values[0]) for metric, values in table.items()}


def run_policies(
    env: Any, env_params: Any, policy: Callable[[Any, Any, Any], Array], inputs: Any
) -> dict[str, np.ndarray]:
    """Summaries of one episode of each of several policies, from the first day of the range.

    Args:
      env: a trading environment with `hold`, `lookback` and `episode_summary`.
      env_params: concrete parameters (not traced).
      policy: (inputs, state, env_params) -> weights [K] to hold until the next day.
      inputs: pytree of arrays [M, ...], one row for each policy.

    Returns:
      {metric: [M]}.
    """
    env_params = env_params.replace(random_start=0.0)
    available = int(env_params.last_day) - max(int(env_params.first_day), env.lookback)
    num_steps = min(int(env_params.max_steps_in_episode), available)
    run = functools.partial(_run, env, num_steps, policy)
    summaries = jax.jit(jax.vmap(run, in_axes=(None, 0)))(env_params, inputs)
    return {metric: np.asarray(values) for metric, values in summaries.items()}


def _run(env: Any, num_steps: int, policy: Callable, env_params: Any, inputs: Any) -> dict:
    """Summary of an episode of `num_steps` days."""
    key = jax.random.key(0)  # unused: without a random start, nothing is drawn
    _, state = env.reset_env(key, env_params)

    def trade(state, _):
        return env.hold(state, policy(inputs, state, env_params), env_params)[0], None

    state, _ = jax.lax.scan(trade, state, length=num_steps)
    return env.episode_summary(state, env_params)
