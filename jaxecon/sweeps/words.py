"""Numbers of a sweep in words: short texts of values, and the paragraphs of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxecon.sweeps import statistics
from jaxecon.sweeps.loading import Run

if TYPE_CHECKING:
    import pandas as pd


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


def settings_in_words(values: Mapping[str, Any]) -> str:
    """Searched values of one configuration, such as "learning_rate 0.001, break_strength 0.5"."""
    return ", ".join(f"{name.removeprefix('env.')} {show(x)}" for name, x in values.items())


def duration(seconds: float) -> str:
    """Wall time in words: `42.0 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def summary(run: Run, ranked: pd.DataFrame, baselines: list[dict]) -> str:
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
    weights = run.record.get("num_weights")
    text += f" Each run trains {_count(weights, 'weight')}." if weights else ""
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


def note(run: Run, ranked: pd.DataFrame) -> str:
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
