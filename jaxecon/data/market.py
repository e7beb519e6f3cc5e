"""A market's daily bars, with days on which an asset cannot be traded."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxecon.data.panel import Prices, check_assets, check_dates

FIELDS = ("open", "high", "low", "close", "volume")
CLOSE = FIELDS.index("close")
ROUNDING = 1e-4  # relative; what rounded cells and float32 may break of low <= open, close <= high


@dataclasses.dataclass(frozen=True, eq=False)
class MarketData:
    """Daily bars of several assets on the same days.

    Attributes:
      prices: [T, N, 5] float32 open, high, low, close [money/share] and volume [share]. All are
        finite and the four prices positive, also on days without trade.
      mask: [T, N] bool, whether the asset can be traded at that day's close. Where it cannot, its
        prices are the last close known, or the first one, before that. In every bar open and close
        lie between low and high, up to a relative 1e-4 for rounding.
      dates: [T] datetime64[D] (64-bit whole days), strictly increasing.
      tickers: N different names.
      source: where the bars come from, in words.

    Raises:
      ValueError: on construction, where a shape, a number or a date breaks what is said above.
    """

    prices: np.ndarray
    mask: np.ndarray
    dates: np.ndarray
    tickers: tuple[str, ...]
    source: str

    def __post_init__(self):
        object.__setattr__(self, "prices", np.array(self.prices, np.float32))
        object.__setattr__(self, "mask", np.array(self.mask, bool))
        object.__setattr__(self, "dates", np.array(self.dates, "datetime64[D]"))
        object.__setattr__(self, "tickers", tuple(self.tickers))
        shape = (len(self.dates), len(self.tickers), len(FIELDS))
        if self.prices.shape != shape or self.mask.shape != shape[:2]:
            raise ValueError(
                f"prices and mask must be {shape} and {shape[:2]}, by dates, tickers and fields, "
                f"got {self.prices.shape} and {self.mask.shape}."
            )
        check_dates(self.dates)
        _check_bars(self)
        self.closes()  # its checks are ours
        for array in (self.prices, self.mask, self.dates):
            array.setflags(write=False)

    @property
    def num_days(self) -> int:
        """T."""
        return self.prices.shape[0]

    @property
    def num_assets(self) -> int:
        """N."""
        return self.prices.shape[1]

    def closes(self) -> Prices:
        """The close prices alone, with those filled in for days without trade."""
        return Prices(self.prices[:, :, CLOSE], self.dates, self.tickers, self.source)

    def select(self, tickers: Sequence[str] | None) -> "MarketData":
        """The same days with only the named assets, in the order given; all of them if None.

        Raises:
          ValueError: a name is repeated or unknown; the message names the nearest ones.
        """
        if tickers is None:
            return self
        columns = [self.tickers.index(name) for name in check_assets(tickers, self.tickers)]
        names = tuple(self.tickers[column] for column in columns)
        return MarketData(
            self.prices[:, columns], self.mask[:, columns], self.dates, names, self.source
        )


def fill_gaps(
    bars: np.ndarray,
    dates: np.ndarray,
    tickers: Sequence[str],
    source: str,
    *,
    max_fill: int = 5,
) -> MarketData:
    """Market data from bars with gaps, by carrying closes forward.

    A day without a bar takes the last close as all four prices and a volume of 0. The asset counts
    as tradable there for at most `max_fill` days in a row, and not before its first bar.

    Args:
      bars: [T, N, 5] in the order of `FIELDS`, nan where missing. A bar with any price missing
        counts as missing; a missing volume beside four prices is 0.
      dates: [T] days, strictly increasing.
      tickers: N names.
      source: for messages.
      max_fill: days, 0 or more.

    Raises:
      ValueError: an asset has no bar at all, or `max_fill` is negative.
    """
    if isinstance(max_fill, bool) or not isinstance(max_fill, int) or max_fill < 0:
        raise ValueError(f"max_fill must be a whole number, 0 or more, got {max_fill!r}.")
    has_bar = np.isfinite(bars[:, :, : CLOSE + 1]).all(axis=2)  # [T, N]
    for column in np.flatnonzero(~has_bar.any(axis=0)).tolist():
        raise ValueError(
            f"{tickers[column]!r} has no day with open, high, low and close in {source}; leave it "
            f"out of tickers."
        )
    rows = np.arange(len(bars))[:, None]
    last = np.maximum.accumulate(np.where(has_bar, rows, -1), axis=0)
    known = np.where(last >= 0, last, has_bar.argmax(axis=0)[None, :])
    close = np.take_along_axis(bars[:, :, CLOSE], known, axis=0)
    stale = np.stack([close] * (CLOSE + 1) + [np.zeros_like(close)], axis=2)
    prices = np.where(has_bar[:, :, None], np.nan_to_num(bars), stale)
    mask = (last >= 0) & (rows - last <= max_fill)
    return MarketData(prices, mask, dates, tuple(tickers), source)


def _check_bars(data: MarketData) -> None:
    """Raise ValueError at the first bar whose numbers do not fit each other."""
    start, high, low, close, volume = np.moveaxis(data.prices, 2, 0)
    wrong = {
        "a high below its low": high < low,
        "a price or volume that is not finite": ~np.isfinite(data.prices).all(axis=2),
        "a price that is not positive": (data.prices[:, :, : CLOSE + 1] <= 0.0).any(axis=2),
        "a negative volume": volume < 0.0,
        "a low above its open or close": low > np.minimum(start, close) * (1.0 + ROUNDING),
        "a high below its open or close": high * (1.0 + ROUNDING) < np.maximum(start, close),
    }
    for problem, where in wrong.items():
        if where.any():
            row, column = np.argwhere(where)[0].tolist()
            values = dict(zip(FIELDS, data.prices[row, column].tolist(), strict=True))
            raise ValueError(
                f"The bar of {data.tickers[column]!r} on {data.dates[row]} in {data.source} has "
                f"{problem}: {values}. Mend the cell or leave the row out; a gap is filled."
            )
