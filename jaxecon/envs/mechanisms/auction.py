"""Price items for bidders whose values are unknown: the player is the seller."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.mechanisms.population import MechanismEnvironment
from jaxecon.mechanisms.auctions.distributions import Uniform
from jaxecon.mechanisms.auctions.objectives import revenue, welfare
from jaxecon.mechanisms.base import AuctionTypes, Outcome
from jaxecon.mechanisms.exploitability import Exploitability
from jaxecon.types import Array, Key, Metrics

NUM_PRICES = 101  # candidates of the baseline
NUM_BASELINE_TYPES = 4096


@struct.dataclass
class AuctionParams(base.EnvParams):
    """The prior over bidders, the same for all and for every item; both may be traced."""

    low: float = 0.0  # least value [money/item]
    high: float = 1.0  # greatest value
    max_steps_in_episode: int = 100  # each episode ends after one step anyway


@struct.dataclass
class EnvState(base.EnvState):
    """One set of bidders, and what they took."""

    types: AuctionTypes  # leaves [N, M]
    allocation: Array  # [N, M] 0 or 1; zeros before the step
    payment: Array  # [N] money


@dataclasses.dataclass(frozen=True)
class AuctionDesigner(MechanismEnvironment):
    """Set a price for each item before the bidders are known; the episode ends.

    With additive values, each item goes to the highest bidder whose value reaches its price, for
    the greater of the price and the second-highest value. With unit demand, the bidders come one
    after the other and each takes the item left over that suits it best, at its price, or none.
    Both are truthful.

    Values are independent and uniform on [low, high]. For additive values the best price is
    Myerson's reserve, max(low, high / 2), whatever the number of bidders; for one bidder with unit
    demand for two items on [0, 1] it is 1/√3 each (revenue 2/(3√3) = 0.3849).

    Observation: low and high, [2], so that one policy can learn to price in many markets.

    Action: [M] prices as shares of `high`, clipped to [0, 1].

    Reward: revenue.

    Attributes:
      num_bidders: N; they are part of the environment, the player is the seller alone.
      num_items: M.
      unit_demand: whether a bidder can use one item only.
    """

    num_bidders: int = 2
    num_items: int = 1
    unit_demand: bool = False

    relative_gain = False

    def __post_init__(self):
        base.require_count("num_bidders", self.num_bidders)
        base.require_count("num_items", self.num_items)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "AuctionDesigner-v0"

    @property
    def default_params(self) -> AuctionParams:
        """Values on [0, 1]."""
        return AuctionParams()

    def action_space(self, params: AuctionParams) -> base.Box:
        """Prices as shares of the greatest value, [M] in [0, 1]."""
        return base.Box(0.0, 1.0, (self.num_items,), jnp.result_type(float))

    def observation_space(self, params: AuctionParams) -> base.Box:
        """The bounds of values, [2], non-negative."""
        return base.Box(0.0, jnp.inf, (2,), jnp.result_type(float))

    def reset_env(self, key: Key, params: AuctionParams) -> tuple[Array, EnvState]:
        """Draw the bidders, unseen."""
        types = self.draw_types(key, params)
        zeros = jnp.zeros_like(types.valuations)
        state = EnvState(jnp.int32(0), types, zeros, zeros[:, 0])
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: AuctionParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Sell; info has the `payment` of each bidder, [N]."""
        chex.assert_shape(action, (self.num_items,))
        prices = jnp.asarray(params.high, float) * jnp.clip(jnp.asarray(action, float), 0.0, 1.0)
        outcome = self.sell(prices, state.types)
        reward = self.objective(state.types, outcome, params)
        state = EnvState(state.time + 1, state.types, outcome.allocation, outcome.payment)
        info = {"payment": outcome.payment}
        return self.observe(key, state, action, params), state, reward, jnp.bool_(True), info

    def observe(
        self, key: Key, state: EnvState, action: Array | None, params: AuctionParams
    ) -> Array:
        """The bounds of values, [2]."""
        return jnp.stack([jnp.asarray(params.low, float), jnp.asarray(params.high, float)])

    def sell(self, prices: Array, types: AuctionTypes) -> Outcome:
        """Who gets what for prices [M]: the two rules of this class's docstring."""
        rule = posted_prices if self.unit_demand else second_prices
        return rule(types.valuations, prices)

    def draw_types(self, key: Key, env_params: AuctionParams) -> AuctionTypes:
        """True values of one instance, [N, M]."""
        law = Uniform(jnp.asarray(env_params.low, float), jnp.asarray(env_params.high, float))
        values = law.sample(key, (self.num_bidders, self.num_items))
        return AuctionTypes(values, self.unit_demand)

    def report_space(self, env_params: AuctionParams) -> dict[str, tuple[Array, Array]]:
        """Values in the prior's support."""
        bounds = jnp.asarray(env_params.low, float), jnp.asarray(env_params.high, float)
        return {"valuations": bounds}

    def objective(self, types: AuctionTypes, outcome: Outcome, env_params: AuctionParams) -> Array:
        """Revenue, [...] money."""
        return revenue(outcome)

    def outcome_metrics(
        self,
        types: AuctionTypes,
        outcome: Outcome,
        attack: Exploitability,
        env_params: AuctionParams,
    ) -> Metrics:
        """Mean revenue, welfare and regret; `worst_regret` is the mean of the worst bidder's.

        `max_regret` is the largest over bidders and instances. All are money; regret is a lower
        bound, the best that the attack found.
        """
        return {
            "revenue": jnp.mean(revenue(outcome)),
            "welfare": jnp.mean(welfare(types, outcome)),
            "regret": jnp.mean(attack.gain),
            "worst_regret": jnp.mean(jnp.max(attack.gain, axis=-1)),
            "max_regret": jnp.max(attack.gain),
        }

    def episode_summary(self, state: EnvState, params: AuctionParams) -> dict[str, Array]:
        """`revenue` and `welfare` of the sale [money]."""
        outcome = Outcome(state.allocation, state.payment)
        return {"revenue": revenue(outcome), "welfare": welfare(state.types, outcome)}

    def baselines(self, params: AuctionParams) -> dict[str, dict[str, float]]:
        """Mean revenue on 4,096 instances without a reserve, and at the best common price.

        The best of 101 common prices on these instances, which is Myerson's reserve up to chance
        where values are additive.
        """
        keys = jax.random.split(jax.random.key(0), NUM_BASELINE_TYPES)
        types = jax.vmap(self.draw_types, in_axes=(0, None))(keys, params)
        shares = jnp.linspace(0.0, 1.0, NUM_PRICES)

        def mean_revenue(share: Array) -> Array:
            prices = jnp.full(self.num_items, share * params.high)
            return jnp.mean(jax.vmap(lambda each: revenue(self.sell(prices, each)))(types))

        revenues = jax.jit(lambda shares: jax.lax.map(mean_revenue, shares))(shares)
        found = {"no_reserve": revenues[0], "best_common_price": revenues.max()}
        return {name: {"return": float(x), "revenue": float(x)} for name, x in found.items()}


def second_prices(values: Array, prices: Array) -> Outcome:
    """Each item to its highest bidder, for the greater of its price and the second-highest value.

    Args:
      values: [N, M] money per item, reported.
      prices: [M] money, least that each item is sold for.

    Returns:
      Outcome with allocation [N, M] and payment [N]. Items that nobody values at their price stay.
    """
    highest = jax.nn.one_hot(jnp.argmax(values, axis=0), len(values), axis=0, dtype=values.dtype)
    rivals = jnp.where(highest > 0.0, 0.0, values).max(0)  # [M]
    sold = jnp.where(values.max(0) >= prices, highest, 0.0)
    return Outcome(sold, jnp.sum(sold * jnp.maximum(prices, rivals)[None], axis=1))


def posted_prices(values: Array, prices: Array) -> Outcome:
    """Bidders in turn take the item left over with the greatest surplus, if it is not negative.

    Args:
      values: [N, M] money per item; a bidder can use one.
      prices: [M] money.

    Returns:
      Outcome with allocation [N, M], of which each row and column has at most a single 1, and
      payment [N].
    """

    def take(is_left: Array, value: Array) -> tuple[Array, Array]:
        surplus = jnp.where(is_left, value - prices, -1.0)
        best = jnp.argmax(surplus)
        taken = (jnp.arange(len(prices)) == best) & (surplus[best] >= 0.0)
        return is_left & ~taken, taken.astype(values.dtype)

    _, allocation = jax.lax.scan(take, jnp.ones(len(prices), bool), values)
    return Outcome(allocation, jnp.sum(allocation * prices[None], axis=1))
