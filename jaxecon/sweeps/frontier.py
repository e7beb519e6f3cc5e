"""What honesty costs: the frontier of a mechanism study, as a picture and a table.

A study that learns mechanisms reports what the designer wants (log Nash welfare, revenue) and what
liars can gain (exploitability, regret). Its configurations are points of a frontier, which belongs
beside the rules that the environment knows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxecon.sweeps import plots, statistics
from jaxecon.sweeps.report import Run, show
from jaxecon.sweeps.statistics import HPARAM_PREFIX, Interval

if TYPE_CHECKING:
    from rich.table import Table

# what a lie gains, and what the designer wants: the first pair that a study reports is drawn
PAIRS = (("exploitability", "log_nash_welfare"), ("regret", "revenue"))
ADVICE = "up and to the left is better"


class Point(NamedTuple):
    """A mechanism on the frontier's plane.

    Attributes:
      name: configuration and its settings, or the baseline's name.
      gain, objective: means with their intervals over seeds; a baseline has none.
      others: every further metric of the evaluation, means over seeds.
      is_learned: False for a baseline.
    """

    name: str
    gain: Interval
    objective: Interval
    others: dict[str, float]
    is_learned: bool


def frontier_pair(run: Run) -> tuple[str, str] | None:
    """(gain, objective), the metrics that span the frontier; None if the study has none."""
    for pair in PAIRS:
        if all(f"{run.split_report}/{name}" in run.results.columns for name in pair):
            return pair
    return None


def frontier_points(run: Run) -> list[Point]:
    """Learned mechanisms in the order of their exploitability, then the baselines.

    Raises:
      ValueError: the study reports no frontier.
    """
    pair = frontier_pair(run)
    if pair is None:
        wanted = " or ".join(f"{gain} and {objective}" for gain, objective in PAIRS)
        raise ValueError(f"{run.name} has no frontier: its evaluations must report {wanted}.")
    final, split = statistics.final_evaluation(run.results), run.split_report
    metrics = [name.split("/", 1)[1] for name in final.columns if name.startswith(f"{split}/")]
    swept = statistics.hyperparameters(run.results)
    learned = []
    for config, rows in final.groupby("config"):
        settings = [f"{_short(n)} {show(rows[HPARAM_PREFIX + n].iloc[0])}" for n in swept]
        means = {name: statistics.mean_interval(rows[f"{split}/{name}"]) for name in metrics}
        gain, objective = (means.pop(name) for name in pair)
        others = {name: interval.estimate for name, interval in means.items()}
        name = ", ".join(settings) or f"config {config}"
        learned.append(Point(name, gain, objective, others, True))
    learned.sort(key=lambda point: -point.gain.estimate)
    return learned + _baseline_points(run, pair)


def _short(setting: str) -> str:
    """A setting's name without what the axis already says."""
    return setting.removeprefix("exploitability_")


def _baseline_points(run: Run, pair: tuple[str, str]) -> list[Point]:
    points = []
    for rule, values in run.baselines.get(run.split_report, {}).items():
        if all(name in values for name in pair):
            gain, objective = (Interval(float(values[name]), np.nan, np.nan) for name in pair)
            others = {key: float(x) for key, x in values.items() if key not in pair}
            points.append(Point(rule, gain, objective, others, False))
    return points


def frontier_plot(run: Run, path: str | os.PathLike) -> Path:
    """Path of a PNG with every mechanism's objective against what a lie gains.

    Dots are configurations with 95% t intervals over seeds, joined in the order of exploitability;
    diamonds are the environment's rules.

    Args:
      run: from `report.load_run`.
      path: where the PNG goes; replaced in one step.
    """
    points = frontier_points(run)
    gain, objective = frontier_pair(run) or PAIRS[0]
    figure = plots.new_figure(5.8, 3.9)
    axes = figure.subplots()
    learned = [point for point in points if point.is_learned]
    across = [point.gain.estimate for point in learned]
    upwards = [point.objective.estimate for point in learned]
    axes.plot(across, upwards, "-o", color=plots.COLOURS[0], markersize=4, label="learned")
    for point, x, y in zip(learned, across, upwards, strict=True):
        axes.hlines(y, point.gain.low, point.gain.high, color=plots.COLOURS[0], linewidth=1)
        axes.vlines(x, point.objective.low, point.objective.high, color=plots.COLOURS[0])
        _name_point(axes, x, y, point.name)
    for point in points[len(learned) :]:
        x, y = point.gain.estimate, point.objective.estimate
        axes.plot(x, y, "D", color=plots.INK, markersize=5)
        _name_point(axes, x, y, point.name.replace("_", " "))
    axes.set_xlabel(f"{plots.metric_label(gain)} ({ADVICE})")
    axes.set_ylabel(plots.metric_label(objective))
    axes.margins(0.12)
    return plots.save_figure(figure, path)


def _name_point(axes, x: float, y: float, name: str) -> None:
    axes.annotate(plots.plain(name), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7)


def frontier_table(run: Run) -> Table:
    """Terminal table of the frontier's points with all their metrics."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    points = frontier_points(run)
    gain, objective = frontier_pair(run) or PAIRS[0]
    seeds = run.study["study"].get("num_seeds", 1)
    title = f"{objective} against {gain} on {run.split_report}, means over {seeds} seed(s)"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, pad_edge=False)
    others = [name for name in points[0].others if name != "return"]
    table.add_column("mechanism", no_wrap=True)
    for heading in (objective, gain, *others):
        table.add_column(heading.replace("_", " "), justify="right", overflow="fold")
    is_learned = True
    for point in points:
        if is_learned and not point.is_learned:
            table.add_section()
        is_learned = point.is_learned
        cells = [_with_margin(point.objective), _with_margin(point.gain)]
        cells += [show(point.others.get(name, np.nan)) for name in others]
        table.add_row(escape(point.name.replace("_", " ")), *cells)
    return table


def _with_margin(interval: Interval) -> str:
    if np.isnan(interval.low):
        return show(interval.estimate)
    return f"{show(interval.estimate)} ± {(interval.high - interval.low) / 2:.1g}"
