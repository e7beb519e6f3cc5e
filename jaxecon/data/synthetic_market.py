"""A synthetic market: regimes, a factor, fat tails, something to predict, and planted breaks."""

import dataclasses
import functools
import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.data.market import MarketData
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Kind = Literal["easy", "hard"]
PREDICTABILITY: dict[str, float] = {"easy": 0.2, "hard": 0.01}  # daily R² of the oracle

YEAR = 252.0  # days
TAIL_DOF = 5  # of the Student-t law of an asset's own moves
NUM_SUBSTEPS = 8  # of a day, for its high and low
REVERSAL_DAYS = 5
FIRST_PRICE, MEDIAN_VOLUME = 100.0, 1e6  # volume of a day without a move [share]
VOLUME_SLOPE, VOLUME_NOISE = 0.3, 0.3  # of log volume, per standard deviation of the move


@struct.dataclass
class MarketLaw:
    """Numbers of the market; every field may be traced. Pairs are of the calm and the wild regime.

    The sizes are of the order of daily stock returns; the numbers are our own choice.
    """

    predictability: float = 0.2  # R² of daily log returns on the signal, in [0, 1)
    signal_persistence: float = 0.97  # φ, per day, in (-1, 1)
    drift: tuple[float, float] = (0.10, -0.15)  # μ, per year
    volatility: tuple[float, float] = (0.16, 0.32)  # σ, per square root of a year
    correlation: tuple[float, float] = (0.3, 0.6)  # ρ, of any two assets
    leave_chance: tuple[float, float] = (0.01, 0.03)  # of changing regime, per day
    borrow_fee: float = 0.02  # b, of short positions, per year
    break_permutation: float = 0.0  # β_perm in [0, 1]: how far assets differ in μ, σ and b
    break_sign: float = 1.0  # β_sign in [0, 1]: share of drift and fee; at 0, up is like down
    break_scale: float = 0.0  # β_scale in [0, 1]: strength of the 5-day reversal


NUMBERS = tuple(field.name for field in dataclasses.fields(MarketLaw))


class MarketPath(NamedTuple):
    """A simulated history of T days.

    Attributes:
      bars: [T, N, 5] open, high, low, close, volume.
      regime: [T] int32, 0 calm or 1 wild, of the day that follows the close.
      signal: [T, N] mean simple return of the day that follows, given all that is hidden.
    """

    bars: Array
    regime: Array
    signal: Array


class SyntheticMarket(NamedTuple):
    """A simulated market as data to trade.

    Attributes:
      data: its bars; every asset trades on every day.
      signal: [T, N] float32, see `MarketPath`; for an oracle, not for a trader.
      regime: [T] int32.
      borrow_fee: [N] float32, per year.
    """

    data: MarketData
    signal: np.ndarray
    regime: np.ndarray
    borrow_fee: np.ndarray


def simulate_market(key: Key, law: MarketLaw, *, num_days: int, num_assets: int) -> MarketPath:
    """A path of daily bars; compiles, and differentiates in the numbers of `law`.

    With dt = 1/252, regime k, unit normal factor z and Student-t moves ε of unit variance, ν = 5,

        log S[t+1,i] = log S[t,i] + (μ - σ²/2) dt + α[t,i] - κ m[t,i]
                       + σ √dt (√ρ z[t] + √(1-ρ) ε[t,i])
        α[t+1,i] = φ α[t,i] + η[t,i]

    where m is the mean log return of the last 5 days and κ = 0.2 β_scale. The deviation of α gives
    R² of `predictability` at the mean variance of the two regimes. Asset i at z_i from -1 to 1 has
    μ + 0.05 β_perm z_i, σ (1 + 0.3 β_perm z_i), and all μ are multiplied by β_sign.

    A day opens at the last close; high and low are those of a Brownian bridge at 8 steps. The
    logarithm of volume rises by 0.3 per standard deviation of the day's move, with normal noise.

    Args:
      key: PRNG key.
      law: the numbers.
      num_days: T, 2 or more.
      num_assets: N, 1 or more.
    """
    key_regime, key_signal, key_move, key_factor, key_bridge, key_volume = jax.random.split(key, 6)
    shape = (num_days, num_assets)
    regime = _regimes(key_regime, law, num_days)
    drift, volatility, correlation = _of_regime(law, regime, num_assets)
    alpha = _signals(key_signal, law, shape)
    own = _student(key_move, shape)
    factor = jax.random.normal(key_factor, (num_days, 1))
    daily = volatility / YEAR**0.5  # [T, N]
    move = daily * (jnp.sqrt(correlation) * factor + jnp.sqrt(1.0 - correlation) * own)
    expected = drift / YEAR + alpha
    kappa = 0.2 * jnp.asarray(law.break_scale, float)

    def day(recent: Array, inputs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        steady, jump = inputs
        reversal = kappa * jnp.mean(recent, axis=0)
        log_return = steady - reversal + jump
        return jnp.concatenate([recent[1:], log_return[None]]), (log_return, reversal)

    recent = jnp.zeros((REVERSAL_DAYS, num_assets))
    _, (log_returns, reversal) = jax.lax.scan(day, recent, (expected - 0.5 * daily**2, move))
    bars = _bars(key_bridge, key_volume, log_returns[:-1], daily[:-1])
    return MarketPath(bars, regime, expected - reversal)


@functools.lru_cache(maxsize=8)
def synthetic_market(
    kind: Kind = "easy",
    num_assets: int = 8,
    num_days: int = 5040,
    seed: int = 0,
    **numbers: float,
) -> SyntheticMarket:
    """A simulated market on weekdays from 2000-01-03 on; the default is twenty years.

    Args:
      kind: "easy", R² of 20 %, or "hard", 1 %.
      num_assets: N, at least 1. They are named A01, A02, ...
      num_days: T, at least 2.
      seed: the same arguments give the same market.
      **numbers: other values of `MarketLaw`, such as `break_permutation=1.0`.

    Raises:
      ValueError: a kind or number is unknown, or a count too small.
    """
    if kind not in PREDICTABILITY:
        raise ValueError(unknown_name("kind of market", kind, get_args(Kind)))
    for name, value, least in (("num_assets", num_assets, 1), ("num_days", num_days, 2)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    for name in numbers:
        if name not in NUMBERS:
            raise ValueError(unknown_name("number of MarketLaw", name, NUMBERS))
    law = MarketLaw(**{"predictability": PREDICTABILITY[kind], **numbers})  # type: ignore[arg-type]
    simulate = jax.jit(simulate_market, static_argnames=("num_days", "num_assets"))
    path = simulate(jax.random.key(seed), law, num_days=num_days, num_assets=num_assets)
    data = MarketData(
        prices=np.asarray(path.bars),
        mask=np.ones((num_days, num_assets), bool),
        dates=np.busday_offset(np.datetime64("2000-01-03"), np.arange(num_days)),
        tickers=tuple(f"A{index:02d}" for index in range(1, num_assets + 1)),
        source=f"synthetic market ({kind}, seed {seed})",
    )
    fee = np.asarray(borrow_fees(law, num_assets))
    return SyntheticMarket(data, np.asarray(path.signal), np.asarray(path.regime), fee)


def borrow_fees(law: MarketLaw, num_assets: int) -> Array:
    """b_i, [N] per year: β_sign b (1 + β_perm z_i / 2)."""
    level = jnp.asarray(law.break_sign, float) * jnp.asarray(law.borrow_fee, float)
    return level * (1.0 + 0.5 * jnp.asarray(law.break_permutation, float) * _ranks(num_assets))


def signal_deviation(law: MarketLaw) -> Array:
    """Standard deviation of α, per day: √(R²/(1-R²)) times that of the moves."""
    share = jnp.asarray(law.predictability, float)
    leave, volatility = jnp.asarray(law.leave_chance, float), jnp.asarray(law.volatility, float)
    weight = leave[::-1] / jnp.sum(leave)  # stationary chances of the regimes
    return jnp.sqrt(share / (1.0 - share) * jnp.sum(weight * volatility**2) / YEAR)


def _ranks(num_assets: int) -> Array:
    """z, [N] evenly from -1 to 1; 0 for a single asset."""
    return jnp.linspace(-1.0, 1.0, num_assets) if num_assets > 1 else jnp.zeros(1)


def _regimes(key: Key, law: MarketLaw, num_days: int) -> Array:
    """Regime of each day, [T] int32, from its stationary law on."""
    leave = jnp.asarray(law.leave_chance, float)
    uniform = jax.random.uniform(key, (num_days,))
    first = (uniform[0] < leave[0] / jnp.sum(leave)).astype(jnp.int32)

    def day(regime: Array, draw: Array) -> tuple[Array, Array]:
        regime = jnp.where(draw < leave[regime], 1 - regime, regime)
        return regime, regime

    _, later = jax.lax.scan(day, first, uniform[1:])
    return jnp.concatenate([first[None], later])


def _of_regime(law: MarketLaw, regime: Array, num_assets: int) -> tuple[Array, Array, Array]:
    """Drift [T, N], volatility [T, N], both per year, and correlation [T, 1]."""
    spread = jnp.asarray(law.break_permutation, float) * _ranks(num_assets)[None]
    drift, volatility, correlation = (
        jnp.asarray(pair, float)[regime][:, None]
        for pair in (law.drift, law.volatility, law.correlation)
    )
    drift = jnp.asarray(law.break_sign, float) * (drift + 0.05 * spread)
    return drift, volatility * (1.0 + 0.3 * spread), correlation


def _signals(key: Key, law: MarketLaw, shape: tuple[int, int]) -> Array:
    """α, [T, N] per day, from its stationary law on."""
    persistence = jnp.asarray(law.signal_persistence, float)
    noise = jax.random.normal(key, shape)
    fresh = jnp.sqrt(1.0 - persistence**2)

    def day(alpha: Array, new: Array) -> tuple[Array, Array]:
        alpha = persistence * alpha + fresh * new
        return alpha, alpha

    _, later = jax.lax.scan(day, noise[0], noise[1:])
    spread = jnp.asarray(law.break_permutation, float) * _ranks(shape[1])[None]
    scale = signal_deviation(law) * (1.0 + 0.3 * spread)  # like the moves, so R² stays
    return scale * jnp.concatenate([noise[:1], later])


def _student(key: Key, shape: tuple[int, int]) -> Array:
    """Student-t draws of unit variance: a normal over the root of a mean of ν squared ones."""
    draws = jax.random.normal(key, (TAIL_DOF + 1, *shape))
    spread = jnp.sqrt(jnp.mean(draws[1:] ** 2, axis=0))
    return draws[0] / spread * ((TAIL_DOF - 2.0) / TAIL_DOF) ** 0.5


def _bars(key_bridge: Key, key_volume: Key, log_returns: Array, daily: Array) -> Array:
    """Bars [T, N, 5] of T - 1 days of returns, after a first day without a move."""
    still = jnp.zeros_like(log_returns[:1])
    moves = jnp.concatenate([still, log_returns])
    after = math.log(FIRST_PRICE) + jnp.cumsum(moves, axis=0)
    before = after - moves
    shape = (*log_returns.shape, NUM_SUBSTEPS)
    walk = jnp.cumsum(jax.random.normal(key_bridge, shape), axis=-1) / NUM_SUBSTEPS**0.5
    share = jnp.arange(1, NUM_SUBSTEPS + 1, dtype=walk.dtype)[None, None] / NUM_SUBSTEPS
    bridge = daily[..., None] * (walk - share * walk[..., -1:])  # 0 at the close
    inside = before[1:, :, None] + share * log_returns[..., None] + bridge
    inside = jnp.concatenate([after[:1, :, None] + jnp.zeros_like(inside[:1]), inside])
    inside, opening, close = jnp.exp(inside), jnp.exp(before), jnp.exp(after)
    high = jnp.maximum(inside.max(axis=-1), jnp.maximum(opening, close))
    low = jnp.minimum(inside.min(axis=-1), jnp.minimum(opening, close))
    size = jnp.concatenate([still, jnp.abs(log_returns) / daily])
    noise = VOLUME_NOISE * jax.random.normal(key_volume, moves.shape)
    volume = MEDIAN_VOLUME * jnp.exp(VOLUME_SLOPE * size + noise)
    return jnp.stack([opening, high, low, close, volume], axis=-1)
