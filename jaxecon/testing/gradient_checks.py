"""Contract checks of gradients through the transition, where an environment declares them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.testing.probe import NotApplicable, Probe, expect
from jaxecon.types import Array, Key, PyTree

HORIZON = 3


def check_finite_gradients(probe: Probe) -> None:
    """Gradients of a short rollout are finite, in the actions and in every float of env_params."""
    for what, gradients in rollout_gradients(probe).items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
            expect(
                np.isfinite(np.asarray(leaf)).all(),
                seen=f"d({what}) / d{jax.tree_util.keystr(path)} is {np.asarray(leaf)}",
                expected="finite gradients",
                mend="make both branches of every jnp.where finite (guard sqrt, log, division)",
            )


def check_gradients_flow(probe: Probe) -> None:
    """Some gradient is not zero: the transition is not cut off from what moves it."""
    gradients = rollout_gradients(probe)
    moved_by = "actions" if _is_continuous(probe) else "env_params"
    leaves = [leaf for each in gradients.values() for leaf in jax.tree.leaves(each[moved_by])]
    if not leaves:
        raise NotApplicable("neither continuous actions nor float env_params")
    expect(
        any(np.any(np.asarray(leaf) != 0.0) for leaf in leaves),
        seen=f"reward and observation have zero gradient in the {moved_by}",
        expected="at least one that is not zero",
        mend="remove stop_gradient, rounding and casts to integers from the transition, or set "
        "_supports_transition_gradients = False",
    )


@functools.lru_cache(maxsize=1)
def rollout_gradients(probe: Probe) -> dict[str, dict[str, PyTree]]:
    """Gradients of total reward and of the last observation over HORIZON steps, worked out once.

    Returns:
      {"reward" | "obs": {"actions": ..., "env_params": ...}}, each a pytree of gradients. Integer
      actions and integers of env_params have none and are left out.
    """
    env = probe.env
    if not getattr(env, "supports_transition_gradients", False):
        raise NotApplicable("the environment declares no transition gradients")
    env = env.with_transition_gradients()
    is_continuous = _is_continuous(probe)
    turns = probe.transitions[:HORIZON]
    fixed_actions = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[t.action for t in turns])
    with_paths, structure = jax.tree_util.tree_flatten_with_path(probe.env_params)
    leaves = [leaf for _, leaf in with_paths]
    floats = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def outputs(inputs: dict[str, PyTree]) -> dict[str, Array]:
        moved = iter(inputs["env_params"])
        merged = [next(moved) if f else leaf for f, leaf in zip(floats, leaves, strict=True)]
        actions = inputs["actions"] if is_continuous else fixed_actions
        return _rollout(env, probe, actions, jax.tree.unflatten(structure, merged))

    inputs = {
        "actions": fixed_actions if is_continuous else (),
        "env_params": [
            jnp.asarray(x) for x, is_float in zip(leaves, floats, strict=True) if is_float
        ],
    }

    @jax.jit
    def pull(inputs: dict[str, PyTree], weights: dict[str, Array]) -> dict[str, PyTree]:
        return jax.vjp(outputs, inputs)[1](weights)[0]

    # one program run for each output; the batched one of `jax.jacrev` takes longer to compile
    found = jax.eval_shape(outputs, inputs)
    gradients = {}
    for name in found:
        weights = {k: jnp.full(out.shape, k == name, out.dtype) for k, out in found.items()}
        gradients[name] = pull(inputs, weights)
    names = [jax.tree_util.keystr(p) for (p, _), f in zip(with_paths, floats, strict=True) if f]
    for each in gradients.values():
        each["env_params"] = dict(zip(names, each["env_params"], strict=True))
    return gradients


def _rollout(env, probe: Probe, actions: PyTree, env_params: PyTree) -> dict[str, Array]:
    """Scalars of HORIZON steps from one reset: total reward and a projection of the last obs."""
    key_reset, key_steps, key_weights = jax.random.split(probe.key, 3)
    _, start = env.reset(key_reset, env_params)

    def step(state: PyTree, inputs: tuple[Key, PyTree]) -> tuple[PyTree, tuple[Array, PyTree]]:
        _, state, reward, _, _, info = env.step(inputs[0], state, inputs[1], env_params)
        return state, (jnp.sum(reward), info["final_observation"])

    keys = jax.random.split(key_steps, HORIZON)
    _, (rewards, observations) = jax.lax.scan(step, start, (keys, actions))
    # random weights: a plain sum would be constant for observations on a simplex
    parts = [
        jnp.sum(leaf[-1] * jax.random.normal(key_weights, leaf.shape[1:], leaf.dtype))
        for leaf in jax.tree.leaves(observations)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return {"reward": rewards.sum(), "obs": sum(parts, jnp.float32(0.0))}


def _is_continuous(probe: Probe) -> bool:
    actions = jax.tree.leaves(probe.transitions[0].action)
    return all(jnp.issubdtype(action.dtype, jnp.floating) for action in actions)
