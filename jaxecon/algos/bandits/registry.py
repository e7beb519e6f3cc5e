"""The one list of bandit policies, and the algorithm that runs them in studies.

    make_bandit(env, BanditConfig(policy="emkf")) -> Algorithm(init, step, evaluate, act, ...)

A bandit learns while it is judged, so there is nothing to evaluate apart from the run itself.
`init` plays all rounds, in one loop whose fits keep their exact lengths; each iteration of `step`
then reveals one round of the curves, and evaluations report regret so far.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxecon.algos.bandits.contextual import contextual
from jaxecon.algos.bandits.dynlin import dynlin_ucb
from jaxecon.algos.bandits.emkf import make_emkf
from jaxecon.algos.bandits.harness import play, problem_of
from jaxecon.algos.bandits.learners import linear_thompson, linear_ucb, ucb1, windowed
from jaxecon.algos.bandits.policy import BanditConfig, BanditHyperparams, Policy, Problem
from jaxecon.algos.bandits.whittle import (
    INDICES,
    RESTLESS_POLICIES,
    index_policy,
    random_priorities,
)
from jaxecon.algos.base import Algorithm
from jaxecon.algos.rollout import EpisodeTotals
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, Metrics

Make = Callable[[Problem, BanditConfig], Policy]


def _reading(context: str, learner: Callable[[], Any]) -> Make:
    return lambda problem, config: contextual(problem, context, learner())


POLICIES: dict[str, Make] = {
    "emkf": lambda problem, config: make_emkf(problem, config, linear_thompson()),
    "emkf_plus": lambda problem, config: make_emkf(
        problem, config, linear_thompson(), rewards_in_filter=True
    ),
    "emkf_linucb": lambda problem, config: make_emkf(problem, config, linear_ucb()),
    "emkf_discounted_linucb": lambda problem, config: make_emkf(
        problem, config, linear_ucb(discounted=True)
    ),
    "emkf_window_linucb": lambda problem, config: make_emkf(
        problem, config, windowed(linear_ucb(), config.window)
    ),
    "oracle_context": _reading("latent", linear_thompson),
    "oracle_filter": _reading("filtered", linear_thompson),
    "lag_ts": lambda problem, config: contextual(
        problem, "lags", linear_thompson(), num_lags=config.num_lags
    ),
    "ts": _reading("lags", linear_thompson),
    "linucb": _reading("lags", linear_ucb),
    "discounted_linucb": _reading("lags", lambda: linear_ucb(discounted=True)),
    "window_linucb": lambda problem, config: contextual(
        problem, "lags", windowed(linear_ucb(), config.window)
    ),
    "no_context": _reading("constant", linear_thompson),
    "arm_ucb": _reading("constant", linear_ucb),
    "ucb1": _reading("constant", ucb1),
    "dynlin_ucb": lambda problem, config: dynlin_ucb(problem),
}
NEEDS_ORACLE = ("oracle_context", "oracle_filter")


def make_policy(env: Any, env_params: Any, config: BanditConfig) -> Policy:
    """A policy for one environment.

    Raises:
      ValueError: no bandit, an unknown policy, or one that the environment does not fit.
    """
    problem, name = problem_of(env, env_params, config.horizon), config.policy
    if name not in POLICIES and name not in RESTLESS_POLICIES:
        raise ValueError(unknown_name("policy", name, [*POLICIES, *RESTLESS_POLICIES]))
    if hasattr(env, "indices") != (name in RESTLESS_POLICIES):
        fitting = RESTLESS_POLICIES if hasattr(env, "indices") else POLICIES
        raise ValueError(f"policy must be one of {', '.join(fitting)} in {env.name}, got {name!r}.")
    if name in INDICES:
        return index_policy(env, env_params, INDICES[name])
    if name == "random":
        return random_priorities()
    if config.policy in NEEDS_ORACLE and not env.has_oracle:
        raise ValueError(
            f"policy {config.policy!r} needs a hidden context, which {env.name} has not."
        )
    return POLICIES[config.policy](problem, config)


class BanditState(NamedTuple):
    """A finished run, and how much of it has been revealed."""

    policy: Any  # the policy's state after the last round
    earned: Array  # [T] payoffs, cumulated
    regret: Array  # [T, 3], cumulated
    rounds: Array  # () int32 revealed


def make_bandit(env: Any, config: BanditConfig | None = None) -> Algorithm:
    """A bandit policy as an algorithm for studies.

    Give the study `total_steps` equal to `config.horizon`; rounds beyond it repeat the last value.

    Args:
      env: a bandit.
      config: static settings.

    Returns:
      An `Algorithm`. Evaluations report the three regrets so far, `return`, the payoffs so far,
      `reward`, their mean, and `rounds`, how many these are; all of the run itself on every split.

    Raises:
      ValueError: no bandit, an unknown policy, or one that does not fit the environment.
    """
    config = BanditConfig() if config is None else config
    make_policy(env, env.default_params, config)  # says early what is wrong
    return Algorithm(
        init=functools.partial(_init, env, config),
        step=functools.partial(_step, env, config),
        evaluate=functools.partial(_evaluate, env.regrets),
        policy=lambda state: state.policy,
        act=functools.partial(_act, env, config),
        hparams=BanditHyperparams(),
        steps_per_iteration=1,
    )


def _init(
    env: Any, config: BanditConfig, key: Key, env_params: Any, hparams: BanditHyperparams
) -> BanditState:
    """The whole run."""
    run = play(
        env,
        make_policy(env, env_params, config),
        key,
        env_params,
        hparams,
        num_rounds=config.horizon,
    )
    earned, regret = jnp.cumsum(run.reward), jnp.cumsum(run.regret, axis=0)
    return BanditState(run.state, earned, regret, jnp.int32(0))


def _step(
    env: Any,
    config: BanditConfig,
    key: Key,
    state: BanditState,
    env_params: Any,
    hparams: BanditHyperparams,
) -> tuple[BanditState, dict[str, Any]]:
    """Reveal the next round."""
    rounds = jnp.minimum(state.rounds + 1, config.horizon)
    state = state._replace(rounds=rounds)
    reward = _evaluate(env.regrets, key, state, env_params)["return"]
    one = jnp.ones((), reward.dtype)
    return state, {"episodes": EpisodeTotals(one, reward, rounds.astype(reward.dtype))}


def _evaluate(names: tuple[str, ...], key: Key, state: BanditState, env_params: Any) -> Metrics:
    """What the revealed rounds have brought."""
    last = jnp.maximum(state.rounds - 1, 0)
    is_any = state.rounds > 0
    total = jnp.where(is_any, state.earned[last], 0.0)
    regrets = jnp.where(is_any, state.regret[last], 0.0)
    mean = total / jnp.maximum(state.rounds, 1).astype(total.dtype)
    told = {"return": total, "reward": mean, "rounds": state.rounds.astype(total.dtype)}
    return told | dict(zip(names, regrets, strict=True))


def _act(
    env: Any,
    config: BanditConfig,
    key: Key,
    policy: Any,
    obs: Array,
    mask: Array | None,
    env_params: Any,
) -> Array:
    """Refuses: a bandit's next arm depends on what the last one paid."""
    raise TypeError(
        "A bandit policy learns while it acts and cannot be replayed; use "
        "jaxecon.algos.bandits.play, or act and update of make_policy."
    )
