"""Settings of proximal policy optimisation: what fixes shapes, and the numbers that are traced."""

import dataclasses
from typing import Any

from flax import struct

from jaxecon.algos import shuffle
from jaxecon.algos.applicability import ApplicabilityConfig, ApplicabilityHyperparams
from jaxecon.algos.symmetry import SymmetryHyperparams, check_network
from jaxecon.envs import autoreset
from jaxecon.networks.policy import ACTIVATIONS, NETWORKS
from jaxecon.suggest import unknown_name


@dataclasses.dataclass(frozen=True)
class PPOConfig(ApplicabilityConfig):
    """Static settings: each new value compiles a new program.

    Attributes:
      num_envs: B, environments stepped side by side.
      rollout_length: T, steps of each environment between two updates.
      num_epochs: passes over the T x B samples of a rollout.
      num_minibatches: gradient steps per pass; must divide T x B.
      hidden_sizes: widths of the hidden layers of the actor and of the critic; channels per group
        element where `network` is equivariant, see `networks.counting.matched_sizes`.
      activation: "tanh", "relu", "swish" or "gelu".
      network: "mlp"; "sets", "relaxed_sets" or "shared" where observations describe a set; "exact",
        "relaxed" or "rpp" where the environment declares a symmetry; see `networks.policy`.
      normalise_observations: centre and scale observations by running moments.
      normalise_rewards: divide rewards by the running deviation of discounted returns.
      shuffle: "bijection" (no sort) or "sort" (exactly uniform), see `algos.shuffle`.
      reset_mode: "auto", "ahead" or "on_demand", see `envs.autoreset`.
      num_eval_episodes: episodes per evaluation.
      greedy_evaluation: evaluate the mode of the policy; False samples from it.
      num_banks: filter banks of equivariant layers.
      augment: carry each sample of a rollout along a random element of the group that the
        environment declares, see `algos.augmentation` and `ppo.carry_batch`.
      applicability, known_actions, applicability_sizes: see `ApplicabilityConfig`.
    """

    num_envs: int = 16
    rollout_length: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    network: str = "mlp"
    normalise_observations: bool = False
    normalise_rewards: bool = False
    shuffle: str = "bijection"
    reset_mode: str = "auto"
    num_eval_episodes: int = 128
    greedy_evaluation: bool = True
    num_banks: int = 1
    augment: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("num_envs", "rollout_length", "num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.num_eval_episodes < 1:
            raise ValueError(f"num_eval_episodes must be at least 1, got {self.num_eval_episodes}.")
        if self.batch_size % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs * rollout_length = {self.batch_size}, "
                f"got {self.num_minibatches}."
            )
        for name, valid in (("shuffle", shuffle.KINDS), ("reset_mode", autoreset.MODES)):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} must be one of {valid}, got {getattr(self, name)!r}.")
        for name, known in (("activation", ACTIVATIONS), ("network", NETWORKS)):
            if getattr(self, name) not in known:
                raise ValueError(unknown_name(name, getattr(self, name), known))
        check_network(self)
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if any(width < 1 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be at least 1 each, got {self.hidden_sizes}.")

    @property
    def batch_size(self) -> int:
        """Samples per rollout, T x B."""
        return self.num_envs * self.rollout_length


@struct.dataclass
class PPOHyperparams(ApplicabilityHyperparams, SymmetryHyperparams):
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size.
      gamma: discount factor per step, in [0, 1].
      gae_lambda: λ of generalised advantage estimation, in [0, 1].
      clip_eps: ε of the clipped surrogate and of the clipped value loss.
      ent_coef: weight of the entropy bonus.
      vf_coef: weight of the value loss.
      max_grad_norm: bound on the global norm of a gradient.
      anneal: share of the learning rate that has gone after `total_steps`; 0 is constant, 1 linear
        to zero.
      total_steps: environment steps over which `anneal` acts.
      applicability_rate, applicability_threshold, applicability_eps, applicability_min_labels: see
        `ApplicabilityHyperparams`.
      relax_rate, relax_penalty, exact_decay, free_decay: see `SymmetryHyperparams`.
    """

    learning_rate: Any = 3e-4
    gamma: Any = 0.99
    gae_lambda: Any = 0.95
    clip_eps: Any = 0.2
    ent_coef: Any = 0.0
    vf_coef: Any = 0.5
    max_grad_norm: Any = 0.5
    anneal: Any = 0.0
    total_steps: Any = 1e6
