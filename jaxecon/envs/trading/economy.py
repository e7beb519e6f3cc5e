"""The numbers of a trading economy: prices, the days to trade, costs, and how to split them."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.data import Prices, split_by_date
from jaxecon.envs import base
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key


@struct.dataclass
class MarketParams(base.EnvParams):
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
    max_steps_in_episode: int = 252


@struct.dataclass
class EnvParams(MarketParams):
    """The numbers of PortfolioTrading-v0."""

    sharpe_decay: float = 0.01  # eta of the differential Sharpe ratio, per day


Params = TypeVar("Params", bound=MarketParams)


def whole_range_params(
    prices: Prices,
    *,
    lookback: int = 20,
    kind: Callable[..., Params] = EnvParams,
) -> Params:
    """Parameters that trade every day of a panel, with random starts.

    Args:
      prices: T days; they are stored as float32 on the default device.
      lookback: that of the environment, to check that there are enough days for it.
      kind: the class of the parameters; fields that are not about days keep their defaults.

    Raises:
      ValueError: the panel has too few days for the lookback and one trade.
    """
    last = prices.num_days - 1
    _check_range("The price series", lookback, 0, last)
    values = jnp.asarray(prices.values, jnp.float32)
    return kind(prices=values, first_day=0, last_day=last, train_last_day=last)


def split_params(
    env_params: Params,
    prices: Prices,
    train_end: Any,
    validation_end: Any,
    *,
    lookback: int = 20,
) -> dict[str, Params]:
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


def choose_split(
    env_params: Params,
    prices: Prices,
    train_end: Any,
    validation_end: Any,
    split: str | None,
    *,
    lookback: int,
) -> Params:
    """Parameters of one split, or of the whole panel where no dates are given.

    Args:
      env_params, prices, train_end, validation_end, lookback: those of `split_params`; the dates
        may both be None.
      split: "train" (if None), "validation" or "test"; needs the two dates.

    Raises:
      ValueError: one date is missing, or the split is unknown or has no dates.
    """
    if (train_end is None) != (validation_end is None):
        raise ValueError("Give both train_end and validation_end, or neither.")
    if train_end is None:
        if split is not None:
            raise ValueError(f"split={split!r} needs the dates train_end and validation_end.")
        return env_params
    splits = split_params(env_params, prices, train_end, validation_end, lookback=lookback)
    split = "train" if split is None else split
    if split not in splits:
        raise ValueError(unknown_name("split", split, splits))
    return splits[split]


def start_range(params: MarketParams, lookback: int) -> tuple[Array, Array]:
    """First and last row an episode may start at, int32, both included."""
    first = jnp.maximum(jnp.asarray(params.first_day, jnp.int32), lookback)
    room = jnp.asarray(params.last_day, jnp.int32) - jnp.asarray(
        params.max_steps_in_episode, jnp.int32
    )
    return first, jnp.maximum(first, room)


def start_day(key: Key, params: MarketParams, lookback: int) -> Array:
    """Row an episode starts at, int32: drawn evenly, or the first possible one."""
    first, last = start_range(params, lookback)
    drawn = jax.random.randint(key, (), first, last + 1, jnp.int32)
    return jnp.where(jnp.asarray(params.random_start, float) > 0.5, drawn, first)


def is_over(time: Array, day: Array, params: MarketParams) -> Array:
    """Whether the time limit or the last day of the range has come, bool."""
    limit = jnp.asarray(params.max_steps_in_episode, jnp.int32)
    return (time >= limit) | (day >= jnp.asarray(params.last_day, jnp.int32))


def price_ratios(day: Array, next_day: Array, params: MarketParams) -> Array:
    """Price of each asset on a later day over that on an earlier one, [A]."""
    today, tomorrow = (
        jnp.asarray(jax.lax.dynamic_index_in_dim(params.prices, row, keepdims=False), float)
        for row in (day, next_day)
    )
    return tomorrow / today


def _as_one_episode(env_params: Params, lookback: int) -> Params:
    length = env_params.last_day - max(env_params.first_day, lookback)
    return env_params.replace(random_start=0.0, max_steps_in_episode=length)


def _check_range(what: str, lookback: int, first: int, last: int) -> None:
    if last <= max(first, lookback):
        raise ValueError(
            f"{what} has {last - first + 1} days, too few to trade once after lookback={lookback} "
            f"days of history; it needs {max(first, lookback) - first + 2} or more."
        )


# name -> (is it right?, what it must be)
MARKET_NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "transaction_cost": (lambda x: 0.0 <= x < 0.5, "in [0, 0.5)"),
    "cash_return": (lambda x: x > -1.0, "above -1"),
    "random_start": (lambda x: x in (0, 1), "0 or 1"),
    "max_steps_in_episode": (lambda x: x >= 1 and x == int(x), "a whole number, 1 or more"),
}
PORTFOLIO_NUMBERS = {**MARKET_NUMBERS, "sharpe_decay": (lambda x: 0.0 < x <= 1.0, "in (0, 1]")}


def check_numbers(
    numbers: dict[str, Any],
    rules: dict[str, tuple[Callable[[Any], bool], str]] = PORTFOLIO_NUMBERS,
    env_id: str = "PortfolioTrading-v0",
) -> None:
    """Nothing, or an error that names the first number that is unknown or out of range.

    Args:
      numbers: values by name.
      rules: what each must be; a name without a rule is unknown.
      env_id: for the error.

    Raises:
      TypeError: a name is not a number of EnvParams that a user sets.
      ValueError: a number is out of its range.
    """
    for name, value in numbers.items():
        if name not in rules:
            raise TypeError(unknown_name(f"keyword of {env_id}", name, rules))
        is_right, requirement = rules[name]
        if not is_right(value):
            raise ValueError(f"{name} must be {requirement}, got {value}.")
