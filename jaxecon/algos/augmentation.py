"""Data augmentation: samples carried along random elements of the group that a task declares.

    (o, a, r, o')  ->  (g·o, g·a, r, g·o'),   g drawn evenly for each sample

A network that knows of no symmetry learns it so from samples, where an equivariant one has it built
in. Where the task keeps the symmetry, carried transitions are transitions of the same task; where
it does not, rewards and next observations are off by its mismatch.

Source: Laskin et al. (2020), Reinforcement Learning with Augmented Data, Advances in Neural
Information Processing Systems 33.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.algos.observed import Observed
from jaxecon.algos.replay import Window
from jaxecon.networks.heads import make_head
from jaxecon.networks.symmetric import symmetry_of
from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key, PyTree

AUGMENTATION = 5  # folded into a step's key, so that its other draws do not depend on the setting


def augmenting_spec(
    env: Any, env_params: Any, obs_shape: tuple[int, ...], config: Any
) -> SymmetrySpec | None:
    """The symmetry along which samples are carried, or None without `config.augment`.

    Args:
      env, env_params: the environment and its economy.
      obs_shape: of one agent's observation.
      config: an algorithm's static settings.

    Raises:
      ValueError: the environment declares no symmetry, or one that does not fit its spaces.
    """
    if not config.augment:
        return None
    head = make_head(env.action_space(env_params), getattr(env, "num_agents", None))
    return symmetry_of(env, None, int(np.prod(obs_shape)), head)


def draw_elements(key: Key, spec: SymmetrySpec, shape: tuple[int, ...]) -> Array:
    """Elements drawn evenly, int32 of a shape; `key` may have other uses."""
    key_elements = jax.random.fold_in(key, AUGMENTATION)
    return jax.random.randint(key_elements, shape, 0, spec.group.order, jnp.int32)


def carry_obs(spec: SymmetrySpec, elements: Array, obs: Array) -> Array:
    """g·o of each sample, as floats.

    Args:
      spec: the symmetry.
      elements: [M], one for each sample.
      obs: [M, ...], of one agent or of several, who go along the same element, flat or not.
    """
    rows = jnp.reshape(obs, (obs.shape[0], -1, spec.num_features))
    rows = rows if jnp.issubdtype(rows.dtype, jnp.floating) else rows.astype(float)
    return jnp.reshape(jax.vmap(spec.act_on_obs)(elements, rows), obs.shape)


def carry_action(spec: SymmetrySpec, elements: Array, action: Array) -> Array:
    """g·a of each sample.

    Args:
      spec: the symmetry.
      elements: [M], one for each sample.
      action: [M, ..., A] in the units of a policy's head, latent or squashed: flipping and
        permuting a box's coordinates, and turning a ball, commute with squashing. Or whole
        numbers [M, ...].
    """
    return jax.vmap(spec.act_on_action)(elements, action)


def carry_mask(spec: SymmetrySpec, elements: Array, mask: Array | None) -> Array | None:
    """Legal choices [M, ..., K] after each sample was carried: g·k is legal where k was."""
    if mask is None:
        return None
    sources = jnp.asarray(spec.action_rep.images[spec.group.inv], jnp.int32)  # [n, K] whence
    return jax.vmap(lambda element, mask: mask[..., sources[element]])(elements, mask)


def carry_window(spec: SymmetrySpec, elements: Array, window: Window) -> Window:
    """Windows from a replay buffer with what was seen, done and seen next carried alike.

    Args:
      spec: the symmetry.
      elements: [M], one for each window.
      window: M windows whose observations are arrays or `Observed`. Their rewards stay.
    """

    def carry(seen: PyTree) -> PyTree:
        if isinstance(seen, Observed):
            mask = carry_mask(spec, elements, seen.mask)
            return Observed(carry_obs(spec, elements, seen.obs), mask)
        return carry_obs(spec, elements, seen)

    return window._replace(
        obs=carry(window.obs),
        action=carry_action(spec, elements, window.action),
        next_obs=carry(window.next_obs),
    )
