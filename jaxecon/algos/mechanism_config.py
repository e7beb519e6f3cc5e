"""Which mechanism to learn, how large, and how hard to look for lies: the static settings."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax

from jaxecon.mechanisms.auctions.learned import ExchangeableRegretNet, RegretNet, RochetNet
from jaxecon.mechanisms.base import AllocationTypes, AuctionTypes, Mechanism
from jaxecon.mechanisms.learned import ExPF, ExPFQuadratic, ExS, RegretNetAllocation
from jaxecon.suggest import unknown_name

Mode = Literal["penalty", "lagrangian", "augmented", "log_ratio"]


@dataclasses.dataclass(frozen=True)
class MechanismConfig:
    """Static settings: each new value compiles a new program.

    Attributes:
      mechanism: "expf", "expf_quadratic", "exs", "exs_refill" or "regretnet_allocation" where
        resources are divided; "regretnet", "regretnet_exchangeable" or "rochetnet" in auctions.
      width, depth: features and residual layers of the equivariant trunk.
      hidden_sizes: widths of RegretNet's tanh layers.
      num_options: length of RochetNet's menu.
      value_scale: a typical high value in an auction [money].
      pool_size: P, instances drawn once and trained on; a multiple of `batch_size`. 0 draws fresh
        ones for every iteration, whose lies begin at others' reports each time.
      batch_size: B, instances per iteration.
      attack_steps: ascent steps on the misreports of a batch per iteration. 0 looks for no lies
        and counts no gain: for mechanisms that are truthful by construction.
      solver_iterations: most Newton steps of an inner solve; None is the solver's own choice.
      mode: "penalty": λ is `exploitability_weight`. "lagrangian": λ is a multiplier that rises
        while exploitability exceeds `target_exploitability`. "augmented": the same with a
        quadratic penalty of weight `penalty`. "log_ratio": λ is a multiplier that moves with the
        logarithm of the gain of all agents over the objective, which must be money like the gain.
      num_eval_types: fresh instances per evaluation.
      eval_restarts, eval_steps: size of the attack in evaluations.
    """

    mechanism: str = "expf_quadratic"
    width: int = 32
    depth: int = 2
    hidden_sizes: tuple[int, ...] = (100, 100)
    num_options: int = 100
    value_scale: float = 1.0
    pool_size: int = 1024
    batch_size: int = 64
    attack_steps: int = 8
    solver_iterations: int | None = 15
    mode: Mode = "penalty"
    num_eval_types: int = 256
    eval_restarts: int = 4
    eval_steps: int = 60

    def __post_init__(self):
        if self.mechanism not in KINDS:
            raise ValueError(unknown_name("mechanism", self.mechanism, KINDS))
        if self.mode not in get_args(Mode):
            raise ValueError(unknown_name("mode", self.mode, get_args(Mode)))
        counts = {"pool_size": 0, "batch_size": 1, "attack_steps": 0, "num_eval_types": 1}
        for name, least in counts.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.mode == "log_ratio" and self.attack_steps == 0:
            raise ValueError(
                "attack_steps must be at least 1 in mode 'log_ratio', got 0; take mode 'penalty' "
                "where no misreport can gain."
            )
        if self.pool_size % self.batch_size:
            raise ValueError(
                f"pool_size must be a multiple of batch_size={self.batch_size}, "
                f"got {self.pool_size}."
            )
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))


class Kind(NamedTuple):
    """How to build a mechanism, and for which types."""

    build: Callable[[MechanismConfig], Mechanism]
    types: type


def _trunk_settings(config: MechanismConfig) -> dict[str, Any]:
    return {
        "width": config.width,
        "depth": config.depth,
        "num_iterations": config.solver_iterations,
    }


KINDS: dict[str, Kind] = {
    "expf": Kind(lambda config: ExPF(**_trunk_settings(config)), AllocationTypes),
    "expf_quadratic": Kind(
        lambda config: ExPFQuadratic(**_trunk_settings(config)), AllocationTypes
    ),
    "expf_quadratic_refill": Kind(
        lambda config: ExPFQuadratic(**_trunk_settings(config), refill=True), AllocationTypes
    ),
    "exs": Kind(lambda config: ExS(**_trunk_settings(config)), AllocationTypes),
    "exs_refill": Kind(lambda config: ExS(**_trunk_settings(config), refill=True), AllocationTypes),
    "regretnet_allocation": Kind(
        lambda config: RegretNetAllocation(config.hidden_sizes), AllocationTypes
    ),
    "regretnet": Kind(
        lambda config: RegretNet(config.hidden_sizes, scale=config.value_scale), AuctionTypes
    ),
    "regretnet_exchangeable": Kind(
        lambda config: ExchangeableRegretNet(config.width, config.depth, config.value_scale),
        AuctionTypes,
    ),
    "rochetnet": Kind(
        lambda config: RochetNet(config.num_options, config.value_scale), AuctionTypes
    ),
}


def build_mechanism(env: Any, config: MechanismConfig | None = None, **settings: Any) -> Mechanism:
    """The mechanism that a configuration trains, for use with saved parameters.

    Args:
      env: the environment it is trained in.
      config: static settings; None makes them from `settings`.
      **settings: fields of `MechanismConfig`.

    Raises:
      ValueError: the mechanism is for other types than the environment's, or a bad setting.
    """
    config = MechanismConfig(**settings) if config is None else config
    kind = KINDS[config.mechanism]
    types = jax.eval_shape(env.draw_types, jax.random.key(0), env.default_params)
    if not isinstance(types, kind.types):
        fitting = [name for name, other in KINDS.items() if isinstance(types, other.types)]
        raise ValueError(
            f"mechanism must be one of {fitting} in {env.name}, got {config.mechanism!r}."
        )
    return kind.build(config)
