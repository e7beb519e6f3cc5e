"""Trading a portfolio of real assets day by day, with costs and without a look into the future.

close of day d: see prices up to d, choose weights, pay the cost of trading
close of day d + 1: wealth and weights have moved with prices; reward, next observation
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.data import Prices, load_prices, synthetic_prices
from jaxecon.econ import performance as measures
from jaxecon.econ import portfolio
from jaxecon.envs import base
from jaxecon.envs.trading.baselines import run_baselines
from jaxecon.envs.trading.economy import (
    EnvParams,
    check_numbers,
    choose_split,
    is_over,
    price_ratios,
    start_day,
    whole_range_params,
)
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Reward = Literal["log_return", "differential_sharpe"]
Split = Literal["train", "validation", "test"]

RETURN_SCALE = 50.0  # daily volatility of a stock is near 2 %, so scaled returns are near 1
START_VOLATILITY = 0.01  # per day, prior of the differential Sharpe ratio


@struct.dataclass
class EnvState(base.EnvState):
    """Where the investor stands at the close of a day."""

    day: Array  # row of today's prices, int32
    weights: Array  # [K] shares of wealth, cash first, after today's price move
    performance: measures.Performance  # running statistics since the start
    sharpe_moments: Array  # [2] weighted mean return and mean squared return

    @property
    def wealth(self) -> Array:
        """Wealth in units of initial wealth."""
        return jnp.exp(self.performance.log_wealth)


@dataclasses.dataclass(frozen=True)
class PortfolioTrading(base.Environment):
    """One investor splits wealth between cash and A assets at every daily close.

    Action: K = A + 1 weights, cash first. They need not be exact: negative parts count as 0 and the
    rest is scaled to sum to one; an action without a positive part means all cash.

    Accounting, with drifted weights w, target a, price ratios R (R_0 = 1 + cash return) and cost ε:

        τ = Σ_{i>=1} |a_i - w_i|,  W' = W · (1 - ε·τ) · G,  G = Σ_i a_i R_i,  w'_i = a_i R_i / G

    The cost is taken from all positions in proportion, so cash never turns negative.

    Reward: "log_return" is log(W'/W); "differential_sharpe" is the differential Sharpe ratio of
    that log return (Moody and Saffell 2001), started from mean 0 and volatility 1 % a day.

    Observation: [lookback·A + K]: the last `lookback` daily log returns times 50, oldest day first
    and assets within a day, then today's drifted weights. Nothing later than today enters. Days
    before `first_day` may (they are past), so that a test split is traded from its first day.

    Episode: it starts in cash at row s and ends after n = min(max_steps_in_episode, last_day - s)
    steps, truncated, at row s + n <= last_day. Without a random start, s is the first row from
    `first_day` on that has `lookback` rows before it. With one, s is uniform over the rows that
    leave room for max_steps_in_episode, so every episode has the same length. There is no natural
    end. A step past `last_day` without a reset holds prices still.

    Attributes:
      num_assets: A, risky assets.
      lookback: days of returns in the observation.
      reward: "log_return" or "differential_sharpe".
    """

    num_assets: int = 20
    lookback: int = 20
    reward: Reward = "log_return"

    ends_together = True

    def __post_init__(self):
        base.require_count("num_assets", self.num_assets)
        base.require_count("lookback", self.lookback)
        if self.reward not in get_args(Reward):
            raise ValueError(unknown_name("reward", self.reward, get_args(Reward)))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "PortfolioTrading-v0"

    @property
    def num_weights(self) -> int:
        """K, the assets and cash."""
        return self.num_assets + 1

    @property
    def default_params(self) -> EnvParams:
        """All days of ten synthetic years; `make_portfolio_trading` brings real prices."""
        return whole_range_params(synthetic_prices(self.num_assets), lookback=self.lookback)

    def action_space(self, params: EnvParams) -> base.Simplex:
        """Weights of cash and the assets, [K]."""
        return base.Simplex(self.num_weights)

    def observation_space(self, params: EnvParams) -> base.Box:
        """Scaled log returns and weights, [lookback·A + K], unbounded."""
        size = self.lookback * self.num_assets + self.num_weights
        return base.Box(-jnp.inf, jnp.inf, (size,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """Observation and state of an investor in cash on the start day."""
        state = EnvState(
            time=jnp.int32(0),
            day=start_day(key, params, self.lookback),
            weights=jnp.zeros(self.num_weights, float).at[0].set(1.0),
            performance=measures.start_performance(),
            sharpe_moments=jnp.asarray([0.0, START_VOLATILITY**2], float),
        )
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Trade at today's close and hold to the next; info has `log_return` and `turnover`."""
        state, reward, info = self.hold(state, action, params)
        return self.observe(key, state, action, params), state, reward, jnp.bool_(False), info

    def hold(
        self, state: EnvState, weights: Array, params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """State, reward and info after one day at weights [K], made legal first."""
        chex.assert_shape(weights, (self.num_weights,))
        target = portfolio.normalise_weights(jnp.asarray(weights, float))
        traded = portfolio.turnover(state.weights, target)
        cost = portfolio.proportional_cost(
            state.weights, target, jnp.asarray(params.transaction_cost, float)
        )
        next_day = jnp.minimum(state.day + 1, jnp.asarray(params.last_day, jnp.int32))
        growth, drifted = portfolio.drift(target, self._gross_returns(state.day, next_day, params))
        log_return = jnp.log1p(-cost) + jnp.log(growth)
        differential, moments = measures.differential_sharpe(
            log_return, state.sharpe_moments, jnp.asarray(params.sharpe_decay, float)
        )
        time = state.time + 1
        performance = measures.update_performance(
            state.performance, time.astype(log_return.dtype), log_return, traded
        )
        state = EnvState(time, next_day, drifted, performance, moments)
        reward = log_return if self.reward == "log_return" else differential
        return state, reward, {"log_return": log_return, "turnover": traded}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Scaled log returns of the last `lookback` days and the weights, [lookback·A + K]."""
        shape = (self.lookback + 1, self.num_assets)
        start = (state.day - self.lookback, jnp.int32(0))
        window = jnp.asarray(jax.lax.dynamic_slice(params.prices, start, shape), float)
        returns = RETURN_SCALE * jnp.log(window[1:] / window[:-1])  # [lookback, A]
        return jnp.concatenate([returns.reshape(-1), state.weights])

    def split_observation(self, obs: Array) -> tuple[Array, Array]:
        """(weight of cash [..., 1], each asset's returns and weight [..., A, lookback + 1])."""
        size = self.lookback * self.num_assets
        returns, cash, weights = jnp.split(obs, [size, size + 1], axis=-1)
        returns = jnp.reshape(returns, (*returns.shape[:-1], self.lookback, self.num_assets))
        rows = jnp.concatenate([returns, weights[..., None, :]], axis=-2)
        return cash, jnp.swapaxes(rows, -1, -2)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the time limit or the last day of the range has come."""
        return is_over(state.time, state.day, params)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Performance of the episode so far, see `econ.performance.summarise_performance`."""
        return measures.summarise_performance(state.performance, state.time, params.cash_return)

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """Equal weight, buy-and-hold and minimum variance, see `trading.baselines`."""
        return run_baselines(self, params)

    def _gross_returns(self, day: Array, next_day: Array, params: EnvParams) -> Array:
        """Value of one unit of money a day later, [K], cash first."""
        cash = 1.0 + jnp.asarray(params.cash_return, float)
        return jnp.concatenate([cash[None], price_ratios(day, next_day, params)])


def make_portfolio_trading(
    prices: Any = None,
    *,
    lookback: int = 20,
    reward: Reward = "log_return",
    assets: Sequence[str] | None = None,
    train_end: Any = None,
    validation_end: Any = None,
    split: Split | None = None,
    **numbers: Any,
) -> tuple[PortfolioTrading, EnvParams]:
    """The environment and its parameters, from prices and dates.

    Args:
      prices: a `Prices`, or anything `load_prices` takes; None is the S&P 500 series where skfolio
        is installed and synthetic prices elsewhere.
      lookback: days of returns in the observation, at least 1.
      reward: "log_return" or "differential_sharpe".
      assets: names to trade; all if None.
      train_end, validation_end: last days of two splits, "YYYY-MM-DD"; both or neither. Without
        them, all days are one range with random starts.
      split: "train" (if None), "validation" or "test", see `split_params`; needs the two dates.
      **numbers: values of EnvParams: `transaction_cost`, `cash_return`, `random_start`,
        `sharpe_decay`, `max_steps_in_episode`. They also win over what the split sets.

    Returns:
      (env, env_params).

    Raises:
      ValueError: a date, a split or a number does not fit; the message says what does.
      TypeError: a keyword is not one of the environment's.
    """
    check_numbers(numbers)
    panel = (prices if isinstance(prices, Prices) else load_prices(prices)).select(assets)
    env = PortfolioTrading(panel.num_assets, lookback, reward)
    env_params: EnvParams = whole_range_params(panel, lookback=lookback)
    env_params = choose_split(
        env_params, panel, train_end, validation_end, split, lookback=lookback
    )
    return env, env_params.replace(**numbers)
