"""Synthetic close prices that look like large American stocks, for work without any data."""

import functools

import numpy as np

from jaxecon.data.panel import Prices

TRADING_DAYS = 252  # per year

# Moments of daily log returns of the 20 S&P 500 series in skfolio's `sp500_dataset.csv.gz`,
# adjusted closes from 1990-01-02 to 2022-12-28 (`load_prices("sp500")`). Annual means are the daily
# ones times 252; volatilities are sample standard deviations times sqrt(252), in rising order.
ANNUAL_LOG_DRIFT = 0.1211
ANNUAL_VOLATILITIES = (
    *(0.2123, 0.2225, 0.2239, 0.2316, 0.2497, 0.2580, 0.2639, 0.2672, 0.2675, 0.2794),
    *(0.3070, 0.3115, 0.3187, 0.3654, 0.3727, 0.4136, 0.4418, 0.5107, 0.6184, 0.6214),
)
MEAN_CORRELATION = 0.3010  # over the 190 pairs
TAIL_DEGREES_OF_FREEDOM = 3.3  # median of 20 maximum-likelihood Student-t fits


@functools.lru_cache(maxsize=8)
def synthetic_prices(num_assets: int = 20, num_days: int = 2520, seed: int = 0) -> Prices:
    """Prices with one common factor and fat tails, calibrated to 20 S&P 500 stocks.

        log(P[t+1,i] / P[t,i]) = m/252 + s[i]/sqrt(252) · (sqrt(ρ) f[t] + sqrt(1-ρ) e[t,i])

    with f and e independent Student-t of unit variance, ν = 3.3 degrees of freedom, m = 12.11% a
    year, ρ = 0.301, and s[i] the volatilities of the 20 stocks (interpolated between them for
    another number of assets). Every pair of assets then has correlation ρ.

    Args:
      num_assets: A, at least 1. They are named S01, S02, ... in order of rising volatility.
      num_days: T, at least 2; weekdays from 1990-01-02 on. The default is ten years.
      seed: of NumPy's PCG64; the same three arguments give the same prices.

    Returns:
      Prices, all starting at 100 [money/share]; `source` says that they are synthetic.

    Raises:
      ValueError: `num_assets` or `num_days` is too small.
    """
    if num_assets < 1:
        raise ValueError(f"num_assets must be at least 1, got {num_assets}.")
    if num_days < 2:
        raise ValueError(f"num_days must be at least 2, got {num_days}.")
    returns = _log_returns(np.random.Generator(np.random.PCG64(seed)), num_days - 1, num_assets)
    log_prices = np.concatenate([np.zeros((1, num_assets)), np.cumsum(returns, axis=0)])
    dates = np.busday_offset(np.datetime64("1990-01-02"), np.arange(num_days))
    assets = tuple(f"S{index:02d}" for index in range(1, num_assets + 1))
    source = f"synthetic (calibrated to 20 S&P 500 stocks, seed {seed})"
    return Prices(100.0 * np.exp(log_prices), dates, assets, source)


def _log_returns(generator: np.random.Generator, num_days: int, num_assets: int) -> np.ndarray:
    """Daily log returns, [num_days, num_assets]."""
    dof = TAIL_DEGREES_OF_FREEDOM
    unit_variance = np.sqrt((dof - 2.0) / dof)
    factor = unit_variance * generator.standard_t(dof, (num_days, 1))
    own = unit_variance * generator.standard_t(dof, (num_days, num_assets))
    shock = np.sqrt(MEAN_CORRELATION) * factor + np.sqrt(1.0 - MEAN_CORRELATION) * own
    return ANNUAL_LOG_DRIFT / TRADING_DAYS + _volatilities(num_assets) * shock


def _volatilities(num_assets: int) -> np.ndarray:
    """Daily volatilities, [num_assets]: evenly spaced quantiles of the 20 calibrated ones."""
    at = np.linspace(0.0, 1.0, num_assets) if num_assets > 1 else np.array([0.5])
    grid = np.linspace(0.0, 1.0, len(ANNUAL_VOLATILITIES))
    return np.interp(at, grid, ANNUAL_VOLATILITIES) / np.sqrt(TRADING_DAYS)
