"""EMKF-Bandit: fit the context's dynamics by EM, filter it, run any linear bandit on the result.

Only the abstract of the source was at hand: the loop, its schedule, starts and constants are our
construction of what it describes. After a fit the hidden coordinates have changed, so filtered
contexts and the learner's statistics are worked out anew from all rounds.

Regret against the clairvoyant is linear for every policy as long as the state cannot be filtered
exactly. Against the true filter's rule (`regret_feasible`), sub-linear regret is what to expect if
the fitted filter approaches the true one; we state that as a working hypothesis, not as the paper's
theorem. The regression's noise also holds what past payoffs could tell about the context, which a
filter of observations alone ignores; "emkf_plus" feeds payoffs to the filter too.

Until a fit explains the observations better than independent draws do, by Akaike's criterion, the
context is the observation itself, z = x. So nothing is lost where nothing persists (A = 0): EM then
cannot tell shocks from errors and might drop part of x as noise. This choice is ours.

Source: Zeng, Bhatt, Koppel & Ganesh (2024), Partially Observable Contextual Bandits with Linear
Payoffs, arXiv 2409.11521.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.algos.bandits.contextual import arm_features
from jaxecon.algos.bandits.learners import Learner
from jaxecon.algos.bandits.policy import (
    BanditConfig,
    BanditHyperparams,
    History,
    Policy,
    Problem,
    View,
)
from jaxecon.solvers.kalman import (
    LinearGaussian,
    Prior,
    expectation_maximisation,
    filter_step,
    predict_step,
    weak_prior,
)
from jaxecon.solvers.linear import cholesky
from jaxecon.types import Array, Key, PyTree

LEAST_ERROR = 1e-4  # variance of the errors of observation where z = x
LEAST_NOISE = 0.1  # share of the squared prediction errors that is payoff noise at least


class Belief(NamedTuple):
    """The filter and the regression on it; rebuilt after every fit."""

    mean: Array  # [d] filtered, or predicted before the round's observation
    covariance: Array  # [d, d]
    learner: PyTree
    error: Array  # () sum of squared prediction errors of payoffs
    spread: Array  # () sum of θ̂ᵀ P θ̂, the part of them that is the filter's
    rounds: Array  # () int32


class EMKFState(NamedTuple):
    """What the next round needs.

    `num_failed` counts fits in which every start diverged, and the model stayed; `num_clipped`
    those whose A was held at the largest radius.
    """

    model: LinearGaussian
    belief: Belief
    log_likelihood: Array  # () per round, of the last fit
    num_fits: Array  # () int32
    num_failed: Array
    num_clipped: Array


def make_emkf(
    problem: Problem,
    config: BanditConfig,
    learner: Learner,
    *,
    rewards_in_filter: bool = False,
) -> Policy:
    """The policy around a learner.

    Args:
      problem: the shapes.
      config: schedule, starts and iterations of EM.
      learner: of `learners`; a linear one, for `rewards_in_filter`.
      rewards_in_filter: each payoff is one more observation θ̂_a·z of the state.
    """
    learn = functools.partial(
        _learn, problem=problem, learner=learner, rewards_in_filter=rewards_in_filter
    )

    def init(key: Key, view: View, hparams: BanditHyperparams) -> EMKFState:
        model = _first_guess(key, problem, config, view)
        zero = jnp.int32(0)
        if _may_be_static(problem, config, view):
            model = _static(problem, config, view)
        return EMKFState(
            model=model,
            belief=_fresh_belief(model, view, problem, learner, hparams),
            log_likelihood=jnp.zeros((), view.obs.dtype),
            num_fits=zero,
            num_failed=zero,
            num_clipped=zero,
        )

    def act(
        key: Key, state: EMKFState, view: View, hparams: BanditHyperparams
    ) -> tuple[Array, EMKFState]:
        belief = _observe(state.model, state.belief, view.obs)
        features = _features(belief, view, problem)[0]
        greedy = jnp.argmax(learner.scores(key, belief.learner, features, hparams))
        if _may_be_static(problem, config, view):
            return greedy, state._replace(belief=belief)
        in_turn = belief.rounds % problem.num_arms
        action = jnp.where(state.num_fits == 0, in_turn.astype(greedy.dtype), greedy)
        return action, state._replace(belief=belief)

    def update(
        state: EMKFState, view: View, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> EMKFState:
        return state._replace(
            belief=learn(state.model, state.belief, view, action, reward, hparams)
        )

    def refit(
        key: Key,
        state: EMKFState,
        history: History,
        num_rounds: Array,
        view: View,
        hparams: BanditHyperparams,
    ) -> EMKFState:
        state = _fit(key, state, history, num_rounds, view, hparams, problem, config)
        if not config.recompute:
            return state

        def replay(t: Array, belief: Belief) -> Belief:
            past = view._replace(obs=history.obs[t])
            belief = _observe(state.model, belief, past.obs)
            return learn(state.model, belief, past, history.action[t], history.reward[t], hparams)

        fresh = _fresh_belief(state.model, view, problem, learner, hparams)
        return state._replace(belief=jax.lax.fori_loop(0, num_rounds, replay, fresh))

    return Policy(init, act, update, refit, config.schedule)


def _fresh_belief(
    model: LinearGaussian,
    view: View,
    problem: Problem,
    learner: Learner,
    hparams: BanditHyperparams,
) -> Belief:
    zero = jnp.zeros((), view.obs.dtype)
    mean, covariance = model.initial_mean, model.initial_covariance
    belief = Belief(mean, covariance, None, zero, zero, jnp.int32(0))
    features, shared = _features(belief, view, problem)
    return belief._replace(learner=learner.init(features, shared, hparams))


def _features(belief: Belief, view: View, problem: Problem) -> tuple[Array, bool]:
    """Of each arm. Known features need known coordinates, so a known observation matrix."""
    known = None if view.observation is None else view.features
    return arm_features(belief.mean, known, problem.num_arms)


def _observe(model: LinearGaussian, belief: Belief, obs: Array) -> Belief:
    """The belief once x is seen."""
    one = jnp.ones((), obs.dtype)
    mean, covariance = filter_step(model, belief.mean, belief.covariance, obs, one)
    return belief._replace(mean=mean, covariance=covariance)


def _learn(
    model: LinearGaussian,
    belief: Belief,
    view: View,
    action: Array,
    reward: Array,
    hparams: BanditHyperparams,
    *,
    problem: Problem,
    learner: Learner,
    rewards_in_filter: bool,
) -> Belief:
    """The belief about the next round, before its observation."""
    features, shared = _features(belief, view, problem)
    mean, covariance = belief.mean, belief.covariance
    error, spread = belief.error, belief.spread
    if rewards_in_filter:
        row = learner.coefficients(belief.learner)
        if shared and view.features is not None:
            row = row[0] @ view.features[action]
        else:
            row = row[action]
        error = error + jnp.square(reward - row @ mean)
        spread = spread + row @ covariance @ row
        noise = jnp.maximum(error - spread, LEAST_NOISE * error) / (belief.rounds + 1).astype(
            error.dtype
        )
        payoff = model._replace(observation=row[None], observation_noise=noise[None, None])
        mean, covariance = filter_step(
            payoff, mean, covariance, reward[None], jnp.ones((), mean.dtype)
        )
    mean, covariance = predict_step(model, mean, covariance)
    return Belief(
        mean=mean,
        covariance=covariance,
        learner=learner.update(belief.learner, features, action, reward, hparams),
        error=error,
        spread=spread,
        rounds=belief.rounds + 1,
    )


def _first_guess(key: Key, problem: Problem, config: BanditConfig, view: View) -> LinearGaussian:
    """A = ½ I, Q = ½ I, R = ½ I, and C known or with N(0, ¼) entries."""
    size, dtype = config.latent_dim or problem.latent_dim, view.obs.dtype
    half = lambda n: 0.5 * jnp.eye(n, dtype=dtype)
    observation = 0.5 * jax.random.normal(key, (problem.obs_dim, size), dtype)
    return LinearGaussian(
        transition=half(size),
        transition_noise=half(size),
        observation=observation if view.observation is None else view.observation,
        observation_noise=half(problem.obs_dim),
        initial_mean=jnp.zeros(size, dtype),
        initial_covariance=jnp.eye(size, dtype=dtype),
    )


def _may_be_static(problem: Problem, config: BanditConfig, view: View) -> bool:
    """Whether z = x can be written as a state: C is free, and d at least p."""
    return view.observation is None and (config.latent_dim or problem.latent_dim) >= problem.obs_dim


def _static(problem: Problem, config: BanditConfig, view: View) -> LinearGaussian:
    """The model whose filtered state is x, with zeros behind."""
    guess = _first_guess(jax.random.key(0), problem, config, view)
    return guess._replace(
        transition=jnp.zeros_like(guess.transition),
        transition_noise=jnp.eye(guess.transition.shape[0], dtype=view.obs.dtype),
        observation=jnp.eye(problem.obs_dim, guess.transition.shape[0], dtype=view.obs.dtype),
        observation_noise=LEAST_ERROR * jnp.eye(problem.obs_dim, dtype=view.obs.dtype),
    )


def _static_log_likelihood(obs: Array, num_rounds: Array) -> Array:
    """() that of the first rounds as independent draws of one normal distribution of mean 0."""
    seen = (jnp.arange(obs.shape[0]) < num_rounds)[:, None]
    count = num_rounds.astype(obs.dtype)
    rows = jnp.where(seen, obs, 0.0)
    inverse = cholesky(rows.T @ rows / count).inverse
    half_log_det = -jnp.sum(jnp.log(jnp.diagonal(inverse)))
    size = obs.shape[-1]
    return -count * (half_log_det + 0.5 * size * (1.0 + math.log(2.0 * math.pi)))


def _fit(
    key: Key,
    state: EMKFState,
    history: History,
    num_rounds: Array,
    view: View,
    hparams: BanditHyperparams,
    problem: Problem,
    config: BanditConfig,
) -> EMKFState:
    """The state with the likeliest model that EM reaches from the current one and fresh guesses."""
    guess = functools.partial(_first_guess, problem=problem, config=config, view=view)
    keys = jax.random.split(key, max(config.num_restarts, 1))[: config.num_restarts]
    starts = jax.vmap(guess)(keys)
    if config.warm_start:
        join = lambda one, many: jnp.concatenate([one[None], many])
        is_guess = jnp.all(state.model.transition == 0.0)  # EM would not leave A = 0
        fresh = guess(jax.random.fold_in(key, 1))
        warm = jax.tree.map(lambda new, old: jnp.where(is_guess, new, old), fresh, state.model)
        starts = jax.tree.map(join, warm, starts)
    weak = weak_prior(config.latent_dim or problem.latent_dim)
    fitted = expectation_maximisation(
        starts,
        history.obs,
        length=num_rounds,
        fixed=() if view.observation is None else ("observation",),
        prior=Prior(*(hparams.em_prior * number for number in weak)),
        num_iterations=config.em_iterations,
    )
    likelihood = jnp.where(fitted.diverged, -jnp.inf, fitted.log_likelihood[:, -1])
    best = jnp.argmax(likelihood)
    is_sound = jnp.isfinite(likelihood[best])
    pick = lambda many, old: jnp.where(is_sound, many[best], old)
    model = jax.tree.map(pick, fitted.value, state.model)
    if _may_be_static(problem, config, view):
        size = config.latent_dim or problem.latent_dim
        num_parameters = 2 * size * problem.obs_dim  # of the dynamics, up to coordinates
        gain = likelihood[best] - _static_log_likelihood(history.obs, num_rounds)
        persists = gain > num_parameters
        static = _static(problem, config, view)
        model = jax.tree.map(lambda new, old: jnp.where(persists, new, old), model, static)
    return state._replace(
        model=model,
        log_likelihood=pick(likelihood / num_rounds.astype(likelihood.dtype), state.log_likelihood),
        num_fits=state.num_fits + 1,
        num_failed=state.num_failed + (~is_sound).astype(jnp.int32),
        num_clipped=state.num_clipped + (fitted.num_clipped[best] > 0).astype(jnp.int32),
    )
