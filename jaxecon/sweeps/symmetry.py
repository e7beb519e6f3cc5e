"""What training did to a symmetry: how far relaxed weights left it, and which part of it broke.

The networks "relaxed" and "relaxed_sets" start exactly symmetric and may leave. A finished study of
them says how far they did in the final weights of its policies: critics are trained alike but do
not act, so the picture leaves them out where there are several configurations.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.sweeps.kept import kept_in_words
from jaxecon.sweeps.loading import Run, load_run
from jaxecon.sweeps.statistics import mean_interval
from jaxecon.sweeps.storage import write_atomically
from jaxecon.sweeps.symmetry_figure import CRITIC, SPREAD, draw_symmetry
from jaxecon.sweeps.trained import load_relaxed_weights
from jaxecon.symmetry import components, relaxed_weight_spectrum, relaxed_weight_spread
from jaxecon.symmetry.measures import RELAXED


def symmetry_plot(run_dir: str | os.PathLike) -> Path | None:
    """Path of symmetry.png, written into a finished run with the numbers in symmetry.json.

    Left, the spread of relaxed weights (deviation over mean) over training, a line for each of up
    to six configurations, evenly chosen, or for each layer where there is one. Right, what share
    of the squares of the final weights has left the symmetry, by the part of it that broke; for
    sets, the gain of each element.

    Args:
      run_dir: a run folder. Where its policies cannot be read any more, because data that the
        environment needs has moved, say, the numbers of an earlier call are drawn.

    Returns:
      The path; None where the study trained no relaxed network, and nothing is written.
    """
    run = load_run(run_dir)
    if SPREAD not in run.results.columns:
        return None
    file = run.path / "symmetry.json"
    try:
        numbers = measure_symmetry(run)
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomically(file, lambda target: target.write_text(text, "utf-8"))
    except (OSError, ValueError):
        if not file.is_file():
            raise
        numbers = json.loads(file.read_text("utf-8"))
    return draw_symmetry(run, numbers, run.path / "symmetry.png")


def measure_symmetry(run: Run) -> dict[str, Any]:
    """How far the final weights of a run are from symmetric, ready for JSON.

    Args:
      run: of a study with relaxed networks, from `load_run`.

    Returns:
      network:        "relaxed", or "relaxed_sets", whose weights are gains of N elements
      group, order:   name, None for sets, and number of elements
      components:     name, rank, kernel and words of each irreducible component; the first is what
                      the symmetry keeps; none for sets
      layers:         those that act, which the numbers below are of
      configurations: for each, config and values (searched), spread (of each layer, deviation over
                      mean), broken and shares (parts of the squares of the weights of all layers
                      together, of each component), or gains (over their layer's mean, of each
                      element, mean over layers)

      Measured numbers are {mean, low, high} with a 95% t interval over seeds, null where there is
      none.
    """
    plan, saved = load_relaxed_weights(run.path)
    weights = {layer: jnp.asarray(w) for layer, w in saved.items() if not layer.startswith(CRITIC)}
    tree = {layer: {RELAXED: w} for layer, w in weights.items()}
    spread = jax.vmap(jax.vmap(relaxed_weight_spread))(tree)  # [C, S] each
    rows = jnp.concatenate([*weights.values()], axis=-2)  # [C, S, R, n]
    about: dict[str, Any] = {"network": str(plan.study.algorithm.config.get("network"))}
    about |= {"group": None, "order": rows.shape[-1], "components": [], "layers": [*weights]}
    if about["network"] == "relaxed_sets":
        gains = np.asarray(rows / rows.mean(axis=-1, keepdims=True)).mean(axis=-2)
        found = {"gains": gains}
    else:
        spec = plan.env.symmetry()
        about |= {"group": spec.group.name, "components": _about_components(spec)}
        shares = _shares(spec.group, rows)
        found = {"broken": shares[..., 1:].sum(axis=-1), "shares": shares}
    configurations = []
    for config in range(rows.shape[0]):
        values = {name: float(x[config]) for name, x in plan.configurations.items()}
        layers = {layer: _over_seeds(x[config]) for layer, x in spread.items()}
        measured = {name: _over_seeds(x[config]) for name, x in found.items()}
        configurations.append({"config": config, "values": values, "spread": layers} | measured)
    return about | {"configurations": configurations}


def _about_components(spec: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": component.name,
            "rank": component.rank,
            "kernel": [*component.kernel],
            "words": kept_in_words(spec, component.kernel),
        }
        for component in components(spec.group)
    ]


def _shares(group: Any, rows: jax.Array) -> np.ndarray:
    """[C, S, K] shares of the squares of all rows [C, S, R, n] together."""
    spectrum = np.asarray(relaxed_weight_spectrum(group, rows), np.float64)  # [C, S, R, K]
    power = np.square(np.asarray(rows, np.float64)).sum(axis=-1, keepdims=True)
    return (spectrum * power).sum(axis=-2) / power.sum(axis=-2)


def _over_seeds(values: Any) -> Any:
    """Mean and interval over the first axis of [S], or a list of them for [S, K]."""
    values = np.asarray(values, np.float64)
    if values.ndim > 1:
        return [_over_seeds(column) for column in values.T]
    interval = mean_interval(values)
    numbers = zip(("mean", "low", "high"), interval, strict=True)
    return {name: float(x) if np.isfinite(x) else None for name, x in numbers}
