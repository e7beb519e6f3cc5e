"""Running a study with a progress bar, and showing what came of it."""

import json
import math
import pathlib
import tomllib
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def parse_assignments(assignments: list[str], *, numbers_only: bool = False) -> dict[str, Any]:
    """NAME=VALUE strings as a dictionary; values are TOML, or plain text.

    Raises:
      ValueError: no "=", or not a number where numbers are needed.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"{assignment!r} must have the form NAME=VALUE.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if numbers_only and not is_number:
            raise ValueError(f"{name} must be a number, got {text!r}.")
        parsed[name] = value
    return parsed


def split_numbers(assignments: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """(hyperparameters, environment parameters) of NAME=NUMBER strings; the latter begin "env."."""
    numbers = parse_assignments(assignments, numbers_only=True)
    is_env = {name: name.startswith("env.") for name in numbers}
    hparams = {name: value for name, value in numbers.items() if not is_env[name]}
    env_numbers = {name.removeprefix("env."): numbers[name] for name in numbers if is_env[name]}
    return hparams, env_numbers


def run_and_report(
    source: Any, out: pathlib.Path | None, overwrite: bool, as_json: bool, console: Console
) -> None:
    """Run a study under a progress bar, write its report and print the leaderboard."""
    run_dir = run_with_progress(source, out, overwrite, as_json, console)
    print_report(run_dir, 10, as_json, console)


def run_with_progress(
    source: Any, out: pathlib.Path | None, overwrite: bool, as_json: bool, console: Console
) -> pathlib.Path:
    """Run a study, or every arm of one, under a progress bar; returns its folder."""
    from jaxecon import sweeps

    study = sweeps.load_study(source)
    visible = Console(stderr=True) if as_json else console
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[best]}"),
        console=visible,
    ) as bar:
        display = _Display(bar, study.study.metric)
        try:
            if study.arms:
                run_dir = sweeps.run_arms(
                    study, out, overwrite=overwrite, on_progress=display.update_arm
                )
            else:
                run_dir = sweeps.run_study(
                    study, out, overwrite=overwrite, on_progress=display.update
                )
        except KeyboardInterrupt:  # here, because typer swallows it on the way to `main`
            visible.print("interrupted; run the same command, without --overwrite, to go on")
            raise typer.Exit(130) from None
        display.finish()
    return run_dir


class _Display:
    """Feeds a rich progress bar from a study's progress."""

    def __init__(self, bar: Progress, metric: str):
        self.bar, self.metric = bar, metric
        self.task = bar.add_task("preparing", total=None, rate="", best="")
        self.first: tuple[float, int] | None = None
        self.arm = ""

    def update_arm(self, arm: str, progress: Any) -> None:
        """Show an arm's progress; each arm starts the bar anew."""
        if arm != self.arm:
            self.bar.reset(self.task, total=None)
            self.arm, self.first = arm, None
        self.update(progress)

    def update(self, progress: Any) -> None:
        """Show a `jaxecon.sweeps.Progress`."""
        if progress.phase == "compiling":
            self.bar.update(self.task, description=f"{self.prefix}compiling one program")
            return
        elapsed = self.bar.tasks[0].elapsed or 0.0
        if self.first is None:
            self.first = (elapsed, progress.steps_done)
        seconds = elapsed - self.first[0]
        rate = (progress.steps_done - self.first[1]) / seconds if seconds > 0 else 0.0
        best = "" if math.isnan(progress.best) else f"best {self.metric} {progress.best:.4g}"
        self.bar.update(
            self.task,
            description=f"{self.prefix}run {progress.lanes_done} of {progress.lanes_total}",
            total=progress.steps_total,
            completed=progress.steps_done,
            rate=f"{rate:,.0f} steps/s" if rate else "",
            best=best,
        )

    @property
    def prefix(self) -> str:
        """The arm in progress, if there are arms."""
        return f"{self.arm}: " if self.arm else ""

    def finish(self) -> None:
        """Say that results are being written."""
        self.bar.update(self.task, description="done")


def print_report(run_dir: pathlib.Path, top: int, as_json: bool, console: Console) -> None:
    """Write plots and report.html, and print the leaderboard."""
    from jaxecon.sweeps import comparison, report

    if (run_dir / comparison.MARK).is_file():
        return _print_arms(run_dir, as_json, console)
    path = report.write_report(run_dir)
    run = report.load_run(run_dir)
    leaderboard = report.rank_run(run, top=top)
    if as_json:
        table = json.loads(leaderboard.to_json(orient="records"))
        summary = {"run": str(run_dir), "report": str(path), "leaderboard": table}
        console.print_json(json.dumps(summary | {"baselines": run.baselines, "record": run.record}))
        return
    console.print(report.leaderboard_table(leaderboard, run.baselines, run.metric))
    _print_path("Symmetry", run_dir / "symmetry.png", console)
    _print_path("Report", path, console)


def _print_path(name: str, path: pathlib.Path, console: Console) -> None:
    """Say where a file is, if it is there."""
    if path.is_file():
        console.print(f"{name}: {path}", soft_wrap=True, highlight=False)


def _print_arms(folder: pathlib.Path, as_json: bool, console: Console) -> None:
    """Compare the arms of a study, write the reports of each, and print the comparison."""
    from jaxecon.sweeps import comparison, report

    rows = comparison.compare_arms(folder)
    arms = comparison.load_comparison(folder)
    for arm in arms.weights:
        report.write_report(folder / arm)
    baselines, selected = comparison.baselines_table(arms), comparison.selected_table(arms)
    note = comparison.weights_note(arms)
    if as_json:
        tables = {"arms": rows, "baselines": baselines, "selected": selected}
        told = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        return console.print_json(json.dumps({"run": str(folder), **told, "note": note}))
    title = f"{arms.metric} on {arms.split}: last evaluation and mean over training (area), 95% CI"
    console.print(comparison.terminal_table(rows, title, baselines))
    if len(selected):
        title = f"{arms.metric} of the configuration that validation selects, 95% CI"
        console.print(comparison.terminal_table(selected, title))
    if note:
        console.print(note, highlight=False)
    _print_path("Picture", folder / "arms.png", console)
    for arm in arms.weights:
        _print_path(f"Symmetry of {arm}", folder / arm / "symmetry.png", console)
