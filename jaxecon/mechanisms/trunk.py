"""Networks on tables of agents by resources that do not care how either is numbered.

Each layer shows every pair (i, m) its own features and the means over its row (the agent's other
resources), its column (the other agents at this resource) and the whole table. Reordering agents or
resources reorders the output alike, and no parameter depends on N or M: what was trained at one
size runs at another.

Source: Hartford, Graham, Leyton-Brown & Ravanbakhsh (2018), Deep Models of Interactions Across
Sets, ICML.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array, Key


class DenseLayer(NamedTuple):
    """An affine map of features.

    Attributes:
      kernel: [C, K].
      bias: [K].
    """

    kernel: Array
    bias: Array


class TableLayer(NamedTuple):
    """An affine map of tables that commutes with reordering rows and columns.

    Attributes:
      kernels: [4, C, K], for a pair's own features and the means over row, column and table.
      bias: [K].
    """

    kernels: Array
    bias: Array


def init_dense(key: Key, num_inputs: int, num_outputs: int, scale: float = 1.0) -> DenseLayer:
    """Normal kernel whose outputs have `scale` times the inputs' deviation; zero bias."""
    kernel = jax.random.normal(key, (num_inputs, num_outputs)) * (scale / num_inputs**0.5)
    return DenseLayer(kernel, jnp.zeros(num_outputs))


def apply_dense(layer: DenseLayer, x: Array) -> Array:
    """[..., C] -> [..., K]."""
    y = _product(x, layer.kernel)
    return y + jnp.broadcast_to(layer.bias, y.shape)


def _product(x: Array, kernel: Array) -> Array:
    """[..., C] times [C, K], with all leading axes folded into the rows of one product."""
    rows = jnp.reshape(x, (-1, x.shape[-1])) @ kernel
    return jnp.reshape(rows, (*x.shape[:-1], kernel.shape[-1]))


def init_table(key: Key, num_inputs: int, num_outputs: int) -> TableLayer:
    """Normal kernels that together keep the inputs' deviation where a table's entries agree."""
    kernels = jax.random.normal(key, (4, num_inputs, num_outputs)) / (4 * num_inputs) ** 0.5
    return TableLayer(kernels, jnp.zeros(num_outputs))


def apply_table(layer: TableLayer, table: Array) -> Array:
    """One layer.

        y_im = W₀ h_im + W₁ mean_k h_ik + W₂ mean_j h_jm + W₃ mean_jk h_jk + b

    Args:
      layer: its parameters.
      table: h, [..., N, M, C].

    Returns:
      [..., N, M, K].
    """
    by_agent = jnp.mean(table, axis=-2)  # [..., N, C]
    by_resource = jnp.mean(table, axis=-3)  # [..., M, C]
    overall = jnp.mean(by_agent, axis=-2)  # [..., C]
    means = (table, by_agent, by_resource, overall)
    own, agent, resource, whole = map(_product, means, layer.kernels)
    whole = whole + jnp.broadcast_to(layer.bias, whole.shape)
    return own + agent[..., :, None, :] + (resource + whole[..., None, :])[..., None, :, :]


def init_trunk(key: Key, num_features: int, width: int, depth: int) -> tuple[TableLayer, ...]:
    """Parameters of an input layer and `depth` residual layers of `width` features."""
    key_input, *keys = jax.random.split(key, depth + 1)
    first = init_table(key_input, num_features, width)
    return (first, *(init_table(key, width, width) for key in keys))


def apply_trunk(layers: tuple[TableLayer, ...], features: Array) -> Array:
    """Hidden features of each pair.

        h <- tanh(L₀ f),   h <- h + tanh(L_d h)  for d = 1, 2, ...

    Args:
      layers: from `init_trunk`.
      features: f, [..., N, M, F].

    Returns:
      [..., N, M, width].
    """
    hidden = jnp.tanh(apply_table(layers[0], features))
    for layer in layers[1:]:
        hidden = hidden + jnp.tanh(apply_table(layer, hidden))
    return hidden
