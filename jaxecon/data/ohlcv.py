"""Daily bars from a user's own files: long or one wide table per field, with gaps."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from jaxecon.data.market import FIELDS, MarketData, fill_gaps
from jaxecon.data.panel import check_assets
from jaxecon.data.tables import (
    ASSET_COLUMNS,
    DATE_COLUMNS,
    asset_names,
    check_columns,
    check_repeats,
    find_column,
    positive_numbers,
    read_table,
    take_dates,
)
from jaxecon.suggest import unknown_name

ADJUSTED = "adj_close"
COLUMNS = {
    "date": DATE_COLUMNS,
    "ticker": ASSET_COLUMNS,
    **{field: (field,) for field in FIELDS},
    ADJUSTED: (ADJUSTED, "adj close", "adjclose", "adjusted_close", "adjusted close"),
}
_NAME_THE_DATE = " Name yours by columns={'date': ...}."
_CLOSES_ONLY = "Check the path. The series 'sp500' has closes only: give it as prices='sp500'."
Table: TypeAlias = str | os.PathLike | pd.DataFrame


def load_ohlcv(
    source: Table | Mapping[str, Table],
    *,
    columns: Mapping[str, str] | None = None,
    tickers: Sequence[str] | None = None,
    max_fill: int = 5,
) -> MarketData:
    """Daily open, high, low, close and volume, checked cell by cell and sorted by date.

    Gaps, a row or a cell, are filled with the last close for at most `max_fill` days; after that
    the asset cannot be traded, see `market.fill_gaps`. Everything else that is wrong is an error.

    Args:
      source: one of
        - the path of a .csv, .csv.gz or .parquet file, or a DataFrame, in long form: a row per date
          and ticker with columns date, ticker (or symbol, tic, asset), open, high, low, close,
          volume, and perhaps adj_close. With the last, all prices are scaled by adj_close / close.
          Other columns are ignored, and case does not count. Tickers are sorted by name.
        - {"open": table, "high": ..., "low": ..., "close": ..., "volume": ...}, wide tables with a
          date column and one column per ticker, in the order of the table of closes.
      columns: the user's own names, such as {"close": "PX_LAST"}; keys are those of `COLUMNS`, for
        wide tables "date" alone. One column may serve several fields: with closes only, let open,
        high and low name it too.
      tickers: names to keep, in this order; all if None. Cells of others are not checked.
      max_fill: days that a close is carried forward.

    Returns:
      MarketData: prices [T, N, 5] float32, mask [T, N], dates, tickers, source.

    Raises:
      ValueError: a table has no rows, a column is missing, a date or number cannot be read, a price
        is not positive, a date comes twice, a bar's open or close is not between its low and high
        (up to a relative 1e-4), or a ticker is unknown. The message names the row and the column.
    """
    if not isinstance(columns, Mapping | None):
        raise ValueError(
            "columns must map our names to the table's, such as {'date': 'Datum'}, "
            f"got {columns!r}."
        )
    if isinstance(source, Mapping):
        bars, dates, names, title = _from_fields(source, columns or {}, tickers)
    else:
        frame, title = _open(source, "DataFrame")
        bars, dates, names = _from_long(_rename(frame, columns or {}, title), title, tickers)
    return fill_gaps(bars, dates, names, title, max_fill=max_fill)


def _open(table: Table, title: str) -> tuple[pd.DataFrame, str]:
    """A table and what messages call it."""
    if isinstance(table, pd.DataFrame):
        frame = table
    else:
        path = pathlib.Path(table)
        frame, title = read_table(path, way_out=_CLOSES_ONLY), path.name
    if len(frame) == 0:
        raise ValueError(f"{title} has no rows; it must have one for each day.")
    return frame, title


def _rename(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    title: str,
    keys: Iterable[str] = tuple(COLUMNS),
) -> pd.DataFrame:
    """The table with the user's columns copied to our names, and none else of the same meaning."""
    check_columns(frame.columns, title)
    for ours, theirs in columns.items():
        if ours not in keys:
            raise ValueError(unknown_name(f"key of columns for {title}", ours, keys))
        if theirs not in frame.columns:
            raise ValueError(unknown_name(f"column of {title}", theirs, map(str, frame.columns)))
    copies = {ours: frame[theirs] for ours, theirs in columns.items()}
    meant = {alias for ours in columns for alias in COLUMNS[ours]}
    hidden = [name for name in frame.columns if str(name).strip().lower() in meant]
    if "date" in columns:
        hidden.append(columns["date"])  # of a wide table, every other column is a ticker
    return frame.drop(columns=hidden).assign(**copies)


def _from_long(
    frame: pd.DataFrame, title: str, tickers: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(bars [T, N, 5] with nan where missing, dates [T], names)."""
    days, frame = take_dates(frame, title, way_out=_NAME_THE_DATE)
    found = {name: find_column(frame, aliases) for name, aliases in COLUMNS.items()}
    for name in ("ticker", *FIELDS):
        if found[name] is None:
            raise ValueError(
                f"{title} has no {name} column; expected {' or '.join(COLUMNS[name])}, got columns "
                f"{[str(column) for column in frame.columns]}. Name yours by columns={{{name!r}: "
                "...}."
            )
    owner = asset_names(frame[found["ticker"]], title)
    available = sorted(set(owner))
    names = available if tickers is None else check_assets(tickers, available)
    keep = owner.isin(names)
    frame, days, owner = frame[keep], days[keep], owner[keep]
    keys = pd.DataFrame({"date": days, "asset": owner})
    check_repeats(days, keys, title)
    fields = [name for name in (*FIELDS, ADJUSTED) if found[name] is not None]
    values = keys.assign(
        **{
            name: positive_numbers(frame[found[name]], owner, days, title, **_manner(name))
            for name in fields
        }
    )
    if ADJUSTED in fields:
        scale = values[ADJUSTED] / values["close"]
        values = values.assign(**{name: values[name] * scale for name in FIELDS[:4]})
    wide = values.pivot(index="date", columns="asset", values=list(FIELDS)).sort_index()
    bars = np.stack([wide[field][names].to_numpy(np.float64) for field in FIELDS], axis=2)
    return bars, wide.index.to_numpy(), names


def _manner(field: str) -> dict[str, Any]:
    """How `positive_numbers` reads a field."""
    return {
        "what": field.capitalize(),
        "has_gaps": True,
        "may_be_zero": field == "volume",
    }


def _from_fields(
    tables: Mapping[str, Table], columns: Mapping[str, str], tickers: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str], str]:
    """The same from one wide table per field, and a title."""
    missing = [field for field in FIELDS if field not in tables]
    unknown = [field for field in tables if field not in FIELDS]
    if missing or unknown:
        raise ValueError(
            f"source must have one table for each of {', '.join(FIELDS)}, got {list(tables)}."
        )
    wide = {}
    for field in FIELDS:
        frame, title = _open(tables[field], f"the table of {field}")
        wide[field] = _wide_field(_rename(frame, columns, title, ("date",)), field, title, tickers)
    names = list(wide["close"].columns)
    for field, table in wide.items():
        if set(table.columns) != set(names):
            odd = sorted(set(table.columns) ^ set(names))
            raise ValueError(
                f"The tables of close and {field} must have the same tickers, but only one has "
                f"{odd[0]!r}. Say which to keep by tickers=[...]."
            )
    dates = sorted(set().union(*(table.index for table in wide.values())))
    bars = np.stack([wide[f].reindex(dates)[names].to_numpy(np.float64) for f in FIELDS], axis=2)
    return bars, np.array(dates, "datetime64[D]"), names, "one table per field"


def _wide_field(
    frame: pd.DataFrame, field: str, title: str, tickers: Sequence[str] | None
) -> pd.DataFrame:
    """One field's numbers, dates by tickers."""
    days, frame = take_dates(frame, title, way_out=_NAME_THE_DATE)
    frame = frame.rename(columns=str)
    names = list(frame.columns) if tickers is None else check_assets(tickers, list(frame.columns))
    check_repeats(days, pd.DataFrame({"date": days}), title)
    numbers = {
        name: positive_numbers(
            frame[name], pd.Series(name, frame.index), days, title, **_manner(field)
        )
        for name in names
    }
    return pd.DataFrame(numbers, index=pd.Index(days, name="date"))
