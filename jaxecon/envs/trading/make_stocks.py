"""StockTrading-v0 from prices: the S&P 500 series, a user's bars, or a synthetic market."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxecon.data import (
    MarketData,
    Prices,
    SyntheticMarket,
    load_ohlcv,
    load_prices,
    synthetic_market,
)
from jaxecon.data.synthetic_market import PREDICTABILITY
from jaxecon.envs.trading.economy import (
    MARKET_NUMBERS,
    check_numbers,
    choose_split,
    whole_range_params,
)
from jaxecon.envs.trading.portfolio import Split
from jaxecon.envs.trading.stocks import EnvParams, Mode, Reward, StockTrading

STOCK_NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **MARKET_NUMBERS,
    "borrow_fee": (lambda x: bool(np.all(np.asarray(x) >= 0.0)), "0 or more"),
    "gross_limit": (lambda x: x > 0.0, "above 0"),
    "risk_aversion": (lambda x: x >= 0.0, "0 or more"),
    "reward_scale": (lambda x: x > 0.0, "above 0"),
    "ruin_level": (lambda x: 0.0 <= x < 1.0, "in [0, 1)"),
}


def make_stock_trading(
    prices: Any = None,
    *,
    ohlcv: Any = None,
    window: int = 8,
    scale_window: int = 4,
    mode: Mode = "long_short",
    reward: Reward = "log",
    assets: Sequence[str] | None = None,
    train_end: Any = None,
    validation_end: Any = None,
    split: Split | None = None,
    **numbers: Any,
) -> tuple[StockTrading, EnvParams]:
    """The environment and its parameters, from prices and dates.

    Args:
      prices: "easy" or "hard", a `synthetic_market` of 8 assets; a `SyntheticMarket`, `MarketData`
        or `Prices`; or anything `load_prices` takes. None is the S&P 500 series where skfolio is
        installed and synthetic prices elsewhere.
      ohlcv: instead of `prices`, what `load_ohlcv` takes: a file of daily bars that may have gaps.
      window: W, days of returns in the observation.
      scale_window: V, sums of each length in it.
      mode: "long_short" or "long_only".
      reward: "log" or "mean_variance".
      assets: names to trade; all if None.
      train_end, validation_end: last days of two splits, "YYYY-MM-DD"; both or neither. Without
        them, all days are one range with random starts.
      split: "train" (if None), "validation" or "test", see `split_params`; needs the two dates.
      **numbers: values of EnvParams: `transaction_cost`, `borrow_fee` (one or [N]), `cash_return`,
        `gross_limit`, `risk_aversion`, `reward_scale`, `ruin_level`, `random_start`,
        `max_steps_in_episode`. They also win over what data and split set.

    Returns:
      (env, env_params).

    Raises:
      ValueError: a file, date, split or number does not fit; the message says what does.
      TypeError: a keyword is not one of the environment's.
    """
    check_numbers(numbers, STOCK_NUMBERS, "StockTrading-v0")
    panel, fields = _open_market(prices, ohlcv, assets)
    env = StockTrading(panel.num_assets, window, scale_window, mode, reward)
    env_params = whole_range_params(panel, lookback=env.lookback, kind=EnvParams)
    env_params = choose_split(
        env_params, panel, train_end, validation_end, split, lookback=env.lookback
    )
    if np.ndim(numbers.get("borrow_fee", 0.0)):
        numbers["borrow_fee"] = _fee_of_each(numbers["borrow_fee"], panel.num_assets)
    return env, env_params.replace(**{**fields, **numbers})


def _open_market(
    prices: Any, ohlcv: Any, assets: Sequence[str] | None
) -> tuple[Prices, dict[str, Any]]:
    """Closes, and the fields of EnvParams besides them that come with the data."""
    if ohlcv is not None:
        if prices is not None:
            raise ValueError("Give prices or ohlcv, not both.")
        prices = load_ohlcv(ohlcv, tickers=assets)
    if isinstance(prices, str) and prices in PREDICTABILITY:
        prices = synthetic_market(prices)
    if isinstance(prices, SyntheticMarket):
        data = prices.data.select(assets)
        columns = np.array([prices.data.tickers.index(name) for name in data.tickers])
        extra = {
            "signal": jnp.asarray(prices.signal[:, columns]),
            "borrow_fee": jnp.asarray(prices.borrow_fee[columns]),
        }
        return data.closes(), {"mask": jnp.asarray(data.mask), **extra}
    if isinstance(prices, MarketData):
        data = prices.select(assets)
        return data.closes(), {"mask": jnp.asarray(data.mask)}
    panel = (prices if isinstance(prices, Prices) else load_prices(prices)).select(assets)
    return panel, {"mask": jnp.ones(panel.values.shape, bool)}


def _fee_of_each(fee: Any, num_assets: int) -> Any:
    """Fees [N] as float32, or an error about their number."""
    fee = jnp.asarray(fee, jnp.float32)
    if fee.shape != (num_assets,):
        raise ValueError(
            f"borrow_fee must be one number or one for each of the {num_assets} assets, got shape "
            f"{fee.shape}."
        )
    return fee
