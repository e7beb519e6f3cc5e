"""The one list of allocation rules."""

from jaxecon.envs.allocation import rules, thresholds
from jaxecon.envs.allocation.rules import Rule

RULES: dict[str, Rule] = {
    "saffe_oracle": rules.saffe_oracle("proportional"),
    "saffe_oracle_front": rules.saffe_oracle("front"),
    "saffe": rules.saffe_rule("proportional"),
    "saffe_front": rules.saffe_rule("front"),
    "saffe_d": rules.saffe_rule("proportional", tunable=True),
    "saffe_d_front": rules.saffe_rule("front", tunable=True),
    "hope_online": thresholds.threshold_rule(thresholds.hope_online),
    "hope_full": thresholds.threshold_rule(thresholds.hope_full),
    "guarded_hope_1/2": thresholds.guarded_rule(1.0 / 2.0),
    "guarded_hope_1/3": thresholds.guarded_rule(1.0 / 3.0),
    "et_online": thresholds.threshold_rule(thresholds.hope_online, use_mean=True),
    "et_full": thresholds.threshold_rule(thresholds.hope_full, use_mean=True),
    "fixed_threshold": thresholds.threshold_rule(thresholds.fixed_threshold),
    "adaptive_threshold": Rule(thresholds.adaptive_threshold),
    "scaling": Rule(rules.scaling),
    "projected_proportional": Rule(rules.projected_proportional),
    "max_min_heuristic": Rule(rules.max_min_heuristic),
    "greedy": Rule(rules.greedy),
}

ORACLES = ("saffe_oracle", "saffe_oracle_front")
FRONT = tuple(name for name in RULES if name.endswith("_front"))
BASELINES = ("saffe_oracle", "saffe", "saffe_d", "saffe_d_front", "hope_online", "greedy")
