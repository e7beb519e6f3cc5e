"""Daily bars: every accepted form gives the same market, gaps are filled, flaws name their cell."""

import re

import numpy as np
import pandas as pd
import pytest

from jaxecon.data import MarketData, load_ohlcv
from jaxecon.data.market import FIELDS, fill_gaps

DATES = [f"2020-01-{day:02d}" for day in range(1, 13)]
NAMES = ("AAA", "BBB")


def bars():
    """[12, 2, 5] of short decimals."""
    close = 10.0 + 0.25 * np.arange(24).reshape(12, 2)
    parts = (close - 0.125, close + 0.5, close - 0.5, close, 100.0 * close)
    return np.stack(parts, axis=2)


def long_frame(values=None):
    values = bars() if values is None else values
    rows = [
        (DATES[t], NAMES[i], *values[t, i]) for t in range(len(values)) for i in range(len(NAMES))
    ]
    return pd.DataFrame(rows, columns=["date", "ticker", *FIELDS])


def wide_frames():
    return {
        field: pd.DataFrame({"date": DATES, **dict(zip(NAMES, bars()[:, :, k].T, strict=True))})
        for k, field in enumerate(FIELDS)
    }


def assert_is_the_market(data):
    np.testing.assert_array_equal(data.prices, bars().astype(np.float32))  # exact: short decimals
    np.testing.assert_array_equal(data.dates, np.array(DATES, "datetime64[D]"))
    assert data.tickers == NAMES
    assert data.mask.all()
    assert data.prices.dtype == np.float32
    assert data.dates.astype(np.int64).dtype == np.int64


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_every_file_type_gives_the_same_market(tmp_path, ending):
    path = tmp_path / f"bars.{ending}"
    frame = long_frame()
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    data = load_ohlcv(path)
    assert_is_the_market(data)
    assert data.source == path.name
    np.testing.assert_array_equal(data.closes().values, data.prices[:, :, 3])


@pytest.mark.parametrize(
    "frame",
    [
        long_frame(),
        long_frame().rename(columns={"ticker": "symbol", "date": "Date", "close": "CLOSE"}),
        long_frame().rename(columns={"ticker": "tic"}).assign(day="Monday"),
        long_frame().set_index(["date", "ticker"]),
        long_frame().sort_values("ticker").iloc[::-1],
    ],
    ids=["plain", "symbol", "tic", "levels", "shuffled"],
)
def test_long_tables_match_by_alias_and_are_sorted(frame):
    data = load_ohlcv(frame)
    assert_is_the_market(data.select(NAMES))


def test_the_users_own_names_win():
    frame = long_frame().rename(columns={"close": "PX_LAST", "ticker": "id"}).assign(Close=-1.0)
    assert_is_the_market(load_ohlcv(frame, columns={"close": "PX_LAST", "ticker": "id"}))


def test_one_column_may_serve_several_fields():
    closes = long_frame()[["date", "ticker", "close", "volume"]]
    bar = [*bars()[2, 1, [3] * 4], bars()[2, 1, 4]]
    for name, columns in (
        ("px", {"open": "px", "high": "px", "low": "px", "close": "px"}),
        ("Close", {"open": "Close", "high": "Close", "low": "Close"}),
    ):
        data = load_ohlcv(closes.rename(columns={"close": name}), columns=columns)
        np.testing.assert_array_equal(data.prices[2, 1], np.float32(bar))


def test_names_may_be_exchanged_and_hide_all_of_their_meaning():
    turned = long_frame().rename(columns={"high": "low", "low": "high"})
    frame = pd.DataFrame({"HIGH": -1.0, "High": -1.0, "asset": "X", **turned})
    columns = {"high": "low", "low": "high", "ticker": "ticker"}
    assert_is_the_market(load_ohlcv(frame, columns=columns))
    wide = {f: table.rename(columns={"date": "Datum"}) for f, table in wide_frames().items()}
    assert_is_the_market(load_ohlcv(wide, columns={"date": "Datum"}))


def test_tickers_of_a_long_table_are_sorted_and_of_wide_ones_keep_their_order():
    assert load_ohlcv(long_frame()[::-1]).tickers == ("AAA", "BBB")
    assert load_ohlcv(long_frame(), tickers=["BBB", "AAA"]).tickers == ("BBB", "AAA")
    turned = {field: table[["date", "BBB", "AAA"]] for field, table in wide_frames().items()}
    assert load_ohlcv(turned).tickers == ("BBB", "AAA")


def test_rounding_in_a_file_is_no_flaw():
    frame = long_frame()
    frame["high"], frame["low"] = frame["close"] * (1.0 - 5e-5), frame["open"] * (1.0 + 5e-5)
    assert load_ohlcv(frame).mask.all()


def test_one_wide_table_per_field(tmp_path):
    tables = wide_frames()
    assert_is_the_market(load_ohlcv(tables))
    for field, frame in tables.items():
        frame.to_csv(tmp_path / f"{field}.csv", index=False)
    paths = {field: tmp_path / f"{field}.csv" for field in FIELDS}
    assert_is_the_market(load_ohlcv(paths))
    assert load_ohlcv(paths, tickers=["BBB"]).tickers == ("BBB",)


def test_adjusted_closes_scale_all_prices():
    frame = long_frame()
    frame["adj_close"] = frame["close"] / 2
    data = load_ohlcv(frame)
    np.testing.assert_allclose(data.prices[..., :4], bars()[..., :4] / 2, rtol=1e-6)  # float32
    np.testing.assert_allclose(data.prices[..., 4], bars()[..., 4], rtol=1e-6)


@pytest.mark.parametrize("max_fill", [0, 2, 5])
def test_gaps_carry_the_close_and_then_cannot_be_traded(max_fill):
    frame = long_frame()
    gap = (frame["ticker"] == "BBB") & frame["date"].isin(DATES[2:10])  # eight days
    data = load_ohlcv(frame[~gap], max_fill=max_fill)
    filled = 2 + max_fill
    expected = np.array([True] * filled + [False] * (10 - filled) + [True] * 2)
    np.testing.assert_array_equal(data.mask[:, 1], expected)
    assert data.mask[:, 0].all()
    last = bars()[1, 1, 3]
    np.testing.assert_array_equal(data.prices[2:10, 1, :4], last)
    assert (data.prices[2:10, 1, 4] == 0.0).all()


def test_a_missing_cell_is_a_missing_bar_and_a_late_listing_is_masked():
    frame = long_frame()
    frame.loc[(frame["ticker"] == "BBB") & (frame["date"] == DATES[4]), "high"] = np.nan
    late = (frame["ticker"] == "AAA") & frame["date"].isin(DATES[:3])
    data = load_ohlcv(frame[~late], tickers=NAMES)
    np.testing.assert_array_equal(data.mask[:, 0], [False] * 3 + [True] * 9)
    np.testing.assert_array_equal(data.prices[:3, 0, :4], bars()[3, 0, 3])  # first close known
    np.testing.assert_array_equal(data.prices[4, 1, :4], bars()[3, 1, 3])
    assert data.mask[:, 1].all()


def test_filling_looks_back_only():
    """What comes after a day changes no bar and no mask of an asset listed before it."""
    values = bars()
    values[3:5] = np.nan
    other = values.copy()
    other[8:] = np.nan
    dates = np.array(DATES, "datetime64[D]")
    full, cut = (fill_gaps(v, dates, NAMES, "test") for v in (values, other))
    np.testing.assert_array_equal(full.prices[:8], cut.prices[:8])
    np.testing.assert_array_equal(full.mask[:8], cut.mask[:8])


@pytest.mark.parametrize(
    ("column", "cell", "evidence"),
    [
        ("close", "abc", "Close of 'AAA' on 2020-01-02 is 'abc' at line 4 of bars.csv"),
        ("open", "-1", "Open of 'AAA' on 2020-01-02 is"),
        ("low", "0", "Low of 'AAA' on 2020-01-02 is"),
        ("volume", "-5", "Volume of 'AAA' on 2020-01-02 is"),
        ("high", "inf", "High of 'AAA' on 2020-01-02 is"),
        ("date", "soon", "The date 'soon' at line 4 of bars.csv cannot be read"),
        ("date", "2020-01-01", "The date 2020-01-01 comes twice for 'AAA', again at line 4"),
        ("ticker", "", "The asset name is missing at line 4 of bars.csv"),
        ("high", "1.0", "The bar of 'AAA' on 2020-01-02 in bars.csv has a high below its low"),
        (
            "high",
            "10.49",
            "The bar of 'AAA' on 2020-01-02 in bars.csv has a high below its open or",
        ),
        ("low", "10.38", "The bar of 'AAA' on 2020-01-02 in bars.csv has a low above its open or"),
    ],
)
def test_a_flaw_names_its_row_and_column(tmp_path, column, cell, evidence):
    frame = long_frame().astype(object)
    frame.loc[2, column] = cell  # line 4: a header, and rows from 0
    path = tmp_path / "bars.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(ValueError, match=re.escape(evidence)):
        load_ohlcv(path)


@pytest.mark.parametrize(
    ("make", "evidence"),
    [
        (lambda: load_ohlcv(long_frame().drop(columns="high")), "has no high column"),
        (lambda: load_ohlcv(long_frame().drop(columns="ticker")), "has no ticker column"),
        (lambda: load_ohlcv(long_frame(), tickers=["AAB"]), "Did you mean 'AAA'"),
        (lambda: load_ohlcv(long_frame(), columns={"closed": "close"}), "Did you mean 'close'"),
        (lambda: load_ohlcv(long_frame(), columns={"close": "closs"}), "Did you mean 'close'"),
        (lambda: load_ohlcv({"close": wide_frames()["close"]}), "one table for each of open"),
        (
            lambda: load_ohlcv(
                {**wide_frames(), "volume": wide_frames()["volume"].drop(columns="BBB")}
            ),
            "The tables of close and volume must have the same tickers, but only one has 'BBB'",
        ),
        (lambda: load_ohlcv(long_frame(), max_fill=-1), "max_fill must be a whole number"),
        (
            lambda: load_ohlcv(long_frame().assign(close=np.nan)),
            "'AAA' has no day with open, high, low and close",
        ),
        (lambda: load_ohlcv(long_frame()[:0]), "DataFrame has no rows"),
        (
            lambda: load_ohlcv({**wide_frames(), "low": wide_frames()["low"][:0]}),
            "the table of low has no rows",
        ),
        (lambda: load_ohlcv("sp500"), "has closes only: give it as prices='sp500'"),
        (
            lambda: load_ohlcv(long_frame().rename(columns={"date": "Datum"})),
            "Name yours by columns={'date': ...}",
        ),
        (lambda: load_ohlcv(long_frame(), columns="Datum"), "such as {'date': 'Datum'}, got 'Da"),
        (
            lambda: load_ohlcv(wide_frames(), columns={"close": "AAA"}),
            "Unknown key of columns for the table of open 'close'. Valid: date.",
        ),
        (
            lambda: MarketData(bars(), np.ones((12, 3)), DATES, NAMES, "by hand"),
            "prices and mask must be (12, 2, 5) and (12, 2)",
        ),
    ],
)
def test_bad_tables_say_what_is_right(make, evidence):
    with pytest.raises(ValueError, match=re.escape(evidence)):
        make()


def test_assets_are_selected_in_order():
    data = load_ohlcv(long_frame()).select(["BBB", "AAA"])
    np.testing.assert_array_equal(data.prices, bars()[:, ::-1].astype(np.float32))
    with pytest.raises(ValueError, match="read-only"):
        data.prices[0, 0, 0] = 1.0
