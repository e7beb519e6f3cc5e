"""What every bandit environment offers beside the environment contract."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxecon.envs import base
from jaxecon.types import Array

REGRETS = ("regret_clairvoyant", "regret_feasible", "regret_observable")


class Oracle(NamedTuple):
    """What a learner cannot know: for benchmarks and tests.

    Attributes:
      latent: [d] the context that payoffs depend on.
      filtered: [d] its mean given all observations so far, under the true parameters.
    """

    latent: Array
    filtered: Array


class Bandit(base.Environment):
    """Base of the bandits: `info` has three regrets of each round, whatever the family.

    Each is the expected payoff of a benchmark's arm less that of the arm played, given the hidden
    state: "regret_clairvoyant" against the best arm, "regret_feasible" against the best rule that
    sees what a learner can see, true parameters included, and "regret_observable" against the best
    rule on the present observation alone. A family says where they coincide, or what else it
    compares with. Only the first is never negative, and in restless bandits only on average.

    Attributes:
      num_arms: K.
      has_oracle: whether there is a hidden context, so that `oracle` gives one.
      regrets: names of the three in `info`.
    """

    ends_together = True
    regrets = REGRETS
    has_oracle = False
    num_arms: int

    def action_space(self, params: Any) -> base.Discrete:
        """The arms, 0 .. K - 1."""
        return base.Discrete(self.num_arms)

    @property
    def latent_dim(self) -> int:
        """d, length of the context that payoffs are linear in."""
        raise NotImplementedError

    def check(self, params: Any) -> None:
        """Raise ValueError for concrete numbers of `params` that are out of their range."""

    def oracle(self, state: Any, params: Any) -> Oracle | None:
        """What a learner cannot know, or None if there is nothing of the kind."""
        return None

    def known_observation(self, state: Any, params: Any) -> Array | None:
        """The observation matrix [p, d] where learners may know it."""
        return None

    def arm_features(self, state: Any, params: Any) -> Array | None:
        """Known features [K, m, d]: payoffs share one parameter, θ·(Φ_k z); None: one per arm."""
        return None


def positive(numbers: np.ndarray) -> np.ndarray:
    """Elementwise, whether numbers are finite and above 0; for `require`."""
    return np.isfinite(numbers) & (numbers > 0.0)


def not_negative(numbers: np.ndarray) -> np.ndarray:
    """Elementwise, whether numbers are finite and at least 0; for `require`."""
    return np.isfinite(numbers) & (numbers >= 0.0)


def regret_of_choices(payoff: Array, action: Array, feasible: Array, observable: Array) -> Array:
    """The three regrets, [3].

    Args:
      payoff: [K] expected payoffs.
      action, feasible, observable: () arms played and chosen by the two rules.
    """
    return jnp.stack([jnp.max(payoff), payoff[feasible], payoff[observable]]) - payoff[action]


def regret_info(regret: Array) -> dict[str, Array]:
    """The regrets [3] of a round under their names."""
    return dict(zip(REGRETS, regret, strict=True))
