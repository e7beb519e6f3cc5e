"""Trading stocks long and short, with what is seen and done laid out for symmetric networks."""

import dataclasses
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.data import synthetic_prices
from jaxecon.econ import performance as measures
from jaxecon.econ import portfolio
from jaxecon.envs import base
from jaxecon.envs.symmetric import SymmetricEnvironment
from jaxecon.envs.trading.baselines import run_baselines, run_oracle
from jaxecon.envs.trading.economy import (
    MarketParams,
    is_over,
    price_ratios,
    start_day,
    whole_range_params,
)
from jaxecon.envs.trading.portfolio import RETURN_SCALE
from jaxecon.envs.trading.relabelling import carried_market, relabelling
from jaxecon.envs.trading.windows import NUM_SCALES, history_length, normalised_windows
from jaxecon.suggest import unknown_name
from jaxecon.symmetry import Block, Representation, SymmetrySpec, act, trivial
from jaxecon.types import Array, Key

Mode = Literal["long_short", "long_only"]
Reward = Literal["log", "mean_variance"]
LEAST_GROWTH = 0.01  # of wealth in a day; a larger loss counts as 99 %


@struct.dataclass
class EnvParams(MarketParams):
    """Prices, days, costs and limits; every field may be a traced array."""

    mask: Any = None  # [T, N] bool, whether an asset can be traded at a day's close
    signal: Any = None  # [T, N] mean return of the next day, for the oracle alone, or None
    borrow_fee: Any = 0.0  # b, of short positions, per year; one for all or [N]
    gross_limit: float = 1.0  # G, largest sum of absolute weights
    risk_aversion: float = 1.0  # λ of the mean-variance reward
    reward_scale: float = 100.0
    ruin_level: float = 0.1  # share of initial wealth below which an episode ends


@struct.dataclass
class EnvState(base.EnvState):
    """Where the investor stands at the close of a day."""

    day: Array  # row of today's prices, int32
    weights: Array  # [K] shares of wealth, cash first, after today's price move
    performance: measures.Performance  # running statistics since the start

    @property
    def wealth(self) -> Array:
        """Wealth in units of initial wealth."""
        return jnp.exp(self.performance.log_wealth)


@dataclasses.dataclass(frozen=True)
class StockTrading(SymmetricEnvironment):
    """One investor holds N stocks long or short, and cash, from close to close.

    With drifted weights w, target w⁺, simple returns r, cost c and borrow fees b:

        r_p = Σ_i w⁺_i r_i - c Σ_i |w⁺_i - w_i| - Σ_i b_i max(-w⁺_i, 0)/252
        W' = W (1 + r_p),   w'_i = w⁺_i (1 + r_i) / (1 + r_p)

    Cash is 1 - Σ w⁺_i, pays costs and fees, and earns `cash_return`. An asset that cannot be traded
    has weight and return 0: what was held of it is sold at its last price. Costs are taken from
    cash, which they can leave a little below 0.

    Action: [N], clipped to [-1, 1]. In mode "long_short" w⁺ = G a / max(1, |a|₁); in "long_only"
    w⁺ = G softmax([a, 0]) without its last entry, which is cash.

    Reward, times `reward_scale`: "log" is log(1 + r_p), "mean_variance" r_p - λ r_p²/2. A loss of
    more than 99 % counts as 99 %.

    Observation, flat: W days of log returns, oldest first, and sums of log returns over 1, 2, 4 and
    8 days, V of each, both over today's volatility (see `windows`); today's weights of the assets;
    the market's volatility, 1 - Σ|w_i|, and the share of the episode that is left. Nothing later
    than today enters.

    Symmetry: shifts of the assets around a circle, and in mode "long_short" a change of all signs.
    Relabelling, by shifts or in any order, is exact where assets differ in nothing but their past;
    networks over sets read `split_observation` and keep all of it. The change of signs is not:
    simple returns, and with them wealth and drifted weights, move by exp(x) - 1 and not by x, and
    drift and fees have a direction.

    Episodes start in cash, end in ruin (terminated) where wealth falls below `ruin_level`, and are
    truncated as those of PortfolioTrading-v0, whose random starts and splits they share.

    Attributes:
      num_assets: N.
      window: W, days of returns.
      scale_window: V, sums of each length.
      mode: "long_short" or "long_only".
      reward: "log" or "mean_variance".

    Source: our own stand-in for the trading task of Park et al. (2025), arXiv 2411.04225, whose
    details are not public.
    """

    num_assets: int = 8
    window: int = 8
    scale_window: int = 4
    mode: Mode = "long_short"
    reward: Reward = "log"

    def __post_init__(self):
        for name in ("num_assets", "window", "scale_window"):
            base.require_count(name, getattr(self, name))
        for name, allowed in (("mode", get_args(Mode)), ("reward", get_args(Reward))):
            if getattr(self, name) not in allowed:
                raise ValueError(unknown_name(name, getattr(self, name), allowed))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "StockTrading-v0"

    @property
    def num_weights(self) -> int:
        """K, the assets and cash."""
        return self.num_assets + 1

    @property
    def num_vectors(self) -> int:
        """Vectors [N] in the observation: days, sums of days, and weights."""
        return self.window + NUM_SCALES * self.scale_window + 1

    @property
    def lookback(self) -> int:
        """Days of history before an episode can start."""
        return history_length(self.window, self.scale_window)

    @property
    def default_params(self) -> EnvParams:
        """All days of ten synthetic years; `make_stock_trading` brings other prices."""
        panel = synthetic_prices(self.num_assets)
        env_params = whole_range_params(panel, lookback=self.lookback, kind=EnvParams)
        return env_params.replace(mask=jnp.ones(panel.values.shape, bool))

    def symmetry(self) -> SymmetrySpec:
        """Shifts of the assets, and changes of sign where they can be sold short."""
        rep, stop = self._representation, self.num_vectors * self.num_assets
        market = Block(stop, stop + 3, 3, trivial(rep.group))
        return SymmetrySpec(rep.group, (Block(0, stop, self.num_vectors, rep), market), rep)

    @property
    def _representation(self) -> Representation:
        return relabelling(self.num_assets, is_signed=self.mode == "long_short")

    def action_space(self, params: EnvParams) -> base.Box:
        """Wishes, [N] in [-1, 1]."""
        return base.Box(-1.0, 1.0, (self.num_assets,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Windows, weights and the market, unbounded."""
        size = self.num_vectors * self.num_assets + 3
        return base.Box(-jnp.inf, jnp.inf, (size,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """Observation and state of an investor in cash on the start day."""
        state = EnvState(
            time=jnp.int32(0),
            day=start_day(key, params, self.lookback),
            weights=jnp.zeros(self.num_weights, float).at[0].set(1.0),
            performance=measures.start_performance(),
        )
        return self.observe(key, state, None, params), state

    def noise(self, key: Key, params: EnvParams) -> tuple[()]:
        """Nothing is random after the start: prices are data."""
        return ()

    def transition(
        self, state: EnvState, action: Array, noise: tuple[()], params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """Trade at today's close and hold to the next; info has `log_return` and `turnover`."""
        chex.assert_shape(action, (self.num_assets,))
        can_trade = jax.lax.dynamic_index_in_dim(params.mask, state.day, keepdims=False)
        limit = jnp.asarray(params.gross_limit, float)
        action = jnp.asarray(action, float)
        if self.mode == "long_short":
            risky = portfolio.long_short_weights(jnp.where(can_trade, action, 0.0), limit)
        else:
            wish = jnp.where(can_trade, jnp.clip(action, -1.0, 1.0), -jnp.inf)
            risky = limit * jax.nn.softmax(jnp.pad(wish, (0, 1)))[:-1]
        return self.hold(state, jnp.pad(risky, (1, 0)), params)

    def hold(
        self, state: EnvState, weights: Array, params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """State, reward and info after one day at weights [K].

        The first entry is ignored: cash is what the others leave.
        """
        next_day = jnp.minimum(state.day + 1, jnp.asarray(params.last_day, jnp.int32))
        can_trade, will_trade = (
            jax.lax.dynamic_index_in_dim(params.mask, row, keepdims=False)
            for row in (state.day, next_day)
        )
        risky = jnp.where(can_trade, weights[1:], 0.0)
        target = jnp.concatenate([1.0 - jnp.sum(risky, keepdims=True), risky])
        traded = portfolio.turnover(state.weights, target)
        rate = jnp.asarray(params.transaction_cost, float)
        cost = portfolio.proportional_cost(state.weights, target, rate)
        fees = jnp.broadcast_to(jnp.asarray(params.borrow_fee, float), risky.shape)
        cost += portfolio.borrow_cost(risky, fees, measures.TRADING_DAYS)
        ratios = price_ratios(state.day, next_day, params)
        ratios = jnp.where(can_trade & will_trade, ratios, 1.0)
        cash = 1.0 + jnp.asarray(params.cash_return, float)
        gross = jnp.concatenate([cash[None], ratios])
        growth, drifted = _drift_or_ruin(target.at[0].add(-cost), gross)
        log_return, time = jnp.log(growth), state.time + 1
        performance = measures.update_performance(
            state.performance, time.astype(log_return.dtype), log_return, traded
        )
        state = EnvState(time, next_day, drifted, performance)
        reward = log_return
        if self.reward == "mean_variance":
            gain = growth - 1.0
            reward = gain - 0.5 * jnp.asarray(params.risk_aversion, float) * gain**2
        reward = jnp.asarray(params.reward_scale, float) * reward
        return state, reward, {"log_return": log_return, "turnover": traded}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Windows of returns, weights and the market, flat."""
        shape = (self.lookback + 1, self.num_assets)
        start = (state.day - self.lookback, jnp.int32(0))
        prices, mask = (
            jax.lax.dynamic_slice(table, start, shape) for table in (params.prices, params.mask)
        )
        windows, volatility = normalised_windows(
            jnp.asarray(prices, float), mask, self.window, self.scale_window
        )
        risky = state.weights[1:]
        limit = jnp.asarray(params.max_steps_in_episode, float)
        left = jnp.maximum(1.0 - state.time.astype(limit.dtype) / limit, 0.0)
        spare = 1.0 - jnp.sum(jnp.abs(risky))
        market = jnp.stack([RETURN_SCALE * jnp.mean(volatility), spare, left])
        return jnp.concatenate([jnp.reshape(windows, (-1,)), risky, market])

    def split_observation(self, obs: Array) -> tuple[Array, Array]:
        """(the market [..., 3], each asset's windows and weight [..., N, W + 4 V + 1]) of `obs`."""
        rows, market = jnp.split(obs, [self.num_vectors * self.num_assets], axis=-1)
        rows = jnp.reshape(rows, (*rows.shape[:-1], self.num_vectors, self.num_assets))
        return market, jnp.swapaxes(rows, -1, -2)

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the investor is ruined."""
        return state.wealth < jnp.asarray(params.ruin_level, float)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the time limit or the last day of the range has come."""
        return is_over(state.time, state.day, params)

    def act_on_state(self, element: Array | int, state: EnvState) -> EnvState:
        """Weights relabelled and flipped; cash is what they leave."""
        risky = act(self._representation, element, state.weights[1:])
        cash = 1.0 - jnp.sum(risky, keepdims=True)
        return state.replace(weights=jnp.concatenate([cash, risky]))

    def act_on_params(self, element: Array | int, params: EnvParams) -> EnvParams:
        """The history of prices, relabelled, and inverted where signs change."""
        return carried_market(self._representation, element, params)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Performance of the episode so far, see `econ.performance.summarise_performance`."""
        return measures.summarise_performance(state.performance, state.time, params.cash_return)

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """Equal weight, buy and hold, minimum variance, and where there is a signal the oracle."""
        table = run_baselines(self, params)
        return table if params.signal is None else {**table, "oracle": run_oracle(self, params)}


def _drift_or_ruin(weights: Array, gross: Array) -> tuple[Array, Array]:
    """Growth of a day, at least LEAST_GROWTH, and the weights at its end, all cash where it is."""
    is_ruin = jnp.sum(weights * gross) < LEAST_GROWTH
    rest = jnp.zeros_like(weights).at[0].set(LEAST_GROWTH / gross[0])
    return portfolio.drift(jnp.where(is_ruin, rest, weights), gross)
