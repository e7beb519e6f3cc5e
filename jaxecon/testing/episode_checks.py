"""Contract checks of episodes: both endings, automatic reset, legal actions, summaries."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.envs.base import Environment
from jaxecon.testing.probe import (
    NO_LIMIT,
    NotApplicable,
    Probe,
    Transition,
    action_mask,
    expect,
    first_difference,
)
from jaxecon.testing.shape_checks import abstract_reset, abstract_step


def check_time_limit(probe: Probe) -> None:
    """The time limit truncates and never terminates."""
    for last, free in probe.last_steps:
        expect(
            bool(last.truncated) and not bool(free.truncated),
            seen=f"truncated is {bool(last.truncated)} in the only step of a one-step limit and "
            f"{bool(free.truncated)} in the first step without one",
            expected="True, then False",
            mend="add one to state.time in step_env and leave is_truncated to the base",
        )
        expect(
            bool(last.terminated) == bool(free.terminated),
            seen=f"terminated is {bool(last.terminated)} at the limit, "
            f"{bool(free.terminated)} without it",
            expected="the limit does not change terminated",
            mend="never compare time with max_steps_in_episode in step_env or is_terminated",
        )


def check_natural_ending(probe: Probe) -> None:
    """A natural ending terminates, does not truncate, and starts the next episode."""
    ended = [turn for turn in probe.transitions if turn.terminated]
    if not ended:
        raise NotApplicable(f"no natural ending in {probe.num_steps} steps of random play")
    turn = ended[0]
    again = Transition(
        *turn[:3], *probe.step(turn.key, turn.state, turn.action, probe.limited(NO_LIMIT))
    )
    expect(
        bool(again.terminated) and not bool(again.truncated),
        seen=f"terminated={bool(again.terminated)}, truncated={bool(again.truncated)} at a natural "
        "ending far from the limit",
        expected="terminated=True, truncated=False",
        mend="truncated must depend on time alone",
    )
    _expect_first_state(probe, turn, probe.env_params)


def check_auto_reset(probe: Probe) -> None:
    """The step that ends an episode hands back the next one's first observation and state."""
    for last, _ in probe.last_steps:
        _expect_first_state(probe, last, probe.limited(1))


def _expect_first_state(probe: Probe, turn: Transition, env_params: Any) -> None:
    time = getattr(turn.next_state, "time", None)
    expect(
        time is None or int(time) == 0,
        seen=f"state.time is {time} after the step that ended an episode",
        expected="0, the next episode's first state",
        mend="let Environment.step reset, and start state.time at 0",
    )
    _, key_reset = jax.random.split(turn.key)
    probe.require_own_transition()  # wrappers split keys their own way
    first = probe.reset(key_reset, env_params)
    difference = first_difference((turn.obs, turn.next_state), first)
    expect(
        difference is None,
        seen=f"after an ending, step hands back something else than a reset: {difference}",
        expected="reset_env(key_reset, env_params) with key_step, key_reset = split(key)",
        mend="replace obs and state together, by the reset drawn from the second half of the key",
    )


def check_fresh_reset(probe: Probe) -> None:
    """Automatic resets draw anew: where resets are random, they differ from key to key."""
    keys = jax.random.split(probe.key, len(probe.last_steps))
    resets = [probe.reset(key, probe.env_params) for key in keys]
    if all(first_difference(resets[0], other, exact=True) is None for other in resets[1:]):
        raise NotApplicable("every reset gives the same first state")
    restarts = [(last.obs, last.next_state) for last, _ in probe.last_steps]
    repeated = [first_difference(restarts[0], other, exact=True) is None for other in restarts[1:]]
    expect(
        not all(repeated),
        seen=f"{len(restarts)} automatic resets under different keys gave one first state",
        expected="different first states, as reset gives under different keys",
        mend="reset from a key split off the step's key, not from a stored state or a fixed key",
    )


def check_final_observation(probe: Probe) -> None:
    """`info["final_observation"]` is `step_env`'s observation, before any reset."""
    limited = [(last, probe.limited(1)) for last, _ in probe.last_steps]
    ended = [(turn, probe.env_params) for turn in probe.transitions if turn.terminated][:2]
    for turn, env_params in limited + ended:
        difference = first_difference(
            turn.info["final_observation"], probe.plain_step(turn, env_params)[0]
        )
        expect(
            difference is None,
            seen=f"at an ending, final_observation against step_env's: {difference}",
            expected="the observation the episode ended with, to bootstrap from",
            mend="put step_env's observation in info before replacing it by the reset's",
        )


def check_ends_together(probe: Probe) -> None:
    """`ends_together` is declared only where time alone decides when an episode ends."""
    if not getattr(probe.env, "ends_together", False):
        raise NotApplicable("the environment does not declare ends_together")
    turns = probe.transitions + [turn for pair in probe.last_steps for turn in pair]
    ended = [turn for turn in turns if turn.terminated]
    times = {int(turn.state.time) for turn in turns if not turn.terminated}
    early = [turn for turn in ended if int(turn.state.time) in times]
    expect(
        not early,
        seen=f"{len(ended)} of {len(turns)} steps terminated although ends_together is True, "
        f"{len(early)} of them at a time at which other episodes went on",
        expected="episodes that end at one time only",
        mend="set ends_together = False",
    )


def check_action_mask(probe: Probe) -> None:
    """`action_mask` is bool [..., num_actions] and allows an action in every visited state."""
    env, env_params = probe.env, probe.env_params
    if action_mask(env, probe.transitions[0].state, env_params) is None:
        raise NotApplicable("the environment offers no action mask")
    mask_of = jax.jit(lambda state, env_params: env.action_mask(state, env_params))
    num_actions = _num_actions(env.action_space(env_params))
    for index, turn in enumerate(probe.transitions):
        mask = np.asarray(mask_of(turn.state, env_params))
        expect(
            mask.dtype == np.bool_ and mask.ndim >= 1 and mask.shape[-1] == num_actions,
            seen=f"the mask is {mask.dtype}{list(mask.shape)}",
            expected=f"bool[..., {num_actions}], True = legal",
            mend="compare explicitly and give the last axis one entry per action",
        )
        expect(
            mask.any(axis=-1).all(),
            seen=f"no legal action in the state before step {index}: {mask}",
            expected="at least one True",
            mend="keep a null action legal, or end the episode there",
        )


def _num_actions(space) -> int | None:
    if hasattr(space, "n"):
        return space.n
    if not jnp.issubdtype(space.dtype, jnp.integer):
        raise NotApplicable("the action space is continuous")
    return int(np.max(space.high) - np.min(space.low)) + 1


def check_episode_summary(probe: Probe) -> None:
    """`episode_summary` gives numeric scalars under the same names in every state."""
    if not isinstance(probe.env, Environment):
        raise NotApplicable("not a jaxecon environment")
    summary = probe.env.episode_summary
    states = {"reset": abstract_reset(probe)[1], "step": abstract_step(probe)[1]}
    found = {k: jax.eval_shape(summary, v, probe.env_params) for k, v in states.items()}
    found["plain step"] = summary(probe.transitions[-1].next_state, probe.env_params)
    for where, values in found.items():
        shapes = {name: np.shape(value) for name, value in values.items()}
        expect(
            all(shape == () for shape in shapes.values()),
            seen=f"after {where} the shapes are {shapes}",
            expected="scalars",
            mend="average or sum over agents and goods, or give each its own name",
        )
        expect(
            set(values) == set(found["reset"]),
            seen=f"keys {sorted(values)} after {where}, {sorted(found['reset'])} after reset",
            expected="constant keys",
            mend="report every key always, with nan where it has no value",
        )
