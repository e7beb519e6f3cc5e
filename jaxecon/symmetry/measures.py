"""How far functions, weights and environments are from a declared symmetry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.symmetry.spec import SymmetrySpec
from jaxecon.types import Array, Key, PyTree

RELAXED = "relax_w"  # the parameter whose last axis runs over the group


class EquivarianceError(NamedTuple):
    """Sizes of f(g·x) - g·f(x) over a batch and a group, in the units of f."""

    max: Array  # ()
    mean: Array  # ()
    relative: Array  # () the mean over the mean size of f(x)


def equivariance_error(
    function: Callable[[Array], Array],
    x: Array,
    act_on_input: Callable[[Array, Array], Array],
    act_on_output: Callable[[Array, Array], Array],
    order: int,
) -> EquivarianceError:
    """How far a function is from commuting with a group.

    Args:
      function: f, from [B, ...] to [B, ...].
      x: [B, ...].
      act_on_input, act_on_output: (element, x) -> g·x, both on [B, ...]; the identity on outputs
        measures invariance.
      order: n, number of elements.
    """
    outputs = function(x)

    def gap(element: Array) -> Array:
        return _sizes(function(act_on_input(element, x)) - act_on_output(element, outputs))

    gaps = jax.lax.map(gap, jnp.arange(order, dtype=jnp.int32))  # [n, B]
    return EquivarianceError(gaps.max(), gaps.mean(), gaps.mean() / _sizes(outputs).mean())


def _sizes(x: Array) -> Array:
    """Euclidean norm of each row of [B, ...], [B]."""
    return jnp.sqrt(jnp.sum(jnp.square(jnp.reshape(x, (x.shape[0], -1))), axis=-1))


def relaxed_weights(params: PyTree) -> dict[str, Array]:
    """Relaxed weights [..., n] of every layer by its path, such as "actor/GroupConv_0"."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        *layer, name = (str(getattr(entry, "key", entry)) for entry in path)
        if name == RELAXED:
            found["/".join(layer)] = leaf
    return found


def relaxed_weight_spread(params: PyTree) -> dict[str, Array]:
    """Deviation over mean of each layer's relaxed weights across the group, mean over banks, ().

    0 says that the layer is exactly equivariant; layers without relaxed weights are left out.
    """
    return {
        layer: jnp.mean(weights.std(axis=-1) / jnp.abs(weights.mean(axis=-1)))
        for layer, weights in relaxed_weights(params).items()
    }


class Mismatch(NamedTuple):
    """How far an environment is from its declared symmetry, over sampled states and actions."""

    reward: Array  # () largest gap of expected rewards, an estimate of ε_R from below
    mean_reward: Array  # ()
    transition: Array  # () largest mean distance of next observations
    mean_transition: Array  # ()


def paired_mismatch(
    keys: Key, env: Any, env_params: Any, states: PyTree, actions: Array
) -> Mismatch:
    """Compare steps from (s, a) with steps from (g·s, g·a) under noise that moves along.

        reward      |E[R(gs, ga) - R(s, a)]|
        transition  E|g⁻¹ o(gs, ga)' - o(s, a)'| >= W1(g⁻¹·P(gs, ga), P(s, a)) seen in o

    Pairing the noise is one coupling of the two laws, so that the mean distance bounds the distance
    of Wasserstein between them from above, and is 0 where the symmetry is exact.

    Args:
      keys: [K] PRNG keys of as many draws of the noise.
      env: has `symmetry`, `noise`, `transition`, `observe` and what the group does to states,
        noise and params: see `jaxecon.envs.symmetric`.
      env_params: its economy.
      states: leaves [M, ...].
      actions: [M, ...].

    Returns:
      Mismatch: means over noise, then the largest or the mean over states and elements.
    """
    spec: SymmetrySpec = env.symmetry()
    elements = jnp.arange(spec.group.order, dtype=jnp.int32)
    inverses = jnp.asarray(spec.group.inv)

    def gaps(element: Array, state: PyTree, action: Array, key: Key) -> tuple[Array, Array]:
        noise = env.noise(key, env_params)
        after, reward, _ = env.transition(state, action, noise, env_params)
        obs = jnp.ravel(env.observe(key, after, action, env_params))
        moved = spec.act_on_action(element, action)
        params = env.act_on_params(element, env_params)
        after_moved, reward_moved, _ = env.transition(
            env.act_on_state(element, state), moved, env.act_on_noise(element, noise), params
        )
        obs_moved = jnp.ravel(env.observe(key, after_moved, moved, params))
        back = spec.act_on_obs(inverses[element], obs_moved)
        return reward_moved - reward, jnp.sqrt(jnp.sum(jnp.square(back - obs)))

    over_noise = jax.vmap(gaps, (None, None, None, 0))
    over_states = jax.vmap(over_noise, (None, 0, 0, None))
    reward, distance = jax.lax.map(
        lambda element: over_states(element, states, actions, keys), elements
    )  # [n, M, K]
    reward, distance = jnp.abs(reward.mean(axis=-1)), distance.mean(axis=-1)
    return Mismatch(reward.max(), reward.mean(), distance.max(), distance.mean())
