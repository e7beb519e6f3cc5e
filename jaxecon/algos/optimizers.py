"""The optimiser that the gradient algorithms share: Adam on all parameters as one flat vector.

One kernel then updates everything, instead of one per array. Learning rates are traced, so that a
new one costs no compilation: the optimiser is built where it is used.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxecon.types import Array, PyTree


def progress(num_steps: Array | float, total_steps: Any) -> Array:
    """Share of `total_steps` that has gone, in [0, 1]."""
    return jnp.clip(num_steps / total_steps, 0.0, 1.0)


def linear_rate(learning_rate: Any, anneal: Any, progress: Array) -> Array:
    """A learning rate of which the share `anneal` is lost along a straight line."""
    return learning_rate * (1.0 - anneal * progress)


def cosine_rate(learning_rate: Any, final_share: Any, progress: Array) -> Array:
    """A learning rate that falls to the share `final_share` of itself along half a cosine.

        α (s + (1 - s) (1 + cos πt) / 2)

    Source: Loshchilov & Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR.
    """
    remaining = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return learning_rate * (final_share + (1.0 - final_share) * remaining)


def flat_adam(
    learning_rate: Any,
    *,
    eps: float = 1e-8,
    max_grad_norm: Any = None,
    multiples: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """Adam on the parameters as one flat vector.

    Args:
      learning_rate: step size, a number or traced.
      eps: Adam's ε.
      max_grad_norm: bound on the global norm of a gradient, traced; None is no bound.
      multiples: factors of the step size of parameters with these names, traced.

    Source: Kingma & Ba (2015), Adam: A Method for Stochastic Optimization, ICLR.
    """
    adam = optax.adam(learning_rate, eps=eps)
    if max_grad_norm is not None:
        adam = optax.chain(optax.clip_by_global_norm(max_grad_norm), adam)
    adam = optax.flatten(adam)
    return adam if multiples is None else _with_multiples(adam, multiples)


def _with_multiples(
    optimizer: optax.GradientTransformation, multiples: Mapping[str, Any]
) -> optax.GradientTransformation:
    """The optimiser with longer or shorter steps of some parameters; its state stays as it is."""

    def scaled(path: tuple, step: Array) -> Array:
        name = str(getattr(path[-1], "key", "")) if path else ""
        return step * multiples[name] if name in multiples else step

    def update(gradient: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        steps, state = optimizer.update(gradient, state, params)
        return jax.tree.map_with_path(scaled, steps), state

    return optax.GradientTransformation(optimizer.init, update)


def descend(
    optimizer: optax.GradientTransformation,
    gradient: PyTree,
    opt_state: PyTree,
    params: PyTree,
    rates: PyTree = None,
) -> tuple[PyTree, PyTree]:
    """Parameters and optimiser state after one step against a gradient.

    Args:
      optimizer, gradient, opt_state, params: as in optax.
      rates: factors of the step, a tree whose leaves stand for parts of `params`; with an optimiser
        of step size 1 these are learning rates. None is 1 for all.
    """
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        updates, opt_state = optimizer.update(gradient, opt_state, params)
    if rates is not None:
        scale = lambda rate, part: jax.tree.map(lambda x: rate * x, part)
        updates = jax.tree.map(scale, rates, updates)
    return optax.apply_updates(params, updates), opt_state
