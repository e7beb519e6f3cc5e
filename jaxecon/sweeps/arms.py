"""Studies with arms: the same configurations and seeds under different static settings, compared.

    [arms.full.algorithm.config]
    applicability = "full"
    [arms.none.algorithm.config]
    applicability = "none"

Static settings fix shapes, so every arm is a study of its own, compiled once and resumed on its
own, in a folder under the run's. Rows with equal configuration and seed drew the same numbers.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxecon.sweeps.comparison import MARK, compare_arms
from jaxecon.sweeps.plan import make_plan, trace_iteration
from jaxecon.sweeps.runner import Progress, run_study
from jaxecon.sweeps.storage import default_folder, holds_finished, write_atomically
from jaxecon.sweeps.study import Study, load_study


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
            make_plan(studies[name])
        except ValueError as error:
            raise ValueError(f"arms.{name}: {error}") from None
    return studies


def check_arms(studies: Mapping[str, Study]) -> None:
    """Trace one iteration of each arm, so that one that cannot learn is found before any runs.

    Raises:
      ValueError: a network or setting does not fit the environment; the arm is named.
      TypeError: so does a space.
    """
    for name, study in studies.items():
        try:
            trace_iteration(make_plan(study))
        except (ValueError, TypeError) as error:
            raise type(error)(f"arms.{name}: {error}") from None


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
    waiting = {name: one for name, one in studies.items() if overwrite or name not in finished}
    check_arms(waiting)
    for name, one in waiting.items():

        def report(progress: Progress, name: str = name) -> None:
            on_progress(name, progress)

        run_study(one, folder / name, overwrite=overwrite, on_progress=report)
    about = {"name": study.study.name, "metric": study.study.metric, "arms": [*study.arms]}
    text = json.dumps(about, indent=1)
    write_atomically(folder / MARK, lambda target: target.write_text(text))
    compare_arms(folder)
    return folder
