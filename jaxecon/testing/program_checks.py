"""Contract checks of the environment as a program: `jit`, `vmap`, tracing, hashing, purity."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.testing.probe import (
    ATOL,
    RTOL,
    NotApplicable,
    Probe,
    Transition,
    expect,
    first_difference,
)
from jaxecon.types import PyTree


def check_jit_equals_plain(probe: Probe) -> None:
    """Compiled `reset` and `step` agree with plain Python, floats within RTOL and ATOL."""
    obs, state = probe.reset(probe.key, probe.env_params)
    _expect_equal("reset", (obs, state), probe.first_plain_reset)
    pairs = zip(probe.transitions, probe.first_plain_steps, strict=False)
    for index, (turn, plain) in enumerate(pairs):
        obs, state, reward, terminated, info = plain
        own_info = {name: turn.info[name] for name in info}
        compiled = (turn.info["final_observation"], turn.reward, turn.terminated, own_info)
        _expect_equal(f"step {index}", compiled, (obs, reward, terminated, info))
        if not (turn.terminated or turn.truncated):
            _expect_equal(f"state after step {index}", turn.next_state, state)


def _expect_equal(where: str, compiled: PyTree, plain: PyTree) -> None:
    difference = first_difference(compiled, plain)
    expect(
        difference is None,
        seen=f"{where} differs, compiled against plain: {difference}",
        expected=f"equal integers and bools, floats within rtol={RTOL}, atol={ATOL}",
        mend="no Python branches on values, no globals, no NumPy randomness inside the transition",
    )


def check_vmap_equals_loop(probe: Probe) -> None:
    """A batch of three steps under `vmap` agrees with the same steps one by one."""
    turns = probe.transitions[:: max(1, len(probe.transitions) // 3)][:3]
    inputs = [(turn.key, turn.state, turn.action) for turn in turns]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inputs)
    batched_step = jax.jit(jax.vmap(probe.env.step, in_axes=(0, 0, 0, None)))
    batched = batched_step(*batch, probe.env_params)
    for index, turn in enumerate(turns):
        alone = tuple(turn[3:])
        row = jax.tree.map(lambda leaf, index=index: leaf[index], batched)
        difference = first_difference(row, alone)
        expect(
            difference is None,
            seen=f"row {index} of the batch differs from the single step: {difference}",
            expected=f"equal integers and bools, floats within rtol={RTOL}, atol={ATOL}",
            mend="reduce over named axes of one environment only; avoid callbacks and host state",
        )


def check_one_trace(probe: Probe) -> None:
    """New numbers in key, state, action and env_params do not trace `step` again."""
    traces = []

    def step(*arguments):
        traces.append(1)
        return probe.env.step(*arguments)

    compiled = jax.jit(step)
    moved = jax.tree.map(_other_number, probe.env_params)
    economies = (probe.env_params, moved, moved)
    # past the first step: a weak type that only reset gives is steady_signature's to report
    for turn, env_params in zip(probe.transitions[1:4], economies, strict=True):
        compiled.eval_shape(turn.key, turn.state, turn.action, env_params)
    expect(
        len(traces) == 1,
        seen=f"{len(traces)} traces for three calls that differ in numbers only",
        expected="one trace",
        mend="make numbers traced leaves (no pytree_node=False) and keep dtypes steady",
    )


def _other_number(leaf: Any) -> Any:
    """A different number of the same type; bools and keys stay as they are."""
    if isinstance(leaf, bool) or getattr(leaf, "dtype", None) == jnp.bool_:
        return leaf
    if isinstance(leaf, int | float):
        return type(leaf)(leaf + 1)
    is_number = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.number)
    return leaf + jnp.asarray(1, leaf.dtype) if is_number else leaf


def check_static_environment(probe: Probe) -> None:
    """The environment is hashable, equal when built equally, and then shares one trace."""
    env, twin = probe.env, rebuild(probe.env)
    hash(env)
    expect(
        env == twin and hash(env) == hash(twin),
        seen="an equally built environment does not compare or hash as equal",
        expected="env == rebuilt env, so that both share one compilation",
        mend="make it a frozen dataclass whose fields are numbers, strings and tuples",
    )
    traces = []

    def reset(env, key, env_params):
        traces.append(1)
        return env.reset(key, env_params)

    compiled = jax.jit(reset, static_argnums=0)
    for same in (env, twin):
        compiled.eval_shape(same, probe.key, probe.env_params)
    expect(
        len(traces) == 1,
        seen="an equally built environment as static argument was traced again",
        expected="one trace",
        mend="make __eq__ and __hash__ depend on the fields only",
    )


def rebuild(env: Any) -> Any:
    """The same environment built a second time."""
    is_dataclass = dataclasses.is_dataclass(env)
    return dataclasses.replace(env) if is_dataclass else copy.copy(env)


def check_traced_params(probe: Probe) -> None:
    """Every number of env_params is a traced leaf: `vmap` over it works."""
    hidden = _static_numbers(probe.env_params)
    expect(
        not hidden,
        seen=f"static numbers in env_params: {hidden}",
        expected="every number a pytree leaf; structure belongs to the environment",
        mend="remove pytree_node=False, or move the field to the environment's dataclass",
    )
    leaves = jax.tree_util.tree_leaves_with_path(probe.env_params)
    if not leaves:
        raise NotApplicable("env_params has no leaf")
    probe.require_own_transition()
    try:
        _vmap_over(probe, {path for path, _ in leaves})
    except Exception:
        for path, _ in leaves:  # again one by one, to name the culprit
            _expect_traceable(probe, path)
        raise


def _static_numbers(env_params: Any) -> list[str]:
    numeric = (bool, int, float, complex, np.number, np.ndarray, jax.Array)
    fields = dataclasses.fields(env_params) if dataclasses.is_dataclass(env_params) else ()
    return [
        field.name
        for field in fields
        if not field.metadata.get("pytree_node", True)
        and isinstance(getattr(env_params, field.name), numeric)
    ]


def _vmap_over(probe: Probe, paths: set) -> None:
    """Trace reset and one step with two economies in the leaves at `paths`, the others plain."""
    env, env_params = probe.env, probe.env_params
    action = env.action_space(env_params).sample(probe.key)

    def step(env_params):
        _, state = env.reset_env(probe.key, env_params)
        return env.step_env(probe.key, state, action, env_params)

    def stack(path, leaf):
        return jnp.stack([jnp.asarray(leaf)] * 2) if path in paths else leaf

    def axis(path, leaf):
        return 0 if path in paths else None

    stacked = jax.tree_util.tree_map_with_path(stack, env_params)
    axes = jax.tree_util.tree_map_with_path(axis, env_params)
    jax.eval_shape(lambda: jax.vmap(step, in_axes=(axes,))(stacked))


def _expect_traceable(probe: Probe, path: tuple) -> None:
    problem = None
    try:
        _vmap_over(probe, {path})
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    expect(
        problem is None,
        seen=f"vmap over env_params{jax.tree_util.keystr(path)} raises {problem}",
        expected="a traced number",
        mend="no int(), float(), shapes or Python branches on env_params; use jnp.where",
    )


def check_deterministic(probe: Probe) -> None:
    """The same key gives the same reset and step, bit for bit."""
    turn = probe.transitions[0]
    pairs: dict[str, tuple[PyTree, PyTree]] = {
        "plain reset": (probe.first_plain_reset, probe.plain_reset(probe.key)),
        "plain step": (probe.first_plain_steps[0], probe.plain_step(turn)),
        "compiled step": (_again(probe, turn), _again(probe, turn)),
    }
    for what, (first, second) in pairs.items():
        difference = first_difference(first, second, exact=True)
        expect(
            difference is None,
            seen=f"{what} twice with one key: {difference}",
            expected="identical bits",
            mend="draw only from the key; no np.random, time or counters",
        )


def _again(probe: Probe, turn: Transition) -> tuple:
    return probe.step(turn.key, turn.state, turn.action, probe.env_params)


def check_no_leaked_tracers(probe: Probe) -> None:
    """Tracing leaves no tracer behind in attributes or globals."""
    turn = probe.transitions[0]
    try:
        with jax.checking_leaks():
            jax.eval_shape(lambda *args: probe.env.reset_env(*args), probe.key, probe.env_params)
            jax.eval_shape(
                lambda *args: probe.env.step_env(*args),
                *(turn.key, turn.state, turn.action, probe.env_params),
            )
        leaked = None
    except Exception as error:
        if "leak" not in str(error).lower():
            raise
        leaked = str(error).splitlines()[0]
    expect(
        leaked is None,
        seen=leaked,
        expected="no tracer outlives its trace",
        mend="return values instead of storing them on the environment or in a module",
    )
