"""Reading what a finished sweep left in its folder."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxecon.suggest import unknown_name

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_COLUMNS = ("config", "seed", "evaluation", "env_steps")


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
