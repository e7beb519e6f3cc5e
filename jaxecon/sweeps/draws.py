"""Drawing hyperparameter configurations.

Configuration i of a study is the same whatever the number of configurations (grids excepted: a
grid is its own size), and each hyperparameter has a stream of its own: adding one to the study
does not move the draws of the others (Sobol points excepted, whose dimensions belong together).
"""

import itertools
import math
import zlib
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

KINDS = ("grid", "choice", "uniform", "log_uniform")


class Draw(BaseModel):
    """How one hyperparameter varies: exactly one of the four fields.

    Attributes:
      grid: values of a full grid; drawn like `choice` by the other samplers.
      choice: values drawn with equal probability.
      uniform: [low, high).
      log_uniform: [low, high), uniform in the logarithm; both positive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: tuple[float, ...] | None = None
    choice: tuple[float, ...] | None = None
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = Field(default=None)

    @model_validator(mode="after")
    def _check(self) -> "Draw":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; got {given or 'none'}")
        values = getattr(self, given[0])
        if not values:
            raise ValueError(f"{given[0]} must list at least one value")
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"{given[0]} must hold finite numbers, got {list(values)}")
        if given[0] in ("uniform", "log_uniform") and not values[0] < values[1]:
            raise ValueError(f"{given[0]} must be [low, high] with low < high, got {list(values)}")
        if given[0] == "log_uniform" and values[0] <= 0:
            raise ValueError(f"log_uniform bounds must be positive, got {list(values)}")
        return self

    @property
    def options(self) -> tuple[float, ...] | None:
        """The listed values, or None for a range."""
        return self.grid if self.grid is not None else self.choice

    def at(self, unit: np.ndarray) -> np.ndarray:
        """Map points of [0, 1) to values, float64 of the same shape."""
        if self.options is not None:
            index = np.minimum((unit * len(self.options)).astype(int), len(self.options) - 1)
            return np.asarray(self.options, np.float64)[index]
        if self.uniform is not None:
            low, high = self.uniform
            return np.clip(low + (high - low) * unit, low, high)  # rounding may step outside
        assert self.log_uniform is not None
        low, high = np.log(self.log_uniform)
        return np.clip(np.exp(low + (high - low) * unit), *self.log_uniform)


def draw_configurations(
    search: Mapping[str, Draw], sampler: str, num_configs: int | None, seed: int
) -> dict[str, np.ndarray]:
    """Values of every configuration, each [C] float64.

    Args:
      search: hyperparameter name -> how it varies.
      sampler: "grid" (all combinations, first name varying slowest), "random" or "sobol".
      num_configs: C for "random" and "sobol"; must be None or the grid's size for "grid".
      seed: seed of the draws.

    Raises:
      ValueError: the sampler and the draws or the number do not fit; says how to mend it.
    """
    if not search:
        if num_configs not in (None, 1):
            raise ValueError(
                f"num_configs is {num_configs}, but nothing is searched; add a [search] table."
            )
        return {}
    if sampler == "grid":
        return _grid(search, num_configs)
    if num_configs is None:
        raise ValueError(f"sampler {sampler!r} needs num_configs, the number of configurations.")
    if sampler == "random":
        return {
            name: draw.at(_stream(seed, name).random(num_configs)) for name, draw in search.items()
        }
    return _sobol(search, num_configs, seed)


def _grid(search: Mapping[str, Draw], num_configs: int | None) -> dict[str, np.ndarray]:
    options = {}
    for name, draw in search.items():
        if draw.options is None:
            raise ValueError(
                f"sampler 'grid' needs listed values for {name!r}; "
                f"write {name} = {{ grid = [...] }} or use sampler 'random' or 'sobol'."
            )
        options[name] = draw.options
    rows = list(itertools.product(*options.values()))
    if num_configs not in (None, len(rows)):
        raise ValueError(f"the grid has {len(rows)} points, but num_configs is {num_configs}.")
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(options)}


def _stream(seed: int, name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))


def _sobol(search: Mapping[str, Draw], num_configs: int, seed: int) -> dict[str, np.ndarray]:
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(search), scramble=True, rng=np.random.default_rng(seed))
    power = max(num_configs - 1, 0).bit_length()  # whole powers of two keep the balance
    points = sequence.random_base2(power)[:num_configs]
    return {name: draw.at(points[:, i]) for i, (name, draw) in enumerate(search.items())}
