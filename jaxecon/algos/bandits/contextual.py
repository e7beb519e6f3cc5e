"""Policies that read a context off each round's view and hand it to a learner."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxecon.algos.bandits.learners import Learner
from jaxecon.algos.bandits.policy import BanditHyperparams, Policy, Problem, View
from jaxecon.types import Array, Key, PyTree


class ContextualState(NamedTuple):
    """A learner, and the observations that its context is made of, the latest first."""

    learner: PyTree
    lags: Array  # [L, p]


Context = Callable[[View, Array], Any]  # (view, lags [L, p]) -> [c]

CONTEXTS: dict[str, Context] = {
    "constant": lambda view, lags: jnp.ones((1,), lags.dtype),
    "lags": lambda view, lags: jnp.ravel(lags),
    "latent": lambda view, lags: view.latent,
    "filtered": lambda view, lags: view.filtered,
}


def arm_features(context: Array, features: Array | None, num_arms: int) -> tuple[Array, bool]:
    """Features of each arm [K, m], and whether arms share a parameter.

    Known features Φ [K, m, c] are used where they fit the context [c]; the context itself serves
    every arm otherwise.
    """
    if features is not None and features.shape[-1] == context.shape[0]:
        return jnp.sum(features * context[None, None], axis=2), True
    return jnp.broadcast_to(context, (num_arms, context.shape[0])), False


def contextual(problem: Problem, context: str, learner: Learner, *, num_lags: int = 1) -> Policy:
    """A policy whose learner sees the context of that name.

    Args:
      problem: the shapes.
      context: one of `CONTEXTS`; "lags" is the present observation where `num_lags` is 1.
      learner: of `learners`.
      num_lags: L, observations to stack.
    """
    read = CONTEXTS[context]

    def features(view: View, lags: Array) -> tuple[Array, bool]:
        return arm_features(read(view, lags), view.features, problem.num_arms)

    def init(key: Key, view: View, hparams: BanditHyperparams) -> ContextualState:
        lags = jnp.zeros((num_lags, problem.obs_dim), view.obs.dtype)
        return ContextualState(learner.init(*features(view, lags), hparams), lags)

    def act(
        key: Key, state: ContextualState, view: View, hparams: BanditHyperparams
    ) -> tuple[Array, ContextualState]:
        lags = jnp.concatenate([view.obs[None], state.lags[:-1]])
        scores = learner.scores(key, state.learner, features(view, lags)[0], hparams)
        return jnp.argmax(scores), state._replace(lags=lags)

    def update(
        state: ContextualState,
        view: View,
        action: Array,
        reward: Array,
        hparams: BanditHyperparams,
    ) -> ContextualState:
        known = features(view, state.lags)[0]
        return state._replace(learner=learner.update(state.learner, known, action, reward, hparams))

    return Policy(init, act, update)
