"""Settings of deep Q-learning: what fixes shapes, and the numbers that are traced."""

import dataclasses
from typing import Any

from flax import struct

from jaxecon.algos.applicability import ApplicabilityConfig, ApplicabilityHyperparams
from jaxecon.algos.off_policy import OffPolicyConfig
from jaxecon.algos.symmetry import SymmetryHyperparams, check_network
from jaxecon.networks.value import NETWORKS
from jaxecon.suggest import unknown_name


@dataclasses.dataclass(frozen=True)
class DQNConfig(OffPolicyConfig, ApplicabilityConfig):
    """Static settings: those of `OffPolicyConfig` and `ApplicabilityConfig`, and these.

    Masks hold both when acting and in targets.

    Attributes:
      double: choose the next action by the online network, value it by the target network.
      dueling: separate streams for the state's value and the advantages.
      prioritised: draw transitions in proportion to their last error, not evenly.
      hidden_sizes: widths of the hidden layers; channels per group element where `network` is not
        "mlp", see `networks.counting.matched_sizes`.
      network: "mlp", or "exact", "relaxed" or "rpp" where the environment declares a symmetry, see
        `networks.value`.
      num_banks: filter banks of equivariant layers.
      augment: carry each transition that is drawn along a random element of the group that the
        environment declares, see `algos.augmentation`.
    """

    double: bool = True
    dueling: bool = False
    prioritised: bool = False
    network: str = "mlp"
    num_banks: int = 1
    augment: bool = False

    def __post_init__(self):
        ApplicabilityConfig.__post_init__(self)
        OffPolicyConfig.__post_init__(self)
        if self.network not in NETWORKS:
            raise ValueError(unknown_name("network", self.network, NETWORKS))
        check_network(self)


@struct.dataclass
class DQNHyperparams(ApplicabilityHyperparams, SymmetryHyperparams):
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size.
      gamma: discount factor per step, in [0, 1].
      tau: share of the online weights that goes into the target network at each of its updates.
      target_period: gradient steps between updates of the target network, rounded down.
      epsilon_start, epsilon_end: shares of random actions at the start and from then on.
      epsilon_share: share of `total_steps` over which ε falls from start to end.
      learning_starts: environment steps before the first update; all their actions are random.
      huber_delta: error beyond which the loss is linear. Choose it well above the scale of returns:
        a small one hides rare, large losses such as the end of an episode. The default means half
        the squared error for most tasks.
      max_grad_norm: bound on the global norm of a gradient.
      priority_exponent: α; 0 draws evenly. Used by `prioritised` alone.
      importance_exponent: β at the start, rising linearly to 1 over `total_steps`.
      anneal: share of the learning rate that has gone after `total_steps`; 0 is constant, 1 linear
        to zero.
      total_steps: environment steps over which schedules act.
      applicability_rate, applicability_threshold, applicability_eps, applicability_min_labels: see
        `ApplicabilityHyperparams`.
      relax_rate, relax_penalty, exact_decay, free_decay: see `SymmetryHyperparams`.
    """

    learning_rate: Any = 1e-3
    gamma: Any = 0.99
    tau: Any = 0.01
    target_period: Any = 1.0
    epsilon_start: Any = 1.0
    epsilon_end: Any = 0.05
    epsilon_share: Any = 0.2
    learning_starts: Any = 1000.0
    huber_delta: Any = 1e3
    max_grad_norm: Any = 1e3
    priority_exponent: Any = 0.6
    importance_exponent: Any = 0.4
    anneal: Any = 0.0
    total_steps: Any = 1e6
