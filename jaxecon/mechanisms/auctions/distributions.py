"""Distributions of one valuation: tails, densities, quantiles and draws.

Each is a small pytree whose numbers may be traced. Many distributions are one with stacked numbers
under `jax.vmap`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.mechanisms.auctions.checks import require, require_count
from jaxecon.types import Array, Key

MAX_UNIFORM_SUM = 12  # tails are then good to 2e-6 in float32; the alternating sum loses digits


class Distribution:
    """What every distribution of valuations offers; x and p have any shape."""

    def check(self) -> None:
        """Raise ValueError if the numbers, as far as they are known, make no distribution."""
        raise NotImplementedError

    def survival(self, x: Array) -> Array:
        """Probability of a valuation above x."""
        raise NotImplementedError

    def pdf(self, x: Array) -> Array:
        """Density at x, per money; from the right where it jumps."""
        raise NotImplementedError

    def price(self, q: Array) -> Array:
        """Highest x that is reached with probability q in [0, 1]: the price that sells so often."""
        raise NotImplementedError

    def kinks(self) -> Array:
        """[K] valuations at which the density jumps, the finite ends of the support included."""
        raise NotImplementedError

    def sample(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Independent draws, of the dtype of the distribution's numbers."""
        return self.quantile(jax.random.uniform(key, shape, self.dtype))

    def cdf(self, x: Array) -> Array:
        """Probability of a valuation of at most x."""
        return 1.0 - self.survival(x)

    def quantile(self, p: Array) -> Array:
        """x with cdf(x) = p, the highest if there are several, for p in [0, 1]."""
        return self.price(1.0 - p)

    @property
    def dtype(self) -> Any:
        """That of the numbers; the default float for Python numbers."""
        return jnp.result_type(0.0, *jax.tree.leaves(self))


@struct.dataclass
class Uniform(Distribution):
    """Uniform on [low, high] money, 0 <= low < high."""

    low: Any = 0.0
    high: Any = 1.0

    def check(self) -> None:
        """Raise ValueError unless 0 <= low < high."""
        _check_interval(self.low, self.high)

    def survival(self, x: Array) -> Array:
        """Probability of a valuation above x."""
        return jnp.clip((self.high - x) / (self.high - self.low), 0.0, 1.0)

    def pdf(self, x: Array) -> Array:
        """Density at x, per money; from the right where it jumps."""
        inside = (x >= self.low) & (x < self.high)
        return jnp.where(inside, jnp.ones_like(x) / (self.high - self.low), 0.0)

    def price(self, q: Array) -> Array:
        """Highest x that is reached with probability q in [0, 1]."""
        return self.high - (self.high - self.low) * q

    def kinks(self) -> Array:
        """The two ends."""
        return jnp.stack([jnp.asarray(end, self.dtype) for end in (self.low, self.high)])


@struct.dataclass
class Exponential(Distribution):
    """Exponential with the given mean, > 0 money."""

    mean: Any = 1.0

    def check(self) -> None:
        """Raise ValueError unless the mean is positive."""
        require("mean", self.mean, lambda x: (x > 0.0) & (x < math.inf), "be positive and finite")

    def survival(self, x: Array) -> Array:
        """Probability of a valuation above x."""
        return jnp.exp(-jnp.maximum(x, 0.0) / self.mean)

    def pdf(self, x: Array) -> Array:
        """Density at x, per money; from the right where it jumps."""
        return jnp.where(x >= 0.0, self.survival(x) / self.mean, 0.0)

    def price(self, q: Array) -> Array:
        """x that is reached with probability q; infinite at q = 0."""
        return -self.mean * jnp.log(q)

    def kinks(self) -> Array:
        """Zero, where the support begins."""
        return jnp.zeros(1, self.dtype)


@struct.dataclass
class UniformMixture(Distribution):
    """Uniform on [low_k, high_k] with probability weight_k; pieces may overlap or leave gaps.

    Attributes:
      low: [K] money, >= 0.
      high: [K] money, above low.
      weight: [K] probabilities that sum to one.
    """

    low: Any
    high: Any
    weight: Any

    def check(self) -> None:
        """Raise ValueError unless intervals are proper and weights sum to one."""
        _check_interval(self.low, self.high)
        require("weight", self.weight, lambda x: x >= 0.0, "be at least 0")
        sums_to_one = lambda x: abs(x.sum() - 1.0) < 1e-5
        require("weight", self.weight, sums_to_one, "sum to 1; divide it by its sum")

    def _parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """x as [..., 1], and low, high and weight broadcast against it."""
        x = jnp.asarray(x)[..., None]
        shape = (1,) * (x.ndim - 1) + (-1,)
        parts = (jnp.reshape(jnp.asarray(p), shape) for p in (self.low, self.high, self.weight))
        return x, *parts  # type: ignore[return-value]

    def survival(self, x: Array) -> Array:
        """Probability of a valuation above x."""
        x, low, high, weight = self._parts(x)
        return jnp.sum(weight * jnp.clip((high - x) / (high - low), 0.0, 1.0), axis=-1)

    def pdf(self, x: Array) -> Array:
        """Density at x, per money; from the right where it jumps."""
        x, low, high, weight = self._parts(x)
        return jnp.sum(jnp.where((x >= low) & (x < high), weight / (high - low), 0.0), axis=-1)

    def price(self, q: Array) -> Array:
        """Highest x that is reached with probability q in [0, 1]: the upper edge of a gap."""
        knots = self.kinks()[::-1]  # from the highest, so that tails increase
        tails = self.survival(knots)
        after = jnp.clip(jnp.searchsorted(tails, q, side="left"), 1, knots.shape[0] - 1)
        x0, x1, y0, y1 = knots[after - 1], knots[after], tails[after - 1], tails[after]
        rise = jnp.where(y1 > y0, y1 - y0, 1.0)
        return x0 + jnp.clip((q - y0) / rise, 0.0, 1.0) * (x1 - x0)

    def kinks(self) -> Array:
        """All ends of intervals, in order."""
        return jnp.sort(jnp.concatenate([jnp.asarray(self.low), jnp.asarray(self.high)]))


@struct.dataclass
class UniformSum(Distribution):
    """The sum of M independent uniform valuations on [0, high]: the value of a bundle.

    Attributes:
      num_items: M, 1 to 12; static.
      high: money.

    Source: Irwin (1927) and Hall (1927), Biometrika 19.
    """

    num_items: int = struct.field(pytree_node=False, default=2)
    high: Any = 1.0

    def check(self) -> None:
        """Raise ValueError unless there are 1 to 12 items and high is positive."""
        require_count("num_items", self.num_items)
        if self.num_items > MAX_UNIFORM_SUM:
            raise ValueError(f"num_items must be at most {MAX_UNIFORM_SUM}, got {self.num_items}.")
        require("high", self.high, lambda x: (x > 0.0) & (x < math.inf), "be positive and finite")

    def _sum_of_powers(self, x: Array, power: int) -> Array:
        """Σ_k (-1)^k C(M, k) max(x - k, 0)^power / power!, for x up to M / 2."""
        terms = [
            (-1) ** k * math.comb(self.num_items, k) * jnp.maximum(x - k, 0.0) ** power
            for k in range(self.num_items // 2 + 1)
        ]
        return sum(terms[1:], terms[0]) / math.factorial(power)

    def _unit_survival(self, x: Array) -> Array:
        outer = self._sum_of_powers(jnp.minimum(x, self.num_items - x), self.num_items)
        return jnp.where(x > 0.5 * self.num_items, outer, 1.0 - outer)

    def _unit_pdf(self, x: Array) -> Array:
        inside = (x >= 0.0) & (x < self.num_items)
        if self.num_items == 1:
            return jnp.where(inside, jnp.ones_like(x), 0.0)
        lower = jnp.minimum(x, self.num_items - x)
        return jnp.where(inside, self._sum_of_powers(lower, self.num_items - 1), 0.0)

    def survival(self, x: Array) -> Array:
        """Probability of a bundle worth more than x."""
        return self._unit_survival(jnp.clip(x / self.high, 0.0, float(self.num_items)))

    def pdf(self, x: Array) -> Array:
        """Density at x, per money; from the right where it jumps."""
        return self._unit_pdf(x / self.high) / self.high

    def price(self, q: Array) -> Array:
        """x that is reached with probability q, by bisection; a Newton step gives a gradient."""

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            above = self._unit_survival(middle) < q
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        num_steps = jnp.finfo(q.dtype).nmant + 4
        start = (jnp.zeros_like(q), jnp.full_like(q, self.num_items))
        x = jax.lax.stop_gradient(jax.lax.fori_loop(0, num_steps, halve, start)[0])
        density = self._unit_pdf(x)
        step = (self._unit_survival(x) - q) / jnp.where(density > 1e-3, density, jnp.inf)
        return self.high * (x + step)

    def kinks(self) -> Array:
        """The two ends."""
        high = jnp.asarray(self.high, self.dtype)
        return jnp.stack([jnp.zeros_like(high), self.num_items * high])


def _check_interval(low: Any, high: Any) -> None:
    require("low", low, lambda x: (x >= 0.0) & (x < math.inf), "be at least 0 and finite")
    if not isinstance(low, jax.core.Tracer):
        above = lambda x: (x > np.asarray(low)) & (x < math.inf)
        require("high", high, above, f"be finite and above low = {low}")
