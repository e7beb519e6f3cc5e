"""Actor and critic networks that fit an environment's spaces."""

import dataclasses
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.networks.heads import Head, SimplexHead, make_head, mask_logits
from jaxecon.networks.layers import ACTIVATIONS, Dense, orthogonal_kernels
from jaxecon.networks.sets import DeepSets, output_for, set_shapes
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, PyTree

NETWORKS = ("mlp", "sets")


class MLP(nn.Module):
    """Multilayer perceptron over the last axis.

    Attributes:
      hidden_sizes: width of each hidden layer.
      num_outputs: K, number of linear outputs.
      activation: name in `ACTIVATIONS`.
      output_scale: gain of the last layer's orthogonal kernel.
    """

    hidden_sizes: tuple[int, ...]
    num_outputs: int
    activation: str = "tanh"
    output_scale: float = 1.0

    def kernels(self, num_inputs: int) -> list[tuple[tuple[int, int], float]]:
        """Shape and gain of each layer's kernel, in order."""
        widths = [num_inputs, *self.hidden_sizes, self.num_outputs]
        scales = [Dense.scale] * len(self.hidden_sizes) + [self.output_scale]
        return list(zip(itertools.pairwise(widths), scales, strict=True))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., M] to [..., K]."""
        for width in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](Dense(width)(x))
        return Dense(self.num_outputs, self.output_scale)(x)


@dataclasses.dataclass(frozen=True, eq=False)
class ActorCritic:
    """Separate policy and value networks for one environment.

    Built inside the traced function, because the bounds of an action space may be traced numbers
    of the economy. `B` stands for the leading axes of a batch; in a multi-agent environment the
    last of them is the agents' axis and all agents share the weights.
    """

    head: Head
    actor: MLP | DeepSets
    critic: MLP | DeepSets
    obs_shape: tuple[int, ...]  # of one agent
    num_log_std: int  # deviations of continuous actions: one each, or 1 for all

    def init(self, key: Key) -> PyTree:
        """Weights of both networks, and log_std [D] or [1] where actions are continuous."""
        towers = (("actor", self.actor), ("critic", self.critic))
        layers = [
            (tower, index, shape, scale)
            for tower, mlp in towers
            for index, (shape, scale) in enumerate(mlp.kernels(int(np.prod(self.obs_shape))))
        ]
        shapes, scales = [layer[2] for layer in layers], [layer[3] for layer in layers]
        params: dict = {tower: {} for tower, _ in towers}
        kernels = orthogonal_kernels(key, shapes, scales)  # all at once: see there
        for (tower, index, shape, _), kernel in zip(layers, kernels, strict=True):
            params[tower][f"Dense_{index}"] = {"kernel": kernel, "bias": jnp.zeros(shape[1])}
        if self.head.has_log_std:
            params["log_std"] = jnp.zeros(self.num_log_std)
        return params

    def features(self, obs: Array) -> Array:
        """Observations [B, *obs_shape] as float32 rows [B, F]."""
        leading = obs.shape[: obs.ndim - len(self.obs_shape)]
        return jnp.reshape(obs, (*leading, int(np.prod(self.obs_shape)))).astype(jnp.float32)

    def policy(self, params: PyTree, features: Array, mask: Array | None = None) -> Any:
        """Outputs that parametrise the head, for features [B, F] and mask [B, num_actions]."""
        outputs: Any = self.actor.apply({"params": params["actor"]}, features)
        if self.head.has_log_std:
            return outputs, params["log_std"]
        return mask_logits(outputs, mask)

    def value(self, params: PyTree, features: Array) -> Array:
        """State values [B] in the units of the (scaled) return, for features [B, F]."""
        outputs: Any = self.critic.apply({"params": params["critic"]}, features)
        return outputs[..., 0]


def make_actor_critic(
    env: Any,
    env_params: Any,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
    network: str = "mlp",
) -> ActorCritic:
    """Networks that fit the spaces of an environment.

    Args:
      env: a jaxecon or gymnax environment.
      env_params: its economy; may be traced.
      hidden_sizes: widths of the hidden layers of both networks.
      activation: name in `ACTIVATIONS`.
      network: "mlp", or "sets" for one whose weights are shared by the elements of a set and which
        knows no order among them; the environment then offers `split_observation`, see
        `networks.sets`.

    Raises:
      ValueError: unknown activation or network, or observations that are not of a set.
      TypeError: observations are not one array, or the action space has no distribution.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(unknown_name("activation", activation, ACTIVATIONS))
    if network not in NETWORKS:
        raise ValueError(unknown_name("network", network, NETWORKS))
    obs_space = env.observation_space(env_params)
    if getattr(obs_space, "shape", None) is None:
        raise TypeError(f"Observations must be one array, got {obs_space!r}; flatten them first.")
    num_agents = getattr(env, "num_agents", None)
    obs_shape = tuple(obs_space.shape) if num_agents is None else tuple(obs_space.shape[1:])
    action_space = env.action_space(env_params)
    head = make_head(action_space, num_agents)
    if network == "sets":
        return _over_sets(env, action_space, head, obs_shape, hidden_sizes, activation)
    return ActorCritic(
        head=head,
        actor=MLP(hidden_sizes, head.num_outputs, activation, 0.01),
        critic=MLP(hidden_sizes, 1, activation, 1.0),
        obs_shape=obs_shape,
        num_log_std=head.num_outputs,
    )


def _over_sets(
    env: Any,
    action_space: Any,
    head: Head,
    obs_shape: tuple[int, ...],
    hidden_sizes: tuple[int, ...],
    activation: str,
) -> ActorCritic:
    """Actor whose actions follow the order of the elements, and critic that does not see it."""
    if not hidden_sizes:
        raise ValueError('hidden_sizes must have at least one width for network "sets", got ().')
    split, num_elements, num_globals, num_features = set_shapes(env, obs_shape)
    output = output_for(action_space, num_elements)
    if isinstance(head, SimplexHead) and output == "shares":
        head = dataclasses.replace(head, reference_first=True)
    num_outputs = head.num_outputs if output == "set" else 1
    shape = (split, num_globals, num_features, hidden_sizes)
    return ActorCritic(
        head=head,
        actor=DeepSets(*shape, num_outputs, output, activation, 0.01),
        critic=DeepSets(*shape, 1, "set", activation, 1.0),
        obs_shape=obs_shape,
        num_log_std=num_outputs,
    )
