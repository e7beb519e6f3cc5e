"""How far functions, weights and environments are from a declared symmetry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.symmetry.spec import SymmetrySpec, declared_symmetry
from jaxecon.types import Array, Key, PyTree

RELAXED = "relax_w"  # the parameter whose last axis runs over the group
PAIRED = (
    *("symmetry", "noise", "transition", "observe"),
    *("act_on_state", "act_on_noise", "act_on_params"),
)  # what paired simulation asks of an environment


class EquivarianceError(NamedTuple):
    """Sizes of f(g·x) - g·f(x) over a batch and a group, in the units of f.

    Where f is 0 on the whole batch, `relative` is 0 if there is no error either, and inf otherwise.
    """

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
    mean, size = gaps.mean(), _sizes(outputs).mean()
    return EquivarianceError(gaps.max(), mean, mean / jnp.where(mean == 0.0, 1.0, size))


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
    """How far an environment is from its declared symmetry, over sampled states and actions.

    Errors are standard errors over the draws of the noise, nan of a single draw; those of a largest
    value are the errors where it lies.
    """

    reward: Array  # () largest gap of mean rewards
    mean_reward: Array  # ()
    transition: Array  # () largest mean distance of next observations
    mean_transition: Array  # ()
    reward_error: Array  # ()
    mean_reward_error: Array  # ()
    transition_error: Array  # ()
    mean_transition_error: Array  # ()


def paired_mismatch(
    keys: Key, env: Any, env_params: Any, states: PyTree, actions: Array
) -> Mismatch:
    """Compare steps from (s, a) with steps from (g·s, g·a) under noise that moves along.

        reward      |E[R(gs, ga) - R(s, a)]|
        transition  E|g⁻¹ o(gs, ga)' - o(s, a)'| >= W1(g⁻¹·P(gs, ga), P(s, a)) seen in o

    Where g·noise has the law of the noise, pairing them is one coupling of the two laws, so that
    the expected distance bounds the distance of Wasserstein from above.

    Expectations are means over the draws. In an exactly symmetric environment whose noise moves
    along exactly, both gaps are 0 in each draw. Where it does not (`act_on_noise` changes nothing
    unless said otherwise), distances stay above 0, symmetric or not, and gaps of rewards fall to
    their expectation as draws grow in number; compare them with their standard errors. `reward` is
    no bound on ε_R, the largest gap of all: it misses states and actions that are not given, and
    sizes of noisy means, the largest above all, tend to be too large.

    Args:
      keys: [K] PRNG keys of as many draws of the noise, which all states and elements share.
      env: has `symmetry`, `noise`, `transition`, `observe` and what the group does to states,
        noise and params: see `jaxecon.envs.symmetric`.
      env_params: its economy.
      states: leaves [M, ...].
      actions: [M, ...].

    Returns:
      Mismatch: means over noise, then the largest or the mean over states and elements.

    Raises:
      TypeError: the environment lacks some of these methods.
      ValueError: it declares no symmetry.
    """
    spec = _paired_symmetry(env)
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
    reward = jnp.where(reward.mean(axis=-1, keepdims=True) < 0.0, -reward, reward)
    rewards, distances = _over_draws(reward), _over_draws(distance)
    return Mismatch(*rewards[:2], *distances[:2], *rewards[2:], *distances[2:])


def _paired_symmetry(env: Any) -> SymmetrySpec:
    """The declared symmetry of an environment that can be simulated in pairs."""
    lacking = [name for name in PAIRED if not hasattr(env, name)]
    if lacking:
        raise TypeError(
            "env must be a jaxecon.envs.symmetric.SymmetricEnvironment, or have its methods "
            f"{', '.join(PAIRED)}; {type(env).__name__} lacks {', '.join(lacking)}."
        )
    spec = declared_symmetry(env)
    if spec is None:
        raise ValueError(f"env must declare its symmetry; that of {type(env).__name__} is None.")
    return spec


def _over_draws(gaps: Array) -> tuple[Array, Array, Array, Array]:
    """Largest and mean of the means over draws [n, M, K], and the standard errors of both."""
    means, errors = gaps.mean(axis=-1), _standard_error(gaps)
    largest = jnp.ravel(errors)[means.argmax()]
    # States and elements share their draws: only means over them are independent, one per draw.
    return means.max(), means.mean(), largest, _standard_error(gaps.mean(axis=(0, 1)))


def _standard_error(draws: Array) -> Array:
    """Of the mean over the last axis."""
    return jnp.std(draws, axis=-1, ddof=1) / draws.shape[-1] ** 0.5
