"""From a table of prices, wide or long, to a checked panel: every complaint names its cell."""

import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from jaxecon.data.panel import Prices, check_assets

DATE_COLUMNS = ("date", "datetime", "timestamp")
ASSET_COLUMNS = ("asset", "ticker", "symbol", "tic")
PRICE_COLUMNS = ("adj close", "adj_close", "adjclose", "close", "price")  # best first
_ISO_DAY = r"\d{4}[-/]\d{2}[-/]\d{2}(?:[T ].*)?|\d{8}"
_USE_SP500 = "Check the path, or use 'sp500'."
_REMEDY = "Fill the gap, drop the asset, or start at a date when every asset trades."


def read_table(path: pathlib.Path, *, way_out: str = _USE_SP500) -> pd.DataFrame:
    """The table in a CSV, CSV.gz or Parquet file; a CSV is indexed by line number in the file.

    Raises:
      ValueError: the file is missing (the message ends in `way_out`), empty, of another type, or
        has a repeated column.
    """
    if not path.is_file():
        raise ValueError(f"No price file at '{path}'. {way_out}")
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return pd.read_parquet(path)
    if not name.endswith((".csv", ".csv.gz")):
        raise ValueError(f"A price file must end in .csv, .csv.gz or .parquet, got '{path.name}'.")
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, skip_blank_lines=False)
        frame = pd.read_csv(path, skip_blank_lines=False)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"'{path.name}' cannot be read as CSV: {error}") from error
    check_columns(header.iloc[0].dropna(), path.name)
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")
    return frame.dropna(how="all")


def prices_from_table(
    frame: pd.DataFrame, source: str, assets: Sequence[str] | None = None
) -> Prices:
    """Panel of the prices in a wide table or a long one, sorted by date.

    Column names match without regard to case. Dates are in a column named date, datetime or
    timestamp, or in the index; they are ISO days ("2020-01-31", "20200131", or with a time, which
    is dropped). A table with a column named asset, ticker, symbol or tic is *long*: one row per
    date and asset, the price in the first of adj close, adj_close, adjclose, close, price. Any
    other table is *wide*: every column besides the date is one asset.

    Args:
      frame: the table; where its index is named "line", complaints give the line of the file.
      source: description for `Prices.source` and for messages.
      assets: which assets to keep, in this order; all, in the table's order, if None. Prices of
        other assets are not checked.

    Raises:
      ValueError: no date column; a date that cannot be read or comes twice; a price that is
        missing, not a number, infinite, zero or negative; an unknown asset.
    """
    check_columns(frame.columns, source)
    dates, frame = take_dates(frame, source)
    asset_column = find_column(frame, ASSET_COLUMNS)
    if asset_column is None:
        return _from_wide(frame, dates, source, assets)
    return _from_long(frame, dates, asset_column, source, assets)


def _from_wide(
    frame: pd.DataFrame, dates: pd.Series, source: str, assets: Sequence[str] | None
) -> Prices:
    frame = frame.rename(columns=str)
    if assets is None:
        _reject_bars(frame, source)
    names = list(frame.columns) if assets is None else check_assets(assets, list(frame.columns))
    check_repeats(dates, pd.DataFrame({"date": dates}), source)
    values = np.empty((len(frame), len(names)))
    for column, name in enumerate(names):
        values[:, column] = positive_numbers(
            frame[name], pd.Series(name, frame.index), dates, source
        )
    order = np.argsort(dates.to_numpy(), kind="stable")
    return Prices(values[order], dates.to_numpy()[order], tuple(names), source)


def _from_long(
    frame: pd.DataFrame,
    dates: pd.Series,
    asset_column: str,
    source: str,
    assets: Sequence[str] | None,
) -> Prices:
    price_column = find_column(frame, PRICE_COLUMNS)
    if price_column is None:
        raise ValueError(
            f"{source} has a column {asset_column!r}, so it is read as one row per date and asset, "
            f"but no price column; expected one of {', '.join(PRICE_COLUMNS)}."
        )
    owner = asset_names(frame[asset_column], source)
    available = list(dict.fromkeys(owner))
    names = available if assets is None else check_assets(assets, available)
    keep = owner.isin(names)
    frame, dates, owner = frame[keep], dates[keep], owner[keep]
    keys = pd.DataFrame({"date": dates, "asset": owner})
    check_repeats(dates, keys, source)
    keys["price"] = positive_numbers(frame[price_column], owner, dates, source)
    wide = keys.pivot(index="date", columns="asset", values="price").sort_index()[names]
    return Prices(wide.to_numpy(), wide.index.to_numpy(), tuple(names), source)


def asset_names(cells: pd.Series, source: str) -> pd.Series:
    """Names as strings, or a complaint about the first that is missing."""
    if cells.isna().any():
        row = cells.index[cells.isna()][0]
        raise ValueError(f"The asset name is missing {place(cells, row, source)}.")
    return cells.astype(str)


def take_dates(
    frame: pd.DataFrame, source: str, *, way_out: str = ""
) -> tuple[pd.Series, pd.DataFrame]:
    """Days of the rows, datetime64, and the table without that column; without one, `way_out`."""
    if isinstance(frame.index, pd.MultiIndex):
        frame = frame.reset_index()
    index = frame.index
    if index.name != "line":
        frame = frame.reset_index(drop=True)  # labels may repeat; rows are counted from 0
    column = find_column(frame, (*DATE_COLUMNS, "unnamed: 0"))
    if column is not None:
        written, frame = frame[column], frame.drop(columns=column)
    elif isinstance(index, pd.DatetimeIndex) or str(index.name).lower() in DATE_COLUMNS:
        written = pd.Series(index)
    else:
        raise ValueError(
            f"{source} has no date column; expected one named {', '.join(DATE_COLUMNS)} or a date "
            f"index, got columns {[str(name) for name in frame.columns]}.{way_out}"
        )
    days = _parse_days(written)
    if days.isna().any():
        row = days.index[days.isna()][0]
        raise ValueError(
            f"The date {show(written[row])} {place(frame, row, source)} cannot be read; write "
            f"days as YYYY-MM-DD."
        )
    return days, frame


def _parse_days(written: pd.Series) -> pd.Series:
    """Calendar days as written (a time of day or zone is dropped); NaT where not an ISO day."""
    if pd.api.types.is_datetime64_any_dtype(written):
        return written.dt.tz_localize(None).dt.normalize()
    text = written.astype(str).str.strip()
    iso = text.where(text.str.fullmatch(_ISO_DAY))
    digits = iso.str.slice(0, 10).str.replace(r"[-/]", "", regex=True)
    return pd.to_datetime(digits, format="%Y%m%d", errors="coerce")


def positive_numbers(
    cells: pd.Series,
    owner: pd.Series,
    dates: pd.Series,
    source: str,
    *,
    what: str = "Price",
    has_gaps: bool = False,
    may_be_zero: bool = False,
) -> np.ndarray:
    """Positive finite numbers as float64, or a complaint about the first that is not.

    Args:
      cells: what is written.
      owner, dates: of each cell, with its index, for the complaint.
      source: the table's name.
      what: what the numbers are, the first words of a complaint.
      has_gaps: whether a missing number is nan, not an error.
      may_be_zero: whether 0 will do too, as for a volume.
    """
    is_number = not (pd.api.types.is_datetime64_any_dtype(cells) or cells.dtype == bool)
    numbers = pd.to_numeric(cells if is_number else cells.astype(str), errors="coerce")
    numbers = numbers.to_numpy(np.float64, na_value=np.nan)
    is_good = np.isfinite(numbers) & ((numbers >= 0.0) if may_be_zero else (numbers > 0.0))
    bad = ~(is_good | (has_gaps & cells.isna().to_numpy()))
    if bad.any():
        row = cells.index[bad][0]
        problem = "is missing" if pd.isna(cells[row]) else f"is {show(cells[row])}"
        wanted = (
            "finite and not negative." if may_be_zero else f"positive finite numbers. {_REMEDY}"
        )
        noun = "volumes" if may_be_zero else "prices"
        raise ValueError(
            f"{what} of {owner[row]!r} on {dates[row].date()} {problem} "
            f"{place(cells, row, source)}; {noun} must be {wanted}"
        )
    return numbers


def check_repeats(dates: pd.Series, keys: pd.DataFrame, source: str) -> None:
    """Raise ValueError where a date (and asset, if `keys` has them) comes again."""
    repeated = keys.duplicated()
    if repeated.any():
        row = keys.index[repeated][0]
        owner = f" for {keys['asset'][row]!r}" if "asset" in keys else ""
        raise ValueError(
            f"The date {dates[row].date()} comes twice{owner}, again "
            f"{place(keys, row, source)}; keep one row per day."
        )


def check_columns(names: Iterable, source: str) -> None:
    """Raise ValueError where columns have levels or repeat."""
    if isinstance(names, pd.MultiIndex):
        raise ValueError(
            f"{source} has columns of {names.nlevels} levels; give one level, such as "
            f"frame['Close']."
        )
    names = [str(name) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{source} has more than one column {name!r}; keep one of them.")


def _reject_bars(frame: pd.DataFrame, source: str) -> None:
    """One asset's open, high, low and close are not four assets."""
    bars = {"open", "high", "low", "close"}
    if bars <= {name.lower() for name in frame.columns}:
        close = next(name for name in frame.columns if name.lower() == "close")
        raise ValueError(
            f"{source} holds open, high, low and close of one asset; say which column to trade, "
            f"such as assets=[{close!r}], or give one column per asset."
        )


def find_column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The table's column that matches the earliest of the names, or None."""
    by_lower = {str(column).strip().lower(): column for column in reversed(frame.columns)}
    return next((by_lower[name] for name in names if name in by_lower), None)


def show(cell: object) -> str:
    """A cell as messages print it."""
    return repr(cell) if isinstance(cell, str) else str(cell)


def place(table: pd.DataFrame | pd.Series, row: int, source: str) -> str:
    """Which line of the file, or row of the table, for messages."""
    kind = "line" if table.index.name == "line" else "row"
    return f"at {kind} {row} of {source}"
