"""Exact exploitability where every report can be tried, and how far a search stays below it."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.mechanisms.base import as_mechanism, check_types
from jaxecon.mechanisms.deviations import (
    Exploitability,
    Space,
    best_of,
    check_space,
    num_leading_axes,
    over_instances,
)
from jaxecon.mechanisms.exploitability import exploitability
from jaxecon.types import Array, Key, PyTree

CANDIDATES_AT_ONCE = 256  # reports of one agent that go through the mechanism together


def simplex_candidates(num: int, num_resources: int = 2, *, least: float = 0.0) -> Array:
    """Directions of values, for mechanisms that do not see the scale of an agent's values.

    The points of a regular lattice on {v >= least, Σ_m v_m = 1}. With two resources there is one
    dimension to sweep, and the sweep is as good as exact: what it misses is a step of 1 / num.

    Args:
      num: lattice points along an edge, at least 2; with two resources the number of directions.
      num_resources: M >= 2. The number of points grows as num^(M-1) / (M-1)!.
      least: smallest share, in [0, 1/M). The directions of a box [low, high]² of values are those
        with least = low / (low + high).

    Returns:
      [K, M], for `{"valuations": ...}`.
    """
    if num < 2:
        raise ValueError(f"num must be at least 2, got {num}.")
    if num_resources < 2:
        raise ValueError(
            f"num_resources must be at least 2, got {num_resources}: one has no rival."
        )
    if not 0.0 <= least < 1.0 / num_resources:
        raise ValueError(f"least must be in [0, 1/{num_resources}), got {least}.")
    steps = num - 1
    cuts = itertools.combinations(range(steps + num_resources - 1), num_resources - 1)
    edges = np.array([(-1, *cut, steps + num_resources - 1) for cut in cuts])
    shares = (np.diff(edges, axis=1) - 1) / steps
    return jnp.asarray(least + (1.0 - num_resources * least) * shares, float)


def grid_candidates(space: Space, points_per_axis: int, num_resources: int) -> dict[str, Array]:
    """Every report on a grid over the space, all fields and resources crossed.

    Args:
      space: {private field: (low, high)}, numbers or arrays that broadcast to [M].
      points_per_axis: P >= 2, bounds included.
      num_resources: M.

    Returns:
      {field: [K, M]} with K = P^(M · number of fields).
    """
    if points_per_axis < 2:
        raise ValueError(f"points_per_axis must be at least 2, got {points_per_axis}.")
    axes: list[np.ndarray] = []
    for low, high in space.values():
        start, end = (np.broadcast_to(np.asarray(x, float), num_resources) for x in (low, high))
        axes += list(np.linspace(start, end, points_per_axis, axis=-1))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    parts = np.split(points, len(space), axis=1)
    return {name: jnp.asarray(part, float) for name, part in zip(space, parts, strict=True)}


def exhaustive_exploitability(
    mechanism: Any,
    types: Any,
    candidates: Mapping[str, Array],
    params: PyTree = (),
    *,
    smoothing: Any = None,
) -> Exploitability:
    """The best of the given misreports for every agent: the exact maximum over a finite space.

    Args:
      mechanism: a `Mechanism`, or a function of reports with leaves [N, M].
      types: true types, with any leading axes.
      candidates: {private field: [K, M]}, which every agent tries; fields that are missing are told
        truthfully. See `grid_candidates` and `simplex_candidates`.
      params: the mechanism's.
      smoothing: of the mechanism's inner optimisation; None is its own choice.

    Returns:
      `Exploitability`; the truth itself is always among the candidates. Takes K N runs of the
      mechanism for each instance, in chunks that bound the memory.

    Raises:
      ValueError: an unknown field, or shapes that do not match.
    """
    check_types(types)
    check_space(types, tuple(candidates), {name: (0.0, 0.0) for name in candidates})
    num_goods = getattr(types, types.private[0]).shape[-1]
    shapes = {np.shape(reports) for reports in candidates.values()}
    if len(shapes) != 1 or next(iter(shapes))[1:] != (num_goods,):
        raise ValueError(
            f"candidates must all have one shape [K, {num_goods}], got "
            f"{', '.join(str(list(shape)) for shape in sorted(shapes))}."
        )
    return _sweep(as_mechanism(mechanism), types, dict(candidates), params, smoothing)


@functools.partial(jax.jit, static_argnums=0)
def _sweep(
    mechanism: Any, types: Any, candidates: dict[str, Array], params: PyTree, smoothing: Any
) -> Exploitability:
    """`exhaustive_exploitability` without its checks, as one program."""

    def search(types: Any) -> Exploitability:
        truth = {name: getattr(types, name) for name in candidates}

        def try_block(
            found: Exploitability, block: dict[str, Array]
        ) -> tuple[Exploitability, None]:
            spread = lambda rows, true: jnp.broadcast_to(
                rows[:, None, None, :].astype(true.dtype), (rows.shape[0], *true.shape)
            )
            reports = {
                name: jnp.concatenate([truth[name][None], spread(rows, truth[name])])
                for name, rows in block.items()
            }
            return _better(found, best_of(mechanism, types, reports, params, smoothing)), None

        nothing = jnp.zeros_like(next(iter(truth.values()))[..., 0])
        first = Exploitability(nothing - 1.0, nothing, nothing, truth)  # any block is better
        return jax.lax.scan(try_block, first, blocks)[0]

    count = next(iter(candidates.values())).shape[0]
    num_blocks = -(-count // CANDIDATES_AT_ONCE)
    size = -(-count // num_blocks)
    index = jnp.minimum(jnp.arange(num_blocks * size), count - 1)  # the last fills up
    blocks = {
        name: jnp.reshape(rows[index], (num_blocks, size, rows.shape[1]))
        for name, rows in candidates.items()
    }
    num_axes = num_leading_axes(types)
    num_agents, num_goods = getattr(types, types.private[0]).shape[num_axes:]
    return over_instances(search, types, num_axes, (size + 1) * num_agents**2 * num_goods)


def _better(one: Exploitability, other: Exploitability) -> Exploitability:
    """Agent by agent, whichever gains more; the first of equals."""
    is_more = other.gain > one.gain
    pick = lambda x, y: jnp.where(is_more if x.ndim == is_more.ndim else is_more[..., None], y, x)
    return jax.tree.map(pick, one, other)


class AttackGap(NamedTuple):
    """What a search finds beside what there is.

    Attributes:
      attack: result of `exploitability`, a lower bound.
      exact: result of `exhaustive_exploitability`, exact on its candidates.
      found: mean relative gain of the attack over that of the sweep, a scalar; above 1 where the
        attack finds reports between the candidates, nan where there is nothing to find.
      largest_miss: largest relative gain that the attack misses for one agent, a scalar >= 0.
    """

    attack: Exploitability
    exact: Exploitability
    found: Array
    largest_miss: Array


def attack_gap(
    mechanism: Any,
    types: Any,
    candidates: Mapping[str, Array],
    params: PyTree = (),
    *,
    key: Key,
    space: Space | None = None,
    score_smoothing: Any = None,
    **settings: Any,
) -> AttackGap:
    """How much of the exploitability a gradient attack finds, by comparison with brute force.

    Args:
      mechanism: a `Mechanism`, or a function of reports with leaves [N, M].
      types: true types, with any leading axes.
      candidates: {private field: [K, M]} to sweep; the attack misreports the same fields.
      params: the mechanism's.
      key: PRNG key of the attack.
      space: bounds of the attack, as in `exploitability`; None is the box of the candidates.
      score_smoothing: with which both are scored.
      **settings: further arguments of `exploitability`.
    """
    if space is None:
        space = {name: (jnp.min(rows), jnp.max(rows)) for name, rows in candidates.items()}
    attack = exploitability(
        mechanism,
        types,
        params,
        key=key,
        private=tuple(candidates),
        space=space,
        score_smoothing=score_smoothing,
        **settings,
    )
    exact = exhaustive_exploitability(
        mechanism, types, candidates, params, smoothing=score_smoothing
    )
    missed = jnp.max(jnp.maximum(exact.relative_gain - attack.relative_gain, 0.0))
    return AttackGap(attack, exact, attack.mean() / exact.mean(), missed)
