"""Comparing allocation rules and trained policies on the same draws: table, intervals, picture."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.envs.allocation.draws import Episodes, draw_blocks
from jaxecon.envs.allocation.economy import as_float
from jaxecon.envs.allocation.env import SequentialAllocation
from jaxecon.envs.allocation.registry import RULES
from jaxecon.envs.allocation.simulate import measure_blocks, replay_policy
from jaxecon.suggest import unknown_name
from jaxecon.sweeps import plots
from jaxecon.sweeps.statistics import mean_interval
from jaxecon.types import Array, Key

if TYPE_CHECKING:
    import pandas as pd

TUNED_BY = "log_nash_gap"
TUNING_EPISODES = 200
CHUNK = 8192  # episodes drawn at a time
SHOWN = ("max_deviation", "mean_deviation", "utilisation", "log_nash_gap", "min_log_fill")


class Policy(NamedTuple):
    """A trained policy and how its actions are read.

    Attributes:
      act: observations [B, F] -> actions [B, ...].
      action, split: of the environment that it was trained on, see `SequentialAllocation`.
      numbers: its `discount_centre` and `discount_reach`.
    """

    act: Callable[[Array], Array]
    action: str
    split: str
    numbers: dict[str, Any]


def load_allocator(run_dir: str | os.PathLike, config: int | None = None, seed: int = 0) -> Policy:
    """A policy for `compare` out of a finished study on SequentialAllocation-v0.

    Args:
      run_dir: a run folder.
      config: configuration, as in results.parquet; the first of the leaderboard if None.
      seed: seed index.

    Raises:
      ValueError: no such configuration or seed, or a study of another environment.
      FileNotFoundError: no run folder, or the lane has not finished.
    """
    from jaxecon.sweeps import report, trained

    if config is None:
        config = int(report.rank_run(report.load_run(run_dir), top=1)["config"].iloc[0])
    plan, policy, params = trained.load_lane(run_dir, config, seed)
    if not isinstance(plan.env, SequentialAllocation):
        raise ValueError(
            f"{run_dir} was trained on {plan.study.env.id!r}; a policy that allocates must have "
            "been trained on 'SequentialAllocation-v0'."
        )
    act = lambda obs: plan.algorithm.act(jax.random.key(0), policy, obs, None, params)
    numbers = {name: getattr(params, name) for name in ("discount_centre", "discount_reach")}
    return Policy(jax.jit(act), plan.env.action, plan.env.split, numbers)


_draw = jax.jit(draw_blocks, static_argnames=("env", "num_episodes"))


def tune(key: Key, env: Any, params: Any, name: str) -> float:
    """Strength of a rule with the best mean log Nash gap over 200 draws of their own.

    Args:
      key: not the one that the rule is judged by.
      env, params: a SequentialAllocation and its economy.
      name: one of `registry.RULES`.
    """
    rule = RULES[name]
    if len(rule.strengths) == 1:
        return rule.strengths[0]
    blocks = _draw(key, env, params, TUNING_EPISODES)
    measures = measure_blocks(env, params, rule, as_float(rule.strengths), blocks)
    return rule.strengths[int(jnp.argmax(jnp.mean(measures[TUNED_BY], axis=1)))]


def compare(
    env: Any,
    params: Any,
    *,
    rules: Iterable[str] | None = None,
    policies: dict[str, Policy] | None = None,
    num_episodes: int = 500,
    seed: int = 0,
    reference: str = "saffe_d",
) -> pd.DataFrame:
    """How rules and policies do on the same draws of demand.

    Args:
      env, params: a SequentialAllocation and its economy.
      rules: names in `registry.RULES`; all if None. Tunable ones are tuned first, on other draws.
      policies: trained ones by name, see `load_allocator`; they see the same N agents.
      num_episodes: E, at least 2.
      seed: of all draws.
      reference: the rule that others are paired with; it must be among them.

    Returns:
      One row per rule and metric: `rule`, `strength` (nan for policies), `metric`, `mean`, `low`,
      `high`, then `difference`, `difference_low`, `difference_high` of the mean from the
      reference's over the same draws, and `num_episodes`. Intervals are 95% Student t over
      episodes.

    Raises:
      ValueError: an unknown rule, or fewer than 2 episodes.
    """
    import pandas as pd

    names = list(RULES) if rules is None else list(dict.fromkeys(rules))
    for name in [*names, reference]:
        if name not in RULES:
            raise ValueError(unknown_name("rule", name, RULES))
    if num_episodes < 2:
        raise ValueError(f"num_episodes must be at least 2, got {num_episodes}.")
    names = names if reference in names else [reference, *names]
    key_tune, key_draw = jax.random.split(jax.random.key(seed))
    strengths = {name: tune(key_tune, env, params, name) for name in names}
    parts: dict[str, list] = {name: [] for name in [*names, *(policies or {})]}
    for index, count in enumerate(_chunks(num_episodes)):
        blocks = _draw(jax.random.fold_in(key_draw, index), env, params, count)
        for name in names:
            strength = as_float([strengths[name]])
            measures = measure_blocks(env, params, RULES[name], strength, blocks)
            parts[name].append({k: np.asarray(v[0, :count]) for k, v in measures.items()})
        for name, policy in (policies or {}).items():
            its_env = dataclasses.replace(env, action=policy.action, split=policy.split)
            its_params = params.replace(**policy.numbers)
            replayed = replay_policy(its_env, its_params, policy.act, _joined(blocks))
            parts[name].append({k: np.asarray(v[:count]) for k, v in replayed.items()})
    joined = {
        name: {metric: np.concatenate([part[metric] for part in chunks]) for metric in chunks[0]}
        for name, chunks in parts.items()
    }
    rows = []
    for name, by_metric in joined.items():
        for metric, values in by_metric.items():
            mean = mean_interval(values)
            gap = mean_interval(values - joined[reference][metric])
            row = (name, strengths.get(name, np.nan), metric, *mean, *gap, num_episodes)
            rows.append(row)
    columns = ["rule", "strength", "metric", "mean", "low", "high", "difference"]
    columns += ["difference_low", "difference_high", "num_episodes"]
    return pd.DataFrame(rows, columns=columns)


def _chunks(num_episodes: int) -> list[int]:
    """Numbers of episodes drawn at a time."""
    whole, rest = divmod(num_episodes, CHUNK)
    return [CHUNK] * whole + [rest] * (rest > 0)


def _joined(blocks: Episodes) -> Episodes:
    """Blocks [num_blocks, ..., block] as one, [..., E]."""
    join = lambda x: jnp.reshape(jnp.moveaxis(x, 0, -2), (*x.shape[1:-1], -1))
    return jax.tree.map(join, blocks)


def wide_table(table: pd.DataFrame) -> pd.DataFrame:
    """Means with one row per rule, in order of rising log Nash gap, and one column per metric."""
    wide = table.pivot(index="rule", columns="metric", values="mean")
    strengths = table.groupby("rule")["strength"].first()
    wide.insert(0, "strength", strengths)
    return wide.sort_values(TUNED_BY, ascending=False, kind="stable")


def comparison_plot(table: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Path of a PNG with every rule's mean and 95% interval, a panel for each of five measures.

    Args:
      table: from `compare`.
      path: where the PNG goes; replaced in one step.
    """
    order = list(wide_table(table).index)[::-1]
    figure = plots.new_figure(11.0, 0.9 + 0.24 * len(order))
    panels = figure.subplots(1, len(SHOWN), sharey=True)
    for axes, metric in zip(panels, SHOWN, strict=True):
        rows = table[table["metric"] == metric].set_index("rule").loc[order]
        heights = np.arange(len(order))
        axes.hlines(heights, rows["low"], rows["high"], color=plots.COLOURS[0], linewidth=2)
        axes.plot(rows["mean"], heights, "o", color=plots.COLOURS[0], markersize=4)
        axes.set_xlabel(plots.metric_label(metric))
        axes.grid(axis="y", alpha=0.25)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(np.arange(len(order)), [plots.plain(name) for name in order])
    return plots.save_figure(figure, path)
