"""Playing a bandit to its horizon: one compiled loop over rounds, with three regrets of each.

`vmap` it over keys for seeds, over `env_params` for instances and over `hparams` for settings.
Fits happen at rounds fixed in advance, so their loops keep exact lengths under any vmap.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.algos.bandits.policy import BanditHyperparams, History, Policy, Problem, View
from jaxecon.envs.base import require_count
from jaxecon.types import Array, Key, PyTree


class Run(NamedTuple):
    """What was played.

    Attributes:
      action: [T, ...].
      reward: [T].
      regret: [T, 3] of each round, in the order of `env.regrets`; cumulate for curves.
      state: the policy's, after the last round.
    """

    action: Array
    reward: Array
    regret: Array
    state: PyTree


class _Loop(NamedTuple):
    """Between two rounds."""

    env_state: PyTree
    obs: Array
    state: PyTree
    history: History
    regret: Array  # [T, 3]


def problem_of(env: Any, env_params: Any, horizon: int) -> Problem:
    """The shapes of a bandit.

    Raises:
      ValueError: the environment is no bandit.
    """
    missing = [name for name in ("num_arms", "oracle", "arm_features") if not hasattr(env, name)]
    if missing:
        raise ValueError(
            f"{getattr(env, 'name', env)} offers no {', '.join(missing)}, which bandit policies "
            "need; 'jaxecon envs' lists the bandits."
        )
    obs_dim = env.observation_space(env_params).shape[0]
    return Problem(env.num_arms, obs_dim, env.latent_dim, horizon)


def _check_fits(fits: tuple[int, ...], num_rounds: int) -> None:
    """Raise ValueError unless fits are rounds within the run, each after the one before."""
    for before, at in zip((0, *fits), fits, strict=False):
        if not before < at < num_rounds:
            raise ValueError(
                f"fits must ascend, each above 0 and below num_rounds = {num_rounds}, got {at} "
                f"after {before}. Leave fits out for the policy's own schedule."
            )


def view_of(env: Any, env_params: Any, env_state: PyTree, obs: Array) -> View:
    """What a round shows, the benchmarks' knowledge included."""
    oracle = env.oracle(env_state, env_params)
    return View(
        obs=obs,
        latent=None if oracle is None else oracle.latent,
        filtered=None if oracle is None else oracle.filtered,
        features=env.arm_features(env_state, env_params),
        observation=env.known_observation(env_state, env_params),
    )


def play(
    env: Any,
    policy: Policy,
    key: Key,
    env_params: Any,
    hparams: BanditHyperparams,
    *,
    num_rounds: int,
    fits: tuple[int, ...] | None = None,
) -> Run:
    """One run, of an instance drawn by the environment's reset.

    The environment's random numbers do not depend on the policy's: under one key, two policies
    meet the same instance, contexts and payoff noise.

    Args:
      env: a bandit.
      policy: see `make_policy`.
      key: PRNG key.
      env_params: its economy; the time limit in it is ignored.
      hparams: traced settings.
      num_rounds: T.
      fits: rounds before which `policy.refit` is called, ascending, from 1 to T - 1; the policy's
        own schedule if None, no fit if (). Ignored if it has no `refit`.

    Raises:
      ValueError: no rounds, or fits that are not such rounds.
    """
    require_count("num_rounds", num_rounds)
    if fits is None:
        fits = policy.schedule(num_rounds) if policy.schedule else ()
    _check_fits(fits, num_rounds)
    key_env, key_policy, key_init, key_fit = jax.random.split(key, 4)
    obs, env_state = env.reset_env(jax.random.fold_in(key_env, num_rounds), env_params)
    state = policy.init(key_init, view_of(env, env_params, env_state, obs), hparams)

    def turn(t: Array, loop: _Loop) -> _Loop:
        view = view_of(env, env_params, loop.env_state, loop.obs)
        action, state = policy.act(jax.random.fold_in(key_policy, t), loop.state, view, hparams)
        obs, env_state, reward, _, info = env.step_env(
            jax.random.fold_in(key_env, t), loop.env_state, action, env_params
        )
        store = lambda array, value: array.at[t].set(value.astype(array.dtype))
        return _Loop(
            env_state=env_state,
            obs=obs,
            state=policy.update(state, view, action, reward, hparams),
            history=jax.tree.map(store, loop.history, History(view.obs, action, reward)),
            regret=store(loop.regret, jnp.stack([info[name] for name in env.regrets])),
        )

    refit = policy.refit
    starts = jnp.asarray([0, *(fits if refit else ())], jnp.int32)
    stops = jnp.append(starts[1:], jnp.int32(num_rounds))

    def epoch(loop: _Loop, bounds: tuple[Array, Array]) -> tuple[_Loop, None]:
        start, stop = bounds
        if refit is not None:
            view = view_of(env, env_params, loop.env_state, loop.obs)
            state = jax.lax.cond(
                start > 0,
                lambda state: refit(
                    jax.random.fold_in(key_fit, start), state, loop.history, start, view, hparams
                ),
                lambda state: state,
                loop.state,
            )
            loop = loop._replace(state=state)
        return jax.lax.fori_loop(start, stop, turn, loop), None

    action = env.action_space(env_params)
    history = History(
        jnp.zeros((num_rounds, *obs.shape), obs.dtype),
        jnp.zeros((num_rounds, *action.shape), action.dtype),
        jnp.zeros(num_rounds, obs.dtype),
    )
    loop = _Loop(env_state, obs, state, history, jnp.zeros((num_rounds, 3), obs.dtype))
    end, _ = jax.lax.scan(epoch, loop, (starts, stops))
    return Run(end.history.action, end.history.reward, end.regret, end.state)
