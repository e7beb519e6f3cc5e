"""The report of a finished sweep: one HTML file with everything inside, and a terminal table.

`leaderboard_table` is what the terminal shows, and `write_report` draws the figures and writes
`report.html`, which needs no network, no script and no other file.
"""

from __future__ import annotations

import base64
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxecon.sweeps import plots, statistics, words
from jaxecon.sweeps.loading import Run, load_run
from jaxecon.sweeps.sensitivity import sensitivity_plot
from jaxecon.sweeps.statistics import HPARAM_PREFIX
from jaxecon.sweeps.storage import write_atomically
from jaxecon.sweeps.words import show

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

TEMPLATE = Path(__file__).with_name("report.html.j2")
NUM_ROWS = 20  # of the leaderboard in the report


def write_report(run_dir: str | os.PathLike) -> Path:
    """Path of the `report.html` written into a run folder, beside the PNGs of its figures.

    Args:
      run_dir: folder of a finished sweep, see `load_run`.

    Returns:
      The path. Figures are embedded, so the file can be mailed or archived alone; every file is
      replaced in one step, so an interrupted call leaves the former report whole.
    """
    import jinja2

    run = load_run(run_dir)
    loader = jinja2.FileSystemLoader(TEMPLATE.parent)
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["show"] = show
    page = environment.get_template(TEMPLATE.name).render(_contents(run))
    path = run.path / "report.html"
    write_atomically(path, lambda target: target.write_bytes(page.encode("utf-8")))
    return path


def rank_run(run: Run, top: int | None = None) -> pd.DataFrame:
    """Leaderboard of a run: selected on validation, quoted on test where there is a test split."""
    split_report = run.split_report
    return statistics.leaderboard(run.results, run.metric, split_report=split_report, top=top)


def leaderboard_table(leaderboard: pd.DataFrame, baselines: dict, metric: str) -> Table:
    """Terminal table of ranked configurations with the baselines below them.

    Args:
      leaderboard: from `rank_run` or `statistics.leaderboard`, cut to the rows wanted.
      baselines: {split: {name: {metric: value}}}; may be empty.
      metric: name without its split.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    split = "test" if f"test/{metric}" in leaderboard.columns else "validation"
    rows = _leaderboard_rows(leaderboard, metric, split)
    seeds = " to ".join(map(str, sorted({row["num_seeds"] for row in rows})))
    title = f"{metric}: selected on validation, reported on {split}, {seeds} seeds"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("config", no_wrap=True, max_width=24)
    for heading in ("validation", f"{split} (95% CI)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    swept = statistics.hyperparameters(leaderboard)
    for row in rows:
        pairs = zip(swept, row["settings"], strict=True)
        settings = "\n".join(f"{name} {show(value)}" for name, value in pairs)
        numbers = (show(row["selected"]), show(row["reported"]) + row["margin"])
        table.add_row(show(row["rank"]), str(row["config"]), *numbers, escape(settings))
    if baselines:
        table.add_section()
    for row in _baseline_rows(baselines, metric, split):
        table.add_row("", escape(row["name"]), show(row["selected"]), show(row["reported"]))
    return table


def _contents(run: Run) -> dict:
    """What the template shows, after drawing the figures."""
    ranked, split = rank_run(run), run.split_report
    best = ranked.iloc[0]
    importance = statistics.sensitivity(run.results, run.metric)
    baselines = _baseline_rows(run.baselines, run.metric, split)
    return {
        "name": run.name,
        "metric": run.metric,
        "split": split,
        "summary": words.summary(run, ranked, baselines),
        "note": words.note(run, ranked),
        "swept": statistics.hyperparameters(run.results),
        "rows": _leaderboard_rows(ranked.head(NUM_ROWS), run.metric, split),
        "num_configs": len(ranked),
        "num_diverged": int(ranked["diverged"].sum()),
        "baselines": baselines,
        "figures": _figures(run, ranked),
        "best": best["config"],
        "best_metrics": _metric_rows(run.results, best["config"]),
        "hyperparameters": _hyperparameter_rows(ranked, importance),
        "study": (run.path / "study.toml").read_text("utf-8"),
        "record": _flatten(run.record),
    }


def _figures(run: Run, ranked: pd.DataFrame) -> list[dict]:
    """Draw the figures into the run folder; title, caption and base64 content of each."""
    results, metric, baselines = run.results, run.metric, run.baselines
    ranking, curves, effects = (
        run.path / f"{name}.png" for name in ("leaderboard", "learning_curves", "sensitivity")
    )
    split = run.split_report
    plots.leaderboard_plot(ranked, metric, ranking, baselines=baselines, split_report=split)
    plots.learning_curves(results, ranked, metric, curves, baselines=baselines)
    sensitivity_plot(results, metric, effects)
    captions = (
        ("Ranking", ranking, "Best configurations beside the baselines. Filled dots are means over "
         f"seeds on {split} with 95% Student t intervals; open dots are the validation means that "
         "ranked them."),
        ("Learning curves", curves, "Mean over seeds with 95% Student t bands (cut off at the "
         "panel's edge) of the best configurations, in grey the configuration of median rank; "
         "dashed lines are baselines."),
        ("Sensitivity", effects, "Final validation mean of each configuration against each swept "
         "hyperparameter. Lines join medians of groups of similar values; the share is the "
         "first-order variance between groups beyond chance, ρ is Spearman's rank correlation."),
    )  # fmt: skip
    captions += _frontier_figure(run) + _symmetry_figure(run)
    return [
        {"title": title, "caption": caption, "image": base64.b64encode(path.read_bytes()).decode()}
        for title, path, caption in captions
    ]


def _frontier_figure(run: Run) -> tuple:
    """The frontier of a study of mechanisms; nothing for any other."""
    from jaxecon.sweeps import frontier

    if frontier.frontier_pair(run) is None:
        return ()
    path = frontier.frontier_plot(run, run.path / "frontier.png")
    caption = "What the designer wants against what a liar gains, means over seeds with 95% "
    caption += "Student t intervals; diamonds are the environment's rules. Up and to the left "
    caption += "is better. The gain is what the attack found, a lower bound."
    return (("Frontier", path, caption),)


def _symmetry_figure(run: Run) -> tuple:
    """What relaxed networks left of a symmetry; nothing for any other, or without its policies."""
    from jaxecon.sweeps.symmetry import symmetry_plot

    try:
        path = symmetry_plot(run.path)
    except (OSError, ValueError):  # policies, or data that the environment needs, are gone
        return ()
    if path is None:
        return ()
    caption = "Left, deviation over mean of the policy's relaxed weights across the group, mean "
    caption += "over layers and over the iterations since the last evaluation, with 95% Student t "
    caption += "bands over seeds; one configuration shows each layer, dashed those of the critic. "
    caption += "Right, what share of the squares of its final weights has left the symmetry, by "
    caption += "what the broken part keeps and breaks, with the interval of the whole; the gain of "
    caption += "each element where the network is one of sets."
    return (("Symmetry", path, caption),)


def _leaderboard_rows(leaderboard: pd.DataFrame, metric: str, split: str) -> list[dict]:
    """Rows of the leaderboard under the names the tables use."""
    settings = [HPARAM_PREFIX + name for name in statistics.hyperparameters(leaderboard)]
    column = f"{split}/{metric}"
    rows = []
    for _, row in leaderboard.iterrows():
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        interval = math.nan if math.isnan(low) else f"{show(low)} to {show(high)}"
        margin = "" if math.isnan(low) else f" ± {(high - low) / 2.0:.2g}"  # t is symmetric
        selected = "diverged" if row["diverged"] else row[f"validation/{metric}"]
        rows.append({"selected": selected, "reported": row[column], "interval": interval})
        rows[-1]["margin"] = margin
        rows[-1] |= {name: row[name] for name in ("rank", "config", "num_seeds", "env_steps")}
        rows[-1]["settings"] = [row[name] for name in settings]
    return rows


def _baseline_rows(baselines: dict, metric: str, split: str) -> list[dict]:
    """Name, validation and reported value of each baseline, best reported first."""
    names = dict.fromkeys(name for entries in baselines.values() for name in entries)

    def value(name, split):
        number = baselines.get(split, {}).get(name, {}).get(metric)
        return math.nan if number is None else float(number)

    rows = [
        {"name": name, "selected": value(name, "validation"), "reported": value(name, split)}
        for name in names
    ]
    return sorted(rows, key=lambda row: (math.isnan(row["reported"]), -row["reported"]))


def _metric_rows(results: pd.DataFrame, config: int) -> list[dict]:
    """Every measured metric of a configuration's final evaluation, with its interval per split."""
    final = statistics.final_evaluation(results[results["config"] == config])
    measured = [name.split("/", 1) for name in final.columns if "/" in name]
    splits = ("validation", "test", "train")
    names = dict.fromkeys(name for split, name in measured if split in splits)
    rows = []
    for name in names:
        columns = [f"{split}/{name}" for split in splits]
        cells = [statistics.mean_interval(final[c]) if c in final else None for c in columns]
        rows.append({"name": name, "cells": cells})
    return rows


def _hyperparameter_rows(ranked: pd.DataFrame, importance: pd.DataFrame) -> list[dict]:
    """Explored values, the best configuration's value and the importance of each, in order."""
    rows = importance.to_dict("records")
    for row in rows:
        values = ranked[HPARAM_PREFIX + row["hyperparameter"]]
        row["best"] = values.iloc[0]
        row["explored"] = _explored(values.dropna())
    return rows


def _explored(values: pd.Series) -> str:
    """The values a sweep tried: each of up to six, else the range of numbers or a first few."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        distinct = sorted(values.unique())
        if len(distinct) > 6:
            return f"{show(distinct[0])} to {show(distinct[-1])}"
        return ", ".join(map(show, distinct))
    labels = sorted(set(values.map(str)))
    return ", ".join(labels[:6] + (["…"] if len(labels) > 6 else []))


def _flatten(record: dict, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of every leaf of nested dictionaries, in order."""
    leaves = []
    for name, value in record.items():
        if isinstance(value, dict):
            leaves += _flatten(value, f"{prefix}{name}.")
        else:
            leaves.append((f"{prefix}{name}", value))
    return leaves
