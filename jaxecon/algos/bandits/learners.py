"""Choosing arms by regression of payoffs on features: Thompson sampling and confidence bounds.

Per arm, or once for all where arms share a parameter:

    B = I/s² + Σ h hᵀ / v,   f = Σ h r / v,   θ̂ = B⁻¹ f,   posterior N(θ̂, ν² κ B⁻¹)
    κ = (1 + ½ Σ (r² / v - f·θ̂)) / (1 + n/2)

κ corrects the assumed variance v of payoffs by their residuals, the mode of a normal-inverse-gamma
posterior with all arms in common; `learn_noise` = 0 keeps κ = 1.

Sources: Agrawal & Goyal (2013), Thompson Sampling for Contextual Bandits with Linear Payoffs; Li,
Chu, Langford & Schapire (2010), A Contextual-Bandit Approach to Personalized News Article
Recommendation (LinUCB); Russac, Vernade & Cappé (2019), Weighted Linear Bandits for Non-Stationary
Environments; Cheung, Simchi-Levi & Zhu (2019), Learning to Optimize under Non-Stationarity (sliding
window); Auer, Cesa-Bianchi & Fischer (2002), Finite-time Analysis of the Multiarmed Bandit Problem.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.algos.bandits.policy import BanditHyperparams
from jaxecon.solvers.batching import batch_last
from jaxecon.solvers.kalman.small import inverse, square_root
from jaxecon.types import Array, Key, PyTree


class Learner(NamedTuple):
    """Scores arms by their features, and learns from payoffs.

    Attributes:
      init: (features [K, m], shared, hparams) -> state, for features of that shape and dtype.
      scores: (key, state, features [K, m], hparams) -> [K]; the highest is played.
      update: (state, features [K, m], action, reward, hparams) -> state.
      coefficients: (state) -> θ̂ [K, m] of each arm.
    """

    init: Callable[..., PyTree]
    scores: Callable[..., Array]
    update: Callable[..., PyTree]
    coefficients: Callable[..., Array]


class Regression(NamedTuple):
    """Sufficient statistics; G = K regressions, or 1 where arms share a parameter."""

    precision: Array  # B, [G, m, m]
    squared: Array  # the same with squared discounts, [G, m, m]
    target: Array  # f, [G, m]
    square: Array  # Σ r² / v, [G]
    rounds: Array  # n, [G]


class Window(NamedTuple):
    """The last W rounds, the oldest overwritten."""

    features: Array  # [W, m]
    group: Array  # [W] int32
    reward: Array  # [W]
    time: Array  # () int32


class Windowed(NamedTuple):
    """A regression on a window."""

    regression: Regression
    window: Window


def start_regression(features: Array, shared: bool, hparams: BanditHyperparams) -> Regression:
    """The prior: B = I/s², f = 0."""
    num_arms, size = features.shape
    groups = 1 if shared else num_arms
    prior = jnp.eye(size, dtype=features.dtype) / jnp.square(
        jnp.asarray(hparams.prior_scale, features.dtype)
    )
    precision = jnp.broadcast_to(prior, (groups, size, size))
    target = jnp.zeros((groups, size), features.dtype)
    return Regression(precision, precision, target, target[:, 0], target[:, 0])


def learn(
    state: Regression, group: Array, feature: Array, reward: Array, weight: Array
) -> Regression:
    """Statistics with one round added to a regression, with a weight (1/v; negative removes)."""
    chosen = jnp.arange(state.target.shape[0], dtype=jnp.int32) == group
    weights = jnp.where(chosen, weight, 0.0)  # [G]
    scaled = weights[:, None] * feature[None]  # [G, m]
    outer = scaled[:, :, None] * feature[None, None]
    return Regression(
        precision=state.precision + outer,
        squared=state.squared + outer,
        target=state.target + reward * scaled,
        square=state.square + jnp.square(reward) * weights,
        rounds=state.rounds + jnp.sign(weights),
    )


def estimate(state: Regression) -> tuple[Array, Array]:
    """θ̂ [G, m] and B⁻¹ [G, m, m]."""
    covariance = _inverse(state.precision)
    return jnp.sum(covariance * state.target[:, None], axis=2), covariance


def noise_ratio(state: Regression, mean: Array, hparams: BanditHyperparams) -> Array:
    """κ, by how much payoffs vary more than v about their regressions, ()."""
    misfit = jnp.sum(state.square) - jnp.sum(state.target * mean)
    ratio = (1.0 + 0.5 * jnp.maximum(misfit, 0.0)) / (1.0 + 0.5 * jnp.sum(state.rounds))
    return jnp.where(jnp.asarray(hparams.learn_noise) > 0, ratio, 1.0)


def sample_coefficients(key: Key, state: Regression, hparams: BanditHyperparams) -> Array:
    """A draw from the posteriors N(θ̂, ν² κ B⁻¹), [G, m]."""
    mean, covariance = estimate(state)
    scale = hparams.exploration * jnp.sqrt(noise_ratio(state, mean, hparams))
    noise = scale * jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.sum(_square_root(covariance) * noise[:, None], axis=2)


def linear_thompson() -> Learner:
    """Thompson sampling: play the arm that a draw from the posterior likes best."""

    def scores(key: Key, state: Regression, features: Array, hparams: BanditHyperparams) -> Array:
        return jnp.sum(sample_coefficients(key, state, hparams) * features, axis=1)

    return Learner(start_regression, scores, _add_round, lambda state: estimate(state)[0])


def linear_ucb(*, discounted: bool = False) -> Learner:
    """Optimism: θ̂·h + α √(κ hᵀ B⁻¹ h), or with discounts hᵀ B⁻¹ B₂ B⁻¹ h under the root."""

    def scores(key: Key, state: Regression, features: Array, hparams: BanditHyperparams) -> Array:
        mean, covariance = estimate(state)
        reach = jnp.sum(covariance * features[:, None], axis=2)  # B⁻¹ h, [K, m]
        variance = jnp.sum(reach * jnp.sum(state.squared * reach[:, None], axis=2), axis=1)
        scale = hparams.exploration * jnp.sqrt(noise_ratio(state, mean, hparams))
        return jnp.sum(mean * features, axis=1) + scale * jnp.sqrt(variance)

    def update(
        state: Regression, features: Array, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> Regression:
        gamma = jnp.asarray(hparams.discount, features.dtype)
        prior = jnp.eye(features.shape[1], dtype=features.dtype) / jnp.square(hparams.prior_scale)
        forget = lambda matrix, share: share * matrix + (1.0 - share) * prior[None]
        faded = Regression(
            precision=forget(state.precision, gamma),
            squared=forget(state.squared, jnp.square(gamma)),
            target=gamma * state.target,
            square=gamma * state.square,
            rounds=gamma * state.rounds,
        )
        return _add_round(faded, features, action, reward, hparams)

    update = update if discounted else _add_round
    return Learner(start_regression, scores, update, lambda state: estimate(state)[0])


def windowed(learner: Learner, length: int) -> Learner:
    """The learner with a memory of `length` rounds."""

    def init(features: Array, shared: bool, hparams: BanditHyperparams) -> Windowed:
        zeros = jnp.zeros((length,), features.dtype)
        window = Window(
            jnp.zeros((length, features.shape[1]), features.dtype),
            jnp.zeros(length, jnp.int32),
            zeros,
            jnp.int32(0),
        )
        return Windowed(learner.init(features, shared, hparams), window)

    def update(
        state: Windowed, features: Array, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> Windowed:
        regression, window = state
        slot = window.time % length
        is_full = (window.time >= length).astype(features.dtype)
        weight = -is_full / jnp.asarray(hparams.noise_variance, features.dtype)
        regression = learn(
            regression, window.group[slot], window.features[slot], window.reward[slot], weight
        )
        window = Window(
            window.features.at[slot].set(features[action]),
            window.group.at[slot].set(_group(regression, action)),
            window.reward.at[slot].set(reward),
            window.time + 1,
        )
        return Windowed(learner.update(regression, features, action, reward, hparams), window)

    return Learner(
        init,
        lambda key, state, *rest: learner.scores(key, state.regression, *rest),
        update,
        lambda state: learner.coefficients(state.regression),
    )


def _group(state: Regression, action: Array) -> Array:
    """The arm's regression, () int32: the only one where arms share a parameter."""
    is_shared = state.target.shape[0] == 1
    return jnp.int32(0) if is_shared else action.astype(jnp.int32)


def _add_round(
    state: Regression, features: Array, action: Array, reward: Array, hparams: BanditHyperparams
) -> Regression:
    group = _group(state, action)
    weight = 1.0 / jnp.asarray(hparams.noise_variance, features.dtype)
    return learn(state, group, features[action], reward, weight)


class Counts(NamedTuple):
    """Plays and payoffs of each arm, [K]."""

    plays: Array
    total: Array


def ucb1() -> Learner:
    """Mean payoff + α √(2 log t / n), without context; every arm is played once first.

    The bonus is meant for payoffs within [0, 1]; give α the scale of yours.
    """

    def init(features: Array, shared: bool, hparams: BanditHyperparams) -> Counts:
        zeros = jnp.zeros(features.shape[0], features.dtype)
        return Counts(zeros, zeros)

    def scores(key: Key, state: Counts, features: Array, hparams: BanditHyperparams) -> Array:
        plays = jnp.maximum(state.plays, 1.0)
        rounds = jnp.maximum(jnp.sum(state.plays), 1.0)
        bound = state.total / plays + hparams.exploration * jnp.sqrt(2.0 * jnp.log(rounds) / plays)
        return jnp.where(state.plays == 0.0, jnp.inf, bound)

    def update(
        state: Counts, features: Array, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> Counts:
        return Counts(state.plays.at[action].add(1.0), state.total.at[action].add(reward))

    mean = lambda state: (state.total / jnp.maximum(state.plays, 1.0))[:, None]
    return Learner(init, scores, update, mean)


_inverse = batch_last(lambda matrix: inverse(matrix).value, (2,))
_square_root = batch_last(square_root, (2,))
