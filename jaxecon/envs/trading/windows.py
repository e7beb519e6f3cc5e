"""What a trader sees of past prices: daily returns and sums over longer times, over volatility."""

import jax.numpy as jnp
import numpy as np

from jaxecon.types import Array

NUM_SCALES = 4  # sums over 1, 2, 4 and 8 days
HALF_LIFE = 20  # of the weights of squared returns in today's volatility [day]
VOLATILITY_DAYS = 60  # least history behind it
LEAST_VOLATILITY = 1e-4  # per day, for prices that stand still


def history_length(window: int, scale_window: int) -> int:
    """Days of returns that `normalised_windows` reads."""
    return max(window, scale_window * 2 ** (NUM_SCALES - 1), VOLATILITY_DAYS)


def normalised_windows(
    prices: Array, mask: Array, window: int, scale_window: int
) -> tuple[Array, Array]:
    """Returns and sums of returns over today's volatility, and that volatility.

        x_t = log(P_t / P_(t-1)),   σ² = Σ_k 2^(-k/20) x_(t-k)² / Σ_k 2^(-k/20)
        rows  x_t / σ  and  (sum of s successive x) / (σ √s),  s = 1, 2, 4, 8

    Each sum is of its own days, none shared with its neighbour. With independent returns all rows
    have the same size, whatever s: a change of the time scale is a shift along the scales.

    Args:
      prices: [L + 1, N] closes, L = `history_length(window, scale_window)`, today last.
      mask: [L + 1, N] whether they could be traded; a return between two days counts as 0 unless
        both could.
      window: W, daily returns to show.
      scale_window: V, sums to show of each length.

    Returns:
      ([W + 4 V, N] daily returns, then the sums, short ones first; oldest first in each part,
      σ [N] per day).
    """
    is_move = mask[1:] & mask[:-1]
    returns = jnp.log(jnp.where(is_move, prices[1:] / prices[:-1], 1.0))  # [L, N]
    age = np.arange(len(prices) - 1)[::-1]
    decay = 0.5 ** (age / HALF_LIFE)
    weight = jnp.asarray(decay / decay.sum(), returns.dtype)[:, None]
    variance = jnp.sum(weight * returns**2, axis=0)
    volatility = jnp.sqrt(jnp.maximum(variance, LEAST_VOLATILITY**2))
    rows = [returns[-window:]]
    for days in (2**power for power in range(NUM_SCALES)):
        past = returns[-days * scale_window :]
        sums = jnp.reshape(past, (scale_window, days, -1)).sum(axis=1)
        rows.append(sums / days**0.5)
    return jnp.concatenate(rows) / volatility[None], volatility
