"""What a study is, and reading one from a TOML file.

[study]                       # who, how many, how long
name = "sp500"
total_steps = 200_000
num_seeds = 4
sampler = "sobol"             # grid | random | sobol
num_configs = 16
metric = "sharpe"             # what the leaderboard ranks by
[env]
id = "PortfolioTrading-v0"
static = { prices = "sp500" } # keywords of jaxecon.make
params = { transaction_cost = 0.001 }
[algorithm]
id = "ppo"
config = { num_envs = 16 }    # static: PPOConfig
hparams = { gamma = 0.99 }    # traced: PPOHyperparams
[search]
learning_rate = { log_uniform = [1e-4, 3e-3] }
"env.transaction_cost" = { choice = [0.0, 0.001] }
[arms.wide.algorithm.config]  # optional: the same study under other static settings, compared
hidden_sizes = [256, 256]
"""

import dataclasses
import os
import pathlib
import tomllib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jaxecon.suggest import unknown_name
from jaxecon.sweeps.draws import Draw


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudySettings(_Table):
    """The [study] table.

    Attributes:
      name: used in titles and as the default folder name.
      seed: seed of the draws and of every run's key.
      num_seeds: independent runs per configuration; all configurations share the same seeds.
      total_steps: environment steps per run, rounded up to whole iterations.
      num_evaluations: E, evaluations per run, at equal distances; also the number of segments.
      sampler: how configurations are drawn.
      num_configs: C; the grid's size if the sampler is "grid".
      metric: evaluation metric that ranks configurations, higher is better.
    """

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    num_seeds: int = Field(default=1, ge=1)
    total_steps: int = Field(ge=1)
    num_evaluations: int = Field(default=10, ge=1)
    sampler: Literal["grid", "random", "sobol"] = "random"
    num_configs: int | None = Field(default=None, ge=1)
    metric: str = "return"


class EnvSettings(_Table):
    """The [env] table: id, keywords of `make`, and numbers that replace the defaults."""

    id: str
    static: dict[str, Any] = {}
    params: dict[str, float] = {}


class AlgorithmSettings(_Table):
    """The [algorithm] table: id, static settings and traced hyperparameters."""

    id: str = "ppo"
    config: dict[str, Any] = {}
    hparams: dict[str, float] = {}


class ExecutorSettings(_Table):
    """The [executor] table: how the work is laid on the machine; results do not depend on it.

    Attributes:
      strategy: "sequential" (one lane per device at a time), "vmap" (lanes batched), or "auto":
        sequential on CPUs, where batched small products are slow, and vmap on accelerators.
      lanes_per_device: width of "vmap"; as many as fit if None.
      memory_fraction: share of the device's memory that the program may use.
      checkpoint_seconds: least time between two checkpoints.
    """

    strategy: Literal["auto", "sequential", "vmap"] = "auto"
    lanes_per_device: int | None = Field(default=None, ge=1)
    memory_fraction: float = Field(default=0.8, gt=0, le=1)
    checkpoint_seconds: float = Field(default=10.0, ge=0)


class ArmSettings(_Table):
    """An [arms.NAME] table: settings that go before the study's own, see `sweeps.arms`."""

    env: dict[str, Any] = {}
    algorithm: dict[str, Any] = {}


class Study(_Table):
    """A complete study; see the first lines of this module for its file."""

    study: StudySettings
    env: EnvSettings
    algorithm: AlgorithmSettings = AlgorithmSettings()
    search: dict[str, Draw] = {}
    executor: ExecutorSettings = ExecutorSettings()
    arms: dict[str, ArmSettings] = {}

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included, as plain TOML values; arms as they were written."""
        tables = self.model_dump(mode="json", exclude_none=True, exclude={"arms"})
        arms = {name: arm.model_dump(exclude_defaults=True) for name, arm in self.arms.items()}
        return tables | ({"arms": arms} if arms else {})


def load_study(source: str | os.PathLike | dict[str, Any]) -> Study:
    """Read and check a study.

    Args:
      source: path of a TOML file, or the same tables as a dictionary.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not TOML, an unknown key (the nearest valid ones are named), or a bad value.
    """
    if isinstance(source, dict):
        return _validate(source, "study")
    path = pathlib.Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"No study file at {str(path)!r}.")
    try:
        tables = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    return _validate(tables, str(path))


def _validate(tables: dict[str, Any], source: str) -> Study:
    try:
        return Study.model_validate(tables)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        raise ValueError(f"{source}:\n  " + "\n  ".join(lines)) from None


def _explain(detail: Any) -> str:
    """One line for one pydantic error, with the nearest names for an unknown key."""
    *parents, key = [str(part) for part in detail["loc"]]
    where = ".".join([*parents, key])
    if detail["type"] == "extra_forbidden":
        return unknown_name("key", where, [".".join([*parents, name]) for name in _keys(parents)])
    if detail["type"] == "missing":
        return f"{where} is missing."
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if isinstance(detail["input"], dict) else f", got {detail['input']!r}"
    return f"{where}: {message}{given}."


def _keys(parents: list[str]) -> list[str]:
    """Valid keys of the table that `parents` leads to."""
    if parents[:1] == ["search"]:
        return list(Draw.model_fields)
    if parents[:1] == ["arms"]:
        return list(ArmSettings.model_fields)
    model: Any = Study
    for name in parents:
        model = model.model_fields[name].annotation
    return list(model.model_fields)


def check_names(kind: str, names: Any, valid: Any) -> None:
    """Raise ValueError for the first name that is not valid, naming the nearest."""
    for name in names:
        if name not in valid:
            raise ValueError(unknown_name(kind, name, valid))


def field_names(instance_or_class: Any) -> list[str]:
    """Names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(instance_or_class)]
