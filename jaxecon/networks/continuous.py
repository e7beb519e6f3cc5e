"""Actor and twin critics for continuous actions, as soft actor-critic needs them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.networks.gaussian import GaussianHead
from jaxecon.networks.heads import make_head
from jaxecon.networks.layers import ACTIVATIONS, orthogonal_kernels
from jaxecon.networks.mlp import MLP
from jaxecon.networks.symmetric import EQUIVARIANT, Body, equivariant_body, symmetry_of
from jaxecon.suggest import unknown_name
from jaxecon.symmetry import Block, direct_sum, trivial
from jaxecon.types import Array, Key, PyTree

NETWORKS = ("mlp", *EQUIVARIANT)
NUM_CRITICS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class ActorTwinCritic:
    """A policy and two action-value networks for one environment.

    `B` stands for the leading axes of a batch; in a multi-agent environment the last of them is the
    agents' axis, and all agents share the weights. Weights are {"actor": ..., "critics": ...}, and
    each method takes its own part, so that a target network is a second set of "critics".
    """

    head: GaussianHead
    actor_body: Body
    critic_body: Body
    obs_shape: tuple[int, ...]  # of one agent
    orbits: tuple[int, ...] | None = None  # [D] deviation of each coordinate; None: its own

    def init(self, key: Key) -> PyTree:
        """Orthogonal kernels and zero biases; leaves of "critics" are [2, ...].

        The last kernel of the actor is small: actions begin near μ = 0, log σ = 0 everywhere.
        """
        num_features = int(np.prod(self.obs_shape))
        if not isinstance(self.critic_body, MLP):
            return self._init_bodies(key, num_features)
        critic = self.critic_body.kernels(num_features + self.head.unit_size)
        towers = [self.actor_body.kernels(num_features), *[critic] * NUM_CRITICS]
        layers = [layer for tower in towers for layer in tower]
        shapes, scales = [shape for shape, _ in layers], [scale for _, scale in layers]
        kernels = iter(orthogonal_kernels(key, shapes, scales))
        actor, *critics = (
            {
                f"Dense_{index}": {"kernel": next(kernels), "bias": jnp.zeros(shape[1])}
                for index, (shape, _) in enumerate(tower)
            }
            for tower in towers
        )
        return {"actor": actor, "critics": jax.tree.map(lambda *x: jnp.stack(x), *critics)}

    def _init_bodies(self, key: Key, num_features: int) -> PyTree:
        """The weights that equivariant bodies ask for."""
        key_actor, key_critics = jax.random.split(key)
        inputs = jnp.zeros((1, num_features + self.head.unit_size))
        init = lambda key: self.critic_body.init(key, inputs)["params"]
        actor: Any = self.actor_body.init(key_actor, inputs[:, :num_features])["params"]
        return {
            "actor": actor,
            "critics": jax.vmap(init)(jax.random.split(key_critics, NUM_CRITICS)),
        }

    def features(self, obs: Array) -> Array:
        """Observations [B, *obs_shape] as float32 rows [B, F]."""
        leading = obs.shape[: obs.ndim - len(self.obs_shape)]
        return jnp.reshape(obs, (*leading, int(np.prod(self.obs_shape)))).astype(jnp.float32)

    def actor(self, params: PyTree, features: Array) -> tuple[Array, Array]:
        """Outputs that parametrise the head: mean and log deviation, each [B, D]."""
        outputs: Any = self.actor_body.apply({"params": params}, features)
        mean, log_std = jnp.split(outputs, [self.head.num_outputs], axis=-1)
        return mean, log_std if self.orbits is None else log_std[..., np.array(self.orbits)]

    def critics(self, params: PyTree, features: Array, action: Array) -> Array:
        """Both critics' values [2, B] of unit actions [B, A] where the features [B, F] are seen."""
        inputs = jnp.concatenate([features, action], axis=-1)
        body = lambda tower: self.critic_body.apply({"params": tower}, inputs)
        outputs: Any = jax.vmap(body)(params)
        return outputs[..., 0]


def make_actor_twin_critic(
    env: Any,
    env_params: Any,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: str = "relu",
    network: str = "mlp",
    num_banks: int = 1,
) -> ActorTwinCritic:
    """Networks that fit the spaces of an environment with continuous actions.

    Args:
      env: a jaxecon or gymnax environment.
      env_params: its economy; may be traced.
      hidden_sizes: widths of the hidden layers of the actor and of each critic; channels per group
        element where `network` is not "mlp".
      activation: name in `ACTIVATIONS`.
      network: "mlp", or "exact", "relaxed" or "rpp" for an actor that follows the symmetry that the
        environment declares and critics that do not see it, see `networks.symmetric`.
      num_banks: filter banks of equivariant layers.

    Raises:
      ValueError: unknown activation or network, actions that are not continuous, or no symmetry
        that fits.
      TypeError: observations are not one array, or the action space has no distribution.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(unknown_name("activation", activation, ACTIVATIONS))
    if network not in NETWORKS:
        raise ValueError(unknown_name("network", network, NETWORKS))
    obs_space, action_space = env.observation_space(env_params), env.action_space(env_params)
    if getattr(obs_space, "shape", None) is None:
        raise TypeError(f"Observations must be one array, got {obs_space!r}; flatten them first.")
    num_agents = getattr(env, "num_agents", None)
    head = make_head(action_space, num_agents)
    if not isinstance(head, GaussianHead):
        raise ValueError(
            f"action_space must be a Box, Simplex or Ball for twin critics, got {action_space!r}; "
            "use an algorithm for discrete actions such as DQN or PPO."
        )
    obs_shape = tuple(obs_space.shape if num_agents is None else obs_space.shape[1:])
    if network != "mlp":
        shape = (hidden_sizes, activation, num_banks)
        return _under_symmetry(env, head, obs_shape, network, shape)
    return ActorTwinCritic(
        head=head,
        actor_body=MLP(hidden_sizes, 2 * head.num_outputs, activation, 0.01),
        critic_body=MLP(hidden_sizes, 1, activation, 1.0),
        obs_shape=obs_shape,
    )


def _under_symmetry(
    env: Any,
    head: GaussianHead,
    obs_shape: tuple[int, ...],
    network: str,
    shape: tuple[tuple[int, ...], str, int],
) -> ActorTwinCritic:
    """Actor with one deviation per orbit of action coordinates, and invariant critics."""
    num_features = int(np.prod(obs_shape))
    spec = symmetry_of(env, network, num_features, head)
    rep, blocks = spec.action_rep, spec.obs_blocks
    orbits = tuple(int(orbit) for orbit in rep.orbits)
    outputs = direct_sum(rep, trivial(spec.group, max(orbits) + 1))
    with_action = (*blocks, Block(num_features, num_features + rep.dimension, 1, rep))
    return ActorTwinCritic(
        head=head,
        actor_body=equivariant_body(network, blocks, outputs, *shape, 0.01),
        critic_body=equivariant_body(network, with_action, trivial(spec.group), *shape, 1.0),
        obs_shape=obs_shape,
        orbits=orbits,
    )
