"""Each contract check fails on an environment broken in that one way, and says what is wrong."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxecon.envs import base
from jaxecon.symmetry import SymmetrySpec, sign, z2
from jaxecon.testing import CHECKS, ContractError, check_environment, list_checks

COUNTER = itertools.count()
LEAKED = []


@struct.dataclass
class Params(base.EnvParams):
    drift: float = 0.2
    bound: float = 0.6
    max_steps_in_episode: int = 50


@struct.dataclass
class State(base.EnvState):
    position: jax.Array
    calls: int = struct.field(pytree_node=False, default=0)


@dataclasses.dataclass(frozen=True)
class Sound(base.Environment):
    """A random walk with a push; ends past the bound. Keeps the whole contract."""

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        state = State(time=jnp.int32(0), position=jax.random.uniform(key, (), maxval=0.5))
        return state.position[None], state

    def step_env(self, key, state, action, params):
        noise = 0.2 * jax.random.normal(key)
        position = state.position + params.drift * action[0] + noise
        reward = -(position**2) - 0.1 * action[0] ** 2
        state = State(time=state.time + 1, position=position)
        return position[None], state, reward, jnp.abs(position) > params.bound, {"noise": noise}

    def observation_space(self, params):
        return base.Box(-5.0, 5.0, (1,))

    def action_space(self, params):
        return base.Box(-1.0, 1.0, (1,))

    def episode_summary(self, state, params):
        return {"position": state.position}


def restart_from(env, key, out, params):
    """The values of `step`, with the reset's observation and state taken from `key`."""
    done = out[3] | out[4]
    fresh = env.reset_env(key, params)
    return (*jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, out[:2]), *out[2:])


class FiveValues(Sound):
    def step(self, key, state, action, params=None):
        return super().step(key, state, action, params)[:5]


class IntegerFlag(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state, action, params)
        return (*out[:3], out[3].astype(jnp.int32), *out[4:])


class IntegerReward(Sound):
    def step_env(self, *arguments):
        obs, state, _, terminated, info = super().step_env(*arguments)
        return obs, state, jnp.int32(1), terminated, info


class TightSpace(Sound):
    def observation_space(self, params):
        return base.Box(0.0, 0.1, (1,))


class WrongDtypeSpace(Sound):
    def observation_space(self, params):
        return base.Box(-5, 5, (1,), jnp.int32)


class InvertedActions(Sound):
    def action_space(self, params):
        return base.Box(1.0, -1.0, (1,))


class WeakReset(Sound):
    def reset_env(self, key, params):
        return jnp.zeros(1), State(time=jnp.int32(0), position=0.0)


class ShapeShifter(Sound):
    def reset(self, key, params=None):
        obs, state = super().reset(key, params)
        return obs, state.replace(position=state.position[None])

    def step_env(self, key, state, action, params):
        state = state.replace(position=jnp.reshape(state.position, ()))
        return super().step_env(key, state, action, params)


class DebugInfo(Sound):
    def step_env(self, key, state, action, params):
        *values, info = super().step_env(key, state, action, params)
        is_plain = not isinstance(action, jax.core.Tracer)
        return (*values, {**info, "debug": jnp.float32(0.0)} if is_plain else info)


class Doubles(Sound):
    def step_env(self, *arguments):
        *values, info = super().step_env(*arguments)
        return (*values, {**info, "constant": np.float64(1.0)})


class LogOfNegative(Sound):
    def step_env(self, *arguments):
        obs, state, reward, terminated, info = super().step_env(*arguments)
        return obs, state, jnp.log(reward - 1.0), terminated, info


class OtherWhenPlain(Sound):
    def step_env(self, key, state, action, params):
        obs, state, reward, *rest = super().step_env(key, state, action, params)
        bonus = 0.0 if isinstance(action, jax.core.Tracer) else 1.0
        return obs, state, reward + bonus, *rest


class PythonBranch(Sound):
    def step_env(self, key, state, action, params):
        if action[0] > 0:
            action = -action
        return super().step_env(key, state, action, params)


class MixesTheBatch(Sound):
    def step_env(self, *arguments):
        obs, state, reward, *rest = super().step_env(*arguments)
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        mean = jax.pure_callback(
            lambda x: np.broadcast_to(np.mean(x), np.shape(x)).astype(np.float32),
            *(shape, jax.lax.stop_gradient(reward)),
            vmap_method="broadcast_all",
        )
        return obs, state, mean, *rest


class CountsCalls(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state.replace(calls=0), action, params)
        return (out[0], out[1].replace(calls=min(state.calls + 1, 3)), *out[2:])


class ByIdentity(Sound):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclasses.dataclass(frozen=True)
class HoldsAnArray(Sound):
    table: jax.Array = dataclasses.field(default_factory=lambda: jnp.ones(3))


@struct.dataclass
class StaticParams(Params):
    drift: float = struct.field(pytree_node=False, default=0.2)


class HiddenNumber(Sound):
    @property
    def default_params(self):
        return StaticParams()


class BranchesOnParams(Sound):
    def step_env(self, key, state, action, params):
        action = action if params.bound > 0 else -action
        return super().step_env(key, state, action, params)


class Impure(Sound):
    def reset_env(self, key, params):
        position = jnp.float32(0.001 * next(COUNTER))
        return position[None], State(time=jnp.int32(0), position=position)


class Leaky(Sound):
    def step_env(self, key, state, action, params):
        LEAKED.append(state.position + 1.0)
        return super().step_env(key, state, action, params)


class LimitTerminates(Sound):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        at_limit = state.time >= params.max_steps_in_episode
        return obs, state, reward, terminated | at_limit, info


class NeverTruncates(Sound):
    def is_truncated(self, state, params):
        return jnp.bool_(False)


class EndingTruncates(Sound):
    def is_truncated(self, state, params):
        return super().is_truncated(state, params) | (jnp.abs(state.position) > params.bound)


class StaleObservation(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state, action, params)
        return (out[5]["final_observation"], *out[1:])


class ClockRunsOn(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state, action, params)
        return (out[0], out[1].replace(time=state.time + 1), *out[2:])


class OneFirstState(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state, action, params)
        return restart_from(self, jax.random.key(7), out, params)


class LosesTheEnding(Sound):
    def step(self, key, state, action, params=None):
        out = super().step(key, state, action, params)
        return (*out[:5], {**out[5], "final_observation": out[0]})


class ClaimsToEndTogether(Sound):
    ends_together = True


class Discrete(Sound):
    def action_space(self, params):
        return base.Discrete(2)

    def step_env(self, key, state, action, params):
        push = jnp.asarray(2 * action - 1, jnp.float32)[None]
        return super().step_env(key, state, push, params)


class NothingLegal(Discrete):
    def action_mask(self, state, params):
        return jnp.stack([state.position > 0.3, state.position > 0.6])


class FloatMask(Discrete):
    def action_mask(self, state, params):
        return jnp.ones(2)


class VectorSummary(Sound):
    def episode_summary(self, state, params):
        return {"position": state.position[None]}


class RootOfZero(Sound):
    def step_env(self, key, state, action, params):
        obs, state, reward, *rest = super().step_env(key, state, action, params)
        return obs, state, reward - jnp.sqrt(0.0 * action[0]), *rest


class CutsGradients(Sound):
    def step_env(self, key, state, action, params):
        return super().step_env(key, state, jax.lax.stop_gradient(action), params)


class DeclaresTwo(Sound):
    def symmetry(self):
        rep = sign(z2())
        return SymmetrySpec(rep.group, ((slice(0, 2), 2, rep),), rep)


class ForgetsToFlip(Sound):
    def symmetry(self):
        rep = sign(z2())
        return SymmetrySpec(rep.group, ((slice(0, 1), 1, rep),), rep)

    def observe(self, key, state, action, params):
        return state.position[None]

    def act_on_state(self, element, state):
        return state

    def act_on_params(self, element, params):
        return params


class FlipsATable(ForgetsToFlip):
    """Observations [1, 1] that flip as declared."""

    def observation_space(self, params):
        return base.Box(-jnp.inf, jnp.inf, (1, 1), jnp.float32)

    def observe(self, key, state, action, params):
        return state.position[None, None]

    def act_on_state(self, element, state):
        return state.replace(position=jnp.where(element == 1, -1.0, 1.0) * state.position)


class SaysNothingOfParams(Sound):
    """The same, without a word on how the economy moves: it stays."""

    symmetry = FlipsATable.symmetry
    observation_space = FlipsATable.observation_space
    observe = FlipsATable.observe
    act_on_state = FlipsATable.act_on_state


class DeclaresAName(Sound):
    def symmetry(self):
        return "Z2"


MUTANTS = [
    (FiveValues, "six_values", "step returns 5 values"),
    (IntegerFlag, "ending_flags", "terminated is int32[]"),
    (IntegerReward, "reward", "reward is int32[]"),
    (TightSpace, "spaces_contain", "outside Box(low=0.0, high=0.1"),
    (WrongDtypeSpace, "spaces_contain", "reset obs is float32[1], not int32[1]"),
    (InvertedActions, "sampled_action", "sampled action number 0"),
    (WeakReset, "steady_signature", "state.position: float32[] (weak) after reset"),
    (ShapeShifter, "scans", "scan"),
    (DebugInfo, "steady_info", "debug"),
    (Doubles, "single_precision", "['constant'] is float64"),
    (LogOfNegative, "finite_values", "['reward'] is nan at step 0"),
    (OtherWhenPlain, "jit_equals_plain", "step 0 differs, compiled against plain: [1]"),
    (PythonBranch, "jit_equals_plain", "TracerBoolConversionError"),
    (MixesTheBatch, "vmap_equals_loop", "row 0 of the batch differs"),
    (CountsCalls, "one_trace", "3 traces for three calls"),
    (ByIdentity, "static_environment", "does not compare or hash as equal"),
    (HoldsAnArray, "static_environment", "unhashable"),
    (HiddenNumber, "traced_params", "static numbers in env_params: ['drift']"),
    (BranchesOnParams, "traced_params", "vmap over env_params.bound raises"),
    (Impure, "deterministic", "plain reset twice with one key"),
    (Leaky, "no_leaked_tracers", "Leaked"),
    (LimitTerminates, "time_limit", "terminated is True at the limit, False without it"),
    (NeverTruncates, "time_limit", "truncated is False in the only step"),
    (EndingTruncates, "natural_ending", "terminated=True, truncated=True"),
    (StaleObservation, "auto_reset", "something else than a reset: [0]"),
    (ClockRunsOn, "auto_reset", "state.time is 1 after"),
    (OneFirstState, "fresh_reset", "gave one first state"),
    (LosesTheEnding, "final_observation", "final_observation against step_env's"),
    (ClaimsToEndTogether, "ends_together", "terminated although ends_together is True"),
    (NothingLegal, "action_mask", "no legal action in the state before step"),
    (FloatMask, "action_mask", "the mask is float32[2]"),
    (VectorSummary, "episode_summary", "the shapes are {'position': (1,)}"),
    (RootOfZero, "finite_gradients", "is [[nan]"),
    (CutsGradients, "gradients_flow", "zero gradient in the actions"),
    (DeclaresTwo, "symmetry_sizes", "obs_blocks must cover obs[0:1]"),
    (DeclaresAName, "symmetry_sizes", "symmetry() of DeclaresAName must return a jaxecon.symmetry"),
    (DeclaresAName, "symmetric_observation", "None where there is no symmetry, got str"),
    (ForgetsToFlip, "symmetric_observation", "element 1 moves entry 0"),
]


@pytest.mark.parametrize(("mutant", "check", "evidence"), MUTANTS, ids=lambda v: str(v)[-40:])
def test_a_broken_environment_is_caught_by_the_check_for_it(mutant, check, evidence):
    with pytest.raises(ContractError) as caught:
        check_environment(mutant(), checks=[check], num_steps=24)
    message = str(caught.value)
    assert message.splitlines()[0] == f"{mutant.__name__} fails 1 of 1 contract checks:"
    assert check in message
    assert evidence in message


def test_every_check_has_a_mutant_that_only_the_sound_environment_survives():
    unshown = set(CHECKS) - {check for _, check, _ in MUTANTS}
    assert not unshown
    report = check_environment(Sound(), num_steps=40)
    skipped = {result.name for result in report.results if result.skipped}
    undeclared = {"symmetry_sizes", "symmetric_observation"}
    assert skipped == {"ends_together", "action_mask"} | undeclared, str(report)
    checks = ["sampled_action", "action_mask", "scans", "gradients_flow"]
    assert check_environment(Discrete(), checks=checks, num_steps=8).passed


def test_a_symmetric_observation_may_be_a_table():
    assert check_environment(FlipsATable(), checks=["symmetric_observation"], num_steps=8).passed


def test_params_that_nothing_is_said_about_stay():
    env = SaysNothingOfParams()
    report = check_environment(env, checks=["symmetric_observation"], num_steps=8)
    assert report.results[0].message == "", "neither failed nor skipped"


def test_a_report_lists_all_failures_and_names_a_shared_cause_once():
    report = check_environment(
        PythonBranch(),
        checks=["time_limit", "finite_values", "episode_summary", "single_precision"],
        raise_on_failure=False,
    )
    assert not report.passed
    assert "TracerBoolConversionError" in report.failures["time_limit"]
    assert report.failures["finite_values"] == "the same error as time_limit"
    assert "FAILED  time_limit: raised" in str(report)


def test_a_skipped_check_passes_and_says_why():
    (result,) = check_environment(Sound(), checks=["action_mask"], num_steps=8).results
    assert result.passed
    assert result.skipped
    assert result.message == "skipped: the environment offers no action mask"


def test_every_check_is_described_in_one_line():
    assert set(list_checks()) == set(CHECKS)
    assert all(line.endswith(".") for line in list_checks().values())


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"Unknown contract check 'time_limits'.*'time_limit'"):
        check_environment(Sound(), checks=["time_limits"])
    with pytest.raises(ValueError, match="num_steps must be at least 8, got 2"):
        check_environment(Sound(), num_steps=2)
