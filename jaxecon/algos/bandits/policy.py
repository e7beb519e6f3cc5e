"""What a bandit policy is: four pure functions, and the settings that all policies share."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import struct

from jaxecon.envs.base import require_count
from jaxecon.types import Array, PyTree


class Policy(NamedTuple):
    """A way to choose arms; hyperparameters are traced.

    Attributes:
      init: (key, view, hparams) -> state, with the first round's view.
      act: (key, state, view, hparams) -> (action, state).
      update: (state, view, action, reward, hparams) -> state, once the arm has paid.
      refit: (key, state, history, num_rounds, view, hparams) -> state, at the start of an epoch,
        from the first `num_rounds` rounds; None where there is nothing to refit.
      schedule: (number of rounds of a run) -> rounds before which to refit; None for never.
    """

    init: Callable[..., PyTree]
    act: Callable[..., tuple[Array, PyTree]]
    update: Callable[..., PyTree]
    refit: Callable[..., PyTree] | None = None
    schedule: Callable[[int], tuple[int, ...]] | None = None


class View(NamedTuple):
    """What a round shows before the arm is chosen.

    Attributes:
      obs: x, [p].
      latent, filtered: [d] what only benchmarks may use; None where there is nothing of the kind.
      features: Φ, [K, m, d] known features, or None.
      observation: C, [p, d], or None where learners may not know it.
    """

    obs: Array
    latent: Array | None = None
    filtered: Array | None = None
    features: Array | None = None
    observation: Array | None = None


class History(NamedTuple):
    """Rounds so far, in arrays of the whole horizon."""

    obs: Array  # [T, p]
    action: Array  # [T]
    reward: Array  # [T]


class Problem(NamedTuple):
    """What fixes shapes."""

    num_arms: int
    obs_dim: int
    latent_dim: int
    horizon: int


@dataclasses.dataclass(frozen=True)
class BanditConfig:
    """Static settings: each new value compiles a new program.

    Attributes:
      policy: name of a policy, see `POLICIES`.
      horizon: T, rounds of a run.
      num_lags: observations that "lag_ts" stacks.
      window: rounds that "window_linucb" remembers.
      first_fit: rounds before the first EM fit. Until then the context is x itself where C is
        unknown and d >= p; EMKF plays arms in turn elsewhere.
      growth: length of history at a fit over that at the fit before, above 1; 2 doubles.
      fit_every: fits at fixed distance instead, if not None.
      em_iterations: most EM iterations per fit.
      num_restarts: fresh first guesses tried at every fit beside the current model.
      warm_start: whether the current model is tried too.
      recompute: whether contexts and regressions are worked out anew after a fit; False keeps
        statistics from other coordinates, only to show what that costs.
      latent_dim: d of the fitted model; the environment's if None.
    """

    policy: str = "emkf"
    horizon: int = 4000
    num_lags: int = 4
    window: int = 500
    first_fit: int = 64
    growth: float = 2.0
    fit_every: int | None = None
    em_iterations: int = 20
    num_restarts: int = 3
    warm_start: bool = True
    recompute: bool = True
    latent_dim: int | None = None

    def __post_init__(self):
        for name in ("horizon", "num_lags", "window", "first_fit", "em_iterations"):
            require_count(name, getattr(self, name))
        for name in ("fit_every", "latent_dim"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        if self.first_fit < 2:
            raise ValueError(f"first_fit must be at least 2, got {self.first_fit}.")
        if not 1.0 < self.growth < math.inf:
            raise ValueError(f"growth must be above 1 and finite, got {self.growth}.")
        if self.num_restarts < 0 or self.num_restarts + self.warm_start < 1:
            raise ValueError(
                f"num_restarts must be at least {1 - self.warm_start} with warm_start="
                f"{self.warm_start}, got {self.num_restarts}."
            )

    @property
    def fits(self) -> tuple[int, ...]:
        """`schedule` of the horizon."""
        return self.schedule(self.horizon)

    def schedule(self, num_rounds: int) -> tuple[int, ...]:
        """Rounds before which the model is fitted anew, ascending and below `num_rounds`."""
        rounds = []
        at = self.first_fit
        while at < num_rounds:
            rounds.append(at)
            later = at + self.fit_every if self.fit_every else int(self.growth * at)
            at = max(later, at + 1)
        return tuple(rounds)


@struct.dataclass
class BanditHyperparams:
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      exploration: ν of Thompson sampling, α of the upper confidence bounds, unitless.
      prior_scale: s, prior standard deviation of each payoff coefficient.
      noise_variance: v, variance of payoffs given the context that regressions start from.
      learn_noise: 1: posteriors are scaled by the residuals' variance; 0: v is right.
      discount: γ of "discounted_linucb", weight of the round before.
      em_prior: weight of EM's pseudo-observations; 0 is plain maximum likelihood, whose feasible
        regret was below that of weights 1 and 4 in the default bandit. Their scale is small beside
        the noise there, and makes the filter too sure.
      max_radius: ρ̄ < 1, bound on the spectral radius that "dynlin_ucb" counts on.
      total_steps: set by studies, without effect.
    """

    exploration: Any = 1.0
    prior_scale: Any = 1.0
    noise_variance: Any = 1.0
    learn_noise: Any = 1.0
    discount: Any = 0.999
    em_prior: Any = 0.0
    max_radius: Any = 0.9
    total_steps: Any = 4e3
