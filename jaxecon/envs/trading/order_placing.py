"""Order placing: buy and sell at a price that moves, within a budget and a limit on inventory."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.preconditions import Preconditions
from jaxecon.solvers.dynamic_programme import Programme, backward_induction
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """The price's law and the fee; every field may be traced."""

    move_chance: float = 0.6  # that the price changes between two periods, in [0, 1]
    reversion: float = 0.25  # pull towards the middle price, in [0, 1/2]; 0 is a random walk
    fee: float = 0.1  # of a unit bought or sold [money/unit]
    num_periods: int = 16  # after which the task ends
    max_steps_in_episode: int = 1000


@struct.dataclass
class EnvState(base.EnvState):
    """The account and the market."""

    budget: Array  # int32 [money] left to buy with
    inventory: Array  # int32 [unit]
    level: Array  # int32, position of the price in `prices`
    num_inapplicable: Array  # int32 actions of the episode that did nothing


@dataclasses.dataclass(frozen=True)
class OrderPlacing(base.Environment):
    """Trade up to `largest_order` units a period; the budget buys, and proceeds are paid out.

    Actions, of 2 K + 1 with K = largest_order: k < K sells K - k units, K holds, k > K buys k - K.
    A sale applies where there is enough inventory. A purchase applies where the budget covers its
    price and the inventory limit leaves room. Any other choice is holding.

    Then the price moves up or down one level, or stays. At an end level a move outwards is none.

    Observation: [5] in [0, 1]: budget, inventory, price level and units that the budget would
    cover (up to K), each as a share of its largest value, and the share of the task that has gone.

    Reward: money received less money paid, fees included, per unit of the middle price. The task
    ends after `num_periods`; inventory and budget are then worth nothing.

    Attributes:
      prices: rising whole prices [money/unit].
      largest_order: K [unit].
      max_inventory: [unit].
      start_budget: [money].
    """

    prices: tuple[int, ...] = (3, 4, 5, 6, 7)
    largest_order: int = 3
    max_inventory: int = 5
    start_budget: int = 24

    ends_together = True

    def __post_init__(self):
        for name in ("largest_order", "max_inventory", "start_budget"):
            base.require_count(name, getattr(self, name))
        object.__setattr__(self, "prices", tuple(self.prices))
        for price in self.prices:
            base.require_count("every price", price)
        if len(self.prices) < 2 or list(self.prices) != sorted(set(self.prices)):
            raise ValueError(f"prices must be at least 2, each above the last, got {self.prices}.")

    @property
    def name(self) -> str:
        """The registry's id."""
        return "OrderPlacing-v0"

    @property
    def noop_action(self) -> int:  # type: ignore[override]
        """Holding."""
        return self.largest_order

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""
        sizes = range(1, self.largest_order + 1)
        sales = [f"sell_{q}" for q in reversed(sizes)]
        return (*sales, "hold", *(f"buy_{q}" for q in sizes))

    @property
    def preconditions(self) -> Preconditions:
        """When each action applies, in terms of `features`."""
        formulas = {}
        for action in self.action_names:
            kind, _, size = action.partition("_")
            rules = {"sell": f"holds_{size}", "buy": f"affords_{size} & room_{size}"}
            formulas[action] = rules.get(kind, "True")
        return Preconditions(formulas)

    @property
    def default_params(self) -> EnvParams:
        """A price that returns to its middle, and a small fee."""
        return EnvParams()

    def action_space(self, params: EnvParams) -> base.Discrete:
        """Sell, hold or buy."""
        return base.Discrete(2 * self.largest_order + 1)

    def observation_space(self, params: EnvParams) -> base.Box:
        """Shares, [5] in [0, 1]."""
        return base.Box(0.0, 1.0, (5,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """The whole budget, nothing in hand, the middle price."""
        state = EnvState(
            time=jnp.int32(0),
            budget=jnp.int32(self.start_budget),
            inventory=jnp.int32(0),
            level=jnp.int32(len(self.prices) // 2),
            num_inapplicable=jnp.int32(0),
        )
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Trade, then the price moves; info has the `price` traded at and `applicable`."""
        chex.assert_shape(action, ())
        applies = self.action_mask(state, params)[action]
        price = self._price(state.level)
        shock = jax.random.categorical(key, jnp.log(self.price_law(state.level, params)))
        state, reward = self.outcome(state, action, shock.astype(jnp.int32), params)
        state = state.replace(
            num_inapplicable=state.num_inapplicable + (~applies).astype(jnp.int32)
        )
        obs = self.observe(key, state, action, params)
        info = {"price": price, "applicable": applies}
        return obs, state, reward, self.is_terminated(state, params), info

    def outcome(
        self, state: EnvState, action: Array, shock: Array, params: EnvParams
    ) -> tuple[EnvState, Array]:
        """State and reward after one period; shock 0 is a fall of the price, 1 none, 2 a rise."""
        applies = self.action_mask(state, params)[action]
        bought = jnp.where(applies, action - self.largest_order, 0)  # negative if sold
        paid = bought * self._price(state.level)
        fee, middle = jnp.asarray(params.fee, float), self.prices[len(self.prices) // 2]
        fees = fee * jnp.abs(bought).astype(fee.dtype)
        after = state.replace(
            time=state.time + 1,
            budget=state.budget - jnp.maximum(paid, 0),
            inventory=state.inventory + bought,
            level=jnp.clip(state.level + shock - 1, 0, len(self.prices) - 1),
        )
        return after, -(paid.astype(fee.dtype) + fees) / middle

    def price_law(self, level: Array, params: EnvParams) -> Array:
        """Chances that the price falls, stays and rises from a level, [3].

        P(rise) = m (1/2 - ρ x),   x in [-1, 1] the level's distance from the middle
        """
        move, pull = jnp.asarray(params.move_chance, float), jnp.asarray(params.reversion, float)
        half = 0.5 * (len(self.prices) - 1)
        distance = (level.astype(move.dtype) - half) / half
        rise = move * (0.5 - pull * distance)
        return jnp.stack([move - rise, 1.0 - move, rise])

    def _price(self, level: Array) -> Array:
        return jnp.asarray(self.prices, jnp.int32)[level]

    def features(self, state: EnvState) -> dict[str, Array]:
        """What preconditions speak of, bool scalars by name."""
        price, facts = self._price(state.level), {}
        for size in range(1, self.largest_order + 1):
            facts[f"holds_{size}"] = state.inventory >= size
            facts[f"affords_{size}"] = state.budget >= size * price
            facts[f"room_{size}"] = state.inventory + size <= self.max_inventory
        return facts

    def action_mask(self, state: EnvState, params: EnvParams) -> Array:
        """Actions that apply, bool [2 K + 1]; holding always does."""
        return self.preconditions.mask(self.features(state))

    def effect_view(self, state: EnvState) -> tuple[Array, Array]:
        """Budget and inventory; the price moves by itself."""
        return state.budget, state.inventory

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Budget, inventory, price level, units the budget covers, and time gone, [5]."""
        covers = jnp.minimum(state.budget // self._price(state.level), self.largest_order)
        counts = jnp.stack([state.budget, state.inventory, state.level, covers, state.time])
        largest = (self.start_budget, self.max_inventory, len(self.prices) - 1, self.largest_order)
        scale = jnp.stack([jnp.asarray(x, float) for x in (*largest, params.num_periods)])
        return jnp.minimum(counts.astype(scale.dtype) / scale, 1.0)

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the last period is over."""
        return state.time >= params.num_periods

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`inapplicable`, the actions that did nothing, and the `inventory` left over [unit]."""
        dtype = jnp.result_type(float)
        counts = {"inapplicable": state.num_inapplicable, "inventory": state.inventory}
        return {name: count.astype(dtype) for name, count in counts.items()}

    def states(self) -> EnvState:
        """Every account and price, in the order of `programme`, leaves [S]."""
        sizes = (self.start_budget + 1, self.max_inventory + 1, len(self.prices))
        grid = jnp.indices(sizes, jnp.int32)
        budget, inventory, level = (jnp.reshape(axis, (-1,)) for axis in grid)
        zero = jnp.zeros_like(budget)
        return EnvState(zero, budget, inventory, level, zero)

    def index(self, state: EnvState) -> Array:
        """Position of a state in `states`, int32."""
        account = state.budget * (self.max_inventory + 1) + state.inventory
        return account * len(self.prices) + state.level

    def programme(self, params: EnvParams) -> Programme:
        """The task as tables over `states`; the shock is the price's move."""
        states = self.states()
        actions = jnp.arange(2 * self.largest_order + 1, dtype=jnp.int32)

        def entry(state: EnvState, action: Array, shock: Array) -> tuple[Array, Array]:
            after, reward = self.outcome(state, action, shock, params)
            return reward, self.index(after)

        over_shocks = jax.vmap(entry, (None, None, 0))
        table = jax.vmap(jax.vmap(over_shocks, (None, 0, None)), (0, None, None))
        reward, successor = table(states, actions, jnp.arange(3, dtype=jnp.int32))
        law = jax.vmap(self.price_law, (0, None))(states.level, params)
        legal = jax.vmap(self.action_mask, (0, None))(states, params)
        return Programme(reward, successor, law, legal)

    def optimal_return(self, params: EnvParams) -> Array:
        """Greatest expected return, by backward induction, ()."""
        _, start = self.reset_env(jax.random.key(0), params)
        return backward_induction(self.programme(params), params.num_periods).value[
            self.index(start)
        ]

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """What the dynamic programme earns."""
        best = {"return": float(self.optimal_return(params)), "inapplicable": 0.0}
        return {"dynamic programme": best}
