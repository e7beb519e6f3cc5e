"""What an agent gets by misreporting alone, and the checks that every search for lies shares."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.mechanisms.base import Mechanism, as_mechanism
from jaxecon.solvers.checking import common_dtype, require
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, PyTree

WORKING_BYTES = 2**28  # of one chunk of a search
ARRAYS_IN_FLIGHT = 24  # of the size of the reports, live while a mechanism is differentiated

Space = Mapping[str, tuple[Any, Any]]


class Exploitability(NamedTuple):
    """The best misreport found for every agent, all others being truthful.

    Attributes:
      gain: [..., N] utils over the truth, >= 0.
      relative_gain: [..., N] gain over the size of the truthful utility; where that is 0, it is
        infinite if there is a gain and 0 otherwise.
      utility: [..., N] utils under the truth.
      misreport: {private field: [..., N, M]}, row i the best report of agent i; the truth where no
        lie was better.
    """

    gain: Array
    relative_gain: Array
    utility: Array
    misreport: dict[str, Array]

    def mean(self, mode: Literal["relative", "absolute"] = "relative") -> Array:
        """Mean gain over types and agents, a scalar."""
        return jnp.mean(self._gains(mode))

    def worst(self, mode: Literal["relative", "absolute"] = "relative") -> Array:
        """Mean over types of the gain of the agent who gains most, a scalar."""
        return jnp.mean(jnp.max(self._gains(mode), axis=-1))

    def _gains(self, mode: str) -> Array:
        gains = {"relative": self.relative_gain, "absolute": self.gain}
        if mode not in gains:
            raise ValueError(unknown_name("mode", mode, gains))
        return gains[mode]


def deviation_utility(
    mechanism: Any,
    types: Any,
    reports: Mapping[str, Array],
    params: PyTree = (),
    smoothing: Any = None,
) -> Array:
    """True utility of each agent if it alone misreports.

        u_i(f(q_i, θ_-i); θ_i)

    Entry i depends on row i of the reports only, so that the gradient of the sum is every agent's
    own gradient.

    Args:
      mechanism: a `Mechanism`, or a function of reports with leaves [N, M].
      types: θ, with any leading axes.
      reports: {private field: [..., N, M]}, row i what agent i says when it lies; may have further
        leading axes in front of those of the types. Fields that are missing are told truthfully.
      params: the mechanism's.
      smoothing: of the mechanism's inner optimisation; None is its own choice.

    Returns:
      [..., N] utils, with the leading axes of the reports. Runs the mechanism N times for each.
    """
    mechanism = as_mechanism(mechanism)
    agents = jnp.arange(types.num_agents)

    def run(types: Any, reports: dict[str, Array]) -> Array:
        alone = lambda agent: utility_alone(mechanism, types, reports, agent, params, smoothing)
        return jax.vmap(alone)(agents)

    num_axes = num_leading_axes(types)
    for _ in range(num_axes):
        run = jax.vmap(run)
    for _ in range(next(iter(reports.values())).ndim - 2 - num_axes):
        run = jax.vmap(run, in_axes=(None, 0))
    return run(types, dict(reports))


def utility_alone(
    mechanism: Mechanism,
    types: Any,
    reports: Mapping[str, Array],
    agent: Array,
    params: PyTree = (),
    smoothing: Any = None,
) -> Array:
    """True utility, (), of one agent of one instance when it alone says its row of the reports."""
    is_liar = jnp.arange(types.num_agents) == agent
    told = {
        name: jnp.where(is_liar[:, None], report, getattr(types, name))
        for name, report in reports.items()
    }
    utility = types.utility(mechanism(dataclasses.replace(types, **told), params, smoothing))
    return jnp.sum(jnp.where(is_liar, utility, jnp.zeros_like(utility)))


def num_leading_axes(types: Any) -> int:
    """How many axes types have in front of agents and goods."""
    return jnp.ndim(getattr(types, types.private[0])) - 2


def best_of(
    mechanism: Any,
    types: Any,
    reports: Mapping[str, Array],
    params: PyTree = (),
    smoothing: Any = None,
) -> Exploitability:
    """What every agent gains by the best of K reports, [K, ..., N, M], the first being the truth.

    The first of equals is best. A report whose utility is nan never is.
    """
    utility = deviation_utility(mechanism, types, reports, params, smoothing)  # [K, ..., N]
    ranked = jnp.where(jnp.isnan(utility), -jnp.inf, utility)
    best = jnp.argmax(ranked.at[0].set(utility[0]), axis=0, keepdims=True)
    gain = jnp.take_along_axis(utility, best, axis=0)[0] - utility[0]
    relative = jnp.where(gain > 0.0, gain / jnp.abs(utility[0]), 0.0)
    pick = lambda array: jnp.take_along_axis(array, best[..., None], axis=0)[0]
    return Exploitability(gain, relative, utility[0], jax.tree.map(pick, dict(reports)))


def over_instances(
    search: Callable[[PyTree], PyTree], arguments: PyTree, num_axes: int, num_rows: int
) -> PyTree:
    """A search over any number of instances, in chunks whose working memory is bounded.

    Args:
      search: takes arguments with one leading axis and returns a pytree with the same one.
      arguments: pytree whose leaves share their first `num_axes` axes.
      num_axes: number of leading axes.
      num_rows: numbers that one instance puts through the mechanism at once.
    """
    leaves = jax.tree.leaves(arguments)
    leading = leaves[0].shape[:num_axes]
    count = math.prod(leading)
    itemsize = max(
        leaf.dtype.itemsize for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)
    )
    flat = jax.tree.map(lambda x: jnp.reshape(x, (count, *x.shape[num_axes:])), arguments)
    chunk = max(1, WORKING_BYTES // (num_rows * itemsize * ARRAYS_IN_FLIGHT))
    num_chunks = -(-count // chunk)
    if num_chunks <= 1:
        found = search(flat)
    else:
        chunk = -(-count // num_chunks)
        index = jnp.minimum(jnp.arange(num_chunks * chunk), count - 1)  # the last fills up
        cut = lambda x: jnp.reshape(x[index], (num_chunks, chunk, *x.shape[1:]))
        stacked = jax.lax.map(search, jax.tree.map(cut, flat))
        found = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[2:]))[:count], stacked)
    return jax.tree.map(lambda x: jnp.reshape(x, leading + x.shape[1:]), found)


def default_space(types: Any, private: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Bounds from the types themselves, over the whole batch.

    From a tenth of the largest number of a field, or from the smallest if that is less, to the
    largest.
    """
    space = {}
    for name in private:
        field = getattr(types, name)
        high = jnp.max(field)
        space[name] = (jnp.minimum(0.1 * high, jnp.min(field)), high)
    return space


def check_space(
    types: Any, private: Sequence[str] | None, space: Space | None
) -> dict[str, tuple[Array, Array]]:
    """Bounds of every field to misreport, as arrays.

    Raises:
      ValueError: an unknown field, one without bounds, or concrete bounds that are no interval.
    """
    if private is None:
        private = types.private if space is None else tuple(space)
    for name in (*private, *(space or ())):
        if name not in types.private:
            raise ValueError(unknown_name("private field", name, types.private))
    if not private:
        raise ValueError(f"private must name a field to misreport: {', '.join(types.private)}.")
    bounds = default_space(types, private) if space is None else space
    missing = set(private) - set(bounds)
    if missing:
        raise ValueError(
            f"space must have bounds for {', '.join(sorted(missing))}; add (low, high)."
        )
    dtype = common_dtype(getattr(types, private[0]))
    checked = {}
    for name in private:
        low, high = (jnp.asarray(bound, dtype) for bound in bounds[name])
        remedy = f"Give space={{{name!r}: (low, high)}}."
        for end, bound in (("lower", low), ("upper", high)):
            require(f"the {end} bound of {name}", bound, np.isfinite, "finite", remedy)
        if not (isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer)):
            width = np.asarray(high) - np.asarray(low)
            require(f"the width of the space of {name}", width, lambda x: x >= 0, "at least 0")
        checked[name] = (low, high)
    return checked


def require_counts(**counts: tuple[int, int]) -> None:
    """Raise ValueError unless each (count, least) is large enough."""
    for name, (count, least) in counts.items():
        if count < least:
            raise ValueError(f"{name} must be at least {least}, got {count}.")
