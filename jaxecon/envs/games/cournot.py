"""Cournot competition: firms choose quantities, one market price clears them."""

import dataclasses

import chex
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """A linear market; every field may be a traced scalar. Expects a > c >= 0 and b > 0."""

    intercept: float = 10.0  # a, price at zero supply [money/unit]
    slope: float = 1.0  # b, price drop per unit sold [money/unit^2]
    unit_cost: float = 1.0  # c [money/unit]
    max_quantity: float = 10.0  # most that a firm can make [unit/period]
    max_steps_in_episode: int = 100


@struct.dataclass
class EnvState(base.EnvState):
    """Last period's output, and sums over the periods of the episode."""

    quantity: Array  # [N] last output [unit]; zeros before the first period
    quantity_sum: Array  # mean output of a firm, summed over periods [unit]
    price_sum: Array  # [money/unit]
    profit_sum: Array  # mean profit of a firm, summed over periods [money]


@dataclasses.dataclass(frozen=True)
class Cournot(base.Environment):
    """N firms choose quantities each period under linear inverse demand.

        P = max(a - b·Q, 0),    Q = Σ_i q_i,    profit_i = (P - c)·q_i

    Action: [N] quantities; those outside [0, max_quantity] are clipped to it.

    Observation: [N, 3], every firm's own last quantity (of max_quantity), the last total (of
    N·max_quantity) and the last price (of the intercept), each in [0, 1]. Before the first period
    nothing has been sold.

    Reward: [N] profits [money/period]. Episodes end only at the time limit.

    Attributes:
      num_firms: N >= 1; one firm is a monopoly.

    Source: Cournot (1838), Recherches sur les principes mathématiques de la théorie des richesses.
    """

    num_firms: int = 2

    ends_together = True

    def __post_init__(self):
        base.require_count("num_firms", self.num_firms)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "Cournot-v0"

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        """N, the firms."""
        return self.num_firms

    @property
    def default_params(self) -> EnvParams:
        """P = 10 - Q at unit cost 1: two firms make 3 each in equilibrium."""
        return EnvParams()

    def action_space(self, params: EnvParams) -> base.Box:
        """Quantities, [N] in [0, max_quantity]."""
        return base.Box(0.0, params.max_quantity, (self.num_firms,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Own quantity, total quantity and price of the last period, [N, 3] in [0, 1]."""
        return base.Box(0.0, 1.0, (self.num_firms, 3), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """Observation and state before the first period."""
        zero = jnp.zeros((), float)
        state = EnvState(jnp.int32(0), jnp.zeros(self.num_firms, float), zero, zero, zero)
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Sell one period's output; info has the `price`."""
        chex.assert_shape(action, (self.num_firms,))
        quantity = jnp.clip(
            jnp.asarray(action, float), 0.0, jnp.asarray(params.max_quantity, float)
        )
        price = market_price(quantity, params)
        profit = (price - jnp.asarray(params.unit_cost, float)) * quantity  # [N]
        state = EnvState(
            time=state.time + 1,
            quantity=quantity,
            quantity_sum=state.quantity_sum + jnp.mean(quantity),
            price_sum=state.price_sum + price,
            profit_sum=state.profit_sum + jnp.mean(profit),
        )
        obs = self.observe(key, state, action, params)
        return obs, state, profit, jnp.bool_(False), {"price": price}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Last own quantity, total and price, scaled, [N, 3]."""
        own = state.quantity / jnp.asarray(params.max_quantity, float)  # [N]
        price = market_price(state.quantity, params) / jnp.asarray(params.intercept, float)
        shared = jnp.stack([jnp.mean(own), price])
        shared = jnp.broadcast_to(shared, (self.num_firms, 2))
        return jnp.concatenate([own[:, None], shared], axis=1)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Means over periods and firms: `quantity`, `price` and `profit`; zeros before a period."""
        periods = jnp.maximum(state.time, 1).astype(state.price_sum.dtype)
        return {
            "quantity": state.quantity_sum / periods,
            "price": state.price_sum / periods,
            "profit": state.profit_sum / periods,
        }

    def nash_quantity(self, params: EnvParams) -> Array:
        """Output of each firm in the equilibrium of one period.

            q = (a - c) / (b·(N + 1)),  clipped to [0, max_quantity]

        Returns:
          Scalar [unit/period]. Clipping keeps it an equilibrium: profits are concave in own output.
        """
        return self._share_of_choke(params, self.num_firms + 1.0)

    def cartel_quantity(self, params: EnvParams) -> Array:
        """Output of each firm that maximises the profit of all of them together.

            q = (a - c) / (2·b·N),  clipped to [0, max_quantity]

        Returns:
          Scalar [unit/period]; a monopolist's output at N = 1.
        """
        return self._share_of_choke(params, 2.0 * self.num_firms)

    def _share_of_choke(self, params: EnvParams, parts: float) -> Array:
        """The quantity at which price meets cost, divided by `parts`, within a firm's bounds."""
        margin = jnp.asarray(params.intercept, float) - jnp.asarray(params.unit_cost, float)
        quantity = margin / (jnp.asarray(params.slope, float) * parts)
        return jnp.clip(quantity, 0.0, jnp.asarray(params.max_quantity, float))


def market_price(quantity: Array, params: EnvParams) -> Array:
    """Price that clears the market, max(a - b·Σq, 0).

    Args:
      quantity: [N] outputs [unit/period].
      params: the market.

    Returns:
      Scalar [money/unit].
    """
    total = jnp.sum(quantity)
    intercept = jnp.asarray(params.intercept, float)
    return jnp.maximum(intercept - jnp.asarray(params.slope, float) * total, 0.0)
