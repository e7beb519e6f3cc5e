"""Comparing bandit policies on the same instances: studies, regret curves, table and picture.

Every policy is one study of the algorithm "bandit" with the same seeds, so rows with equal seeds
met the same instance, contexts and payoff noise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxecon.algos.bandits import RESTLESS_POLICIES
from jaxecon.envs.bandits import REGRETS, DynamicalLinearBandit
from jaxecon.envs.registry import make
from jaxecon.sweeps import plots
from jaxecon.sweeps.plan import make_plan
from jaxecon.sweeps.runner import run_study
from jaxecon.sweeps.statistics import mean_interval
from jaxecon.sweeps.study import load_study

if TYPE_CHECKING:
    import pandas as pd

NUM_POINTS = 20  # of a curve
HEADLINE = ("emkf", "oracle_filter", "lag_ts", "ts", "no_context")
MEMORY_POLICIES = ("dynlin_ucb", "linucb", "ts", "ucb1")  # where payoffs remember arms


def bandit_study(
    policy: str,
    env_id: str = "PartiallyObservedLinearBandit-v0",
    *,
    num_seeds: int = 10,
    num_rounds: int = 4000,
    seed: int = 0,
    env: Mapping[str, Any] | None = None,
    env_params: Mapping[str, float] | None = None,
    config: Mapping[str, Any] | None = None,
    hparams: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The tables of a study of one policy, for `load_study`.

    Args:
      policy: a name in `algos.bandits.POLICIES` or `RESTLESS_POLICIES`.
      env_id: a bandit.
      num_seeds: runs; each draws its own instance where the environment does.
      num_rounds: T of each.
      seed: that all random numbers follow from.
      env, env_params: keywords of `make`, and numbers that replace the defaults.
      config, hparams: settings of the algorithm, static and traced.

    Raises:
      ValueError: `config` names another policy or horizon.
    """
    config = dict(config or {})
    told = {"policy": policy, "horizon": num_rounds}
    for name, value in told.items():
        if config.get(name, value) != value:
            raise ValueError(
                f"config: {name} must be {value!r}, as the rounds and policies of a comparison "
                f"say, got {config[name]!r}. Leave it out."
            )
    stretch = math.ceil(num_rounds / NUM_POINTS)  # rounds between two points
    return {
        "study": {
            "name": f"{env_id}-{policy}",
            "seed": seed,
            "num_seeds": num_seeds,
            "total_steps": num_rounds,
            "num_evaluations": math.ceil(num_rounds / stretch),
        },
        "env": {"id": env_id, "static": dict(env or {}), "params": dict(env_params or {})},
        "algorithm": {
            "id": "bandit",
            "config": config | told,
            "hparams": dict(hparams or {}),
        },
        "executor": {"strategy": "vmap"},
    }


def default_policies(env: Any) -> tuple[str, ...]:
    """Policies worth comparing on a bandit: those that fit what it shows."""
    if hasattr(env, "indices"):
        return RESTLESS_POLICIES
    if isinstance(env, DynamicalLinearBandit):
        return MEMORY_POLICIES
    has_oracle = getattr(env, "has_oracle", False)
    return HEADLINE if has_oracle else tuple(name for name in HEADLINE if name != "oracle_filter")


def bandit_studies(
    policies: Iterable[str] | None,
    env_id: str = "PartiallyObservedLinearBandit-v0",
    **settings: Any,
) -> dict[str, dict[str, Any]]:
    """Tables of studies by policy, each name once, all checked before any of them is run.

    Args:
      policies: names; None for `default_policies` of the environment.
      env_id: a bandit.
      **settings: of `bandit_study`.

    Raises:
      ValueError: an environment that is no bandit, an unknown policy, or a number out of range.
    """
    if policies is None:
        try:
            policies = default_policies(make(env_id, **settings.get("env") or {})[0])
        except TypeError as error:  # such as a text where the environment needs a number
            raise ValueError(f"env: a value has the wrong type: {error}") from error
    studies = {policy: bandit_study(policy, env_id, **settings) for policy in policies}
    for study in studies.values():
        make_plan(load_study(study))
    return studies


def compare(
    policies: Iterable[str] | None = None,
    out: str | os.PathLike = "runs/bandit",
    *,
    overwrite: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Regret curves of several policies, each run in a folder of its own under `out`.

    Args:
      policies: names; None for `default_policies` of the environment.
      out: folder.
      overwrite: replace what an earlier comparison left there.
      **settings: of `bandit_study`, and `env_id`.

    Returns:
      The table of `regret_table`.
    """
    return regret_table(
        {
            policy: run_study(load_study(study), Path(out) / policy, overwrite=overwrite)
            for policy, study in bandit_studies(policies, **settings).items()
        }
    )


def regret_table(runs: Mapping[str, str | os.PathLike]) -> pd.DataFrame:
    """Curves of finished runs: `policy`, `seed`, `round`, the three regrets so far, and `return`.

    Args:
      runs: policy -> run folder.
    """
    import pandas as pd

    parts = []
    for policy, folder in runs.items():
        results = pd.read_parquet(Path(folder) / "results.parquet")
        columns = {name: results[f"test/{name}"] for name in (*REGRETS, "return")}
        place = {
            "policy": policy,
            "seed": results["seed"],
            "round": results["test/rounds"].astype(int),
        }
        parts.append(pd.DataFrame(place | columns))
    return pd.concat(parts, ignore_index=True)


def final_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per policy at the last round: mean and 95% interval over seeds, and median.

    Columns NAME, NAME_low, NAME_high and NAME_median for each regret, lowest mean of
    `regret_feasible` first.
    """
    import pandas as pd

    last = table[table["round"] == table.groupby("policy")["round"].transform("max")]
    rows = []
    for policy, runs in last.groupby("policy"):
        row: dict[str, Any] = {"policy": policy, "seeds": len(runs)}
        for name in (*REGRETS, "return"):
            interval = mean_interval(runs[name].to_numpy())
            row |= {name: interval.estimate, f"{name}_low": interval.low}
            row |= {f"{name}_high": interval.high, f"{name}_median": runs[name].median()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("regret_feasible", kind="stable", ignore_index=True)


def regret_plot(table: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Path of a PNG with mean regret over rounds and its 95% interval, a panel for each regret.

    Args:
      table: from `regret_table`.
      path: where the PNG goes; replaced in one step.
    """
    figure = plots.new_figure(9.6, 3.2)
    panels = figure.subplots(1, len(REGRETS))
    order = final_table(table)["policy"]
    for axes, name in zip(panels, REGRETS, strict=True):
        for index, policy in enumerate(order):
            curves = table[table["policy"] == policy]
            points = np.array(
                [(at, *mean_interval(rows[name])) for at, rows in curves.groupby("round")]
            )
            rounds, mean, low, high = points.T
            colour = plots.COLOURS[index % len(plots.COLOURS)]
            dashes = "-" if index < len(plots.COLOURS) else "--"
            axes.plot(rounds, mean, dashes, color=colour, linewidth=1.6, label=policy)
            axes.fill_between(rounds, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.set_xlabel("Round")
        axes.set_title(plots.metric_label(name), loc="left", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return plots.save_figure(figure, path)
