"""Settings under which each kind of auction learns well, found by trying."""

import copy
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """Where to start from; everything can be overridden.

    Attributes:
      config: fields of `MechanismConfig`.
      hparams: fields of `MechanismHyperparams`.
      total_steps: instances seen in training.
    """

    config: dict[str, Any]
    hparams: dict[str, float]
    total_steps: int


REGRETNET = Recipe(
    {"mode": "log_ratio", "pool_size": 32_768, "batch_size": 128, "attack_steps": 10},
    {
        "learning_rate": 1e-3,
        "final_rate_share": 0.05,
        "exploitability_weight": 5.0,
        "target_exploitability": 2e-4,
        "multiplier_step": 0.5,
        "multiplier_period": 100.0,
        "attack_learning_rate": 0.03,
    },
    20_000 * 128,
)
# A menu is truthful: no lies are looked for, and fresh bidders cost no more than a pool of them.
ROCHETNET = Recipe(
    {"pool_size": 0, "batch_size": 512, "attack_steps": 0},
    {"learning_rate": 1e-2, "exploitability_weight": 0.0, "smoothing": 1e-2},
    5_000 * 512,
)
RECIPES = {
    "regretnet": REGRETNET,
    "regretnet_exchangeable": REGRETNET,
    "rochetnet": ROCHETNET,
}


def recipe(kind: str, *, num_agents: int = 1, value_scale: float = 1.0) -> Recipe:
    """Settings for a kind of mechanism; the defaults of the learner for those without a recipe.

    Args:
      kind: a name in `mechanism_config.KINDS`.
      num_agents: N. What all bidders together may gain, as a share of revenue, grows with it.
      value_scale: a typical high value in an auction [money]; RochetNet's temperature follows it.
    """
    if kind not in RECIPES:
        return Recipe({}, {}, 51_200)
    config, hparams, total_steps = copy.deepcopy(RECIPES[kind])
    for name, factor in (("target_exploitability", num_agents), ("smoothing", value_scale)):
        if name in hparams:
            hparams[name] *= factor
    return Recipe(config | {"mechanism": kind, "value_scale": value_scale}, hparams, total_steps)
