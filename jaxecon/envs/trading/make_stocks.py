"""StockTrading-v0 from prices: the S&P 500 series, a user's bars, or a synthetic market."""

import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
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
from jaxecon.data.prices import DATASETS
from jaxecon.data.synthetic_market import PREDICTABILITY
from jaxecon.envs.trading.economy import (
    MARKET_NUMBERS,
    check_numbers,
    choose_split,
    whole_range_params,
)
from jaxecon.envs.trading.portfolio import Split
from jaxecon.envs.trading.stocks import EnvParams, Mode, Reward, StockTrading
from jaxecon.suggest import unknown_name

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
    columns: Mapping[str, str] | None = None,
    max_fill: int | None = None,
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
      columns, max_fill: how to read `ohlcv`, see `load_ohlcv`: the file's own column names, such as
        {"date": "Datum"}, and days that a close is carried over a gap; its defaults if None.
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
      ValueError: a file, date, split or number does not fit, or an asset cannot be traded on any
        training day; the message says what does. One that is delisted later is no error: to leave
        it out would be to know the future.
      TypeError: a keyword is not one of the environment's.
    """
    _check_keywords(numbers)
    check_numbers(numbers, STOCK_NUMBERS, "StockTrading-v0")
    if ohlcv is not None:
        prices = _read_bars(prices, ohlcv, assets, columns, max_fill)
    elif columns is not None or max_fill is not None:
        name = "max_fill" if columns is None else "columns"
        raise ValueError(f"{name} says how to read ohlcv, got none; give ohlcv or leave it out.")
    panel, fields = _open_market(prices, assets)
    env = StockTrading(panel.num_assets, window, scale_window, mode, reward)
    env_params = whole_range_params(panel, lookback=env.lookback, kind=EnvParams)
    env_params = choose_split(
        env_params, panel, train_end, validation_end, split, lookback=env.lookback
    )
    _check_tradable(fields["mask"], panel, env.lookback, env_params.train_last_day)
    if np.ndim(numbers.get("borrow_fee", 0.0)):
        numbers["borrow_fee"] = _fee_of_each(numbers["borrow_fee"], panel.num_assets)
    return env, env_params.replace(**{**fields, **numbers})


def _check_keywords(numbers: dict[str, Any]) -> None:
    """TypeError at the first name that is neither an argument nor a number of EnvParams."""
    parameters = inspect.signature(make_stock_trading).parameters.values()
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for name in numbers:
        if name not in STOCK_NUMBERS:
            raise TypeError(
                unknown_name("keyword of StockTrading-v0", name, (*named, *STOCK_NUMBERS))
            )


def _read_bars(
    prices: Any,
    ohlcv: Any,
    assets: Sequence[str] | None,
    columns: Mapping[str, str] | None,
    max_fill: int | None,
) -> MarketData:
    """The bars to trade in place of prices."""
    if prices is not None:
        raise ValueError("Give prices or ohlcv, not both.")
    fill = {} if max_fill is None else {"max_fill": max_fill}
    return load_ohlcv(ohlcv, tickers=assets, columns=columns, **fill)


def _open_market(prices: Any, assets: Sequence[str] | None) -> tuple[Prices, dict[str, Any]]:
    """Closes, and the fields of EnvParams besides them that come with the data."""
    if isinstance(prices, str):
        _check_market(prices)
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


def _check_market(name: str) -> None:
    """ValueError where a bare word names no market, dataset or file."""
    known, path = (*PREDICTABILITY, *DATASETS), pathlib.Path(name)
    is_word = path.name == name and not path.suffix
    if is_word and name not in known and not path.exists():
        raise ValueError(unknown_name("market, price dataset or file", name, known))


def _check_tradable(mask: Any, panel: Prices, lookback: int, last: int) -> None:
    """ValueError at the first asset that no training episode can trade."""
    is_shut = ~np.asarray(mask)[lookback:last].any(axis=0)
    for column in np.flatnonzero(is_shut).tolist():
        raise ValueError(
            f"{panel.assets[column]!r} cannot be traded on any training day after the lookback, "
            f"{panel.dates[lookback]} to {panel.dates[last - 1]} in {panel.source}. Leave it out "
            "of assets, or train on other days."
        )


def _fee_of_each(fee: Any, num_assets: int) -> Any:
    """Fees [N] as float32, or an error about their number."""
    fee = jnp.asarray(fee, jnp.float32)
    if fee.shape != (num_assets,):
        raise ValueError(
            f"borrow_fee must be one number or one for each of the {num_assets} assets, got shape "
            f"{fee.shape}."
        )
    return fee
