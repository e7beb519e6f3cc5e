"""Settings of soft actor-critic: what fixes shapes, and the numbers that are traced."""

import dataclasses
from typing import Any

from flax import struct

from jaxecon.algos.off_policy import OffPolicyConfig
from jaxecon.algos.symmetry import SymmetryHyperparams, check_network
from jaxecon.networks.continuous import NETWORKS
from jaxecon.suggest import unknown_name


@dataclasses.dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Static settings: those of `OffPolicyConfig`, and the kind of network.

    With n_step above 1, targets leave out the entropy of the actions in between.

    Attributes:
      num_updates: gradient steps after every T x B transitions; the default is one for each.
      network: "mlp", or "exact", "relaxed" or "rpp" where the environment declares a symmetry, see
        `networks.continuous`.
      num_banks: filter banks of equivariant layers.
      augment: carry each transition that is drawn along a random element of the group that the
        environment declares, see `algos.augmentation`.
    """

    num_updates: int = 10
    network: str = "mlp"
    num_banks: int = 1
    augment: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.network not in NETWORKS:
            raise ValueError(unknown_name("network", self.network, NETWORKS))
        check_network(self)


@struct.dataclass
class SACHyperparams(SymmetryHyperparams):
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size for the critics.
      actor_rate_share: the actor's step size, as a share of `learning_rate`.
      temperature_rate_share: the same for log α; 0 keeps the temperature as it is.
      gamma: discount factor per step, in [0, 1].
      tau: share of the online critics that goes into the target critics at each gradient step.
      initial_temperature: α at the start, in units of reward per nat. Rewards far from size one ask
        for one of their size: log α moves by about its step size per update.
      target_entropy_share: the temperature is driven to an entropy of minus this many nats per
        action coordinate, on a scale where evenly drawn actions have log 2.
      learning_starts: environment steps before the first update; until then actions come from the
        untrained policy, which is close to tanh of a standard normal.
      anneal: share of all step sizes that has gone after `total_steps`; 0 is constant, 1 linear to
        zero.
      total_steps: environment steps over which `anneal` acts.
    """

    learning_rate: Any = 1e-3
    actor_rate_share: Any = 1.0
    temperature_rate_share: Any = 1.0
    gamma: Any = 0.99
    tau: Any = 0.005
    initial_temperature: Any = 1.0
    target_entropy_share: Any = 1.0
    learning_starts: Any = 1000.0
    anneal: Any = 0.0
    total_steps: Any = 1e6
