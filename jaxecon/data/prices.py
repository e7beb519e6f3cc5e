"""Close prices from the shipped S&P 500 series, a user's file or table, or a generator."""

import importlib.util
import os
import pathlib
from collections.abc import Sequence

import pandas as pd

from jaxecon.data.panel import Prices
from jaxecon.data.synthetic import synthetic_prices
from jaxecon.data.tables import prices_from_table, read_table
from jaxecon.suggest import unknown_name

DATASETS = ("sp500", "synthetic")
_FILE_ENDINGS = (".csv", ".csv.gz", ".parquet", ".pq")


def load_prices(
    source: str | os.PathLike | pd.DataFrame | None = None,
    *,
    assets: Sequence[str] | None = None,
) -> Prices:
    """Daily close prices, checked cell by cell and sorted by date.

    Args:
      source: one of
        - "sp500": adjusted closes of 20 S&P 500 stocks, 1990-01-02 to 2022-12-28, which ship with
          the skfolio package (`pip install 'jaxecon[data]'`);
        - "synthetic": ten years of `synthetic_prices`;
        - the path of a .csv, .csv.gz or .parquet file, or a DataFrame: wide (a date column and one
          column per asset) or long (date, asset, price), see `tables.prices_from_table`;
        - None: "sp500" if skfolio is installed, otherwise "synthetic". `Prices.source` says which.
      assets: names to keep, in this order; all if None.

    Returns:
      Prices: values [T, A] float64 [money/share], dates [T] datetime64[D], assets, source.

    Raises:
      ValueError: the source is unknown or cannot be used as it is; the message names the cell, what
        was expected and a way out. Nothing is filled, dropped or guessed.
      ImportError: "sp500" was asked for and skfolio is not installed.

    Source: of the S&P 500 series, skfolio (BSD 3-Clause), `skfolio.datasets.load_sp500_dataset`.
    """
    if isinstance(source, pd.DataFrame):
        return prices_from_table(source, "DataFrame", assets)
    if source is None:
        source = "synthetic" if _sp500_path() is None else "sp500"
    if source == "sp500":
        return _load_sp500(assets)
    if source == "synthetic":
        return synthetic_prices().select(assets)
    path = pathlib.Path(source)
    if not path.exists() and path.name == str(source) and not _has_file_ending(path):
        raise ValueError(unknown_name("price dataset or file", str(source), DATASETS))
    return prices_from_table(read_table(path), path.name, assets)


def _load_sp500(assets: Sequence[str] | None) -> Prices:
    path = _sp500_path()
    if path is None:
        raise ImportError(
            "The S&P 500 prices ship with the skfolio package, which is not installed: run "
            "pip install 'jaxecon[data]', or use source='synthetic' or a file of your own."
        )
    table = read_table(path)
    return prices_from_table(table, "sp500 (20 S&P 500 adjusted closes, from skfolio)", assets)


def _sp500_path() -> pathlib.Path | None:
    """The shipped file, found without importing skfolio, which takes seconds; None if absent."""
    spec = importlib.util.find_spec("skfolio")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = pathlib.Path(root, "datasets", "data", "sp500_dataset.csv.gz")
        if path.is_file():
            return path
    return None


def _has_file_ending(path: pathlib.Path) -> bool:
    return path.name.lower().endswith(_FILE_ENDINGS)
