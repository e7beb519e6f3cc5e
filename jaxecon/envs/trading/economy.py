"""The numbers of a trading economy: prices, the days to trade, costs, and how to split them."""

from typing import Any

import jax.numpy as jnp
from flax import struct

from jaxecon.data import Prices, split_by_date
from jaxecon.envs import base
from jaxecon.suggest import unknown_name


@struct.dataclass
class EnvParams(base.EnvParams):
    """Prices, the days to trade, and costs; every field may be a traced array.

    Rows count days of `prices`, and both ends of a range belong to it.
    """

    prices: Any = None  # [T, A] close prices [money/share]
    first_day: int = 0  # row where the range starts
    last_day: int = 1  # row where it ends; the last price an episode uses
    train_last_day: int = 1  # row where training data end; the environment itself ignores it
    transaction_cost: float = 1e-3  # paid per unit of value traded
    cash_return: float = 0.0  # simple, per day
    random_start: float = 1.0  # 1: uniform start day; 0: the first possible day
    sharpe_decay: float = 0.01  # eta of the differential Sharpe ratio, per day
    max_steps_in_episode: int = 252


def whole_range_params(prices: Prices, *, lookback: int = 20) -> EnvParams:
    """Parameters that trade every day of a panel, with random starts.

    Args:
      prices: T days; they are stored as float32 on the default device.
      lookback: that of the environment, to check that there are enough days for it.

    Raises:
      ValueError: the panel has too few days for the lookback and one trade.
    """
    last = prices.num_days - 1
    _check_range("The price series", lookback, 0, last)
    values = jnp.asarray(prices.values, jnp.float32)
    return EnvParams(prices=values, first_day=0, last_day=last, train_last_day=last)


def split_params(
    env_params: EnvParams,
    prices: Prices,
    train_end: Any,
    validation_end: Any,
    *,
    lookback: int = 20,
) -> dict[str, EnvParams]:
    """Parameters of the three splits of one panel; they share its price array.

    Args:
      env_params: parameters for the whole panel, such as those of `make_portfolio_trading`.
      prices: the panel that `env_params.prices` came from; its dates say where to cut.
      train_end: last day of training, "YYYY-MM-DD", see `data.split_by_date`.
      validation_end: last day of validation.
      lookback: that of the environment, to check that every split has enough days for it.

    Returns:
      {"train": ..., "validation": ..., "test": ...}. Training keeps the random start and the
      length of episodes given. The others are one episode each: all their days, from the first.

    Raises:
      ValueError: the panel is not the one in `env_params`, or a split is too short.
    """
    if tuple(env_params.prices.shape) != prices.values.shape:
        raise ValueError(
            f"prices must be the panel in env_params, of shape {tuple(env_params.prices.shape)}, "
            f"got {prices.values.shape}."
        )
    rows = split_by_date(prices, train_end, validation_end)
    for name, (first, stop) in rows.items():
        _check_range(f"The {name} split", lookback, first, stop - 1)
    env_params = env_params.replace(train_last_day=rows["train"][1] - 1)
    splits = {
        name: env_params.replace(first_day=first, last_day=stop - 1)
        for name, (first, stop) in rows.items()
    }
    return {
        name: split if name == "train" else _as_one_episode(split, lookback)
        for name, split in splits.items()
    }


def _as_one_episode(env_params: EnvParams, lookback: int) -> EnvParams:
    length = env_params.last_day - max(env_params.first_day, lookback)
    return env_params.replace(random_start=0.0, max_steps_in_episode=length)


def _check_range(what: str, lookback: int, first: int, last: int) -> None:
    if last <= max(first, lookback):
        raise ValueError(
            f"{what} has {last - first + 1} days, too few to trade once after lookback={lookback} "
            f"days of history; it needs {max(first, lookback) - first + 2} or more."
        )


# name -> (is it right?, what it must be)
_NUMBERS = {
    "transaction_cost": (lambda x: 0.0 <= x < 0.5, "in [0, 0.5)"),
    "cash_return": (lambda x: x > -1.0, "above -1"),
    "random_start": (lambda x: x in (0, 1), "0 or 1"),
    "sharpe_decay": (lambda x: 0.0 < x <= 1.0, "in (0, 1]"),
    "max_steps_in_episode": (lambda x: x >= 1 and x == int(x), "a whole number, 1 or more"),
}


def check_numbers(numbers: dict[str, Any]) -> None:
    """Nothing, or an error that names the first number that is unknown or out of range.

    Raises:
      TypeError: a name is not a number of EnvParams that a user sets.
      ValueError: a number is out of its range.
    """
    for name, value in numbers.items():
        if name not in _NUMBERS:
            raise TypeError(unknown_name("keyword of PortfolioTrading-v0", name, _NUMBERS))
        is_right, requirement = _NUMBERS[name]
        if not is_right(value):
            raise ValueError(f"{name} must be {requirement}, got {value}.")
