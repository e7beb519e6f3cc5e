"""From a study to everything its runs need: environments, algorithm, and one row per lane."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from pydantic import TypeAdapter, ValidationError

from jaxecon.algos.base import Algorithm
from jaxecon.algos.registry import ALGORITHMS, check_hparams
from jaxecon.envs.registry import make_splits
from jaxecon.sweeps.draws import draw_configurations
from jaxecon.sweeps.study import Study, check_names, field_names

ENV_PREFIX = "env."


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A checked study, ready to run.

    A lane is one configuration with one seed; lane l has configuration l // num_seeds.

    Attributes:
      study: the settings.
      env: environment shared by all lanes.
      splits: parameters to train on ("train") and to evaluate on ("validation", "test").
      algorithm: what is trained.
      configurations: searched name -> [C] float64 values.
      hparams: hyperparameter name -> [L] float32, searched or fixed.
      env_numbers: environment parameter name -> [L], searched ones only.
      seeds: [L] int32 index of each lane's seed.
      iterations_per_evaluation: training iterations between two evaluations.
    """

    study: Study
    env: Any
    splits: dict[str, Any]
    algorithm: Algorithm
    configurations: dict[str, np.ndarray]
    hparams: dict[str, np.ndarray]
    env_numbers: dict[str, np.ndarray]
    seeds: np.ndarray
    iterations_per_evaluation: int

    @property
    def num_lanes(self) -> int:
        """L, configurations times seeds."""
        return len(self.seeds)

    @property
    def num_evaluations(self) -> int:
        """E, evaluations of each lane."""
        return self.study.study.num_evaluations

    @property
    def steps_per_evaluation(self) -> int:
        """Environment steps of one lane between two evaluations."""
        return self.iterations_per_evaluation * self.algorithm.steps_per_iteration

    def lane(self, lane: int) -> tuple[Any, Any]:
        """The economy that a lane trains in, and its hyperparameters."""
        numbers = {name: values[lane] for name, values in self.env_numbers.items()}
        hparams = {name: values[lane] for name, values in self.hparams.items()}
        return self.lane_params("train", numbers), self.lane_hparams(hparams)

    def lane_hparams(self, hparams: dict[str, Any]) -> Any:
        """The algorithm's hyperparameters with one lane's values."""
        return self.algorithm.hparams.replace(**hparams)

    def lane_params(self, split: str, env_numbers: dict[str, Any]) -> Any:
        """The economy of a split with one lane's values."""
        return self.splits[split].replace(**env_numbers)


def trace_iteration(plan: Plan, lane: int = 0) -> Any:
    """Shapes of a lane's state after one training iteration; nothing is computed.

    Raises:
      ValueError, TypeError: what the algorithm or its network says of an environment that they do
        not fit.
    """
    env_params, hparams = plan.lane(lane)
    key = jax.random.key(0)
    state = jax.eval_shape(plan.algorithm.init, key, env_params, hparams)
    return jax.eval_shape(plan.algorithm.step, key, state, env_params, hparams)[0]


def make_plan(study: Study) -> Plan:
    """Check every name and number of a study against its environment and algorithm.

    Raises:
      ValueError: an unknown environment, algorithm, hyperparameter or parameter (the nearest valid
        names are given), or a number out of range.
    """
    check_names("algorithm", [study.algorithm.id], ALGORITHMS)
    try:
        env, splits = make_splits(study.env.id, **study.env.static)
    except TypeError as error:  # such as a text where the environment needs a number
        raise ValueError(f"env.static: a value has the wrong type: {error}") from error
    splits = {name: _with_numbers(params, study.env.params) for name, params in splits.items()}
    if hasattr(env, "check"):  # ranges that the environment knows of
        for params in splits.values():
            env.check(params)
    algorithm = _make_algorithm(study, env)
    settings = study.study
    steps = max(algorithm.steps_per_iteration * settings.num_evaluations, 1)
    iterations_per_evaluation = math.ceil(settings.total_steps / steps)

    entry = ALGORITHMS[study.algorithm.id]
    hparam_names = field_names(entry.hparams)
    check_names("hyperparameter", study.algorithm.hparams, hparam_names)
    env_names = field_names(splits["train"])
    valid = hparam_names + [ENV_PREFIX + name for name in env_names]
    check_names("hyperparameter", study.search, valid)
    _check_fixed_or_searched(study)
    configurations = draw_configurations(
        study.search, settings.sampler, settings.num_configs, settings.seed
    )
    num_configs = len(next(iter(configurations.values()))) if configurations else 1
    planned = iterations_per_evaluation * steps
    fixed = {"total_steps": float(planned)} | dict(study.algorithm.hparams)
    per_lane = lambda values: np.repeat(values, settings.num_seeds)
    hparams = {name: np.full(num_configs, value) for name, value in fixed.items()}
    hparams |= {name: v for name, v in configurations.items() if name in hparam_names}
    check_hparams(study.algorithm.id, hparams)
    env_numbers = {
        name.removeprefix(ENV_PREFIX): values
        for name, values in configurations.items()
        if name not in hparam_names
    }
    return Plan(
        study=study,
        env=env,
        splits=splits,
        algorithm=algorithm,
        configurations=configurations,
        hparams={name: per_lane(v).astype(np.float32) for name, v in hparams.items()},
        env_numbers={
            name: per_lane(_as_parameter(splits["train"], name, v, "search: env."))
            for name, v in env_numbers.items()
        },
        seeds=np.tile(np.arange(settings.num_seeds, dtype=np.int32), num_configs),
        iterations_per_evaluation=iterations_per_evaluation,
    )


def _make_algorithm(study: Study, env: Any) -> Algorithm:
    entry = ALGORITHMS[study.algorithm.id]
    check_names("algorithm setting", study.algorithm.config, field_names(entry.config))
    try:
        config: Any = TypeAdapter(entry.config).validate_python(study.algorithm.config)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(["algorithm.config", *map(str, detail["loc"])])
        message = detail["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message} (got {detail['input']!r})") from None
    return entry.make(env, config)


def _check_fixed_or_searched(study: Study) -> None:
    """Raise ValueError for a number that is both fixed and searched."""
    fixed = {name: "algorithm.hparams" for name in study.algorithm.hparams}
    fixed |= {ENV_PREFIX + name: "env.params" for name in study.env.params}
    for name in study.search:
        if name in fixed:
            raise ValueError(
                f"{name} is searched and also fixed in {fixed[name]}; remove it from one of them."
            )


def _as_parameter(env_params: Any, name: str, values: Any, where: str) -> np.ndarray:
    """Numbers in the dtype of a parameter's default: float32 or int32.

    Raises:
      ValueError: the parameter is an array, or a number is not finite or, where whole numbers are
        needed, not whole; `where` comes before the name.
    """
    default = getattr(env_params, name)
    if np.ndim(default) > 0:
        raise ValueError(f"{where}{name} is an array; only scalars can be set in a study.")
    values = np.asarray(values, np.float64)
    needs_whole = np.result_type(default).kind != "f"
    for value in values.ravel():
        if not np.isfinite(value):
            raise ValueError(f"{where}{name} must be finite, got {value:g}.")
        if needs_whole and value != np.round(value):
            raise ValueError(
                f"{where}{name} takes whole numbers, got {value:g}; search it with grid or choice."
            )
    return values.astype(np.int32 if needs_whole else np.float32)


def _with_numbers(env_params: Any, numbers: dict[str, float]) -> Any:
    """Parameters with fixed numbers replaced, in the dtype of the default."""
    check_names("environment parameter", numbers, field_names(env_params))
    return env_params.replace(
        **{
            name: _as_parameter(env_params, name, value, "env.params.")[()]
            for name, value in numbers.items()
        }
    )


def as_arrays(env_params: Any) -> Any:
    """Parameters with every leaf a NumPy array of a 32-bit type, ready for the device."""

    def leaf(value: Any) -> np.ndarray:
        array = np.asarray(value)
        kinds = {"f": np.float32, "i": np.int32, "u": np.uint32}
        return array.astype(kinds.get(array.dtype.kind, array.dtype))

    return jax.tree.map(leaf, env_params)
