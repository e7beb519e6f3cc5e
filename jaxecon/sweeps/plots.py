"""Figures of a finished sweep: learning curves and a ranking with intervals, and how all are drawn.

Figures are built without pyplot, so nothing global is touched and any thread may draw. Colours
are those of Okabe and Ito, which survive the common colour-vision deficiencies and grey printing;
names from users are shown as they are, never as mathematics.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxecon.sweeps.statistics import mean_interval
from jaxecon.sweeps.storage import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY, INK = "#8A8A8A", "#262626"
UNITS = {
    "return": "Return [reward per episode]",
    "return_std": "Standard deviation of return [reward per episode]",
    "length": "Episode length [steps]",
    "log_nash_welfare": "Log Nash welfare [sum of log utils]",
    "exploitability": "Exploitability [relative gain of a lie]",
    "revenue": "Revenue [money per auction]",
    "regret": "Regret [money a lie gains per bidder]",
    "sharpe": "Sharpe ratio [-]",
    "sortino": "Sortino ratio [-]",
    "max_drawdown": "Maximum drawdown [share of peak]",
}


def metric_label(metric: str) -> str:
    """Axis label of a metric, with its unit where the metric is a known one."""
    return UNITS.get(metric, metric.replace("_", " ").capitalize())


def learning_curves(
    results: pd.DataFrame,
    leaderboard: pd.DataFrame,
    metric: str,
    path: str | os.PathLike,
    *,
    baselines: dict | None = None,
    splits: tuple[str, ...] = ("validation", "test"),
    top: int = 3,
) -> Path:
    """Path of a PNG with the metric against training experience, one panel per split.

    The top configurations are drawn as their mean over seeds with a 95% t band, the configuration
    of median rank in grey, and baselines as dashed lines that carry their names.

    Args:
      results: table of the sweep.
      leaderboard: from `statistics.leaderboard`, untruncated so that the median is the sweep's.
      metric: name without its split.
      path: where the PNG goes; replaced in one step.
      baselines: {split: {name: {metric: value}}}; entries without a finite value are left out.
      splits: those that the table lacks are skipped.
      top: number of coloured configurations.
    """
    splits = tuple(split for split in splits if f"{split}/{metric}" in results.columns)
    figure = new_figure(7.2 if len(splits) > 1 else 4.6, 3.2)
    panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
    levels = [baseline_levels(baselines, split, metric) for split in splits]
    curves = [
        _draw_curves(axes, results, leaderboard, f"{split}/{metric}", top)
        for axes, split in zip(panels, splits, strict=True)
    ]
    heights = [height for level in levels for height in level.values()]
    panels[0].set_ylim(*limits_of([curve for panel in curves for curve in panel], heights))
    panels[0].set_ylabel(metric_label(metric))
    for axes, split, level in zip(panels, splits, levels, strict=True):
        draw_levels(axes, level)
        axes.set_title(split.capitalize(), loc="left", fontsize=9, color=INK)
        axes.set_xlabel("Training experience [environment steps]")
        axes.xaxis.set_major_formatter(engineering())
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=top + 1)
    return save_figure(figure, path)


def leaderboard_plot(
    leaderboard: pd.DataFrame,
    metric: str,
    path: str | os.PathLike,
    *,
    baselines: dict | None = None,
    split_select: str = "validation",
    split_report: str = "test",
    top: int = 10,
) -> Path:
    """Path of a PNG with the top configurations' reported means and 95% intervals.

    Filled dots are the report split with its t interval over seeds; open dots the score that
    selected the configuration, so that optimism shows as a gap; diamonds are the baselines.

    Args:
      leaderboard: from `statistics.leaderboard`.
      metric: name without its split.
      path: where the PNG goes; replaced in one step.
      baselines: {split: {name: {metric: value}}}.
      split_select: the split that ranked the table.
      split_report: the split to show with intervals.
      top: rows to draw; diverged configurations are left out.
    """
    shown = leaderboard[~leaderboard["diverged"]].head(top)
    levels = baseline_levels(baselines, split_report, metric)
    levels = dict(sorted(levels.items(), key=lambda item: -item[1]))
    names = [f"#{row.rank}  config {row.config}" for row in shown[["rank", "config"]].itertuples()]
    names += [plain(name) for name in levels]
    figure = new_figure(5.6, 1.1 + 0.24 * max(len(names), 2))
    axes = figure.subplots()
    _draw_ranking(axes, shown, f"{split_select}/{metric}", f"{split_report}/{metric}")
    heights = np.arange(len(shown), len(names))
    if levels:
        axes.plot([*levels.values()], heights, "D", color=INK, markersize=4, label="baseline")
        axes.axhline(len(shown) - 0.5, color=GREY, linewidth=0.6)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.set_xlabel(f"{split_report.capitalize()}: {metric_label(metric)}")
    if names:
        figure.legend(loc="outside lower center", ncols=3)
    return save_figure(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """Empty figure in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Style every panel, then write the PNG at 150 dpi without a software stamp."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(labelsize=7.5, color=GREY, labelcolor=INK)
        axes.xaxis.label.set(size=8.5, color=INK)
        axes.yaxis.label.set(size=8.5, color=INK)
    for legend in figure.legends:
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set(size=7.5, color=INK)
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # a name in a script the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            buffer, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None}
        )
    path = Path(path)
    write_atomically(path, lambda target: target.write_bytes(buffer.getvalue()))
    return path


def plain(text: str) -> str:
    """Text that the renderer takes literally, dollar signs included."""
    return str(text).replace("$", r"\$")


def engineering():
    """Tick labels such as 250k and 1.5M."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")


def baseline_levels(baselines: dict | None, split: str, metric: str) -> dict[str, float]:
    """Finite baseline values of a metric on a split, by name."""
    entries = (baselines or {}).get(split, {}).items()
    values = {name: entry.get(metric) for name, entry in entries}
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def curve_of(runs: pd.DataFrame, column: str) -> np.ndarray:
    """[E, 4] steps, mean and interval limits over the seeds of one configuration."""
    return np.array(
        [
            (rows["env_steps"].mean(), *mean_interval(rows[column]))
            for _, rows in runs.groupby("evaluation")
        ]
    )


def draw_curve(
    axes: Axes, curve: np.ndarray, label: str, shift: float = 0.0, dash: str = "-", **style: Any
) -> None:
    """Draw a mean [E, 4] with its band; a single point gets a bar, and is shifted by a share."""
    steps, mean, low, high = curve.T
    if len(curve) == 1:
        axes.set_xticks(steps)
        steps = steps * (1.0 + shift)
        axes.vlines(steps, low, high, linewidth=1.2, **style)
        style |= {"marker": "o", "markersize": 4}
    axes.plot(steps, mean, linewidth=1.6, label=label, linestyle=dash, **style)
    if len(curve) > 1:
        axes.fill_between(steps, low, high, alpha=0.16, linewidth=0, **style)


def _draw_curves(axes: Axes, results, leaderboard, column: str, top: int) -> list[np.ndarray]:
    """Draw top and median configurations; the curves come back for the axis limits."""
    healthy = leaderboard[~leaderboard["diverged"]]["config"].tolist()
    chosen = [
        (config, COLOURS[index % len(COLOURS)], f"#{index + 1} config {config}")
        for index, config in enumerate(healthy[:top])
    ]
    median = healthy[len(healthy) // 2] if len(healthy) > top else None
    if median is not None and median not in healthy[:top]:
        chosen.append((median, GREY, f"median config {median}"))
    curves = [curve_of(results[results["config"] == config], column) for config, _, _ in chosen]
    for depth, ((_, colour, label), curve) in enumerate(zip(chosen, curves, strict=True)):
        style: dict[str, Any] = {"color": colour, "zorder": 3 - 0.1 * depth}  # the best on top
        draw_curve(axes, curve, label, 0.1 * (depth - 0.5 * (len(curves) - 1)), **style)
    return curves


def draw_levels(axes: Axes, levels: dict[str, float]) -> None:
    """Dashed baselines with their names at the right edge, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    ordered = sorted(levels.items(), key=lambda item: item[1])
    heights = _spread(np.array([level for _, level in ordered]), gap)
    for (name, level), height in zip(ordered, heights, strict=True):
        axes.axhline(level, color=INK, linestyle=(0, (5, 3)), linewidth=0.8, zorder=1.5)
        axes.annotate(
            plain(name),
            xy=(1.0, level),
            xytext=(1.03, height),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": GREY, "shrinkA": 0},
        )


def _spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """Nearest heights (least squares) to the ascending given ones that are `gap` apart."""
    from scipy import optimize

    offsets = gap * np.arange(len(heights))
    return optimize.isotonic_regression(heights - offsets).x + offsets if len(heights) else heights


def limits_of(curves: list[np.ndarray], levels: list[float]) -> tuple[float, float]:
    """Vertical limits that show every line whole and bands up to half the lines' span beyond."""
    lines = np.concatenate([np.asarray(levels, dtype=float), *(curve[:, 1] for curve in curves)])
    bands = np.concatenate([np.empty(0), *(curve[:, 2:].ravel() for curve in curves)])
    lines, bands = lines[np.isfinite(lines)], bands[np.isfinite(bands)]
    if lines.size == 0:
        return 0.0, 1.0
    low, high = lines.min(), lines.max()
    span = high - low
    if bands.size:
        reach = 0.5 * span if span > 0 else np.inf
        low, high = (
            min(low, max(bands.min(), low - reach)),
            max(high, min(bands.max(), high + reach)),
        )
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_ranking(axes: Axes, shown: pd.DataFrame, select: str, report: str) -> None:
    """Open dots for the selecting score, filled dots and bars for the reported one."""
    heights = np.arange(len(shown))
    if shown.empty:
        return
    axes.hlines(heights, shown[f"{report}_low"], shown[f"{report}_high"], color=COLOURS[0])
    split = report.partition("/")[0]
    axes.plot(shown[report], heights, "o", markersize=5, color=COLOURS[0], label=f"{split}, 95% CI")
    if select != report:
        style: dict[str, Any] = {
            "markerfacecolor": "none",
            "color": COLOURS[1],
            "linestyle": "none",
        }
        label = f"{select.partition('/')[0]} (selects)"
        axes.plot(shown[select], heights, marker="o", markersize=4, label=label, **style)
