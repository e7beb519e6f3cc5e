"""The newsvendor: order before demand is known, sell what is wanted, salvage the rest."""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import ndtr, ndtri

from jaxecon.envs import base
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Demand = Literal["uniform", "exponential", "lognormal"]


@struct.dataclass
class EnvParams(base.EnvParams):
    """Prices and the law of demand; every field may be a traced scalar.

    Expects price > unit_cost > salvage, scale > 0, and, but for "lognormal", location >= 0.
    """

    price: float = 2.0  # p, of a unit sold [money/unit]
    unit_cost: float = 1.0  # c, of a unit ordered [money/unit]
    salvage: float = 0.5  # s, value of a unit left over [money/unit]
    location: float = 0.0  # of demand: lower end [unit], or mean of its logarithm
    scale: float = 1.0  # of demand: width, mean above the lower end [unit], or sd of its logarithm
    max_order: float = 5.0  # largest order [unit]
    reward_scale: float = 1.0  # reward per unit of money
    max_steps_in_episode: int = 100


@struct.dataclass
class EnvState(base.EnvState):
    """Sums over the periods of the episode; nothing is carried from one to the next."""

    order_sum: Array  # [unit]
    profit_sum: Array  # [money]


class DemandLaw(NamedTuple):
    """A law of demand D given (location, scale); every function works on scalars or arrays."""

    sample: Callable[[Key, Array, Array], Array]  # one D, differentiable in location and scale
    quantile: Callable[[Array, Array, Array], Array]  # F^-1(probability), probability in (0, 1)
    expected_leftover: Callable[[Array, Array, Array], Array]  # E max(q - D, 0) at q >= 0


@dataclasses.dataclass(frozen=True)
class Newsvendor(base.Environment):
    """Order q each period, then demand D is drawn and profit is

        p·min(q, D) + s·max(q - D, 0) - c·q

    Demand is independent over periods; leftovers are salvaged, never kept. `demand` names its law,
    with location l and scale w:

        uniform      on [l, l + w]
        exponential  l + w·E, E exponential of mean 1
        lognormal    exp(l + w·Z), Z standard normal

    Action: [1], the order; outside [0, max_order] it is clipped.

    Observation: [5], the economy itself (price, unit cost, salvage, location, scale), unscaled, so
    that one policy can learn to order in many economies.

    Reward: profit times `reward_scale`. Episodes end only at the time limit.

    Attributes:
      demand: "uniform", "exponential" or "lognormal".

    Source: Arrow, Harris and Marschak (1951), Optimal Inventory Policy, Econometrica 19.
    """

    demand: Demand = "uniform"

    ends_together = True

    def __post_init__(self):
        if self.demand not in get_args(Demand):
            raise ValueError(unknown_name("demand law", self.demand, get_args(Demand)))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "Newsvendor-v0"

    @property
    def law(self) -> DemandLaw:
        """The law of demand that `demand` names."""
        return DEMAND_LAWS[self.demand]

    @property
    def default_params(self) -> EnvParams:
        """Price 2, cost 1, salvage 1/2: the best order meets demand two times in three."""
        return EnvParams()

    def action_space(self, params: EnvParams) -> base.Box:
        """The order, [1] in [0, max_order]."""
        return base.Box(0.0, params.max_order, (1,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Price, unit cost, salvage, location and scale, [5]."""
        return base.Box(-jnp.inf, jnp.inf, (5,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """Observation and state before the first period."""
        state = EnvState(jnp.int32(0), jnp.zeros((), float), jnp.zeros((), float))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Order, meet one period's demand; info has `order`, `demand` and `profit`."""
        chex.assert_shape(action, (1,))
        order = jnp.clip(jnp.asarray(action[0], float), 0.0, jnp.asarray(params.max_order, float))
        location, scale = jnp.asarray(params.location, float), jnp.asarray(params.scale, float)
        demand = self.law.sample(key, location, scale)
        profit = realised_profit(order, demand, params)
        state = EnvState(state.time + 1, state.order_sum + order, state.profit_sum + profit)
        reward = jnp.asarray(params.reward_scale, float) * profit
        info = {"order": order, "demand": demand, "profit": profit}
        return self.observe(key, state, action, params), state, reward, jnp.bool_(False), info

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """The economy: price, unit cost, salvage, location and scale, [5]."""
        fields = (params.price, params.unit_cost, params.salvage, params.location, params.scale)
        return jnp.stack([jnp.asarray(field, float) for field in fields])

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Means over periods, `order` [unit] and `profit` [money]; zeros before a period."""
        periods = jnp.maximum(state.time, 1).astype(state.order_sum.dtype)
        return {"order": state.order_sum / periods, "profit": state.profit_sum / periods}

    def optimal_order(self, params: EnvParams) -> Array:
        """The order of greatest expected profit.

            q* = F⁻¹((p - c) / (p - s)),  within [0, max_order]

        Returns:
          Scalar [unit]: the critical fractile of demand. 0 where a sale does not pay (p <= c), and
          max_order where leftovers do not hurt (s >= c < p).
        """
        price, cost, salvage = _money(params)
        location, scale = jnp.asarray(params.location, float), jnp.asarray(params.scale, float)
        largest = jnp.asarray(params.max_order, float)
        is_interior = (price > cost) & (cost > salvage)
        fractile = (price - cost) / jnp.where(is_interior, price - salvage, 1.0)
        fractile = jnp.where(is_interior, fractile, 0.5)
        order = jnp.clip(self.law.quantile(fractile, location, scale), 0.0, largest)
        corner = jnp.where(price > cost, largest, 0.0)
        return jnp.where(is_interior, order, corner)

    def expected_profit(self, order: Array, params: EnvParams) -> Array:
        """Mean profit of one period, in closed form.

            Π(q) = (p - c)·q - (p - s)·E max(q - D, 0)

        Args:
          order: q >= 0, scalar [unit]; not clipped at max_order.
          params: the economy.

        Returns:
          Scalar [money/period], concave in q where p >= s.
        """
        price, cost, salvage = _money(params)
        location, scale = jnp.asarray(params.location, float), jnp.asarray(params.scale, float)
        order = jnp.asarray(order, float)
        leftover = self.law.expected_leftover(order, location, scale)
        return (price - cost) * order - (price - salvage) * leftover


def realised_profit(order: Array, demand: Array, params: EnvParams) -> Array:
    """Profit of one period, p·min(q, D) + s·max(q - D, 0) - c·q.

    Args:
      order: q [unit].
      demand: D [unit].
      params: the economy.

    Returns:
      Of the shape of `order` and `demand` [money/period].
    """
    price, cost, salvage = _money(params)
    sold = jnp.minimum(order, demand)
    return price * sold + salvage * (order - sold) - cost * order


def _money(params: EnvParams) -> tuple[Array, Array, Array]:
    """Price, unit cost and salvage as arrays of the default float type."""
    price, cost = jnp.asarray(params.price, float), jnp.asarray(params.unit_cost, float)
    return price, cost, jnp.asarray(params.salvage, float)


def _uniform_leftover(order: Array, location: Array, scale: Array) -> Array:
    inside = jnp.clip(order - location, 0.0, scale)
    return 0.5 * inside**2 / scale + jnp.maximum(order - location - scale, 0.0)


def _exponential_leftover(order: Array, location: Array, scale: Array) -> Array:
    above = jnp.maximum(order - location, 0.0)
    return above + scale * jnp.expm1(-above / scale)


def _lognormal_leftover(order: Array, location: Array, scale: Array) -> Array:
    """q·Φ(z) - E[D]·Φ(z - w), z = (log q - l)/w; 0 at q = 0, where the logarithm has no value."""
    is_positive = order > 0.0
    safe = jnp.where(is_positive, order, 1.0)
    z = (jnp.log(safe) - location) / scale
    mean = jnp.exp(location + 0.5 * scale**2)
    return jnp.where(is_positive, safe * ndtr(z) - mean * ndtr(z - scale), 0.0)


DEMAND_LAWS: dict[str, DemandLaw] = {
    "uniform": DemandLaw(
        sample=lambda key, location, scale: location + scale * jax.random.uniform(key),
        quantile=lambda probability, location, scale: location + scale * probability,
        expected_leftover=_uniform_leftover,
    ),
    "exponential": DemandLaw(
        sample=lambda key, location, scale: location + scale * jax.random.exponential(key),
        quantile=lambda probability, location, scale: location - scale * jnp.log1p(-probability),
        expected_leftover=_exponential_leftover,
    ),
    "lognormal": DemandLaw(
        sample=lambda key, location, scale: jnp.exp(location + scale * jax.random.normal(key)),
        quantile=lambda probability, location, scale: jnp.exp(
            location + scale * ndtri(probability)
        ),
        expected_leftover=_lognormal_leftover,
    ),
}
