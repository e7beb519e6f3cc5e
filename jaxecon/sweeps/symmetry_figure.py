"""The figure of relaxed weights: their spread over training, and where they ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxecon.sweeps import plots
from jaxecon.sweeps.loading import Run
from jaxecon.sweeps.words import settings_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = "train/relax_spread"  # of all layers; that of one has its name appended
CRITIC = "critic"  # layers of "critic" or "critics" do not act
MOST_CONFIGS = 6
MOST_COMPONENTS = 5  # drawn apart; what else broke is one more
PALE, DEEP = (0.79, 0.70, 0.88), (0.23, 0.06, 0.44)  # first and last line; bars have other colours


def draw_symmetry(run: Run, numbers: dict[str, Any], path: Path) -> Path:
    """Path of a PNG of how far the weights left the symmetry, and which part of it broke.

    Args:
      run: the study.
      numbers: what `symmetry.measure_symmetry` says of it.
      path: where the PNG goes; replaced in one step.
    """
    shown = evenly_chosen(numbers["configurations"], MOST_CONFIGS)
    figure = plots.new_figure(9.4, 4.6)
    left, right = figure.subplots(1, 2)
    _draw_spread(left, run, shown)
    left.set_title("How far the policy left the symmetry", loc="left", fontsize=9)
    if numbers["group"] is None:
        _draw_gains(right, shown)
        right.set_title("Gains at the end of training", loc="left", fontsize=9)
    else:
        _draw_shares(right, shown, numbers["components"])
        title = f"Which part of {numbers['group']} broke, at the end of training"
        right.set_title(plots.plain(title), loc="left", fontsize=9)
    return plots.save_figure(figure, path)


def evenly_chosen(items: Sequence[Any], most: int) -> list[Any]:
    """Up to `most` items, the first, the last and others at equal distances."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[place] for place in places]


def _name(entry: dict[str, Any]) -> str:
    """A configuration by what was searched, after its number where that is its tick."""
    settings = settings_in_words(entry["values"])
    return plots.plain(settings if len(entry["values"]) == 1 else f"{entry['config']}: {settings}")


def _draw_spread(axes: Axes, run: Run, shown: list[dict[str, Any]]) -> None:
    """A line for each configuration, the mean over acting layers, or for each layer of one."""
    prefix = f"{SPREAD}_"
    layers = [name for name in run.results.columns if name.startswith(prefix)]
    acting = [name for name in layers if not name.startswith(prefix + CRITIC)]
    results = run.results.assign(**{SPREAD: run.results[acting].mean(axis=1, skipna=False)})
    if run.results["config"].nunique() == 1:
        lines = [(0, layer, layer.removeprefix(prefix).replace("_", " ")) for layer in layers]
    else:
        lines = [(entry["config"], SPREAD, _name(entry)) for entry in shown]
    for (config, column, label), colour in zip(lines, _shades(len(lines)), strict=True):
        curve = plots.curve_of(results[results["config"] == config], column)
        curve = np.concatenate([np.zeros((1, 4)), curve])  # equal weights before the first step
        dash = "--" if column.startswith(prefix + CRITIC) else "-"
        plots.draw_curve(axes, curve, label, dash=dash, color=colour)
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(left=0.0)
    axes.set_ylabel("Spread of relaxed weights [deviation / mean]")
    axes.set_xlabel("Training experience [environment steps]")
    axes.xaxis.set_major_formatter(plots.engineering())
    _legend_below(axes)


def _shades(number: int) -> list[tuple[float, ...]]:
    """Colours from pale to deep."""
    shares = np.linspace(0.0 if number > 1 else 1.0, 1.0, number)[:, None]
    return [*map(tuple, (1.0 - shares) * np.array(PALE) + shares * np.array(DEEP))]


def _legend_below(axes: Axes) -> None:
    """A legend of two columns, or of one where names are long."""
    longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.15),
        ncols=1 if longest > 34 else 2,
        frameon=False,
        fontsize=7.5,
        labelcolor=plots.INK,
    )


def _draw_shares(axes: Axes, shown: list[dict[str, Any]], about: list[dict[str, Any]]) -> None:
    """Stacked bars of what broke, the largest part lowest, with the interval of the whole."""
    parts: dict[tuple[int, ...], list[int]] = {}  # components with one kernel are one part
    for index, component in enumerate(about[1:], start=1):
        parts.setdefault(tuple(component["kernel"]), []).append(index)
    means = _percent([[share["mean"] for share in entry["shares"]] for entry in shown])
    heights = [(means[:, each].sum(axis=1), about[each[0]]["words"]) for each in parts.values()]
    heights.sort(key=lambda part: -np.nan_to_num(part[0]).sum())
    drawn, others = heights[:MOST_COMPONENTS], heights[MOST_COMPONENTS:]
    if others:
        drawn.append((sum(height for height, _ in others), f"{len(others)} others"))
    places, bottom = np.arange(len(shown)), np.zeros(len(shown))
    for index, (height, label) in enumerate(drawn):
        colour = plots.COLOURS[index] if index < MOST_COMPONENTS else plots.GREY
        axes.bar(places, height, 0.62, bottom=bottom, color=colour, label=plots.plain(label))
        bottom = bottom + height
    whole = _percent([[entry["broken"][name] for name in ("low", "high")] for entry in shown])
    if np.isfinite(whole).any():
        label = "95% interval of the whole"
        axes.vlines(places, *whole.T, color=plots.INK, linewidth=1.0, label=label)
    for place in places[np.isnan(bottom)]:
        axes.annotate("diverged", (place, 0.0), rotation=90, ha="center", va="bottom", fontsize=7)
    _name_places(axes, places, shown)
    axes.set_ylabel("Broken share of the squared weights [%]")
    axes.set_ylim(bottom=0.0)
    _legend_below(axes)


def _percent(shares: list) -> np.ndarray:
    """Shares, None for unknown ones, in percent."""
    return 100.0 * np.array(shares, np.float64)


def _name_places(axes: Axes, places: np.ndarray, shown: list[dict[str, Any]]) -> None:
    """Ticks below bars: the value where one setting was searched, else the configuration."""
    names = [*shown[0]["values"]]
    if len(names) == 1:
        labels = [f"{entry['values'][names[0]]:.4g}" for entry in shown]
        axes.set_xlabel(plots.plain(names[0].removeprefix("env.").replace("_", " ").capitalize()))
    else:
        labels = [str(entry["config"]) for entry in shown]
        axes.set_xlabel("Configuration")
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.6, max(len(shown), 3) - 0.4)


def _draw_gains(axes: Axes, shown: list[dict[str, Any]]) -> None:
    """The gain of each element over the mean one, with its interval."""
    from matplotlib.ticker import MaxNLocator

    for index, (entry, colour) in enumerate(zip(shown, _shades(len(shown)), strict=True)):
        numbers = [[gain[name] for name in ("mean", "low", "high")] for gain in entry["gains"]]
        mean, low, high = np.array(numbers, np.float64).T
        places = np.arange(len(mean)) + 0.09 * (index - 0.5 * (len(shown) - 1))
        axes.vlines(places, low, high, color=colour, linewidth=1.2)
        axes.plot(places, mean, "o", color=colour, markersize=4, label=_name(entry))
    axes.axhline(1.0, color=plots.GREY, linewidth=0.8, zorder=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Element of the set, from 0 in the order of the observation")
    axes.set_ylabel("Gain [multiple of the mean gain]")
    if len(shown) > 1:
        _legend_below(axes)
