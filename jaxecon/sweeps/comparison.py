"""Comparing the finished arms of a study: tables, a figure, and what validation would choose."""

from __future__ import annotations

import json
import os
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxecon.sweeps import plots
from jaxecon.sweeps.statistics import (
    HPARAM_PREFIX,
    final_evaluation,
    hyperparameters,
    leaderboard,
    mean_interval,
)
from jaxecon.sweeps.storage import BASELINES_BY_CONFIG, write_parquet
from jaxecon.sweeps.words import settings_in_words, show

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

MARK = "arms.json"  # in the folder of a comparison
MOST_PANELS = 6
IN_A_ROW = 3
MOST_LEVELS = 6  # baselines drawn in a panel, the best ones
ALIKE = 1.1  # largest ratio of numbers of weights that goes without saying


class Comparison(NamedTuple):
    """What the arms of a study left in their folders.

    Attributes:
      metric: name without its split.
      split: the one that is compared, test where there is one.
      runs: results of all arms, with a column `arm`.
      weights: number of trained weights of each arm, None where it is unknown.
      baselines: {split: {policy: {metric: value}}} of each configuration, for each arm.
    """

    metric: str
    split: str
    runs: pd.DataFrame
    weights: dict[str, int | None]
    baselines: dict[str, list[dict]]

    @property
    def column(self) -> str:
        """The metric on the compared split."""
        return f"{self.split}/{self.metric}"

    @property
    def economies(self) -> list[str]:
        """Columns of the searched numbers of the environment, which tell economies apart."""
        names = hyperparameters(self.runs)
        return [HPARAM_PREFIX + name for name in names if name.startswith("env.")]


def load_comparison(folder: str | os.PathLike) -> Comparison:
    """The finished arms in a folder.

    Raises:
      FileNotFoundError: the folder holds no comparison.
    """
    import pandas as pd

    folder = pathlib.Path(folder)
    if not (folder / MARK).is_file():
        raise FileNotFoundError(f"No {MARK} in {str(folder)!r}: its arms have not all finished.")
    about = json.loads((folder / MARK).read_text())
    parts = [
        pd.read_parquet(folder / arm / "results.parquet").assign(arm=arm) for arm in about["arms"]
    ]
    runs = pd.concat(parts, ignore_index=True)
    split = "test" if f"test/{about['metric']}" in runs.columns else "validation"
    weights = {arm: _read(folder / arm / "run.json").get("num_weights") for arm in about["arms"]}
    found = Comparison(about["metric"], split, runs, weights, {})
    num_configs = runs["config"].nunique()
    for arm in about["arms"]:
        shared = {} if found.economies else _read(folder / arm / "baselines.json")
        own = _read(folder / arm / BASELINES_BY_CONFIG)
        found.baselines[arm] = own or [shared] * num_configs
    return found


def _read(file: pathlib.Path) -> Any:
    """What a JSON file holds, {} if there is none."""
    return json.loads(file.read_text()) if file.is_file() else {}


def compare_arms(folder: str | os.PathLike) -> pd.DataFrame:
    """Write arms.parquet and arms.png of finished arms.

    Returns:
      One row per arm and configuration: the number of trained weights, and the metric at the last
      evaluation and its mean over all evaluations (the area under the learning curve), each with a
      95% interval over seeds.

    Raises:
      FileNotFoundError: the folder holds no comparison.
    """
    folder = pathlib.Path(folder)
    comparison = load_comparison(folder)
    table = arms_table(comparison)
    write_parquet(table, folder / "arms.parquet")
    arms_plot(comparison, folder / "arms.png")
    return table


def arms_table(comparison: Comparison) -> pd.DataFrame:
    """The rows that `compare_arms` writes, ordered by configuration and arm."""
    import pandas as pd

    rows = []
    for (arm, config), group in comparison.runs.groupby(["arm", "config"], sort=False):
        last = final_evaluation(group)[comparison.column]
        area = group.groupby("seed")[comparison.column].mean()
        row: dict[str, Any] = {"arm": arm, "config": config, **_settings(group)}
        row |= {"weights": comparison.weights[arm], "seeds": len(last)}
        for name, values in (("final", last), ("area", area)):
            interval = mean_interval(values.to_numpy())
            row |= {name: interval.estimate, f"{name}_low": interval.low}
            row |= {f"{name}_high": interval.high}
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["config", "arm"], ignore_index=True)
    return table.astype({"weights": "Int64"})


def _settings(rows: pd.DataFrame) -> dict[str, float]:
    """Searched values of one configuration."""
    return {name: rows[HPARAM_PREFIX + name].iloc[0] for name in hyperparameters(rows)}


def baselines_table(comparison: Comparison) -> pd.DataFrame:
    """What known policies reach on the compared split: `baseline`, the economy, `final`.

    The economy is what was searched of the environment's numbers; there are no rows for economies
    in which the baselines were not played.
    """
    import pandas as pd

    rows = []
    for group in _by_economy(comparison.runs, comparison.economies):
        first = group.iloc[0]
        economy = {name.removeprefix(HPARAM_PREFIX): first[name] for name in comparison.economies}
        for name, value in _levels(comparison, first["config"]).items():
            rows.append({"baseline": name, **economy, "final": value})
    return pd.DataFrame(rows)


def _by_economy(runs: pd.DataFrame, economies: list[str]) -> list[pd.DataFrame]:
    """Rows of each searched economy apart; all together where none is searched."""
    return [group for _, group in runs.groupby(economies)] if economies else [runs]


def _levels(comparison: Comparison, config: int) -> dict[str, float]:
    """Baselines of a configuration; names carry the arm where arms differ, as economies may."""
    found: dict[str, dict[str, float]] = {}
    for arm, known in comparison.baselines.items():
        levels = plots.baseline_levels(known[config], comparison.split, comparison.metric)
        for name, value in levels.items():
            found.setdefault(name, {})[arm] = value
    return {
        name if len(set(values.values())) == 1 else f"{name} ({arm})": value
        for name, values in found.items()
        for arm, value in values.items()
    }


def selected_table(comparison: Comparison) -> pd.DataFrame:
    """The configuration that validation selects for each arm, and its mean on test.

    Returns:
      `arm`, `config`, settings, `validation`, `test`, `test_low`, `test_high`. Where economies are
      searched, one is selected in each. No rows where there is nothing to select, or no test split.
    """
    import pandas as pd

    rows = []
    for arm, own in comparison.runs.groupby("arm", sort=False):
        for group in _by_economy(own, comparison.economies):
            if comparison.split != "test" or group["config"].nunique() == 1:
                continue
            best = leaderboard(group, comparison.metric, top=1).iloc[0]
            row = {"arm": arm, "config": best["config"]}
            row |= _settings(group[group["config"] == best["config"]])
            row |= {"validation": best[f"validation/{comparison.metric}"]}
            for end in ("", "_low", "_high"):
                row[f"test{end}"] = best[f"{comparison.column}{end}"]
            rows.append(row)
    return pd.DataFrame(rows)


def weights_note(comparison: Comparison) -> str:
    """Sentence that says so where arms differ by more than 10% in weights, otherwise nothing."""
    known = {arm: number for arm, number in comparison.weights.items() if number}
    if not known or max(known.values()) <= ALIKE * min(known.values()):
        return ""
    listed = ", ".join(f"{arm} {number:,}" for arm, number in known.items())
    return f"Arms differ by more than 10% in the number of trained weights: {listed}."


def terminal_table(rows: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None) -> Table:
    """Any of the tables here for the terminal, intervals beside their means.

    Args:
      rows: such as from `arms_table`; columns that end in _low and _high are limits.
      title: of the table.
      baselines: from `baselines_table`, as further rows.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [name for name in rows.columns if not name.endswith(("_low", "_high"))]
    for name in shown:
        justify: Any = "left" if name in ("arm", "config") else "right"
        table.add_column(escape(name), justify=justify, overflow="fold", no_wrap=name == "arm")
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        table.add_row(*(escape(_cell(row, name)) for name in shown))
    if baselines is not None and len(baselines):
        table.add_section()
        for row in baselines.rename(columns={"baseline": "arm"}).to_dict("records"):
            table.add_row(*(escape(_cell(row, name)) if name in row else "" for name in shown))
    return table


def _cell(row: dict[str, Any], name: str) -> str:
    """A value, with its interval if it has one."""
    low, high = (show(row.get(f"{name}_{end}")) for end in ("low", "high"))
    return show(row[name]) + (f" ({low} to {high})" if low != show(None) else "")


def arms_plot(comparison: Comparison, path: str | os.PathLike) -> pathlib.Path:
    """Path of a PNG with learning curves of all arms, a panel for each configuration.

    Lines are means over seeds, bands 95% intervals, dashed lines the best baselines. The first
    configurations are shown where there are many. A caption says where arms differ in size.

    Args:
      comparison: from `load_comparison`.
      path: where the PNG goes; replaced in one step.
    """
    configs = sorted(comparison.runs["config"].unique())[:MOST_PANELS]
    num_rows, num_columns = -(-len(configs) // IN_A_ROW), min(len(configs), IN_A_ROW)
    figure = plots.new_figure(max(3.3 * num_columns, 4.6), 2.6 * num_rows + 0.8)
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    panels = grid.ravel()[: len(configs)]
    for axes in grid.ravel()[len(configs) :]:
        axes.set_axis_off()
    curves, levels = [], []
    for axes, config in zip(panels, configs, strict=True):
        here = comparison.runs[comparison.runs["config"] == config]
        curves += _draw_arms(axes, here, comparison.column)
        best = sorted(_levels(comparison, config).items(), key=lambda item: -item[1])
        levels.append(dict(best[:MOST_LEVELS]))
        title = settings_in_words(_settings(here))
        axes.set_title(plots.plain(title), loc="left", fontsize=8)
        axes.xaxis.set_major_formatter(plots.engineering())
    for axes in panels[-num_columns:]:
        axes.set_xlabel("Training experience [environment steps]")
    for axes in grid[:, 0]:
        axes.set_ylabel(plots.metric_label(comparison.metric))
    heights = [height for level in levels for height in level.values()]
    panels[0].set_ylim(*plots.limits_of(curves, heights))
    for axes, level in zip(panels, levels, strict=True):
        plots.draw_levels(axes, level)
    handles, labels = panels[0].get_legend_handles_labels()
    note = plots.plain(weights_note(comparison))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=6, title=note or None)
    legend.get_title().set(size=7.5, color=plots.INK)
    return plots.save_figure(figure, path)


def _draw_arms(axes: Any, here: pd.DataFrame, column: str) -> list:
    """Draw every arm of one configuration; the curves come back for the axis limits."""
    groups = [*here.groupby("arm", sort=False)]
    curves = [plots.curve_of(group, column) for _, group in groups]
    for index, ((arm, _), curve) in enumerate(zip(groups, curves, strict=True)):
        style = {"color": plots.COLOURS[index % len(plots.COLOURS)]}
        dash = "-" if index < len(plots.COLOURS) else "--"
        shift = 0.1 * (index - 0.5 * (len(groups) - 1))
        plots.draw_curve(axes, curve, plots.plain(arm), shift, dash, **style)
    return curves
