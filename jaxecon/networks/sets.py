"""Networks over sets: the order of the elements changes nothing, or moves along to the outputs.

An environment says what the set is by `split_observation(obs)`, which gives what is shared,
[..., G], and the features of N elements, [..., N, K]. The weights do not depend on N, so what was
learned with few elements runs with many.
"""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxecon.envs import base
from jaxecon.networks.layers import ACTIVATIONS, Dense
from jaxecon.types import Array

SETS = ("sets", "relaxed_sets", "shared")
Output = Literal["set", "elements", "shares"]
Split = Callable[[Array], tuple[Array, Array]]


class DeepSets(nn.Module):
    """Perceptron that encodes every element alike, averages, and decodes for the set or for each.

        h_i = φ([x_i, g]),    c = ρ([mean_i h_i, g])
        set:       A c                       [..., num_outputs], invariant
        elements:  u_i = B ψ([h_i, c])       [..., N], equivariant
        shares:    u_i - A c                 [..., N], log ratios to a part that is kept back

    Without pooling there is no term between elements, and each has a score of its own:

        elements, shares:  u_i = B h_i       [..., N]

    As log ratios these keep back a constant part: minus the bias of B is its logit.

    Attributes:
      split: observations [..., F] to (g [..., G], x [..., N, K]).
      num_globals, num_features: G and K.
      hidden_sizes: widths of φ, at least one; ρ and ψ have one layer of the last width each.
      num_outputs: of the set; 1 for the other two.
      output: "set", "elements" or "shares".
      activation: name in `ACTIVATIONS`.
      output_scale: gain of the last layers' orthogonal kernels.
      gains: N for a network with one gain per element before each layer that φ, ψ and B apply to
        elements: a relaxed symmetry, exact while the gains `relax_w` are equal, as they start. 0
        for none, and weights that do not depend on N.
      pools: False for scores without a term between elements; not for output "set".

    Sources: Zaheer et al. (2017), Deep Sets, Advances in Neural Information Processing Systems 30;
    Jiang, Xu & Liang (2017), A Deep Reinforcement Learning Framework for the Financial Portfolio
    Management Problem, arXiv 1706.10059, for scores without pooling ("identical independent
    evaluators") and their bias of cash.
    """

    split: Split
    num_globals: int
    num_features: int
    hidden_sizes: tuple[int, ...]
    num_outputs: int = 1
    output: Output = "set"
    activation: str = "tanh"
    output_scale: float = 1.0
    gains: int = 0
    pools: bool = True

    def kernels(self, num_inputs: int) -> list[tuple[tuple[int, int], float]]:
        """Shape and gain of each layer's kernel, in order; the number of inputs plays no part."""
        width = self.hidden_sizes[-1]
        widths = [self.num_globals + self.num_features, *self.hidden_sizes]
        hidden = list(itertools.pairwise(widths))
        last = [] if self.output == "set" else [(width, 1)]
        if self.pools:
            hidden.append((width + self.num_globals, width))
            hidden += [] if self.output == "set" else [(2 * width, width)]
            last = last if self.output == "elements" else [(width, self.num_outputs), *last]
        scales = [Dense.scale] * len(hidden) + [self.output_scale] * len(last)
        return list(zip(hidden + last, scales, strict=True))

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        """Map [..., F] to [..., num_outputs], or to [..., N]."""
        activate, width = ACTIVATIONS[self.activation], self.hidden_sizes[-1]
        shared, encoded = self.split(obs)
        encoded = _beside(encoded, shared)
        for size in self.hidden_sizes:
            encoded = activate(Dense(size)(self._gained(encoded)))
        if not self.pools:
            return Dense(1, self.output_scale)(encoded)[..., 0]
        pooled = jnp.concatenate([jnp.mean(encoded, axis=-2), shared], axis=-1)
        context = activate(Dense(width)(pooled))
        if self.output == "set":
            return Dense(self.num_outputs, self.output_scale)(context)
        decoded = self._gained(activate(Dense(width)(self._gained(_beside(encoded, context)))))
        if self.output == "elements":
            return Dense(1, self.output_scale)(decoded)[..., 0]
        kept = Dense(1, self.output_scale)(context)
        return Dense(1, self.output_scale)(decoded)[..., 0] - kept

    def _gained(self, rows: Array) -> Array:
        """Rows [..., N, K] times each element's gain; the rows themselves where there are none."""
        return Gain(self.gains)(rows) if self.gains else rows


class Gain(nn.Module):
    """One factor per element of a set, `relax_w` [1, N], starting at 1."""

    num_elements: int

    @nn.compact
    def __call__(self, rows: Array) -> Array:
        """Map [..., N, K] to the same shape."""
        gain = self.param("relax_w", nn.initializers.ones_init(), (1, self.num_elements))
        return rows * jnp.expand_dims(gain[0, :, None], tuple(range(rows.ndim - 2)))


def _beside(rows: Array, shared: Array) -> Array:
    """Rows [..., N, K] with the shared [..., G] appended to each."""
    repeated = jnp.broadcast_to(shared[..., None, :], (*rows.shape[:-1], shared.shape[-1]))
    return jnp.concatenate([rows, repeated], axis=-1)


def set_shapes(env: Any, obs_shape: tuple[int, ...], network: str) -> tuple[Split, int, int, int]:
    """(split, N, G, K) of an environment whose observations describe a set.

    Args:
      env: an environment.
      obs_shape: of its observations.
      network: name in `SETS`, for messages.

    Raises:
      ValueError: it has no `split_observation`.
    """
    split = getattr(env, "split_observation", None)
    if split is None:
        raise ValueError(
            f'network must be "mlp" for {env.name}, got "{network}", which needs an '
            "environment with split_observation(obs) -> (globals [..., G], features [..., N, K])."
        )
    shared, rows = jax.eval_shape(split, jax.ShapeDtypeStruct(obs_shape, jnp.float32))
    return split, rows.shape[-2], shared.shape[-1], rows.shape[-1]


def output_for(space: Any, num_elements: int) -> Output:
    """Which outputs of a set of N an action space asks for.

    A box [N] asks for one per element, a simplex [N + 1] for shares with the part kept back first,
    and anything else, a box [1] at N = 1 included, for outputs of the set as a whole.
    """
    if isinstance(space, base.Simplex):
        return "shares" if space.shape == (num_elements + 1,) else "set"
    is_row = isinstance(space, base.Box) and tuple(space.shape) == (num_elements,)
    return "elements" if is_row and num_elements > 1 else "set"
