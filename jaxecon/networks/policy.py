"""Actor and critic networks that fit an environment's spaces."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.networks.heads import Head, SimplexHead, make_head, mask_logits
from jaxecon.networks.layers import ACTIVATIONS, orthogonal_kernels
from jaxecon.networks.mlp import MLP
from jaxecon.networks.sets import SETS, DeepSets, output_for, set_shapes
from jaxecon.networks.symmetric import EQUIVARIANT, Body, equivariant_body, symmetry_of
from jaxecon.suggest import unknown_name
from jaxecon.symmetry import trivial
from jaxecon.types import Array, Key, PyTree

NETWORKS = ("mlp", *SETS, *EQUIVARIANT)


@dataclasses.dataclass(frozen=True, eq=False)
class ActorCritic:
    """Separate policy and value networks for one environment.

    Built inside the traced function, because the bounds of an action space may be traced numbers
    of the economy. `B` stands for the leading axes of a batch; in a multi-agent environment the
    last of them is the agents' axis and all agents share the weights.
    """

    head: Head
    actor: Body
    critic: Body
    obs_shape: tuple[int, ...]  # of one agent
    num_log_std: int  # deviations of continuous actions: one each, 1 for all, or one per orbit
    orbits: tuple[int, ...] | None = None  # [D] which of them each coordinate has; None: in order

    def init(self, key: Key) -> PyTree:
        """Weights of both networks, and log_std [D] or fewer where actions are continuous."""
        towers = (("actor", self.actor), ("critic", self.critic))
        if all(isinstance(body, MLP | DeepSets) and not body.gains for _, body in towers):
            params = self._orthogonal(key, towers)
        else:
            rows, keys = jnp.zeros((1, int(np.prod(self.obs_shape)))), jax.random.split(key)
            params = {
                tower: body.init(key, rows)["params"]
                for (tower, body), key in zip(towers, keys, strict=True)
            }
        if self.head.has_log_std:
            params["log_std"] = jnp.zeros(self.num_log_std)
        return params

    def _orthogonal(self, key: Key, towers: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        """Orthogonal kernels and zero biases of perceptrons."""
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
        return params

    def features(self, obs: Array) -> Array:
        """Observations [B, *obs_shape] as float32 rows [B, F]."""
        leading = obs.shape[: obs.ndim - len(self.obs_shape)]
        return jnp.reshape(obs, (*leading, int(np.prod(self.obs_shape)))).astype(jnp.float32)

    def policy(self, params: PyTree, features: Array, mask: Array | None = None) -> Any:
        """Outputs that parametrise the head, for features [B, F] and mask [B, num_actions]."""
        outputs: Any = self.actor.apply({"params": params["actor"]}, features)
        if self.head.has_log_std:
            log_std = params["log_std"]
            return outputs, log_std if self.orbits is None else log_std[np.array(self.orbits)]
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
    num_banks: int = 1,
) -> ActorCritic:
    """Networks that fit the spaces of an environment.

    Args:
      env: a jaxecon or gymnax environment.
      env_params: its economy; may be traced.
      hidden_sizes: widths of the hidden layers of both networks; for "exact", "relaxed" and "rpp"
        channels per group element, see `networks.counting.matched_sizes`.
      activation: name in `ACTIVATIONS`.
      network: "mlp"; "sets" for one whose weights are shared by the elements of a set and which
        knows no order among them, "relaxed_sets" with a gain for each, or "shared" for an actor
        that scores each element by itself, beside the critic of "sets": the environment then
        offers `split_observation`, see `networks.sets`. "exact", "relaxed" or "rpp" for a policy
        that keeps, nearly keeps or may leave the symmetry that the environment declares, see
        `networks.symmetric`: the mean action moves along with the observation, its deviations are
        shared by coordinates that the group mixes, and the value stays.
      num_banks: filter banks of equivariant layers.

    Raises:
      ValueError: unknown activation or network, observations that are not of a set, actions that
        "shared" has no scores for, or no declared symmetry, or one that does not fit the spaces.
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
    shape = (head, obs_shape, hidden_sizes, activation)
    if network in EQUIVARIANT:
        return _under_symmetry(env, *shape, network, num_banks)
    if network != "mlp":
        return _over_sets(env, action_space, *shape, network)
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
    network: str,
) -> ActorCritic:
    """Actor whose actions follow the order of the elements, and critic that does not see it.

    The critic pools also where the actor does not: it takes no part in acting.
    """
    if not hidden_sizes:
        raise ValueError(
            f'hidden_sizes must have at least one width for network "{network}", got ().'
        )
    split, num_elements, num_globals, num_features = set_shapes(env, obs_shape, network)
    output, pools = output_for(action_space, num_elements), network != "shared"
    if output == "set" and not pools:
        raise ValueError(
            f'network must be "sets" for {env.name}, whose actions are of its {num_elements} '
            'elements as a whole, got "shared", which scores each by itself.'
        )
    if isinstance(head, SimplexHead) and output == "shares":
        head = dataclasses.replace(head, reference_first=True)
    num_outputs = head.num_outputs if output == "set" else 1
    shape = (split, num_globals, num_features, hidden_sizes)
    gains = num_elements if network == "relaxed_sets" else 0
    return ActorCritic(
        head=head,
        actor=DeepSets(*shape, num_outputs, output, activation, 0.01, gains, pools),
        critic=DeepSets(*shape, 1, "set", activation, 1.0, gains),
        obs_shape=obs_shape,
        num_log_std=num_outputs,
    )


def _under_symmetry(
    env: Any,
    head: Head,
    obs_shape: tuple[int, ...],
    hidden_sizes: tuple[int, ...],
    activation: str,
    network: str,
    num_banks: int,
) -> ActorCritic:
    """Actor whose actions follow the group, and critic that does not see it."""
    spec = symmetry_of(env, network, int(np.prod(obs_shape)), head)
    shape = (hidden_sizes, activation, num_banks)
    orbits = tuple(int(orbit) for orbit in spec.action_rep.orbits)
    return ActorCritic(
        head=head,
        actor=equivariant_body(network, spec.obs_blocks, spec.action_rep, *shape, 0.01),
        critic=equivariant_body(network, spec.obs_blocks, trivial(spec.group), *shape, 1.0),
        obs_shape=obs_shape,
        num_log_std=max(orbits) + 1,
        orbits=orbits,
    )
