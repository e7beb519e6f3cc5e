"""Contract checks of what `reset` and `step` hand back: values, shapes, dtypes and spaces."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.testing.probe import (
    NotApplicable,
    Probe,
    describe,
    expect,
    membership_problem,
    signature,
)
from jaxecon.types import PyTree

BASE_INFO = ("final_observation", "terminated", "truncated")
SIX = "(obs, state, reward, terminated, truncated, info)"


def abstract_reset(probe: Probe) -> tuple:
    """Shapes and dtypes that `env.reset` returns; nothing runs."""
    return jax.eval_shape(probe.reset, probe.key, probe.env_params)


def abstract_step(probe: Probe) -> tuple:
    """Shapes and dtypes that `env.step` returns after a reset; nothing runs."""
    _, state = abstract_reset(probe)
    action = jax.eval_shape(probe.draw_action, probe.key, state, probe.env_params)
    return jax.eval_shape(probe.step, probe.key, state, action, probe.env_params)


def check_six_values(probe: Probe) -> None:
    """`reset` returns (obs, state); `step` returns six values, the last one a dict."""
    reset = abstract_reset(probe)
    expect(
        isinstance(reset, tuple) and len(reset) == 2,
        seen=f"reset returns {_count(reset)}",
        expected="(obs, state)",
        mend="return exactly two values from reset_env",
    )
    step = abstract_step(probe)
    expect(
        isinstance(step, tuple) and len(step) == 6 and isinstance(step[5], dict),
        seen=f"step returns {_count(step)}",
        expected=SIX,
        mend="return (obs, state, reward, terminated, info) from step_env and leave step alone",
    )


def _count(values: PyTree) -> str:
    return f"{len(values)} values" if isinstance(values, tuple) else type(values).__name__


def check_ending_flags(probe: Probe) -> None:
    """`terminated` and `truncated` are bool scalars."""
    _, _, _, terminated, truncated, _ = abstract_step(probe)
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        expect(
            flag.dtype == jnp.bool_ and flag.shape == (),
            seen=f"{name} is {describe(flag)}",
            expected="bool[]",
            mend="compare explicitly, or return jnp.bool_(False)",
        )


def check_reward(probe: Probe) -> None:
    """`reward` is floating point: a scalar, or [N] with N agents."""
    num_agents = getattr(probe.env, "num_agents", None)
    shape = () if num_agents is None else (num_agents,)
    reward = abstract_step(probe)[2]
    expect(
        jnp.issubdtype(reward.dtype, jnp.floating) and reward.shape == shape,
        seen=f"reward is {describe(reward)} with num_agents={num_agents}",
        expected=f"a float of shape {list(shape)}",
        mend="cast with jnp.float32, sum or squeeze extra axes, or set num_agents",
    )


def check_spaces_contain(probe: Probe) -> None:
    """The observation space contains reset, step and final observations: shape, dtype, bounds."""
    space = probe.env.observation_space(probe.env_params)
    keys = jax.random.split(probe.key, 4)
    observations = {
        "reset obs": [probe.reset(key, probe.env_params)[0] for key in keys],
        "step obs": [turn.obs for turn in probe.transitions],
        "final_observation": [turn.info["final_observation"] for turn in probe.transitions],
    }
    problem = membership_problem(space, observations)
    expect(
        problem is None,
        seen=problem,
        expected=f"a member of {space}",
        mend="widen or retype observation_space, or clip and cast in observe",
    )


def check_sampled_action(probe: Probe) -> None:
    """The action space contains its own samples and `step` accepts them."""
    env, env_params = probe.env, probe.env_params
    space = env.action_space(env_params)
    samples = [space.sample(key) for key in jax.random.split(probe.key, 8)]
    problem = membership_problem(space, {"sampled action": samples})
    expect(
        problem is None,
        seen=problem,
        expected=f"members of {space}",
        mend="give the space bounds of its own shape and dtype",
    )
    _, state = abstract_reset(probe)
    jax.eval_shape(probe.step, probe.key, state, samples[0], env_params)


def check_steady_signature(probe: Probe) -> None:
    """Observation and state keep structure, shape, dtype and weak type from reset to step."""
    reset_obs, reset_state = abstract_reset(probe)
    obs, state, _, _, _, info = abstract_step(probe)
    compared = {
        "state": (reset_state, state),
        "obs": (reset_obs, obs),
        "final_observation": (reset_obs, info["final_observation"]),
    }
    for what, (before, after) in compared.items():
        structures: list[Any] = [jax.tree.structure(tree) for tree in (before, after)]
        expect(
            structures[0] == structures[1],
            seen=f"{what}: {structures[0]} after reset, {structures[1]} after step",
            expected="one pytree structure",
            mend="return the same containers from reset_env and step_env; keep numbers out of "
            "static fields",
        )
        old, new = signature(before), signature(after)
        changed = [
            f"{what}{path}: {old[path]} after reset, {new[path]} after step"
            for path in old
            if old[path] != new[path]
        ]
        expect(
            not changed,
            seen=", ".join(changed),
            expected="the same dtype, shape and weak type, so that nothing compiles twice",
            mend="make both with one dtype, such as time=jnp.int32(0)",
        )


def check_scans(probe: Probe) -> None:
    """`jax.lax.scan` accepts `step` as its body."""
    _, state = abstract_reset(probe)
    action = jax.eval_shape(probe.draw_action, probe.key, state, probe.env_params)

    def rollout(key, state, action, env_params):
        def body(state, key):
            _, state, reward, *_ = probe.env.step(key, state, action, env_params)
            return state, reward

        return jax.lax.scan(body, state, jax.random.split(key, 3))

    jax.eval_shape(rollout, probe.key, state, action, probe.env_params)


def check_steady_info(probe: Probe) -> None:
    """`info` has the same keys, shapes and dtypes on every step, compiled or not."""
    info = abstract_step(probe)[5]
    missing = [name for name in BASE_INFO if name not in info]
    expect(
        not missing,
        seen=f"info lacks {missing}",
        expected=f"the keys {list(BASE_INFO)}",
        mend="let Environment.step assemble info, or add them in your own step",
    )
    steady = _info_signature({k: v for k, v in info.items() if k not in BASE_INFO})
    for index, step in enumerate(probe.first_plain_steps):
        plain = _info_signature(step[4])
        expect(
            plain == steady,
            seen=f"plain step {index} has {plain}, compiled steps have {steady}",
            expected="the same info everywhere",
            mend="fill every key on every step; use nan or zero where there is nothing to say",
        )


def _info_signature(info: dict) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(info)
    shapes = {p: jnp.asarray(x) if np.isscalar(x) else x for p, x in leaves}
    return {jax.tree_util.keystr(p): f"{x.dtype}{list(x.shape)}" for p, x in shapes.items()}


def check_single_precision(probe: Probe) -> None:
    """Nothing is 64 bits wide under JAX's default precision."""
    if jax.config.read("jax_enable_x64"):
        raise NotApplicable("double precision is switched on")
    env, env_params = probe.env, probe.env_params
    values = {
        "env_params": env_params,
        "reset": probe.first_plain_reset,
        "step": probe.first_plain_steps[0],
    }
    for space_name in ("observation_space", "action_space"):
        space = getattr(env, space_name)(env_params)
        values[space_name] = jnp.dtype(space.dtype).type(0) if hasattr(space, "dtype") else ()
    wide = [
        f"{name}{jax.tree_util.keystr(path)} is {leaf.dtype}"
        for name, tree in values.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if getattr(leaf, "dtype", None) in (np.float64, np.int64, np.uint64)
    ]
    expect(
        not wide,
        seen=", ".join(wide),
        expected="32-bit leaves or Python numbers",
        mend="use jnp, or give NumPy an explicit dtype=np.float32",
    )


def check_finite_values(probe: Probe) -> None:
    """Observations and rewards of random play are finite."""
    for index, turn in enumerate(probe.transitions):
        values = {"obs": turn.obs, "reward": turn.reward, "final": turn.info["final_observation"]}
        for path, leaf in jax.tree_util.tree_leaves_with_path(values):
            expect(
                np.isfinite(np.asarray(leaf)).all(),
                seen=f"{jax.tree_util.keystr(path)} is {np.asarray(leaf)} at step {index}",
                expected="finite numbers",
                mend="look for a division, log or power of zero; bound the state",
            )
