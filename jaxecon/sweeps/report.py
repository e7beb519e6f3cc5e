"""The report of a finished sweep: one HTML file with everything inside, and a terminal table.

`load_run` reads a run folder, `leaderboard_table` is what the terminal shows, and `write_report`
draws the figures and writes `report.html`, which needs no network, no script and no other file.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxecon.suggest import unknown_name
from jaxecon.sweeps import plots, statistics
from jaxecon.sweeps.statistics import HPARAM_PREFIX
from jaxecon.sweeps.storage import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

TEMPLATE = Path(__file__).with_name("report.html.j2")
REQUIRED_COLUMNS = ("config", "seed", "evaluation", "env_steps")
NUM_ROWS = 20  # of the leaderboard in the report


class RunFolderError(ValueError):
    """A run folder cannot be read; the message says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a finished sweep left in its folder."""

    path: Path
    results: pd.DataFrame  # one row per configuration, seed and evaluation
    study: dict  # resolved study.toml
    record: dict  # run.json: device, versions, compilations, throughput, times
    baselines: dict  # {split: {name: {metric: value}}}, empty where there are none

    @property
    def name(self) -> str:
        """Name of the study, or of the folder where the study has none."""
        return str(self.study.get("study", {}).get("name", self.path.name))

    @property
    def metric(self) -> str:
        """Primary metric, without its split."""
        return str(self.study.get("study", {}).get("metric", "return"))

    @property
    def split_report(self) -> str:
        """The split to quote: test, or validation where the study has no test split."""
        return "test" if f"test/{self.metric}" in self.results.columns else "validation"


def load_run(run_dir: str | os.PathLike) -> Run:
    """The run that a folder holds.

    Args:
      run_dir: folder with `study.toml`, `run.json`, `results.parquet` and perhaps
        `baselines.json`.

    Returns:
      A `Run`. RunFolderError says what is wrong: no such folder, not a run folder, a sweep that
      has not finished (and the command that resumes it), or a file that cannot be read.
    """
    import pandas as pd

    path = Path(run_dir)
    if not path.is_dir():
        raise RunFolderError(f"There is no run folder {str(path)!r}. Give the folder of a sweep.")
    if not (path / "study.toml").is_file():
        raise RunFolderError(f"{str(path)!r} is not a run folder: study.toml is missing.")
    study = _read(path / "study.toml", lambda file: tomllib.loads(file.read_text("utf-8")))
    for name in ("run.json", "results.parquet"):
        if not (path / name).is_file():
            raise _unfinished(path, f"{name} is missing")
    record = _read(path / "run.json", _read_json_object)
    if not record.get("finished"):
        raise _unfinished(path, "run.json has no finishing time")
    results = _read(path / "results.parquet", pd.read_parquet)
    has_baselines = (path / "baselines.json").is_file()
    baselines = _read(path / "baselines.json", _read_json_object) if has_baselines else {}
    run = Run(path, results, study, record, baselines)
    _check_results(run)
    return run


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


def show(value: Any) -> str:
    """Short text of a value: four significant digits, a dash for nothing, commas in big counts."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return show(value.item())
    return str(value)


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
        "summary": _summary(run, ranked, baselines),
        "note": _note(run, ranked),
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
    plots.sensitivity_plot(results, metric, effects)
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
    captions += _frontier_figure(run)
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


def _summary(run: Run, ranked: pd.DataFrame, baselines: list[dict]) -> str:
    """One paragraph in words: the best configuration, its margin, the sweep's size and speed."""
    best, metric, split = ranked.iloc[0], run.metric, run.split_report
    size = f"The sweep ran {_count(len(ranked), 'configuration')} with "
    size += f"{_count(ranked['num_seeds'].max(), 'seed')} each, up to "
    size += f"{show(ranked['env_steps'].max())} environment steps per run."
    if best["diverged"]:
        return f"Every configuration diverged on {metric}; none can be recommended. {size}"
    column = f"{split}/{metric}"
    text = f"Configuration {best['config']} scored best on validation and reaches a mean {metric} "
    text += f"of {show(best[column])} on {split}{_interval_words(best, column)}. "
    if split == "validation":
        text += "There is no test split, so this number is the one that was maximised: optimistic. "
    text += _comparison(best, column, baselines) + size
    rate, wall = run.record.get("env_steps_per_second"), run.record.get("wall_seconds")
    if rate:
        text += f" Throughput was {show(rate)} environment steps per second"
        text += f" over {duration(wall)} of wall time." if wall else "."
    elif wall:
        text += f" It took {duration(wall)} of wall time."
    return text


def _interval_words(row: pd.Series, column: str) -> str:
    """The interval of a leaderboard row in words, or why there is none."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    if math.isnan(low):
        return " (one seed, so no interval)" if row["num_seeds"] == 1 else ""
    return f" (95% CI {show(low)} to {show(high)}, {_count(row['num_seeds'], 'seed')})"


def _count(number: int, noun: str) -> str:
    """A count with its noun, in the plural where due."""
    return f"{show(number)} {noun}" + ("" if number == 1 else "s")


def _note(run: Run, ranked: pd.DataFrame) -> str:
    """Two robust readings of the leaderboard: all runs together, and first against second."""
    column = f"{run.split_report}/{run.metric}"
    healthy = ranked[~ranked["diverged"]]["config"].tolist()
    final = statistics.final_evaluation(run.results)
    runs = {config: rows[column].to_numpy() for config, rows in final.groupby("config")}
    overall = statistics.stratified_bootstrap_interval([runs[config] for config in healthy])
    text = ""
    if math.isfinite(overall.estimate):
        text = f"Interquartile mean over all runs that did not diverge, on {run.split_report}: "
        text += f"{show(overall.estimate)}{_limits_words(overall, 'stratified bootstrap')}. "
    if len(healthy) > 1:
        better = statistics.probability_of_improvement(runs[healthy[0]], runs[healthy[1]])
        if math.isfinite(better.estimate):
            text += f"A run of configuration {healthy[0]} beats a run of {healthy[1]} with "
            text += f"probability {show(better.estimate)}{_limits_words(better, 'bootstrap')}."
    return text.strip()


def _limits_words(interval: statistics.Interval, method: str) -> str:
    """The limits of an interval in brackets, or nothing where it has none."""
    if math.isnan(interval.low):
        return ""
    return f" (95% {method} CI {show(interval.low)} to {show(interval.high)})"


def _comparison(best: pd.Series, column: str, baselines: list[dict]) -> str:
    """Sentence that sets the best configuration beside the strongest baseline on that split."""
    known = [row for row in baselines if math.isfinite(row["reported"])]
    if not known:
        return ""
    rival = max(known, key=lambda row: row["reported"])
    low, high = best[f"{column}_low"], best[f"{column}_high"]
    verdict = "the interval contains it" if low <= rival["reported"] <= high else ""
    verdict = "the whole interval lies above it" if low > rival["reported"] else verdict
    verdict = "the whole interval lies below it" if high < rival["reported"] else verdict
    text = f"The strongest baseline there, {rival['name']}, reaches {show(rival['reported'])}"
    return f"{text}; {verdict}. " if verdict else f"{text}. "


def duration(seconds: float) -> str:
    """Wall time in words: `42.0 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
    )


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


def _read_json_object(file: Path) -> dict:
    """The object a JSON file holds."""
    value = json.loads(file.read_text("utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__} where an object was expected")
    return value


def _read(file: Path, reader: Callable[[Path], Any]) -> Any:
    """What a reader makes of a file; failures name the file and its cause."""
    try:
        return reader(file)
    except (OSError, ValueError) as error:  # ValueError covers TOML, JSON, UTF-8 and Parquet
        raise RunFolderError(f"{str(file)!r} cannot be read: {error}") from error


def _unfinished(path: Path, evidence: str) -> RunFolderError:
    """The error for a sweep that has not finished, with the way to resume it."""
    command = f"jaxecon sweep {path / 'study.toml'}"
    return RunFolderError(
        f"The sweep in {str(path)!r} has not finished ({evidence}). Resume it with `{command}`."
    )


def _check_results(run: Run) -> None:
    """Raise where the table lacks rows, a required column or the study's metric."""
    file, columns = str(run.path / "results.parquet"), run.results.columns
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise RunFolderError(f"{file!r} lacks the column(s) {', '.join(missing)}.")
    if run.results.empty:
        raise RunFolderError(f"{file!r} has no rows, so there is nothing to report.")
    measured = {name.split("/", 1)[1] for name in columns if name.startswith("validation/")}
    if run.metric not in measured:
        raise RunFolderError(f"{file!r}: " + unknown_name("metric", run.metric, measured))
