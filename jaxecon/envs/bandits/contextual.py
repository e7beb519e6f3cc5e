"""A linear bandit with contexts in full view: Gaussian or Bernoulli payoffs."""

import dataclasses
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.bandits.contract import (
    REGRETS,
    Bandit,
    not_negative,
    regret_info,
    regret_of_choices,
)
from jaxecon.solvers.checking import require
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Payoff = Literal["gaussian", "bernoulli"]


@struct.dataclass
class EnvParams(base.EnvParams):
    """Numbers of the bandit; coefficients are drawn anew in every episode."""

    coefficient_scale: float = 1.0  # standard deviation of each entry of θ
    payoff_noise: float = 0.3  # standard deviation of Gaussian payoffs
    max_steps_in_episode: int = 4000


@struct.dataclass
class EnvState(base.EnvState):
    """This round's context, and the coefficients."""

    context: Array  # x, [d]
    loadings: Array  # θ, [K, d]
    regret_sum: Array  # [3]


@dataclasses.dataclass(frozen=True)
class ContextualBandit(Bandit):
    """K arms with payoff θ_k·x plus noise, or 1 with probability logistic(θ_k·x).

    Action: the arm. Observation: x, [d], standard normal and independent over rounds. Nothing is
    hidden, so the three regrets coincide.

    Attributes:
      num_arms: K.
      context_dim: d.
      payoff: "gaussian" or "bernoulli".
    """

    num_arms: int = 5
    context_dim: int = 3
    payoff: Payoff = "gaussian"

    def __post_init__(self):
        base.require_count("num_arms", self.num_arms)
        base.require_count("context_dim", self.context_dim)
        if self.payoff not in get_args(Payoff):
            raise ValueError(unknown_name("payoff", self.payoff, get_args(Payoff)))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "ContextualBandit-v0"

    @property
    def latent_dim(self) -> int:
        """d."""
        return self.context_dim

    @property
    def default_params(self) -> EnvParams:
        """Coefficients of unit scale."""
        return EnvParams()

    def check(self, params: EnvParams) -> None:
        """Raise ValueError for a scale or noise that is negative or not finite."""
        for name in ("coefficient_scale", "payoff_noise"):
            require(name, getattr(params, name), not_negative, "at least 0 and finite")

    def observation_space(self, params: EnvParams) -> base.Box:
        """x, [d] unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (self.context_dim,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """New coefficients and a first context."""
        drawn = jax.random.normal(key, (1 + self.num_arms, self.context_dim))
        scale = jnp.asarray(params.coefficient_scale, float)
        state = EnvState(jnp.int32(0), drawn[0], scale * drawn[1:], jnp.zeros(3, float))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Pay the arm and draw the next context; info has the regrets and `expected_reward`."""
        chex.assert_rank(action, 0)
        shocks = jax.random.normal(key, (1 + self.context_dim,))
        payoff = state.loadings @ state.context
        if self.payoff == "bernoulli":
            payoff = jax.nn.sigmoid(payoff)
            uniform = jax.scipy.stats.norm.cdf(shocks[0])
            reward = (uniform < payoff[action]).astype(payoff.dtype)
        else:
            reward = payoff[action] + jnp.asarray(params.payoff_noise, float) * shocks[0]
        best = jnp.argmax(payoff)
        regret = regret_of_choices(payoff, action, best, best)
        state = EnvState(state.time + 1, shocks[1:], state.loadings, state.regret_sum + regret)
        info = regret_info(regret) | {"expected_reward": payoff[action]}
        obs = self.observe(key, state, action, params)
        return obs, state, reward, jnp.bool_(False), info

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """x, [d]."""
        return state.context

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """The three regrets, summed over the rounds."""
        return dict(zip(REGRETS, state.regret_sum, strict=True))
