"""The run folder: what a sweep writes, always whole files, and how it picks up again.

study.toml        the resolved study; a folder belongs to exactly one study
run.json          device, versions, compilations, throughput, status
checkpoint/       the wave in progress and all metrics so far (orbax)
policies/         lanes-000000.npz ...: what acting needs, one row per lane
results.parquet   one row per configuration, seed and evaluation; written at the end
baselines.json    what the environment's known policies reach
baselines_by_config.json   the same for each configuration, where economies are searched
"""

import dataclasses
import json
import os
import pathlib
import shutil
import time
import tomllib
from collections.abc import Callable
from typing import Any

import numpy as np
import tomli_w

from jaxecon.sweeps.study import Study

BASELINES_BY_CONFIG = "baselines_by_config.json"
SCHEDULING = "executor"  # the one table of a study on which results do not depend


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], Any]) -> None:
    """Call `write` on a temporary neighbour of `path`, then put it in place in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A sweep between two segments.

    Attributes:
      first_lane: first lane of the wave in progress.
      next_evaluation: its next segment; 0 means that it has not started.
      lanes_per_wave: lanes that run at once; a state fits only the same number.
      metrics: [M, L, E] float32, nan where not yet known.
      state: leaves of the wave's state.
    """

    first_lane: int
    next_evaluation: int
    lanes_per_wave: int
    metrics: np.ndarray
    state: list[np.ndarray]


def write_parquet(table: Any, path: str | os.PathLike) -> pathlib.Path:
    """Path of the Parquet file with a table, written in one step; folders are made as needed."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda target: table.to_parquet(target, index=False))
    return path


class RunFolder:
    """Reads and writes one run folder; nothing is written or deleted before `claim`.

    Args:
      path: the folder; it need not exist.
      study: the study it belongs to.
      overwrite: whether `claim` may delete what another or a finished run left there.

    Raises:
      FileExistsError: the folder holds something else; says what and how to go on.
    """

    def __init__(self, path: str | os.PathLike, study: Study, *, overwrite: bool = False):
        self.path = pathlib.Path(path)
        self._manager: Any = None
        self._study, self._overwrite = study, overwrite
        is_run = (self.path / "study.toml").is_file()
        if is_run and not overwrite:
            self._check_unfinished()
        elif not is_run and self.path.exists() and not _is_empty(self.path):
            raise FileExistsError(
                f"{self.path} exists and is not a run folder. Choose another with --out."
            )

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """An existing folder, to read from."""
        folder = cls.__new__(cls)
        folder.path, folder._manager = pathlib.Path(path), None
        return folder

    def _check_unfinished(self) -> None:
        """Raise FileExistsError unless the folder holds this study, unfinished."""
        found = tomllib.loads((self.path / "study.toml").read_text())
        resolved = self._study.resolved()
        if _results_of(found) != _results_of(resolved):
            raise FileExistsError(
                f"{self.path} holds another study ({_difference(found, resolved)}). "
                "Choose another folder with --out, or replace it with --overwrite."
            )
        if (self.path / "results.parquet").is_file():
            raise FileExistsError(
                f"{self.path} holds this study, finished. Look at it with "
                f"'jaxecon report {self.path}', or run it anew with --overwrite."
            )

    def claim(self) -> "RunFolder":
        """Make the folder this study's; called once the study is known to compile."""
        if self._overwrite and (self.path / "study.toml").is_file():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_text("study.toml", tomli_w.dumps(self._study.resolved()))
        return self

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in one step."""
        write_atomically(self.path / name, lambda path: path.write_text(text))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file in one step."""
        self.write_text(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """A JSON file's value, {} if there is none."""
        file = self.path / name
        return json.loads(file.read_text()) if file.is_file() else {}

    def write_results(self, table: Any) -> None:
        """Write results.parquet in one step."""
        write_parquet(table, self.path / "results.parquet")

    def write_policies(self, first_lane: int, leaves: list[np.ndarray]) -> None:
        """Write what acting needs for the lanes from `first_lane` on, leaves [lanes, ...]."""
        folder = self.path / "policies"
        folder.mkdir(exist_ok=True)
        arrays: dict[str, Any] = {f"leaf_{i:04d}": leaf for i, leaf in enumerate(leaves)}

        def write(path: pathlib.Path) -> None:
            with path.open("wb") as file:  # a file object keeps NumPy from renaming it
                np.savez(file, **arrays)

        write_atomically(folder / f"lanes-{first_lane:06d}.npz", write)
        for file in folder.glob("lanes-*.npz"):  # of an earlier session with narrower waves
            if first_lane < _first_lane(file) < first_lane + len(leaves[0]):
                file.unlink()

    def read_policy(self, lane: int) -> list[np.ndarray]:
        """Leaves of one lane's policy.

        Raises:
          FileNotFoundError: the lane has not finished.
        """
        files = sorted((self.path / "policies").glob("lanes-*.npz"))
        for file in reversed(files):
            start = _first_lane(file)
            if start <= lane:
                with np.load(file) as arrays:
                    leaves = [arrays[name] for name in sorted(arrays.files)]
                if lane < start + len(leaves[0]):
                    return [leaf[lane - start] for leaf in leaves]
                break
        raise FileNotFoundError(f"{self.path} has no policy of lane {lane}; has the run finished?")

    def read_leaves(self, numbers: list[int], num_lanes: int) -> list[np.ndarray]:
        """Some leaves of every lane's policy, [num_lanes, ...] each, by their place in it.

        Raises:
          FileNotFoundError: lanes have not finished.
        """
        files = sorted((self.path / "policies").glob("lanes-*.npz"))
        starts = [*map(_first_lane, files), num_lanes]
        parts: list[list[np.ndarray]] = [[] for _ in numbers]
        for file, start, stop in zip(files, starts[:-1], starts[1:], strict=True):
            with np.load(file) as arrays:
                for number, part in zip(numbers, parts, strict=True):
                    part.append(arrays[f"leaf_{number:04d}"][: stop - start])
        if any(sum(map(len, part)) != num_lanes for part in parts):
            raise FileNotFoundError(f"{self.path} lacks policies; has the run finished?")
        return [np.concatenate(part) for part in parts]

    def _checkpoints(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            options = ocp.CheckpointManagerOptions(
                max_to_keep=1, enable_async_checkpointing=False, create=True
            )
            self._manager = ocp.CheckpointManager(
                (self.path / "checkpoint").resolve(), options=options
            )
        return self._manager

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the one before is deleted only when this one is complete."""
        import orbax.checkpoint as ocp

        manager = self._checkpoints()
        tree = {
            "position": np.array(
                [checkpoint.first_lane, checkpoint.next_evaluation, checkpoint.lanes_per_wave]
            ),
            "metrics": checkpoint.metrics,
            "state": {f"leaf_{i:04d}": leaf for i, leaf in enumerate(checkpoint.state)},
        }
        latest = manager.latest_step()
        step = 0 if latest is None else latest + 1
        manager.save(step, args=ocp.args.StandardSave(tree))
        manager.wait_until_finished()

    def load_checkpoint(self) -> Checkpoint | None:
        """The latest checkpoint, or None."""
        import orbax.checkpoint as ocp

        if not (self.path / "checkpoint").is_dir():
            return None
        manager = self._checkpoints()
        step = manager.latest_step()
        if step is None:
            return None
        tree = manager.restore(step, args=ocp.args.StandardRestore())
        first_lane, next_evaluation, lanes_per_wave = map(int, np.asarray(tree["position"]))
        state = tree.get("state") or {}
        return Checkpoint(
            first_lane,
            next_evaluation,
            lanes_per_wave,
            np.array(tree["metrics"]),
            [np.asarray(state[name]) for name in sorted(state)],
        )

    def close(self) -> None:
        """Release the checkpoint manager."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None


def _first_lane(file: pathlib.Path) -> int:
    """The first lane of a file of policies."""
    return int(file.stem.removeprefix("lanes-"))


def _is_empty(path: pathlib.Path) -> bool:
    """Whether a path is a folder with nothing but what a killed `write_atomically` left."""
    return path.is_dir() and all(
        file.name.startswith(".") and file.name.endswith(".tmp") for file in path.iterdir()
    )


def holds_finished(path: pathlib.Path, study: Study) -> bool:
    """Whether a folder holds this very study, finished."""
    if not (path / "results.parquet").is_file():
        return False
    found = tomllib.loads((path / "study.toml").read_text())
    return _results_of(found) == _results_of(study.resolved())


def default_folder(study: Study) -> pathlib.Path:
    """runs/NAME, with characters that do not belong in a file name replaced."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in study.study.name)
    return pathlib.Path("runs") / name


def timestamp() -> str:
    """Now, as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _results_of(tables: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved study that decides results."""
    return {name: table for name, table in tables.items() if name != SCHEDULING}


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first setting in which two resolved studies differ."""
    for table in sorted(set(found) | set(wanted)):
        old, new = found.get(table, {}), wanted.get(table, {})
        for name in sorted(set(old) | set(new)):
            if table != SCHEDULING and old.get(name) != new.get(name):
                return f"{table}.{name} is {old.get(name)!r} there and {new.get(name)!r} here"
    return "its settings differ"
