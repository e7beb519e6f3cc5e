"""Loading prices: every accepted form gives the same panel, every flaw names its cell."""

import importlib.util
import re

import numpy as np
import pandas as pd
import pytest

from jaxecon.data import Prices, load_prices, split_by_date, synthetic_prices
from jaxecon.data import prices as prices_module
from jaxecon.data.synthetic import ANNUAL_LOG_DRIFT, ANNUAL_VOLATILITIES, MEAN_CORRELATION

DATES = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"]
VALUES = np.array([[10.0, 1.5], [10.25, 1.25], [9.75, 1.625], [10.5, 1.75]])

needs_skfolio = pytest.mark.skipif(
    importlib.util.find_spec("skfolio") is None, reason="the S&P 500 series ship with skfolio"
)


def wide_frame():
    return pd.DataFrame({"Date": DATES, "AAA": VALUES[:, 0], "BBB": VALUES[:, 1]})


def long_frame(asset="ticker", price="close"):
    long = wide_frame().melt(id_vars="Date", var_name=asset, value_name=price)
    return long.rename(columns={"Date": "date"})


def write(tmp_path, text, name="prices.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def csv_with(tmp_path, line, cell):
    """A good file but for one cell of column BBB; line 1 is the header."""
    rows = ["Date,AAA,BBB"] + [f"{d},{a},{b}" for d, (a, b) in zip(DATES, VALUES, strict=True)]
    rows[line - 1] = rows[line - 1].rsplit(",", 1)[0] + f",{cell}"
    return write(tmp_path, "\n".join(rows) + "\n")


def assert_is_the_panel(prices):
    np.testing.assert_array_equal(prices.values, VALUES)  # exact: decimals are short
    np.testing.assert_array_equal(prices.dates, np.array(DATES, "datetime64[D]"))
    assert prices.assets == ("AAA", "BBB")
    assert prices.values.dtype == np.float64
    assert prices.dates.dtype == np.dtype("datetime64[D]")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("form", ["wide", "long"])
def test_every_file_type_gives_the_same_panel(tmp_path, ending, form):
    path = tmp_path / f"prices.{ending}"
    frame = wide_frame() if form == "wide" else long_frame()
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    prices = load_prices(path)
    assert_is_the_panel(prices)
    assert_is_the_panel(load_prices(str(path)))
    assert prices.source == path.name


@pytest.mark.parametrize("asset", ["asset", "Ticker", "SYMBOL"])
@pytest.mark.parametrize("price", ["Close", "price", "Adj Close"])
def test_long_columns_match_without_regard_to_case(asset, price):
    assert_is_the_panel(load_prices(long_frame(asset, price)))


def test_adjusted_closes_win_over_closes():
    frame = long_frame(price="Adj Close")
    frame["Close"] = 99.0
    assert_is_the_panel(load_prices(frame))


@pytest.mark.parametrize(
    "frame",
    [
        wide_frame().rename(columns={"Date": "timestamp"}),
        wide_frame().assign(Date=pd.to_datetime(DATES)).set_index("Date"),
        wide_frame().assign(Date=pd.to_datetime(DATES)).set_index("Date").rename_axis(None),
        wide_frame().assign(Date=pd.to_datetime(DATES).tz_localize("America/New_York")),
        wide_frame().assign(Date=[f"{date} 00:00:00-05:00" for date in DATES]),
        wide_frame().assign(Date=[int(date.replace("-", "")) for date in DATES]),
        wide_frame().iloc[::-1],
        wide_frame().set_axis([7, 7, 7, 7]),
        long_frame().sample(frac=1.0, random_state=0).sort_values("ticker"),
        long_frame().set_index(["date", "ticker"]),
    ],
    ids=[
        "name",
        "index",
        "unnamed",
        "zoned",
        "written_zone",
        "integers",
        "unsorted",
        "labels",
        "shuffled",
        "levels",
    ],
)
def test_dates_are_found_read_and_sorted(frame):
    assert_is_the_panel(load_prices(frame))


def test_a_file_saved_with_its_index_and_blank_lines_loads(tmp_path):
    indexed = wide_frame().assign(Date=pd.to_datetime(DATES)).set_index("Date").rename_axis(None)
    text = indexed.to_csv().replace("\n2020-01-06", "\n\n2020-01-06")
    assert_is_the_panel(load_prices(write(tmp_path, text + "\n")))


def test_assets_are_kept_in_the_order_asked_for(tmp_path):
    prices = load_prices(csv_with(tmp_path, 2, 1.5), assets=["BBB", "AAA"])
    assert prices.assets == ("BBB", "AAA")
    np.testing.assert_array_equal(prices.values, VALUES[:, ::-1])


def test_a_flaw_in_an_asset_not_asked_for_is_no_error(tmp_path):
    prices = load_prices(csv_with(tmp_path, 3, "-1"), assets=["AAA"])
    assert prices.assets == ("AAA",)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("", "is missing"),
        ("nan", "is missing"),
        ("0", "is 0"),
        ("-1.5", "-1.5"),
        ("inf", "inf"),
        ("abc", "'abc'"),
        ("$5", "'$5'"),
    ],
)
def test_a_bad_price_names_its_line_date_and_column(tmp_path, cell, problem):
    with pytest.raises(ValueError, match=r"'BBB' on 2020-01-03") as error:
        load_prices(csv_with(tmp_path, 3, cell))
    message = str(error.value)
    assert problem in message
    assert "line 3 of prices.csv" in message


def test_line_numbers_count_blank_lines(tmp_path):
    text = "Date,AAA\n\n2020-01-02,1\n\n2020-01-03,x\n"
    with pytest.raises(ValueError, match=r"line 5 of prices\.csv"):
        load_prices(write(tmp_path, text))


def test_an_asset_that_starts_later_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"'BBB' on 2020-01-02 is missing.*drop the asset"):
        load_prices(csv_with(tmp_path, 2, ""))


def test_a_gap_in_a_long_table_names_the_asset_and_the_date():
    with pytest.raises(ValueError, match=r"'BBB' on 2020-01-06"):
        load_prices(long_frame().drop(index=6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Date,A\n2020-01-02,1\n2020-01-02,2\n", "2020-01-02 comes twice, again at line 3"),
        ("Date,A\n2020-01-02,1\n03/01/2020,2\n", "'03/01/2020' at line 3 .*YYYY-MM-DD"),
        ("Date,A\n2020-01-02,1\n2020-02-30,2\n", "'2020-02-30' at line 3"),
        ("Date,A\n2020-01-02,1\n,2\n", "at line 3 .*cannot be read"),
        ("Date,A\n2020-01-02,1\n", "at least 2 days.*got 1"),
        ("Date\n2020-01-02\n2020-01-03\n", "at least 1 asset, got 0"),
        ("Day,A\n2020-01-02,1\n2020-01-03,1\n", r"no date column.*\['Day', 'A'\]"),
        ("Date,A,A\n2020-01-02,1,2\n2020-01-03,1,2\n", "more than one column 'A'"),
        ("Date,ticker,size\n2020-01-02,A,1\n2020-01-03,A,1\n", "no price column"),
        ("Date,ticker,close\n2020-01-02,,1\n2020-01-03,A,1\n", "asset name is missing at line 2"),
        ("Date,Open,High,Low,Close\n2020-01-02,1,1,1,1\n", r"assets=\['Close'\]"),
        ("", "cannot be read as CSV"),
        ("Date,A\n2020-01-02,1.5\n2020-01-03,1,5\n", "cannot be read as CSV.*line 3, saw 3"),
        ("Date,A\n2020-01-02,1,5\n2020-01-03,1,5\n", "date 1 at line 2"),
    ],
)
def test_a_flawed_file_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_prices(write(tmp_path, text))


def test_a_repeated_date_and_asset_names_both():
    frame = pd.concat([long_frame(), long_frame().iloc[[5]]])
    with pytest.raises(ValueError, match=r"2020-01-03 comes twice for 'BBB', again at row 8"):
        load_prices(frame)


def test_columns_of_several_levels_are_refused():
    frame = wide_frame().set_index("Date")
    frame.columns = pd.MultiIndex.from_product([["Close"], frame.columns])
    with pytest.raises(ValueError, match="2 levels"):
        load_prices(frame)


@pytest.mark.parametrize("cells", [pd.to_datetime(DATES), [True] * 4, [None, 1, 1, 1]])
def test_columns_that_hold_no_prices_are_refused(cells):
    with pytest.raises(ValueError, match="Price of 'CCC'"):
        load_prices(wide_frame().assign(CCC=cells))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sp50", "Unknown price dataset or file 'sp50'. Did you mean 'sp500'?"),
        ("missing.csv", "No price file at 'missing.csv'"),
        ("no/such/folder", "No price file"),
    ],
)
def test_an_unknown_source_names_the_nearest_or_the_path(source, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_prices(source)


def test_another_file_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv.*got 'prices\.xlsx'"):
        load_prices(write(tmp_path, "", "prices.xlsx"))


@pytest.mark.parametrize("form", [wide_frame, long_frame])
def test_an_unknown_or_repeated_asset_is_refused(form):
    with pytest.raises(ValueError, match=r"Unknown asset 'AAB'.*'AAA'"):
        load_prices(form(), assets=["AAB"])
    with pytest.raises(ValueError, match="'AAA' more than once"):
        load_prices(form(), assets=["AAA", "AAA"])
    with pytest.raises(ValueError, match="at least 1 asset, got none"):
        load_prices(form(), assets=[])


@needs_skfolio
def test_the_shipped_series_are_the_documented_ones():
    prices = load_prices("sp500")
    assert prices.values.shape == (8313, 20)
    assert (str(prices.dates[0]), str(prices.dates[-1])) == ("1990-01-02", "2022-12-28")
    assert prices.values[0, 0] == 0.264  # AAPL on the first day, as the file has it
    assert load_prices("sp500", assets=["XOM", "AAPL"]).values[0].tolist() == [4.068, 0.264]
    assert load_prices().source == prices.source, "the default is the shipped series"


@needs_skfolio
def test_the_synthetic_constants_are_the_moments_of_the_shipped_series():
    returns = np.diff(np.log(load_prices("sp500").values), axis=0)
    deviation = np.sort(returns.std(axis=0, ddof=1)) * np.sqrt(252)
    correlation = np.corrcoef(returns.T)[np.triu_indices(20, 1)].mean()
    # Constants are printed with four decimals.
    assert abs(returns.mean() * 252 - ANNUAL_LOG_DRIFT) < 5e-5
    np.testing.assert_allclose(deviation, ANNUAL_VOLATILITIES, atol=5e-5)
    assert abs(correlation - MEAN_CORRELATION) < 5e-5


def test_without_skfolio_the_default_is_synthetic_and_says_so(monkeypatch):
    monkeypatch.setattr(prices_module.importlib.util, "find_spec", lambda name: None)
    assert load_prices().source.startswith("synthetic")
    with pytest.raises(ImportError, match=re.escape("pip install 'jaxecon[data]'")):
        load_prices("sp500")


def test_synthetic_prices_repeat_exactly_and_differ_by_seed():
    synthetic_prices.cache_clear()
    first = synthetic_prices(3, 50, 7)
    synthetic_prices.cache_clear()
    np.testing.assert_array_equal(first.values, synthetic_prices(3, 50, 7).values)
    assert not np.array_equal(first.values, synthetic_prices(3, 50, 8).values)
    assert first.assets == ("S01", "S02", "S03")
    assert np.is_busday(first.dates).all()
    # The generator's stream is fixed; exp may differ between machines in the last digit.
    np.testing.assert_allclose(first.values[1], SYNTHETIC_SECOND_ROW, rtol=1e-12)


SYNTHETIC_SECOND_ROW = [99.96508879005955, 99.17727056545358, 100.07148082289518]


def test_synthetic_prices_have_the_moments_they_are_calibrated_to():
    returns = np.diff(np.log(synthetic_prices(20, 60_000, 1).values), axis=0)
    years = len(returns) / 252
    # Four standard errors. The mean of 20 drifts has the variance of an equal-weight portfolio.
    standard_error = returns.mean(axis=1).std() * np.sqrt(252 / years)
    assert abs(returns.mean() * 252 - ANNUAL_LOG_DRIFT) < 4 * standard_error
    # Fourth moments of a t with 3.3 degrees of freedom are infinite, so second moments converge
    # slowly; 10 % is ten times the error a wrong formula (no unit variance: 60 %) would hide in.
    deviation = returns.std(axis=0) * np.sqrt(252)
    np.testing.assert_allclose(deviation, ANNUAL_VOLATILITIES, rtol=0.1)
    correlation = np.corrcoef(returns.T)[np.triu_indices(20, 1)].mean()
    assert abs(correlation - MEAN_CORRELATION) < 0.05


@pytest.mark.parametrize("sizes", [(0, 10), (2, 1)])
def test_synthetic_sizes_must_be_large_enough(sizes):
    with pytest.raises(ValueError, match="must be at least"):
        synthetic_prices(*sizes)


def test_one_synthetic_asset_has_the_middle_volatility():
    returns = np.diff(np.log(synthetic_prices(1, 60_000).values[:, 0]))
    middle = np.median(ANNUAL_VOLATILITIES)
    assert abs(returns.std() * np.sqrt(252) / middle - 1) < 0.1  # fat tails, as above


def test_a_panel_built_by_hand_is_checked_and_read_only():
    dates = np.array(DATES, "datetime64[D]")
    prices = Prices(VALUES, dates, ("AAA", "BBB"), "by hand")
    with pytest.raises(ValueError, match="read-only"):
        prices.values[0, 0] = 1.0
    with pytest.raises(ValueError, match=r"'BBB' on 2020-01-03 must be positive.*nan"):
        Prices(np.where(VALUES == 1.25, np.nan, VALUES), dates, ("AAA", "BBB"), "by hand")
    with pytest.raises(ValueError, match="2020-01-07 followed by 2020-01-06"):
        Prices(VALUES, dates[::-1], ("AAA", "BBB"), "by hand")
    with pytest.raises(ValueError, match=r"\(4, 1\), got \(4, 2\)"):
        Prices(VALUES, dates, ("AAA",), "by hand")
    with pytest.raises(ValueError, match="'AAA' more than once"):
        Prices(VALUES, dates, ("AAA", "AAA"), "by hand")


@pytest.mark.parametrize(
    ("train_end", "validation_end", "cuts"),
    [
        ("2020-01-02", "2020-01-03", (1, 2)),
        ("2020-01-03", "2020-01-06", (2, 3)),
        ("2020-01-05", "2020-01-06", (2, 3)),  # a Sunday: the last trading day before it
        (np.datetime64("2020-01-03"), pd.Timestamp("2020-01-06 17:00"), (2, 3)),
    ],
)
def test_splits_meet_without_overlap_and_keep_their_last_day(train_end, validation_end, cuts):
    splits = split_by_date(load_prices(wide_frame()), train_end, validation_end)
    assert splits == {"train": (0, cuts[0]), "validation": cuts, "test": (cuts[1], 4)}


@pytest.mark.parametrize(
    ("train_end", "validation_end", "message"),
    [
        ("2019-12-31", "2020-01-03", "train split has no day.*2020-01-02 to 2020-01-07"),
        ("2020-01-03", "2020-01-05", "validation split has no day"),
        ("2020-01-03", "2020-01-07", "test split has no day"),
        ("2020-01-06", "2020-01-03", "validation_end must be later than train_end"),
        ("2020-13-01", "2020-01-03", "train_end must be a date such as .*'2020-13-01'"),
        ("2020-01-03", None, "validation_end must be a date"),
        ("2020-01-03", "2020", "validation_end must be a date such as .*'2020'"),
        ("2020-01-03", 2020, "validation_end must be a date"),
    ],
)
def test_a_split_that_cannot_be_says_why(train_end, validation_end, message):
    with pytest.raises(ValueError, match=message):
        split_by_date(load_prices(wide_frame()), train_end, validation_end)
