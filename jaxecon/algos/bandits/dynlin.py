"""DynLin-UCB: optimism for bandits whose payoffs remember past actions.

Epoch m holds one arm for ⌊log m / log(1/ρ̄)⌋ + 1 rounds, until what earlier arms left behind has
faded to 1/m; only its last payoff is learnt from. Regret is then Õ(d √T / (1 - ρ̄)^{3/2}).

Source: Mussi, Metelli & Restelli (2023), Dynamical Linear Bandits, arXiv 2211.08997.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from jaxecon.algos.bandits.contextual import CONTEXTS, arm_features
from jaxecon.algos.bandits.learners import linear_ucb
from jaxecon.algos.bandits.policy import BanditHyperparams, Policy, Problem, View
from jaxecon.solvers.checking import require
from jaxecon.types import Array, Key, PyTree


class DynLinState(NamedTuple):
    """The regression, and the arm that is held."""

    learner: PyTree
    action: Array  # () int32
    left: Array  # () int32, rounds that the epoch still has
    epoch: Array  # () int32, from 1


def dynlin_ucb(problem: Problem) -> Policy:
    """The policy, for finitely many arms with known features or one parameter each.

    `exploration` must cover what the first, short epochs leave of transients: take the scale of
    h·u, not of the noise. Confidence does not follow residuals (`learn_noise`), which the same
    transients distort.
    """
    learner = linear_ucb()

    def features(view: View) -> tuple[Array, bool]:
        constant = CONTEXTS["constant"](view, view.obs[None])
        return arm_features(constant, view.features, problem.num_arms)

    def init(key: Key, view: View, hparams: BanditHyperparams) -> DynLinState:
        require("max_radius", hparams.max_radius, lambda x: (x > 0.0) & (x < 1.0), "in (0, 1)")
        zero = jnp.int32(0)
        return DynLinState(learner.init(*features(view), hparams), zero, zero, zero)

    def act(
        key: Key, state: DynLinState, view: View, hparams: BanditHyperparams
    ) -> tuple[Array, DynLinState]:
        fixed = dataclasses.replace(hparams, learn_noise=0.0)
        scores = learner.scores(key, state.learner, features(view)[0], fixed)
        is_over = state.left == 0
        epoch = state.epoch + is_over.astype(jnp.int32)
        fading = jnp.log(epoch.astype(scores.dtype)) / -jnp.log(
            jnp.asarray(hparams.max_radius, scores.dtype)
        )
        action = jnp.where(is_over, jnp.argmax(scores).astype(jnp.int32), state.action)
        left = jnp.where(is_over, jnp.floor(fading).astype(jnp.int32) + 1, state.left)
        return action, DynLinState(state.learner, action, left, epoch)

    def update(
        state: DynLinState, view: View, action: Array, reward: Array, hparams: BanditHyperparams
    ) -> DynLinState:
        learnt = learner.update(state.learner, features(view)[0], action, reward, hparams)
        is_last = state.left == 1
        kept = [
            jnp.where(is_last, new, old) for new, old in zip(learnt, state.learner, strict=True)
        ]
        return state._replace(learner=type(learnt)(*kept), left=state.left - 1)

    return Policy(init, act, update)
