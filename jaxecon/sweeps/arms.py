"""Studies with arms: the same configurations and seeds under different static settings, compared.

    [arms.full.algorithm.config]
    applicability = "full"
    [arms.none.algorithm.config]
    applicability = "none"

Static settings fix shapes, so every arm is a study of its own, compiled once and resumed on its
own, in a folder under the run's. Rows with equal configuration and seed drew the same numbers.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxecon.sweeps import plots
from jaxecon.sweeps.plan import make_plan
from jaxecon.sweeps.runner import Progress, run_study
from jaxecon.sweeps.statistics import (
    HPARAM_PREFIX,
    final_evaluation,
    hyperparameters,
    mean_interval,
)
from jaxecon.sweeps.storage import (
    default_folder,
    holds_finished,
    write_atomically,
    write_parquet,
)
from jaxecon.sweeps.study import Study, load_study

if TYPE_CHECKING:
    import pandas as pd

MARK = "arms.json"  # in the folder of a comparison
MOST_PANELS = 6


def arm_studies(study: Study) -> dict[str, Study]:
    """The study of each arm: the common tables, with the arm's own settings in their place.

    Raises:
      ValueError: an arm sets something unknown or out of range; the arm is named.
    """
    tables = study.resolved()
    arms = tables.pop("arms", {})
    studies = {}
    for name, own in arms.items():
        merged = _merged(tables, own)
        merged["study"] = merged["study"] | {"name": f"{study.study.name}-{name}"}
        try:
            studies[name] = load_study(merged)
            make_plan(studies[name])  # finds mistakes before the first arm runs
        except ValueError as error:
            raise ValueError(f"arms.{name}: {error}") from None
    return studies


def _merged(tables: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries in which `own` goes before `tables`."""
    both = dict(tables)
    for key, value in own.items():
        is_nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = _merged(both[key], value) if is_nested else value
    return both


def run_arms(
    study: Study,
    out: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[str, Progress], None] = lambda arm, progress: None,
) -> pathlib.Path:
    """Run every arm, resumed where it was interrupted, and compare them.

    Args:
      study: with arms.
      out: folder of the comparison; runs/NAME if None. Each arm has a run folder in it.
      overwrite: replace finished or different runs in those folders.
      on_progress: called with the arm's name and what `run_study` reports.

    Returns:
      The folder, with arms.parquet, arms.png and the arms' run folders.

    Raises:
      ValueError, FileExistsError, MemoryError: as `run_study` does; nothing runs where an arm's
        settings are wrong.
    """
    folder = pathlib.Path(default_folder(study) if out is None else out)
    studies = arm_studies(study)
    finished = {name for name, one in studies.items() if holds_finished(folder / name, one)}
    if finished == set(studies) and (folder / MARK).is_file() and not overwrite:
        raise FileExistsError(
            f"{folder} holds this study, finished. Look at it with 'jaxecon report {folder}', "
            "or run it anew with --overwrite."
        )
    for name, one in studies.items():
        if name in finished and not overwrite:
            continue

        def report(progress: Progress, name: str = name) -> None:
            on_progress(name, progress)

        run_study(one, folder / name, overwrite=overwrite, on_progress=report)
    about = {"name": study.study.name, "metric": study.study.metric, "arms": [*study.arms]}
    text = json.dumps(about, indent=1)
    write_atomically(folder / MARK, lambda target: target.write_text(text))
    compare_arms(folder)
    return folder


def compare_arms(folder: str | os.PathLike) -> pd.DataFrame:
    """Write arms.parquet and arms.png of finished arms.

    Returns:
      One row per arm and configuration: the metric at the last evaluation and its mean over all
      evaluations (the area under the learning curve), each with a 95% interval over seeds.

    Raises:
      FileNotFoundError: the folder holds no comparison.
    """
    folder = pathlib.Path(folder)
    if not (folder / MARK).is_file():
        raise FileNotFoundError(f"No {MARK} in {str(folder)!r}: its arms have not all finished.")
    about = json.loads((folder / MARK).read_text())
    runs = _read(folder, about["arms"])
    column = _column(runs, about["metric"])
    table = _summary(runs, column)
    write_parquet(table, folder / "arms.parquet")
    arms_plot(runs, column, folder / "arms.png")
    return table


def _read(folder: pathlib.Path, arms: list[str]) -> pd.DataFrame:
    """Results of all arms, with a column `arm`."""
    import pandas as pd

    parts = [pd.read_parquet(folder / arm / "results.parquet").assign(arm=arm) for arm in arms]
    return pd.concat(parts, ignore_index=True)


def _column(runs: pd.DataFrame, metric: str) -> str:
    """The metric on the test split, or on validation where there is no test."""
    test, validation = f"test/{metric}", f"validation/{metric}"
    return test if test in runs.columns else validation


def _summary(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for (arm, config), group in runs.groupby(["arm", "config"], sort=False):
        last = final_evaluation(group)[column]
        area = group.groupby("seed")[column].mean()
        row: dict[str, Any] = {"arm": arm, "config": config, "seeds": len(last)}
        row |= _settings(group)
        for name, values in (("final", last), ("area", area)):
            interval = mean_interval(values.to_numpy())
            row |= {name: interval.estimate, f"{name}_low": interval.low}
            row |= {f"{name}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["config", "arm"], ignore_index=True)


def arms_plot(runs: pd.DataFrame, column: str, path: str | os.PathLike) -> pathlib.Path:
    """Path of a PNG with learning curves of all arms, a panel for each configuration.

    Lines are means over seeds, bands 95% intervals. The first configurations are shown where there
    are many.

    Args:
      runs: results of all arms, with a column `arm`.
      column: the metric with its split.
      path: where the PNG goes; replaced in one step.
    """
    configs = sorted(runs["config"].unique())[:MOST_PANELS]
    figure = plots.new_figure(max(2.6 * len(configs), 4.6), 3.2)
    panels = figure.subplots(1, len(configs), squeeze=False, sharey=True)[0]
    for axes, config in zip(panels, configs, strict=True):
        here = runs[runs["config"] == config]
        for index, (arm, group) in enumerate(here.groupby("arm", sort=False)):
            points = np.array([(x, *mean_interval(g)) for x, g in _by_steps(group, column)])
            steps, mean, low, high = points.T
            colour = plots.COLOURS[index % len(plots.COLOURS)]
            dashes = "-" if index < len(plots.COLOURS) else "--"
            axes.plot(steps, mean, dashes, color=colour, linewidth=1.6, label=plots.plain(arm))
            axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
        values = [f"{name} {value:.4g}" for name, value in _settings(here).items()]
        axes.set_title(plots.plain(", ".join(values)), loc="left", fontsize=8)
        axes.set_xlabel("Training experience [environment steps]")
        axes.xaxis.set_major_formatter(plots.engineering())
    panels[0].set_ylabel(plots.metric_label(column.split("/", 1)[1]))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return plots.save_figure(figure, path)


def _by_steps(group: pd.DataFrame, column: str) -> list[tuple[int, np.ndarray]]:
    return [(steps, rows[column].to_numpy()) for steps, rows in group.groupby("env_steps")]


def _settings(rows: pd.DataFrame) -> dict[str, float]:
    """Searched values of one configuration."""
    return {name: rows[HPARAM_PREFIX + name].iloc[0] for name in hyperparameters(rows)}
