"""The one list of bandit policies, and the algorithm that runs them in studies.

    make_bandit(env, BanditConfig(policy="emkf")) -> Algorithm(init, step, evaluate, act, ...)

A bandit learns while it is judged, so there is nothing to evaluate apart from the run itself.
`init` plays all rounds, in one loop whose fits keep their exact lengths; each iteration of `step`
then reveals the next stretch of the curves, and evaluations report regret so far.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxecon.algos.bandits.contextual import contextual
from jaxecon.algos.bandits.dynlin import dynlin_ucb
from jaxecon.algos.bandits.emkf import make_emkf
from jaxecon.algos.bandits.harness import REGRETS, play, problem_of
from jaxecon.algos.bandits.learners import linear_thompson, linear_ucb, ucb1, windowed
from jaxecon.algos.bandits.policy import BanditConfig, BanditHyperparams, Policy, Problem
from jaxecon.algos.bandits.whittle import whittle_policy
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
      TypeError: the environment is no bandit.
      ValueError: an unknown policy, or one that the environment does not fit.
    """
    problem = problem_of(env, env_params, config.horizon)
    if config.policy == "whittle":
        if not hasattr(env, "indices"):
            raise ValueError(f"policy 'whittle' needs a restless bandit, got {env.name}.")
        return whittle_policy(env, env_params)
    if config.policy not in POLICIES:
        raise ValueError(unknown_name("policy", config.policy, [*POLICIES, "whittle"]))
    if config.policy in NEEDS_ORACLE and not env.has_oracle:
        raise ValueError(
            f"policy {config.policy!r} needs a hidden context, which {env.name} has not."
        )
    if hasattr(env, "indices"):
        raise ValueError(f"policy must be 'whittle' in {env.name}, got {config.policy!r}.")
    return POLICIES[config.policy](problem, config)


class BanditState(NamedTuple):
    """A finished run, and how much of it has been revealed."""

    policy: Any  # the policy's state after the last round
    reward: Array  # [T]
    regret: Array  # [T, 3], cumulated
    rounds: Array  # () int32 revealed


def make_bandit(env: Any, config: BanditConfig | None = None) -> Algorithm:
    """A bandit policy as an algorithm for studies.

    Give the study `total_steps` equal to `config.horizon`; rounds beyond it repeat the last value.

    Args:
      env: a bandit.
      config: static settings.

    Returns:
      An `Algorithm`. Evaluations report the three regrets so far, `return`, the payoffs so far, and
      `reward`, their mean; they are those of the run itself on every split.

    Raises:
      TypeError: the environment is no bandit.
      ValueError: an unknown policy, or one that does not fit the environment.
    """
    config = BanditConfig() if config is None else config
    make_policy(env, env.default_params, config)  # says early what is wrong
    return Algorithm(
        init=functools.partial(_init, env, config),
        step=functools.partial(_step, env, config),
        evaluate=_evaluate,
        policy=lambda state: state.policy,
        act=functools.partial(_act, env, config),
        hparams=BanditHyperparams(),
        steps_per_iteration=max(config.horizon // 100, 1),
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
        fits=config.fits,
    )
    return BanditState(run.state, run.reward, jnp.cumsum(run.regret, axis=0), jnp.int32(0))


def _step(
    env: Any,
    config: BanditConfig,
    key: Key,
    state: BanditState,
    env_params: Any,
    hparams: BanditHyperparams,
) -> tuple[BanditState, dict[str, Any]]:
    """Reveal the next stretch of rounds."""
    stretch = max(config.horizon // 100, 1)
    rounds = jnp.minimum(state.rounds + stretch, config.horizon)
    state = state._replace(rounds=rounds)
    reward = _evaluate(key, state, env_params)["return"]
    one = jnp.ones((), reward.dtype)
    return state, {"episodes": EpisodeTotals(one, reward, rounds.astype(reward.dtype))}


def _evaluate(key: Key, state: BanditState, env_params: Any) -> Metrics:
    """What the revealed rounds have brought."""
    revealed = jnp.arange(state.reward.shape[0], dtype=jnp.int32) < state.rounds
    total = jnp.sum(jnp.where(revealed, state.reward, 0.0))
    last = state.regret[jnp.maximum(state.rounds - 1, 0)]
    mean = total / jnp.maximum(state.rounds, 1).astype(total.dtype)
    return {"return": total, "reward": mean, **dict(zip(REGRETS, last, strict=True))}


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
