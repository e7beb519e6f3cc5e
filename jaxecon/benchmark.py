"""Measured speed of compiled programs: compilation apart, warmed up, waited for, repeated.

`measure` times any function. `environment_throughput` gives the steps per second of one
environment. Both return a JSON-serialisable line that says on which device, with which versions
and at which sizes it was taken. Programs are compiled with the options that studies use.
"""

import dataclasses
import importlib.metadata
import math
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxecon import devices
from jaxecon.algos import rollout
from jaxecon.envs import autoreset
from jaxecon.envs.registry import make
from jaxecon.interop.foreign import foreign_settings
from jaxecon.networks.policy import make_actor_critic
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, PyTree

RESET_MODES = (*autoreset.MODES, "every_step")
VERSIONED = ("jax", "jaxlib", "gymnax", "numpy")
MAX_ROLLOUT_LENGTH = 128  # steps between two draws of keys and first states
MAX_ROLLOUT_STEPS = 2**16  # environment steps of one rollout, which bounds its memory


def measure(
    run: Callable, *args: Any, steps: int, repeats: int = 7, **labels: Any
) -> dict[str, Any]:
    """Speed of `run(*args)` on the default device.

    Args:
      run: a function of arrays that `jax.jit` accepts. Its result must depend on all of its work,
        and the work on the arguments, or the compiler deletes it.
      *args: its arguments.
      steps: number of steps that one call makes.
      repeats: number of timed calls, at least 1.
      **labels: what was run and at which sizes; the line begins with them.

    Returns:
      {**labels, "steps", "repeats", "steps_per_s" (median), "spread" ([lowest, highest] of the
      repeats), "compile_s", "device", "num_cores", "versions"}.
    """
    _require_positive(steps=steps, repeats=repeats)
    program, compile_s = _compile(run, *args)
    jax.block_until_ready(program(*args))  # warm-up
    seconds = [_time_call(program, *args) for _ in range(repeats)]
    return report_line(steps, seconds, compile_s, **labels)


def measure_rounds(
    run: Callable,
    *args: Any,
    steps: int,
    seconds: float,
    repeats: int = 7,
    **labels: Any,
) -> dict[str, Any]:
    """Speed of `run(num_rounds, *args)`, with as many rounds as take about `seconds`.

    Args:
      run: as for `measure`; its first argument, an int32 scalar, says how often to repeat its
        work, so that one compilation serves every number of rounds.
      *args: its other arguments.
      steps: number of steps that one round makes.
      seconds: duration of one timed call.
      repeats: number of timed calls, at least 1.
      **labels: what was run and at which sizes.

    Returns:
      A line as that of `measure`; "steps" counts all rounds of a call.
    """
    _require_positive(steps=steps, repeats=repeats, seconds=seconds)
    program, compile_s = _compile(run, jnp.int32(1), *args)
    jax.block_until_ready(program(jnp.int32(1), *args))  # warm-up
    rounds = fitting_rounds(lambda rounds: _time_call(program, jnp.int32(rounds), *args), seconds)
    timed = [_time_call(program, jnp.int32(rounds), *args) for _ in range(repeats)]
    return report_line(rounds * steps, timed, compile_s, **labels)


def environment_throughput(
    env_id: str,
    num_envs: int,
    *,
    seconds: float = 0.5,
    reset_mode: str = "auto",
    repeats: int = 7,
) -> dict[str, Any]:
    """Environment steps per second of a batched rollout, automatic reset included.

    Every action depends on the observation, through a random linear policy whose cost is part of
    the result. Rewards and episodes are added up and the sums handed back; the trajectory itself is
    not kept. One step of an environment counts once, however many agents act in it.

    Args:
      env_id: an id that `jaxecon.make` accepts.
      num_envs: B, environments stepped together.
      seconds: duration of one timed call.
      reset_mode: a mode of `jaxecon.envs.autoreset`, or as the reference "every_step": the
        environment's own `step` under `vmap`, which resets every environment in every step.
      repeats: number of timed calls.

    Returns:
      A line as that of `measure` with "bench", "env", "num_envs", "num_agents" (1 for a single
      agent), "reset_mode", "resets" (what "auto" chose) and "rollout_length".

    Raises:
      ValueError: unknown id or mode, or a number that is not positive.
    """
    _require_positive(num_envs=num_envs)
    if reset_mode not in RESET_MODES:
        raise ValueError(unknown_name("reset mode", reset_mode, RESET_MODES))
    env, env_params = make(env_id)
    is_reference = reset_mode == "every_step"
    length = max(1, min(MAX_ROLLOUT_LENGTH, MAX_ROLLOUT_STEPS // num_envs))
    key_policy, key_init, key_run = jax.random.split(jax.random.key(0), 3)
    labels = {
        "bench": "env_throughput",
        "env": env_id,
        "num_envs": num_envs,
        "num_agents": getattr(env, "num_agents", None) or 1,
        "reset_mode": reset_mode,
        "resets": reset_mode if is_reference else autoreset.choose_mode(env, reset_mode, num_envs),
        "rollout_length": length,
    }

    def run(num_rounds: Array, key: Key, weights: PyTree, carry: tuple, env_params: Any) -> tuple:
        def one_round(index: Array, carry: tuple) -> tuple:
            key_round = jax.random.fold_in(key, index)
            collect = _collect_every_step if is_reference else _collect
            return collect(key_round, carry, weights, env, env_params, length, reset_mode)

        return jax.lax.fori_loop(0, num_rounds, one_round, carry)

    with foreign_settings(env):
        weights = linear_policy(key_policy, env, env_params)
        state = rollout.init_rollout(key_init, env, env_params, num_envs)
        arguments = (key_run, weights, (state, jnp.zeros(3)), env_params)
        steps = length * num_envs
        return measure_rounds(
            run, *arguments, steps=steps, seconds=seconds, repeats=repeats, **labels
        )


def linear_policy(key: Key, env: Any, env_params: Any) -> PyTree:
    """Random weights of a policy that is linear in the observation, for `linear_action`."""
    return make_actor_critic(env, env_params, hidden_sizes=()).init(key)


def linear_action(
    weights: PyTree, env: Any, env_params: Any, obs: Array, mask: Array | None = None
) -> Array:
    """Actions [B, ...] for observations [B, ...]: the linear map through the space's head.

    The largest output where choices are discrete, a bounded map onto a box, softmax on a simplex.
    """
    network = make_actor_critic(env, env_params, hidden_sizes=())
    outputs = network.policy(weights, network.features(obs), mask)
    return network.head.to_action(network.head.mode(outputs))


def fitting_rounds(time_rounds: Callable[[int], float], seconds: float) -> int:
    """Number of rounds, at least 1, that take about `seconds`.

    Args:
      time_rounds: takes a number of rounds and gives the seconds they took.
      seconds: duration to aim at.
    """
    rounds, elapsed = 1, time_rounds(1)
    while elapsed < seconds / 4:
        rounds *= min(64, max(2, int(seconds / (2.0 * elapsed))))
        elapsed = time_rounds(rounds)
    return max(1, math.ceil(rounds * seconds / elapsed))


def report_line(
    steps: int, seconds: list[float], compile_s: float | None, **labels: Any
) -> dict[str, Any]:
    """The JSON-serialisable line of a measurement.

    Args:
      steps: steps of one timed call.
      seconds: duration of each timed call.
      compile_s: seconds spent on compilation, None where nothing is compiled.
      **labels: what was run and at which sizes.
    """
    rates = sorted(steps / each for each in seconds)
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {
        **labels,
        "steps": steps,
        "repeats": len(seconds),
        "steps_per_s": statistics.median(rates),
        "spread": [rates[0], rates[-1]],
        "compile_s": None if compile_s is None else round(compile_s, 3),
        "device": jax.devices()[0].device_kind,
        "num_cores": devices.num_cores(),
        "versions": {"python": platform.python_version(), **versions},
    }


def _compile(run: Callable, *args: Any) -> tuple[Callable, float]:
    """(program, seconds to trace and compile it)."""
    start = time.perf_counter()
    options: Any = devices.compiler_options(jax.default_backend())
    program = jax.jit(run).lower(*args).compile(compiler_options=options)
    return program, time.perf_counter() - start


def _time_call(program: Callable, *args: Any) -> float:
    """Seconds until the result of one call is there."""
    start = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {number}.")


def _collect(
    key: Key, carry: tuple, weights: PyTree, env: Any, env_params: Any, length: int, mode: str
) -> tuple:
    """One rollout of `rollout.collect`; the carry is (state, sums over finished episodes [3])."""
    state, sums = carry
    num_envs = state.episode_return.shape[0]
    unused = jnp.zeros(num_envs)

    def act(obs: Array, mask: Array | None, noise: Array) -> tuple[Array, Array, Array]:
        return unused, unused, linear_action(weights, env, env_params, obs, mask)

    noise = jnp.zeros((length, num_envs))
    state, _, totals = rollout.collect(key, state, act, noise, env, env_params, reset_mode=mode)
    return autoreset.strong(state), sums + jnp.stack(jax.tree.leaves(totals))


def _collect_every_step(
    key: Key, carry: tuple, weights: PyTree, env: Any, env_params: Any, length: int, mode: str
) -> tuple:
    """The same carry after as many steps of `vmap(env.step)`; adds up no more than rewards."""
    state, sums = carry
    num_envs = state.episode_return.shape[0]
    advance = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def step(state: rollout.RolloutState, keys: Key) -> tuple[rollout.RolloutState, None]:
        mask = rollout.legal_actions(env, env_params, state.env_state)
        action = linear_action(weights, env, env_params, state.obs, mask)
        obs, env_state, reward, terminated, truncated, _ = advance(
            keys, state.env_state, action, env_params
        )
        reward = jnp.mean(jnp.reshape(reward, (num_envs, -1)).astype(jnp.float32), axis=-1)
        done = terminated | truncated
        state = dataclasses.replace(
            state,
            env_state=env_state,
            obs=obs,
            episode_return=state.episode_return + reward,
            episode_length=jnp.where(done, 0, state.episode_length + 1),
        )
        return autoreset.strong(state), None

    keys = jax.random.split(key, (length, num_envs))
    state, _ = jax.lax.scan(step, state, keys)
    return state, sums
