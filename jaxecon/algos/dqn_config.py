"""Settings of deep Q-learning: what fixes shapes, and the numbers that are traced."""

import dataclasses
from typing import Any

from flax import struct

from jaxecon.algos.applicability import ApplicabilityConfig, ApplicabilityHyperparams
from jaxecon.algos.symmetry import SymmetryHyperparams, check_network
from jaxecon.envs import autoreset
from jaxecon.envs.base import require_count
from jaxecon.networks.layers import ACTIVATIONS
from jaxecon.networks.value import NETWORKS
from jaxecon.suggest import unknown_name


@dataclasses.dataclass(frozen=True)
class DQNConfig(ApplicabilityConfig):
    """Static settings: each new value compiles a new program.

    Attributes:
      num_envs: B, environments stepped side by side.
      rollout_length: steps of each environment per iteration; noise is drawn once for all of them.
      update_interval: T, steps of each environment between updates; must divide rollout_length.
      num_updates: gradient steps after every T x B transitions.
      buffer_size: transitions kept, rounded up to a multiple of T x B.
      final_size: final observations of episodes cut off by a time limit that are kept; None is an
        eighth of the buffer. Raise it where such episodes last fewer than 8 steps: transitions
        whose final observation is lost no longer count.
      batch_size: transitions per gradient step; each holds all agents.
      n_step: rewards summed before the value estimate takes over.
      double: choose the next action by the online network, value it by the target network.
      dueling: separate streams for the state's value and the advantages.
      prioritised: draw transitions in proportion to their last error, not evenly.
      hidden_sizes: widths of the hidden layers; channels per group element where `network` is not
        "mlp", see `networks.counting.matched_sizes`.
      activation: "tanh", "relu", "swish" or "gelu".
      normalise_observations: centre and scale observations by running moments.
      reset_mode: "auto", "ahead" or "on_demand", see `envs.autoreset`.
      num_eval_episodes: episodes per evaluation, played greedily.
      network: "mlp", or "exact", "relaxed" or "rpp" where the environment declares a symmetry, see
        `networks.value`.
      num_banks: filter banks of equivariant layers.
      applicability, known_actions, applicability_sizes: which actions are offered, both when acting
        and in targets, see `ApplicabilityConfig`.
    """

    num_envs: int = 10
    rollout_length: int = 64
    update_interval: int = 1
    num_updates: int = 1
    buffer_size: int = 100_000
    final_size: int | None = None
    batch_size: int = 128
    n_step: int = 1
    double: bool = True
    dueling: bool = False
    prioritised: bool = False
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    normalise_observations: bool = False
    reset_mode: str = "auto"
    num_eval_episodes: int = 128
    network: str = "mlp"
    num_banks: int = 1

    def __post_init__(self):
        super().__post_init__()
        counts = ("num_envs", "rollout_length", "update_interval", "num_updates", "buffer_size")
        for name in (*counts, "batch_size", "n_step", "num_eval_episodes"):
            require_count(name, getattr(self, name))
        if self.final_size is not None:
            require_count("final_size", self.final_size)
        if self.rollout_length % self.update_interval:
            raise ValueError(
                f"update_interval must divide rollout_length = {self.rollout_length}, "
                f"got {self.update_interval}."
            )
        least = max(2, self.n_step + 1) * self.update_interval * self.num_envs
        if self.buffer_size < least:
            raise ValueError(
                "buffer_size must be at least (n_step + 1) * update_interval * num_envs = "
                f"{least}, got {self.buffer_size}."
            )
        if self.reset_mode not in autoreset.MODES:
            raise ValueError(
                f"reset_mode must be one of {autoreset.MODES}, got {self.reset_mode!r}."
            )
        for name, known in (("activation", ACTIVATIONS), ("network", NETWORKS)):
            if getattr(self, name) not in known:
                raise ValueError(unknown_name(name, getattr(self, name), known))
        check_network(self)
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if any(width < 1 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be at least 1 each, got {self.hidden_sizes}.")

    @property
    def num_rows(self) -> int:
        """Rows of the replay buffer, a multiple of `update_interval`."""
        block = self.update_interval * self.num_envs
        return -(-self.buffer_size // block) * self.update_interval


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
