"""Action-value networks: one number per discrete action, plain or duelling."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxecon.envs import base
from jaxecon.networks.heads import make_head
from jaxecon.networks.layers import ACTIVATIONS, Dense
from jaxecon.networks.mlp import MLP
from jaxecon.networks.symmetric import EQUIVARIANT, Body, equivariant_body, symmetry_of
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key, PyTree

NETWORKS = ("mlp", *EQUIVARIANT)


class DuelingMLP(nn.Module):
    """Perceptron whose last hidden layer splits into a value and an advantage stream.

        Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a')

    The mean runs over all K actions, legal or not, so it is a constant of the state and leaves the
    order of the actions alone.

    Attributes:
      hidden_sizes: width of each hidden layer; both streams have the last width.
      num_outputs: K, number of actions.
      activation: name in `ACTIVATIONS`.

    Source: Wang et al. (2016), Dueling Network Architectures for Deep Reinforcement Learning.
    """

    hidden_sizes: tuple[int, ...]
    num_outputs: int
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., M] to [..., K]."""
        activate = ACTIVATIONS[self.activation]
        for width in self.hidden_sizes[:-1]:
            x = activate(Dense(width)(x))
        value_input, advantage_input = x, x
        if self.hidden_sizes:
            streams = activate(Dense(2 * self.hidden_sizes[-1])(x))
            value_input, advantage_input = jnp.split(streams, 2, axis=-1)
        value = Dense(1, 1.0)(value_input)
        advantage = Dense(self.num_outputs, 1.0)(advantage_input)
        return value + advantage - advantage.mean(axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class QNetwork:
    """Action values for one environment; `B` stands for the leading axes of a batch.

    In a multi-agent environment the last of them is the agents' axis, and all agents share the
    weights.
    """

    body: Body | DuelingMLP
    obs_shape: tuple[int, ...]  # of one agent

    @property
    def num_actions(self) -> int:
        """K."""
        return self.body.num_outputs

    def init(self, key: Key) -> PyTree:
        """Weights: orthogonal kernels and zero biases."""
        rows = jnp.zeros((1, int(np.prod(self.obs_shape))))
        return self.body.init(key, rows)["params"]

    def features(self, obs: Array) -> Array:
        """Observations [B, *obs_shape] as float32 rows [B, F]."""
        leading = obs.shape[: obs.ndim - len(self.obs_shape)]
        return jnp.reshape(obs, (*leading, int(np.prod(self.obs_shape)))).astype(jnp.float32)

    def values(self, params: PyTree, features: Array) -> Array:
        """Discounted return expected of each action, [B, K], for features [B, F]."""
        outputs: Any = self.body.apply({"params": params}, features)
        return outputs


def make_q_network(
    env: Any,
    env_params: Any,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: str = "relu",
    dueling: bool = False,
    network: str = "mlp",
    num_banks: int = 1,
) -> QNetwork:
    """Action-value network that fits the spaces of an environment.

    Args:
      env: a jaxecon or gymnax environment with discrete actions.
      env_params: its economy; may be traced.
      hidden_sizes: widths of the hidden layers; channels per group element where `network` is not
        "mlp".
      activation: name in `ACTIVATIONS`.
      dueling: `DuelingMLP` instead of a plain perceptron; for "mlp" alone.
      network: "mlp", or "exact", "relaxed" or "rpp" for values that keep, nearly keep or may leave
        the symmetry that the environment declares, see `networks.symmetric`: they are permuted as
        the actions are.
      num_banks: filter banks of equivariant layers.

    Raises:
      ValueError: unknown activation or network, actions that are not one choice per agent, or no
        symmetry that fits.
      TypeError: observations are not one array.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(unknown_name("activation", activation, ACTIVATIONS))
    if network not in NETWORKS:
        raise ValueError(unknown_name("network", network, NETWORKS))
    obs_space, action_space = env.observation_space(env_params), env.action_space(env_params)
    if getattr(obs_space, "shape", None) is None:
        raise TypeError(f"Observations must be one array, got {obs_space!r}; flatten them first.")
    num_agents = getattr(env, "num_agents", None)
    agents = () if num_agents is None else (num_agents,)
    if not isinstance(action_space, base.Discrete) or tuple(action_space.shape) != agents:
        needed = "Discrete" if num_agents is None else f"MultiDiscrete with {num_agents} agents"
        raise ValueError(
            f"action_space must be {needed} for action values, got {action_space!r}; use a policy "
            "gradient algorithm such as PPO, or offer a grid of choices."
        )
    obs_shape = tuple(obs_space.shape[len(agents) :])
    if network == "mlp":
        body = DuelingMLP if dueling else MLP
        return QNetwork(body(hidden_sizes, int(action_space.n), activation), obs_shape)
    if dueling:
        raise ValueError(f'dueling must be False with network "{network}", got True.')
    head = make_head(action_space, num_agents)
    spec = symmetry_of(env, network, int(np.prod(obs_shape)), head)
    shape = (hidden_sizes, activation, num_banks, 1.0)
    return QNetwork(equivariant_body(network, spec.obs_blocks, spec.action_rep, *shape), obs_shape)
