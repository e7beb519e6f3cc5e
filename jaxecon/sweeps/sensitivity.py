"""Sensitivities: what each swept hyperparameter did to the final score, a panel for each."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxecon.sweeps.plots import COLOURS, INK, metric_label, new_figure, plain, save_figure
from jaxecon.sweeps.statistics import HPARAM_PREFIX, final_scores, sensitivity, value_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def sensitivity_plot(
    results: pd.DataFrame,
    metric: str,
    path: str | os.PathLike,
    *,
    split: str = "validation",
) -> Path:
    """Path of a PNG with the final score against each swept hyperparameter, a panel for each.

    Dots are configurations (mean over seeds), the line joins medians of groups of similar values,
    crosses on the floor are diverged configurations and triangles scores far below the rest.
    Panels come in order of importance; positive values spread over decades get a log axis.

    Args:
      results: table of the sweep.
      metric: name without its split.
      path: where the PNG goes; replaced in one step.
      split: where to read the score.
    """
    scores = final_scores(results, metric, split)
    importance = sensitivity(results, metric, split=split).set_index("hyperparameter")
    num_panels = max(len(importance), 1)
    num_columns = min(num_panels, 3)
    num_rows = math.ceil(num_panels / num_columns)
    figure = new_figure(max(2.4 * num_columns, 3.6), 2.5 * num_rows + 0.2)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    floor = _score_limits(scores["score"].to_numpy())
    for axes, name in zip(panels.flat, importance.index, strict=False):
        _draw_sensitivity(axes, scores, name, floor)
        axes.set_title(_importance_text(importance.loc[name]), loc="left", fontsize=7.5)
    for axes in panels.flat[len(importance) :]:
        axes.set_axis_off()
    shown = [axes.get_legend_handles_labels() for axes in panels.flat]
    legend = {label: handle for pair in shown for handle, label in zip(*pair, strict=True)}
    if legend:
        figure.legend([*legend.values()], [*legend], loc="outside lower center", ncols=4)
    if len(importance) == 0:
        panels[0, 0].text(0.5, 0.5, "No hyperparameter was swept.", ha="center", va="center")
    figure.supylabel(f"{split.capitalize()}: {metric_label(metric)}", fontsize=8.5, color=INK)
    return save_figure(figure, path)


def _importance_text(row: pd.Series) -> str:
    """Title with the variance share and the rank correlation ρ, where they exist."""
    parts = []
    if np.isfinite(row["variance_explained"]):
        parts.append(f"explains {100.0 * row['variance_explained']:.0f}% of variance")
    if np.isfinite(row["spearman"]):
        parts.append(f"ρ = {round(row['spearman'], 2) + 0.0:.2f}".replace("-", "−"))
    return ", ".join(parts)


def _score_limits(score: np.ndarray) -> tuple[float, float]:
    """Vertical limits for scattered scores; far outliers below (three box heights) stay outside."""
    score = score[np.isfinite(score)]
    if score.size == 0:
        return 0.0, 1.0
    lower, upper = np.quantile(score, [0.25, 0.75])
    low, high = score.min(), score.max()
    if upper > lower:
        low = max(low, lower - 3.0 * (upper - lower))
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_sensitivity(axes: Axes, scores: pd.DataFrame, name: str, limits) -> None:
    """One panel: configurations, medians of groups, and what lies below the panel at its floor."""
    known = scores.dropna(subset=HPARAM_PREFIX + name)
    values, score = known[HPARAM_PREFIX + name], known["score"].to_numpy()
    place, is_number = _places(axes, values)
    low, high = limits
    floor = low + 0.03 * (high - low)
    diverged, below = ~np.isfinite(score), score < low
    seen = ~diverged & ~below
    jitter = 0.0 if is_number else np.random.default_rng(0).uniform(-0.12, 0.12, len(place))
    middles = _group_medians(values[~diverged], place[~diverged], score[~diverged])
    draw = functools.partial(axes.plot, linestyle="none")
    dots: dict[str, Any] = {"markersize": 3, "color": COLOURS[0], "alpha": 0.55}
    draw((place + jitter)[seen], score[seen], marker="o", label="configuration", **dots)
    line: dict[str, Any] = {
        "linestyle": "-" if is_number else "none",
        "linewidth": 1.1,
        "markersize": 3.2,
    }
    draw(*middles, marker="s", color=INK, label="median of similar values", **line)
    for hidden, marker, colour, label in (
        (diverged, "x", COLOURS[1], "diverged"),
        (below, "v", COLOURS[0], "below the panel"),
    ):
        if hidden.any():
            heights = np.full(hidden.sum(), floor)
            draw(place[hidden], heights, marker=marker, color=colour, markersize=4, label=label)
    axes.set_ylim(low, high)
    axes.set_xlabel(plain(name))


def _places(axes: Axes, values: pd.Series) -> tuple[np.ndarray, bool]:
    """Horizontal positions of values, numeric or one per label, after setting up the axis."""
    import pandas as pd
    from matplotlib.ticker import MaxNLocator

    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        place, labels = pd.factorize(values.astype(str), sort=True)
        axes.set_xticks(np.arange(len(labels)), [plain(label) for label in labels])
        axes.set_xlim(-0.5, max(len(labels), 1) - 0.5)
        return place.astype(float), False
    place = values.to_numpy(dtype=float)
    if is_spread_over_decades(place):
        axes.set_xscale("log")
    elif 0 < values.nunique() <= min(6, len(values) // 2):  # a grid: label its points alone
        axes.set_xticks(np.unique(place))
    else:
        is_whole = pd.api.types.is_integer_dtype(values)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=is_whole))
    return place, True


def is_spread_over_decades(values: np.ndarray) -> bool:
    """Whether a log axis shows the values better.

    So it is when all are positive, span more than a decade, and have their median nearer to the
    geometric than to the arithmetic middle of the range. Span alone would mistake the smallest of
    many uniform draws for a log range.
    """
    if values.size == 0 or values.min() <= 0.0:
        return False
    low, high, median = values.min(), values.max(), np.median(values)
    is_geometric = abs(median - np.sqrt(low * high)) < abs(median - 0.5 * (low + high))
    return bool(high > 10.0 * low and is_geometric)


def _group_medians(values: pd.Series, place: np.ndarray, score: np.ndarray):
    """([G], [G]) median position and score of each group of similar values, left to right."""
    groups = value_groups(values)
    labels = sorted(set(groups), key=lambda label: np.median(place[groups == label]))
    members = [groups == label for label in labels]
    return [np.median(place[m]) for m in members], [np.median(score[m]) for m in members]
