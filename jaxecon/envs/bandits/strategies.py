"""A trading bandit: which of five simple strategies to hold today?

On prices, arms are strategies run on real closes; the synthetic market has four hidden factors that
strategies load on, and two noisy proxies.
"""

import dataclasses
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.data import Prices, load_prices
from jaxecon.envs import base
from jaxecon.envs.bandits.contract import REGRETS, Bandit, regret_info
from jaxecon.envs.bandits.partially_observed import (
    PartiallyObservedBandit,
    make_partially_observed_bandit,
)
from jaxecon.types import Array, Key

STRATEGIES = ("trend", "reversal", "carry", "volatility", "cash")
SLOW, FAST = 120, 5  # days of history that strategies look back on
SCALE = 100.0  # payoffs are in percent of the stake per day

# Synthetic market: loadings of strategies on (trend, mean reversion, risk premium, volatility), one
# strategy to a factor with small side bets; cash loads on nothing.
LOADINGS = (
    (0.8, -0.4, 0.2, 0.0),
    (-0.4, 0.8, 0.0, 0.2),
    (0.2, 0.0, 0.7, -0.3),
    (0.0, 0.2, -0.3, 0.7),
    (0.0, 0.0, 0.0, 0.0),
)
PERSISTENCE = (0.97, 0.9, 0.95, 0.93)
PROXIES = ((0.7, -0.3, 0.5, 0.0), (0.0, 0.4, -0.3, 0.8))


@struct.dataclass
class EnvParams(base.EnvParams):
    """What each strategy would have paid, and what could be seen before."""

    payoff: Any = None  # [T, K] of the day, percent of the stake
    proxies: Any = None  # [T, p] known at the close before, standardised
    first_day: int = 0  # row of the first round
    max_steps_in_episode: int = 4000


@struct.dataclass
class EnvState(base.EnvState):
    """Payoffs so far, for the rules that regrets compare with."""

    earned: Array  # [K] by each strategy so far
    regret_sum: Array  # [3]


@dataclasses.dataclass(frozen=True)
class StrategyBandit(Bandit):
    """K strategies on recorded prices; each day one of them gets the stake.

    Action: the strategy. Observation: the proxies, [p]. Reward: what the strategy pays that day, in
    percent of the stake, without costs. Days run from `first_day` and start again at the end.
    Regrets: "regret_clairvoyant" against the day's best strategy, "regret_feasible" against the
    best fixed strategy of all days in hindsight, "regret_observable" against the one that has
    earned most up to the day before. The last two can be negative.

    Attributes:
      num_arms: K.
      num_proxies: p.
    """

    num_arms: int = len(STRATEGIES)
    num_proxies: int = 2

    def __post_init__(self):
        base.require_count("num_arms", self.num_arms)
        base.require_count("num_proxies", self.num_proxies)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "StrategyBandit-v0"

    @property
    def latent_dim(self) -> int:
        """Four, a guess: nobody knows the market's."""
        return 4

    @property
    def default_params(self) -> EnvParams:
        """The S&P 500 series, or the synthetic one where they are not installed."""
        return _params(load_prices())

    def observation_space(self, params: EnvParams) -> base.Box:
        """Proxies, [p] unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (self.num_proxies,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """The first day; nothing is random."""
        state = EnvState(jnp.int32(0), jnp.zeros(self.num_arms, float), jnp.zeros(3, float))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """One day of the strategy; info has the regrets."""
        chex.assert_rank(action, 0)
        history = jnp.asarray(params.payoff, float)
        payoff = history[self._row(state, params)]
        fixed = jnp.argmax(jnp.sum(history, axis=0))
        leader = jnp.argmax(state.earned)
        best = jnp.stack([jnp.max(payoff), payoff[fixed], payoff[leader]])
        regret = best - payoff[action]
        state = EnvState(state.time + 1, state.earned + payoff, state.regret_sum + regret)
        obs = self.observe(key, state, action, params)
        return obs, state, payoff[action], jnp.bool_(False), regret_info(regret)

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """What the close before showed, [p]."""
        return jnp.asarray(params.proxies, float)[self._row(state, params)]

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """The three regrets, summed over the rounds."""
        return dict(zip(REGRETS, state.regret_sum, strict=True))

    def _row(self, state: EnvState, params: EnvParams) -> Array:
        num_days = jnp.int32(jnp.shape(params.payoff)[0])
        return (jnp.asarray(params.first_day, jnp.int32) + state.time) % num_days


@dataclasses.dataclass(frozen=True)
class SyntheticStrategies(PartiallyObservedBandit):
    """The five strategies in a market of four hidden factors and two noisy proxies.

    Everything is as in `PartiallyObservedBandit`, with the loadings of this module.
    """

    @property
    def name(self) -> str:
        """The registry's id."""
        return "StrategyBandit-v0"

    @property
    def default_params(self) -> base.EnvParams:
        """This module's factors, loadings and proxies."""
        return _synthetic_params(4000)


def strategy_payoffs(prices: Prices) -> tuple[np.ndarray, np.ndarray]:
    """Daily payoffs of the five strategies and two proxies, from a panel of prices.

    Positions for a day use closes up to the day before; each strategy stakes one unit in all.

    trend       each asset long or short by the sign of its return over 120 days
    reversal    short the last 5 days' winners and long its losers, by rank
    carry       long all assets alike: what holding stocks pays, in the absence of dividends here
    volatility  long the calmer half of the assets and short the wilder one, over 120 days
    cash        nothing

    Args:
      prices: T days, more than 122.

    Returns:
      (payoffs [T - 121, 5] in percent, proxies [T - 121, 2]: the market's mean return and its
      volatility over 20 days, standardised over the panel).

    Raises:
      ValueError: too few days.
    """
    if prices.num_days < SLOW + 3:
        raise ValueError(f"prices must have at least {SLOW + 3} days, got {prices.num_days}.")
    returns = prices.values[1:] / prices.values[:-1] - 1.0  # [T - 1, A]
    log_prices = np.log(prices.values)
    days = np.arange(SLOW, len(returns))  # returns[t] goes from close t to close t + 1
    past = lambda window: log_prices[days] - log_prices[days - window]
    rolling = np.lib.stride_tricks.sliding_window_view(returns, SLOW, axis=0)
    volatility = rolling.std(axis=-1)[days - SLOW]
    positions = np.stack(
        [
            _staked(np.sign(past(SLOW))),
            _staked(-_ranks(past(FAST))),
            _staked(np.ones_like(volatility)),
            _staked(-_ranks(volatility)),
            np.zeros_like(volatility),
        ],
        axis=1,
    )  # [T', 5, A]
    payoffs = SCALE * np.einsum("tka,ta->tk", positions, returns[days])
    market = returns.mean(axis=1)
    recent = np.lib.stride_tricks.sliding_window_view(market, 20)[days - 20]
    proxies = np.stack([recent.mean(axis=1), recent.std(axis=1)], axis=1)
    return payoffs, (proxies - proxies.mean(axis=0)) / proxies.std(axis=0)


def make_strategy_bandit(
    source: str = "synthetic", *, num_rounds: int = 4000
) -> tuple[Bandit, base.EnvParams]:
    """The trading bandit.

    Args:
      source: "synthetic" for the four-factor market, or what `load_prices` takes: "sp500", a file.
      num_rounds: rounds of an episode; a real series starts again at its end.

    Raises:
      ValueError, ImportError: as `load_prices`; too few days.
    """
    if source == "synthetic":
        return SyntheticStrategies(), _synthetic_params(num_rounds)
    base.require_count("num_rounds", num_rounds)
    return StrategyBandit(), _params(load_prices(source)).replace(max_steps_in_episode=num_rounds)


def _synthetic_params(num_rounds: int) -> base.EnvParams:
    return make_partially_observed_bandit(
        transition=np.diag(PERSISTENCE),
        observation=np.array(PROXIES),
        loadings=np.array(LOADINGS),
        num_rounds=num_rounds,
    )[1]


def _params(prices: Prices) -> EnvParams:
    payoffs, proxies = strategy_payoffs(prices)
    return EnvParams(payoff=jnp.asarray(payoffs, float), proxies=jnp.asarray(proxies, float))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of each row, centred: from -1 to 1."""
    ranks = values.argsort(axis=1).argsort(axis=1).astype(float)
    return ranks - ranks.mean(axis=1, keepdims=True)


def _staked(weights: np.ndarray) -> np.ndarray:
    """Weights whose absolute values sum to one in each row."""
    total = np.abs(weights).sum(axis=1, keepdims=True)
    return weights / np.where(total > 0.0, total, 1.0)
