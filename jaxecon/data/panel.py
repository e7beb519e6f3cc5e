"""A panel of close prices and how to cut it into training, validation and test days."""

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxecon.suggest import unknown_name


@dataclasses.dataclass(frozen=True, eq=False)
class Prices:
    """Daily close prices of several assets on the same days.

    Attributes:
      values: [T, A] float64 close prices, positive and finite [money/share].
      dates: [T] datetime64[D], strictly increasing.
      assets: A different names, the columns of `values`.
      source: where the prices come from, in words.

    Raises:
      ValueError: on construction, where a shape, a price or a date breaks what is said above.
    """

    values: np.ndarray
    dates: np.ndarray
    assets: tuple[str, ...]
    source: str

    def __post_init__(self):
        object.__setattr__(self, "values", np.array(self.values, np.float64))
        object.__setattr__(self, "dates", np.array(self.dates, "datetime64[D]"))
        object.__setattr__(self, "assets", tuple(self.assets))
        _check_shapes(self)
        check_dates(self.dates)
        _check_positive(self)
        self.values.setflags(write=False)
        self.dates.setflags(write=False)

    @property
    def num_days(self) -> int:
        """Number of rows T."""
        return self.values.shape[0]

    @property
    def num_assets(self) -> int:
        """Number of columns A."""
        return self.values.shape[1]

    def select(self, assets: Sequence[str] | None) -> "Prices":
        """The same days with only the named assets, in the order given; all of them if None.

        Raises:
          ValueError: a name is repeated or not in the panel; the message names the nearest ones.
        """
        if assets is None:
            return self
        columns = [self.assets.index(name) for name in check_assets(assets, self.assets)]
        names = tuple(self.assets[column] for column in columns)
        return Prices(self.values[:, columns], self.dates, names, self.source)


def check_assets(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """The wanted names as a list, after checking that each is available and named once.

    Raises:
      ValueError: none is wanted, a name is repeated, or a name is unknown.
    """
    wanted = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
    if not wanted:
        raise ValueError("assets must name at least 1 asset, got none.")
    for name in wanted:
        if name not in available:
            raise ValueError(unknown_name("asset", name, available))
        if wanted.count(name) > 1:
            raise ValueError(f"assets must name each asset once, got {name!r} more than once.")
    return wanted


def split_by_date(
    prices: Prices, train_end: Any, validation_end: Any
) -> dict[str, tuple[int, int]]:
    """Row ranges [first, stop) of the days before, between and after two dates.

        train:       dates <= train_end
        validation:  train_end < dates <= validation_end
        test:        validation_end < dates

    Args:
      prices: the panel to cut, T rows.
      train_end: last day of training, "YYYY-MM-DD" (or a date object); need not be a trading day.
      validation_end: last day of validation, later than `train_end`.

    Returns:
      {"train": (0, i), "validation": (i, j), "test": (j, T)} with 0 < i < j < T.

    Raises:
      ValueError: a date cannot be read, the two are not in order, or a split has no day.
    """
    ends = [
        parse_day("train_end", train_end),
        parse_day("validation_end", validation_end),
    ]
    if ends[0] >= ends[1]:
        raise ValueError(
            f"validation_end must be later than train_end, got train_end={ends[0]} and "
            f"validation_end={ends[1]}."
        )
    cuts = [0, *np.searchsorted(prices.dates, ends, side="right").tolist(), prices.num_days]
    splits = dict(zip(("train", "validation", "test"), itertools.pairwise(cuts), strict=True))
    for name, (first, stop) in splits.items():
        if first == stop:
            raise ValueError(
                f"The {name} split has no day: train_end={ends[0]} and validation_end={ends[1]}, "
                f"but prices run from {prices.dates[0]} to {prices.dates[-1]}."
            )
    return splits


def parse_day(name: str, day: Any) -> np.datetime64:
    """A day from "YYYY-MM-DD" or a date object; ValueError names the argument otherwise."""
    with contextlib.suppress(ValueError):
        if isinstance(day, str):
            day = datetime.date.fromisoformat(day)
    if not isinstance(day, (datetime.date, np.datetime64)) or np.isnat(np.datetime64(day)):
        raise ValueError(f"{name} must be a date such as '2015-12-31', got {day!r}.")
    return np.datetime64(day).astype("datetime64[D]")


def _check_shapes(prices: Prices) -> None:
    shape, num_dates, num_assets = prices.values.shape, len(prices.dates), len(prices.assets)
    if shape != (num_dates, num_assets):
        raise ValueError(
            f"values must have one row per date and one column per asset, "
            f"({num_dates}, {num_assets}), got {shape}."
        )
    if num_assets < 1:
        raise ValueError(f"Prices need at least 1 asset, got 0 in {prices.source}.")
    if num_dates < 2:
        raise ValueError(
            f"Prices need at least 2 days, or there is no return to earn, got {num_dates} in "
            f"{prices.source}."
        )
    if len(set(prices.assets)) < num_assets:
        repeated = next(name for name in prices.assets if prices.assets.count(name) > 1)
        raise ValueError(f"Asset names must differ, got {repeated!r} more than once.")


def check_dates(dates: np.ndarray) -> None:
    """Raise ValueError unless days follow each other strictly."""
    not_later = np.flatnonzero(~(np.diff(dates) > np.timedelta64(0, "D")))
    if not_later.size:
        row = int(not_later[0])
        raise ValueError(
            f"dates must be strictly increasing, got {dates[row]} followed by {dates[row + 1]}."
        )


def _check_positive(prices: Prices) -> None:
    bad = np.argwhere(~(np.isfinite(prices.values) & (prices.values > 0.0)))
    if bad.size:
        row, column = bad[0]
        raise ValueError(
            f"Price of {prices.assets[column]!r} on {prices.dates[row]} must be positive and "
            f"finite, got {prices.values[row, column]}. Fill the gap, drop the asset, or start "
            f"at a date when every asset trades."
        )
