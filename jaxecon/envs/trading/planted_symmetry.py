"""A market with a planted symmetry: returns do not care about names and signs, short fees do."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import ndtr
from jax.scipy.stats import norm

from jaxecon.envs import base
from jaxecon.envs.symmetric import SymmetricEnvironment
from jaxecon.symmetry import (
    Block,
    Representation,
    SymmetrySpec,
    act,
    cyclic,
    outer,
    permutation,
    sign,
    z2,
)
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """Laws of returns and fees; every field may be a traced scalar."""

    break_strength: float = 0.0  # β >= 0, times the short fees; at 0 the symmetry is exact
    persistence: float = 0.5  # a, in (-1, 1), of returns from one day to the next
    volatility: float = 1.0  # standard deviation of what is new in a return, > 0
    lowest_fee: float = 0.5  # of a short position in the first asset [1/unit]
    highest_fee: float = 1.5  # and in the last; those between are evenly spaced
    max_position: float = 3.0  # L, of one asset, long or short
    max_steps_in_episode: int = 50


@struct.dataclass
class EnvState(base.EnvState):
    """The returns an investor has seen."""

    returns: Array  # [W, N] newest last
    reward_sum: Array


@dataclasses.dataclass(frozen=True)
class PlantedSymmetryMarket(SymmetricEnvironment):
    """Hold positions w in N assets for a day, again and again, with r' the next returns:

        r' = a·r + ε,  ε ~ N(0, v² I),     reward  w·r' - |w|²/2 - β Σ_i b_i max(-w_i, 0)

    with fees b evenly spaced. Relabelling assets around a circle and flipping every sign (the group
    Z2 x C_N) leaves the law of returns as it is. The fee on short positions breaks both, in the
    reward alone and in proportion to β, and shows in no observation.

    Action: [N], positions; outside [-L, L] they are clipped. They move no price, so the best
    position is the one best for the day, whatever the discount factor.

    Observation: [W·N], the last W days of returns, oldest first and assets within a day. Past
    returns start from their stationary law. Episodes end only at the time limit.

    Attributes:
      num_assets: N.
      window: W, days in the observation.

    Source: jaxecon's own, a stand-in to check Park et al. (2025), Approximate Equivariance in
    Reinforcement Learning, arXiv 2411.04225, whose own environments we have not seen.
    """

    num_assets: int = 4
    window: int = 8

    ends_together = True

    def __post_init__(self):
        base.require_count("num_assets", self.num_assets)
        base.require_count("window", self.window)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "PlantedSymmetryMarket-v0"

    @property
    def default_params(self) -> EnvParams:
        """No fee on short positions: an exact symmetry."""
        return EnvParams()

    def symmetry(self) -> SymmetrySpec:
        """Z2 x C_N by signed permutation, on every day of returns and on positions."""
        rep = signed_shifts(self.num_assets)
        return SymmetrySpec(rep.group, (Block(0, self.num_features, self.window, rep),), rep)

    @property
    def num_features(self) -> int:
        """W·N, entries of the observation."""
        return self.window * self.num_assets

    def action_space(self, params: EnvParams) -> base.Box:
        """Positions, [N] in [-L, L]."""
        limit = params.max_position
        return base.Box(-limit, limit, (self.num_assets,), jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Returns, [W·N], unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (self.num_features,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """W days of returns drawn from their stationary law."""
        noise = jax.random.normal(key, (self.window, self.num_assets))
        persistence, volatility = _law(params)
        first = noise[0] * volatility / jnp.sqrt(1.0 - persistence**2)

        def day(last: Array, new: Array) -> tuple[Array, Array]:
            following = persistence * last + volatility * new
            return following, following

        _, later = jax.lax.scan(day, first, noise[1:])
        returns = jnp.concatenate([first[None], later])
        state = EnvState(jnp.int32(0), returns, jnp.zeros((), float))
        return self.observe(key, state, None, params), state

    def noise(self, key: Key, params: EnvParams) -> Array:
        """ε/v, what is new in the next returns, [N] standard normal."""
        return jax.random.normal(key, (self.num_assets,))

    def transition(
        self, state: EnvState, action: Array, noise: Array, params: EnvParams
    ) -> tuple[EnvState, Array, dict[str, Array]]:
        """Hold for a day; info has the `fee` paid."""
        chex.assert_shape(action, (self.num_assets,))
        limit = jnp.asarray(params.max_position, float)
        position = jnp.clip(jnp.asarray(action, float), -limit, limit)
        persistence, volatility = _law(params)
        following = persistence * state.returns[-1] + volatility * noise
        fee = jnp.sum(self.fees(params) * jnp.maximum(-position, 0.0))
        reward = jnp.sum(position * following) - 0.5 * jnp.sum(position**2) - fee
        returns = jnp.concatenate([state.returns[1:], following[None]])
        state = EnvState(state.time + 1, returns, state.reward_sum + reward)
        return state, reward, {"fee": fee}

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """The window of returns, [W·N]."""
        return jnp.reshape(state.returns, (-1,))

    def act_on_state(self, element: Array | int, state: EnvState) -> EnvState:
        """Returns relabelled and flipped."""
        return state.replace(returns=act(signed_shifts(self.num_assets), element, state.returns))

    def act_on_noise(self, element: Array | int, noise: Array) -> Array:
        """Noise relabelled and flipped."""
        return act(signed_shifts(self.num_assets), element, noise)

    def fees(self, params: EnvParams) -> Array:
        """β·b, [N], per unit held short."""
        low, high = jnp.asarray(params.lowest_fee, float), jnp.asarray(params.highest_fee, float)
        spaced = jnp.linspace(low, high, self.num_assets, dtype=low.dtype)
        return jnp.asarray(params.break_strength, float) * spaced

    def optimal_position(self, last_return: Array, params: EnvParams) -> Array:
        """The best positions, m_i where m_i = a·r_i > 0 and else -max(-m_i - β b_i, 0).

        Args:
          last_return: r, [N] the newest returns.
          params: the economy.

        Returns:
          [N] within [-L, L]; nothing that was seen before helps.
        """
        mean = _law(params)[0] * last_return
        limit = jnp.asarray(params.max_position, float)
        short = -jnp.maximum(-mean - self.fees(params), 0.0)
        return jnp.clip(jnp.where(mean > 0.0, mean, short), -limit, limit)

    def best_equivariant_position(self, last_return: Array, params: EnvParams) -> Array:
        """The best of all policies with f(g·r) = g·f(r), sign(m_i)·max(|m_i| - β b̄/2, 0).

        Such a policy is paid the mean over the orbit of r: every asset bears the mean fee b̄, half
        of the time. Arguments and result are those of `optimal_position`.
        """
        mean = _law(params)[0] * last_return
        limit = jnp.asarray(params.max_position, float)
        size = jnp.maximum(jnp.abs(mean) - 0.5 * jnp.mean(self.fees(params)), 0.0)
        return jnp.sign(mean) * jnp.minimum(size, limit)

    def optimal_reward(self, params: EnvParams) -> Array:
        """Mean reward per step of `optimal_position` in the stationary law, Σ_i e(0) + e(β b_i).

        One side of one asset, whose position costs c per unit and whose m ~ N(0, σ²), earns

            e(c) = E[(m - c)₊² - (m - c - L)₊²] / 2,   σ² = a² v² / (1 - a²)
        """
        fees = self.fees(params)
        return jnp.sum(_one_side(jnp.zeros_like(fees), params) + _one_side(fees, params))

    def best_equivariant_reward(self, params: EnvParams) -> Array:
        """Mean reward per step of `best_equivariant_position`, 2 N e(β b̄/2), e as above."""
        cost = 0.5 * jnp.mean(self.fees(params))
        return 2.0 * self.num_assets * _one_side(cost, params)

    def reward_mismatch(self, params: EnvParams) -> Array:
        """Largest |R(gs, ga) - R(s, a)| over states, actions and the group, L β Σ_i b_i.

        Reached by short positions of L in every asset, which the flip makes long.
        """
        return jnp.asarray(params.max_position, float) * jnp.sum(self.fees(params))

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """`mean_reward` per step; 0 before the first."""
        steps = jnp.maximum(state.time, 1).astype(state.reward_sum.dtype)
        return {"mean_reward": state.reward_sum / steps}

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """Expected rewards of the optimal and of the best equivariant policy."""
        rewards = {
            "optimal": self.optimal_reward(params),
            "best_equivariant": self.best_equivariant_reward(params),
        }
        steps = int(params.max_steps_in_episode)
        return {
            name: {"return": steps * float(reward), "mean_reward": float(reward)}
            for name, reward in rewards.items()
        }


@functools.cache
def signed_shifts(num_assets: int) -> Representation:
    """Z2 x C_N on N assets: a change of all signs and a shift around the circle, d = N."""
    return outer(sign(z2()), permutation(cyclic(num_assets)))


def _law(params: EnvParams) -> tuple[Array, Array]:
    """Persistence and volatility."""
    return jnp.asarray(params.persistence, float), jnp.asarray(params.volatility, float)


def _one_side(cost: Array, params: EnvParams) -> Array:
    """e(c) of `optimal_reward`, of the shape of `cost`."""
    persistence, volatility = _law(params)
    deviation = jnp.abs(persistence) * volatility / jnp.sqrt(1.0 - persistence**2)
    limit = jnp.asarray(params.max_position, float)
    return 0.5 * (_square_above(cost, deviation) - _square_above(cost + limit, deviation))


def _square_above(level: Array, deviation: Array) -> Array:
    """E[(m - c)₊²] of m ~ N(0, σ²): (σ² + c²) Φ(-c/σ) - c σ φ(c/σ); 0 at σ = 0, c >= 0."""
    safe = jnp.where(deviation > 0.0, deviation, 1.0)
    z = level / safe
    mean = (safe**2 + level**2) * ndtr(-z) - level * safe * norm.pdf(z)
    return jnp.where(deviation > 0.0, mean, 0.0)
