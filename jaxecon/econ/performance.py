"""How an investment did: returns, volatility, Sharpe ratios and drawdowns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array

TRADING_DAYS = 252  # per year


class Performance(NamedTuple):
    """Running statistics of an investment, all scalars; start from `start_performance()`."""

    log_wealth: Array  # log of wealth over initial wealth
    peak_log_wealth: Array  # highest so far, at least 0
    max_drawdown: Array  # largest fall below the peak so far, fraction of the peak
    mean: Array  # mean daily log return
    sum_squares: Array  # Σ (daily log return - mean)²
    turnover: Array  # total value traded, in units of wealth


def start_performance() -> Performance:
    """Statistics before the first day: wealth 1 and zeros."""
    return Performance(*(jnp.zeros((), float) for _ in Performance._fields))


def update_performance(
    past: Performance, num_days: Array, log_return: Array, traded: Array
) -> Performance:
    """Statistics after one more day.

    The sum of squares is centred as it grows (Welford 1962), so that a constant return has exactly
    no volatility in float32 and a year of small returns does not cancel.

    Args:
      past: statistics of the days before.
      num_days: number of days including this one, >= 1, of the dtype of `log_return`.
      log_return: log of the day's growth of wealth, net of cost.
      traded: turnover of the day.
    """
    log_wealth = past.log_wealth + log_return
    peak = jnp.maximum(past.peak_log_wealth, log_wealth)
    surprise = log_return - past.mean
    mean = past.mean + surprise / num_days
    return Performance(
        log_wealth=log_wealth,
        peak_log_wealth=peak,
        max_drawdown=jnp.maximum(past.max_drawdown, -jnp.expm1(log_wealth - peak)),
        mean=mean,
        sum_squares=past.sum_squares + surprise * (log_return - mean),
        turnover=past.turnover + traded,
    )


def summarise_performance(
    performance: Performance,
    num_days: Array | int,
    cash_return: Array | float,
    *,
    periods_per_year: int = TRADING_DAYS,
) -> dict[str, Array]:
    """What an investor reports, scalars.

    Args:
      performance: statistics of the days.
      num_days: number of days n, any dtype; 0 gives zeros and a final wealth of 1.
      cash_return: simple return of cash per day, the benchmark of the Sharpe ratio.
      periods_per_year: days in a year.

    Returns:
      `log_return` of the whole time; `annual_return`, simple; `volatility`, annual, of daily log
      returns with n - 1 in the denominator; `sharpe`, annual, of daily log returns in excess of
      cash's, and 0 where volatility is 0; `max_drawdown`, fraction of the peak; `turnover`, mean
      per day; `final_wealth`, in units of initial wealth.
    """
    days = jnp.maximum(jnp.asarray(num_days, performance.mean.dtype), 1.0)
    cash = jnp.log1p(jnp.asarray(cash_return, performance.mean.dtype))
    volatility = _safe_sqrt(performance.sum_squares / jnp.maximum(days - 1.0, 1.0))
    year = performance.mean.dtype.type(periods_per_year)
    return {
        "log_return": performance.log_wealth,
        "annual_return": jnp.expm1(performance.log_wealth * year / days),
        "volatility": volatility * jnp.sqrt(year),
        "sharpe": jnp.sqrt(year) * _ratio_or_zero(performance.mean - cash, volatility),
        "max_drawdown": performance.max_drawdown,
        "turnover": performance.turnover / days,
        "final_wealth": jnp.exp(performance.log_wealth),
    }


def sharpe_ratio(returns: Array, periods_per_year: int = TRADING_DAYS) -> Array:
    """Annual Sharpe ratio of a series of excess returns, mean over standard deviation.

        S = sqrt(P) · mean(r) / std(r),  std with T - 1 in the denominator

    Args:
      returns: [T, ...] returns per period (log or simple) in excess of cash, T >= 2.
      periods_per_year: P.

    Returns:
      [...] per square root of a year; 0 where the standard deviation is 0.

    Source: Sharpe (1994), The Sharpe Ratio, Journal of Portfolio Management 21.
    """
    mean = jnp.mean(returns, axis=0)
    deviation = _safe_sqrt(jnp.var(returns, axis=0, ddof=1))
    return jnp.sqrt(mean.dtype.type(periods_per_year)) * _ratio_or_zero(mean, deviation)


def max_drawdown(wealth: Array) -> Array:
    """Largest fall of wealth below its running peak, as a fraction of the peak.

    Args:
      wealth: [T, ...] positive, one entry per period, initial wealth first.

    Returns:
      [...] in [0, 1); 0 where wealth never falls.
    """
    peak = jax.lax.cummax(wealth, axis=0)
    return jnp.max(jnp.maximum(1.0 - wealth / peak, 0.0), axis=0)


def differential_sharpe(
    log_return: Array, moments: Array, decay: Array, *, floor: float = 1e-8
) -> tuple[Array, Array]:
    """Marginal effect of one return on an exponentially weighted Sharpe ratio, and new moments.

        D = (B·ΔA - A·ΔB/2) / (B - A²)^(3/2),  ΔA = r - A,  ΔB = r² - B
        A' = A + η·ΔA,  B' = B + η·ΔB

    Args:
      log_return: r, the period's return.
      moments: [2] (A, B), weighted means of r and r² before this period.
      decay: η in (0, 1], weight of the newest period.
      floor: least variance B - A², so that D stays bounded after a long time in cash. The default
        is a volatility of 0.01 % a day.

    Returns:
      (D, new moments [2]).

    Source: Moody and Saffell (2001), Learning to Trade via Direct Reinforcement, IEEE Transactions
    on Neural Networks 12(4).
    """
    mean, mean_square = moments[0], moments[1]
    delta_mean, delta_square = log_return - mean, log_return**2 - mean_square
    variance = jnp.maximum(mean_square - mean**2, floor)
    value = (mean_square * delta_mean - 0.5 * mean * delta_square) / variance**1.5
    return value, moments + decay * jnp.stack([delta_mean, delta_square])


def _safe_sqrt(x: Array) -> Array:
    """Square root with gradient 0, not nan, at 0."""
    is_zero = x <= 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, x)))


def _ratio_or_zero(numerator: Array, denominator: Array) -> Array:
    is_zero = denominator == 0.0
    return jnp.where(is_zero, 0.0, numerator / jnp.where(is_zero, 1.0, denominator))
