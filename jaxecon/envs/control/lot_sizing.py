"""Lot sizing: when to set a machine up, how much to make, and how much to keep in store."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.solvers.dynamic_programme import Programme, backward_induction
from jaxecon.types import Array, Key

IDLE, SET_UP = 0, 1  # actions; from 2 on, make 1, 2, ... units


@struct.dataclass
class EnvParams(base.EnvParams):
    """Prices and demand; every field may be traced."""

    price: float = 4.0  # of a unit sold [money/unit]
    unit_cost: float = 1.0  # of a unit made [money/unit]
    setup_cost: float = 3.0  # [money]
    holding_cost: float = 0.2  # of a unit in store at the end of a period [money/unit]
    arrival: float = 0.5  # chance that each customer comes, in [0, 1]
    num_periods: int = 20  # after which the task ends
    max_steps_in_episode: int = 1000


@struct.dataclass
class EnvState(base.EnvState):
    """The store and the machine."""

    stock: Array  # int32 [unit]
    is_ready: Array  # bool, whether the machine is set up
    num_inapplicable: Array  # int32 actions of the episode that did nothing


@dataclasses.dataclass(frozen=True)
class LotSizing(base.Environment):
    """Meet random demand from a small store, with a machine that cools down when idle.

    Actions: 0 idle, after which the machine must be set up anew; 1 set up, which takes the period,
    where the machine is not ready; 1 + q make q units, where it is ready and the store has room for
    them. Any other choice is idling. Then each of `num_customers` comes with chance `arrival` and
    buys a unit if there is one; what is not served is lost.

    Observation: [capacity + 3], the stock as an indicator of 0 ... capacity, whether the machine is
    ready, and the share of the task that has gone.

    Reward: sales less the costs of making, setting up and holding [money]. The task ends after
    `num_periods`; what is then in store is worth nothing.

    Attributes:
      capacity: largest stock [unit].
      largest_lot: most units made in a period.
      num_customers: most units asked for in a period.

    Source: after Karmarkar, Kekre & Kekre (1987), The Dynamic Lot-Sizing Problem with Startup and
    Reservation Costs, Operations Research 35.
    """

    capacity: int = 6
    largest_lot: int = 4
    num_customers: int = 3

    noop_action = IDLE
    ends_together = True

    def __post_init__(self):
        for name in ("capacity", "largest_lot", "num_customers"):
            base.require_count(name, getattr(self, name))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "LotSizing-v0"

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""
        return ("idle", "set up", *(f"make {q}" for q in range(1, self.largest_lot + 1)))

    @property
    def default_params(self) -> EnvParams:
        """Half the customers come; setting up costs what one unit earns."""
        return EnvParams()

    def action_space(self, params: EnvParams) -> base.Discrete:
        """Idle, set up, or make 1 ... largest_lot units."""
        return base.Discrete(self.largest_lot + 2)

    def observation_space(self, params: EnvParams) -> base.Box:
        """Indicators and shares, [capacity + 3] in [0, 1]."""
        return base.Box(0.0, 1.0, (self.capacity + 3,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """An empty store and a cold machine."""
        state = EnvState(jnp.int32(0), jnp.int32(0), jnp.bool_(False), jnp.int32(0))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Make, then sell; info has `demand` and `applicable`."""
        chex.assert_shape(action, ())
        applies = self.action_mask(state, params)[action]
        chance = jnp.asarray(params.arrival, float)
        demand = jnp.sum(jax.random.uniform(key, (self.num_customers,), float) < chance)
        demand = demand.astype(jnp.int32)
        stock, is_ready, reward = self.outcome(state.stock, state.is_ready, action, demand, params)
        state = EnvState(
            time=state.time + 1,
            stock=stock,
            is_ready=is_ready,
            num_inapplicable=state.num_inapplicable + (~applies).astype(jnp.int32),
        )
        obs = self.observe(key, state, action, params)
        info = {"demand": demand, "applicable": applies}
        return obs, state, reward, self.is_terminated(state, params), info

    def outcome(
        self, stock: Array, is_ready: Array, action: Array, demand: Array, params: EnvParams
    ) -> tuple[Array, Array, Array]:
        """Stock, readiness and reward after one period, all (); see the class for the rules."""
        applies = self._mask(stock, is_ready)[action]
        made = jnp.where(applies & (action > SET_UP), action - SET_UP, 0)
        sets_up = applies & (action == SET_UP)
        sold = jnp.minimum(stock + made, demand)
        left = stock + made - sold
        fields = (params.price, params.unit_cost, params.setup_cost, params.holding_cost)
        price, unit_cost, setup_cost, holding_cost = (jnp.asarray(x, float) for x in fields)
        as_float = lambda x: x.astype(price.dtype)
        reward = price * as_float(sold) - unit_cost * as_float(made)
        reward -= setup_cost * as_float(sets_up) + holding_cost * as_float(left)
        return left, sets_up | (made > 0), reward

    def _mask(self, stock: Array, is_ready: Array) -> Array:
        """Actions that apply, bool [A]."""
        lots = jnp.arange(1, self.largest_lot + 1, dtype=jnp.int32)
        makes = is_ready & (stock + lots <= self.capacity)
        return jnp.concatenate([jnp.stack([jnp.bool_(True), ~is_ready]), makes])

    def action_mask(self, state: EnvState, params: EnvParams) -> Array:
        """Actions that apply, bool [largest_lot + 2]; idling always does."""
        return self._mask(state.stock, state.is_ready)

    def effect_view(self, state: EnvState) -> tuple[Array, Array]:
        """Stock and machine."""
        return state.stock, state.is_ready

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Indicator of the stock, readiness, and share of the task gone, [capacity + 3]."""
        dtype = jnp.result_type(float)
        stock = jax.nn.one_hot(state.stock, self.capacity + 1, dtype=dtype)
        gone = state.time.astype(dtype) / jnp.asarray(params.num_periods, dtype)
        rest = jnp.stack([state.is_ready.astype(dtype), jnp.minimum(gone, 1.0)])
        return jnp.concatenate([stock, rest])

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the last period is over."""
        return state.time >= params.num_periods

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`inapplicable`, the actions that did nothing, and the `stock` left over [unit]."""
        dtype = jnp.result_type(float)
        counts = {"inapplicable": state.num_inapplicable, "stock": state.stock}
        return {name: count.astype(dtype) for name, count in counts.items()}

    def programme(self, params: EnvParams) -> Programme:
        """The task as tables; state 2·stock + ready, shock = demand."""
        counts = (2 * (self.capacity + 1), self.largest_lot + 2, self.num_customers + 1)
        states, actions, demands = (jnp.arange(n, dtype=jnp.int32) for n in counts)

        def entry(index: Array, action: Array, demand: Array) -> tuple[Array, Array]:
            stock, ready = jnp.divmod(index, 2)
            left, is_ready, reward = self.outcome(stock, ready == 1, action, demand, params)
            return reward, 2 * left + is_ready.astype(jnp.int32)

        table = jax.vmap(
            jax.vmap(jax.vmap(entry, (None, None, 0)), (None, 0, None)), (0, None, None)
        )
        reward, successor = table(states, actions, demands)
        legal = jax.vmap(lambda index: self._mask(index // 2, index % 2 == 1))(states)
        law = self.demand_law(params)
        return Programme(reward, successor, jnp.broadcast_to(law, (counts[0], counts[2])), legal)

    def demand_law(self, params: EnvParams) -> Array:
        """Chance of 0 ... num_customers units asked for, binomial, [num_customers + 1]."""
        n, chance = self.num_customers, jnp.asarray(params.arrival, float)
        ways = jnp.asarray(np.array([math.comb(n, k) for k in range(n + 1)]), chance.dtype)
        come = jnp.stack([chance**k * (1.0 - chance) ** (n - k) for k in range(n + 1)])
        return ways * come

    def optimal_return(self, params: EnvParams) -> Array:
        """Greatest expected return, by backward induction, ()."""
        return backward_induction(self.programme(params), params.num_periods).value[0]

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """What the dynamic programme earns."""
        best = {"return": float(self.optimal_return(params)), "inapplicable": 0.0}
        return {"dynamic programme": best}
