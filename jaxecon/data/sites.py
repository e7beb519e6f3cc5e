"""Sites and their demand, from a user's table or a generator with the same columns."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd

COLUMNS = {
    "site": ("site", "name", "agent"),
    "mean": ("mean", "mean demand", "average demand per visit", "demand_mean"),
    "deviation": (
        "std",
        "standard deviation",
        "std of demand per visit",
        "stdev demand per visit",
        "deviation",
        "demand_std",
    ),
    "arrival": ("arrival_probability", "arrival probability", "probability"),
}
NEEDED = ("site", "mean", "deviation")


class Sites(NamedTuple):
    """Places with random demand.

    Attributes:
      names: [N].
      mean: [N] mean demand per visit, units.
      deviation: [N] its standard deviation, units.
      arrival_probability: [N] chance of a visit per step, or None if unknown.
      source: where the numbers come from.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    arrival_probability: np.ndarray | None
    source: str


def load_sites(path: str | os.PathLike) -> Sites:
    """The sites of a CSV file with a header, one site a row.

    Columns, in any order and case: `site`; `mean` (or "average demand per visit"); `std` (or
    "standard deviation", "std of demand per visit"); and optionally `arrival_probability`. Others,
    such as addresses, are ignored.

    Raises:
      ValueError: no such file, no rows, a missing column, a site named twice, or a cell that is
        missing, not a number, negative, or a probability above 1; the message names row and column.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No table of sites at '{path}'. Check the path.")
    try:
        frame = pd.read_csv(path, dtype=str, skip_blank_lines=False)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"'{path.name}' cannot be read as CSV: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(
            f"'{path.name}' has rows with more fields than its header. Name every column, or quote "
            "cells that contain commas."
        )
    frame.index = pd.RangeIndex(2, len(frame) + 2)  # line of the file
    frame = frame.dropna(how="all")
    if frame.empty:
        raise ValueError(f"'{path.name}' has no rows; give one line per site.")
    columns = _find_columns(frame, path.name)
    names = _names(frame[columns["site"]], path.name)
    mean, deviation = (_numbers(frame[columns[kind]], path.name) for kind in ("mean", "deviation"))
    arrival = None
    if "arrival" in columns:
        arrival = _numbers(frame[columns["arrival"]], path.name, most=1.0)
    return Sites(names, mean, deviation, arrival, path.name)


def _find_columns(frame: pd.DataFrame, source: str) -> dict[str, str]:
    """Name in the file of each known column."""
    by_lower = {str(name).strip().lower(): name for name in reversed(frame.columns)}
    found = {}
    for kind, names in COLUMNS.items():
        known = [by_lower[name] for name in names if name in by_lower]
        if known:
            found[kind] = known[0]
        elif kind in NEEDED:
            raise ValueError(
                f"{source} has no column for the {kind}; expected one of {', '.join(names)}, got "
                f"columns {[str(name) for name in frame.columns]}."
            )
    return found


def _names(cells: pd.Series, source: str) -> tuple[str, ...]:
    if cells.isna().any():
        raise ValueError(
            f"The cell in row {cells.index[cells.isna()][0]}, column '{cells.name}' of {source} is "
            f"missing; name every site."
        )
    if cells.duplicated().any():
        row = cells.index[cells.duplicated()][0]
        raise ValueError(
            f"Site {cells[row]!r} comes twice in {source}, again in row {row}; keep one row each."
        )
    return tuple(cells)


def _numbers(cells: pd.Series, source: str, most: float = np.inf) -> np.ndarray:
    """[N] float64 in [0, most], or a complaint about the first cell that is not."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0.0) & (numbers <= most))
    if wrong.any():
        row = cells.index[wrong][0]
        cell = cells[row]
        seen = "is missing" if pd.isna(cell) else f"is {cell!r}"
        wanted = "a number of at least 0" if np.isinf(most) else f"a number from 0 to {most:g}"
        raise ValueError(
            f"The cell in row {row}, column '{cells.name}' of {source} {seen}; it must be "
            f"{wanted}. Rows are counted as lines of the file."
        )
    return numbers


def synthetic_sites(num_sites: int = 70, seed: int = 0) -> Sites:
    """Invented sites of a mobile food pantry; no row describes a real place.

        mean_i = exp(5.2 + 0.5 z_i),    deviation_i = c_i mean_i,  c_i ~ U(0.15, 0.45)

    so that the median site serves about 180 households a visit. Level and spread are our own
    choice: the public studies of such tables do not print them.

    Args:
      num_sites: N, at least 1.
      seed: of NumPy's PCG64.
    """
    if num_sites < 1:
        raise ValueError(f"num_sites must be at least 1, got {num_sites}.")
    generator = np.random.Generator(np.random.PCG64(seed))
    mean = np.exp(5.2 + 0.5 * generator.standard_normal(num_sites))
    deviation = generator.uniform(0.15, 0.45, num_sites) * mean
    names = tuple(f"site {index:02d}" for index in range(1, num_sites + 1))
    return Sites(names, mean, deviation, None, f"synthetic (seed {seed})")
