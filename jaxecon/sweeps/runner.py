"""Running a study from start, or from where it was interrupted, to its results."""

import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxecon import devices
from jaxecon.envs.applicability import require_legal_actions
from jaxecon.sweeps.executor import Executor, build_executor
from jaxecon.sweeps.plan import Plan, make_plan
from jaxecon.sweeps.storage import (
    BASELINES_BY_CONFIG,
    Checkpoint,
    RunFolder,
    default_folder,
    timestamp,
)
from jaxecon.sweeps.study import Study
from jaxecon.sweeps.symmetry import symmetry_plot
from jaxecon.sweeps.trained import count_weights

MOST_ECONOMIES = 16  # in which baselines are played
VERSIONED = ("jax", "jaxlib", "flax", "optax", "gymnax", "distrax", "numpy")


class Progress(NamedTuple):
    """What a progress display needs to know.

    Attributes:
      phase: "compiling" or "training".
      steps_done, steps_total: environment steps over all lanes.
      lanes_done, lanes_total: finished runs.
      best: best evaluation of the study's metric so far, nan before the first.
    """

    phase: str
    steps_done: int
    steps_total: int
    lanes_done: int
    lanes_total: int
    best: float


def run_study(
    study: Study,
    out: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> pathlib.Path:
    """Run every lane of a study and write its run folder.

    A folder that holds the same study unfinished is resumed from its last checkpoint; the results
    are those of an uninterrupted run, bit for bit on the same machine.

    Args:
      study: from `load_study`.
      out: run folder; runs/NAME if None.
      overwrite: replace a finished or different run in that folder.
      on_progress: called when the phase changes and after every segment.

    Returns:
      The run folder, with results.parquet, baselines.json, policies and run.json, and symmetry.png
      and symmetry.json where networks have relaxed weights.

    Raises:
      ValueError: the study names something unknown or out of range.
      FileExistsError: the folder is taken.
      MemoryError: the study does not fit, with the numbers and a remedy.
    """
    if study.arms:
        raise ValueError("study must have no arms here; use jaxecon.sweeps.run_arms.")
    devices.use_all_cores()
    plan = make_plan(study)
    key = jax.random.key(study.study.seed)
    require_legal_actions(plan.env, plan.splits["train"], key)
    folder = RunFolder(default_folder(study) if out is None else out, study, overwrite=overwrite)
    total = plan.num_lanes * plan.num_evaluations * plan.steps_per_evaluation
    on_progress(Progress("compiling", 0, total, 0, plan.num_lanes, float("nan")))
    executor = build_executor(plan)
    earlier = folder.claim().read_json("run.json")
    record = _start_record(executor, earlier)
    folder.write_json("run.json", record)
    try:
        started = time.perf_counter()
        metrics = _run_waves(executor, folder, on_progress)
        record = _finish_record(record, plan, time.perf_counter() - started)
        folder.write_json("baselines.json", baselines_of(plan, {}))
        by_config = baselines_by_config(plan)
        if by_config:
            folder.write_json(BASELINES_BY_CONFIG, by_config)
        folder.write_json("run.json", record)
        folder.write_results(results_table(plan, executor.metric_names, metrics))  # last: the seal
    finally:
        folder.close()
    symmetry_plot(folder.path)
    return folder.path


def _run_waves(
    executor: Executor, folder: RunFolder, on_progress: Callable[[Progress], None]
) -> np.ndarray:
    """Metrics [M, L, E] of all lanes, resumed from the folder's checkpoint if there is one."""
    plan = executor.plan
    shape = (len(executor.metric_names), plan.num_lanes, plan.num_evaluations)
    metrics = np.full(shape, np.nan, np.float32)
    first_lane, next_evaluation, state = 0, 0, None
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        metrics, first_lane = checkpoint.metrics, checkpoint.first_lane
        if checkpoint.lanes_per_wave == executor.lanes_per_wave and checkpoint.state:
            next_evaluation = checkpoint.next_evaluation
            treedef = jax.tree.structure(executor.initial_state())
            state = executor.put(jax.tree.unflatten(treedef, checkpoint.state))
    saved = time.monotonic()
    while first_lane < plan.num_lanes:
        lanes = np.arange(first_lane, first_lane + executor.lanes_per_wave)
        live = lanes[lanes < plan.num_lanes]
        inputs = executor.lane_inputs(np.minimum(lanes, plan.num_lanes - 1))
        state = executor.initial_state() if state is None else state
        for evaluation in range(next_evaluation, plan.num_evaluations):
            state, reported = executor.run(state, inputs, evaluation)
            for row, name in enumerate(executor.metric_names):
                metrics[row, live, evaluation] = np.asarray(reported[name])[: len(live)]
            on_progress(_progress(executor, metrics, first_lane, len(live), evaluation + 1))
            is_due = time.monotonic() - saved >= plan.study.executor.checkpoint_seconds
            if is_due and evaluation + 1 < plan.num_evaluations:
                leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
                folder.save_checkpoint(
                    Checkpoint(first_lane, evaluation + 1, executor.lanes_per_wave, metrics, leaves)
                )
                saved = time.monotonic()
        _save_policies(executor, folder, state, live)
        first_lane, next_evaluation, state = first_lane + executor.lanes_per_wave, 0, None
        is_due = time.monotonic() - saved >= plan.study.executor.checkpoint_seconds
        if is_due or first_lane >= plan.num_lanes:
            folder.save_checkpoint(Checkpoint(first_lane, 0, executor.lanes_per_wave, metrics, []))
            saved = time.monotonic()
    return metrics


def _save_policies(executor: Executor, folder: RunFolder, state: Any, live: np.ndarray) -> None:
    """Write the policies of a finished wave's lanes."""
    policy = executor.plan.algorithm.policy(state)
    leaves = [np.asarray(leaf)[: len(live)] for leaf in jax.tree.leaves(policy)]
    folder.write_policies(int(live[0]), leaves)


def _progress(
    executor: Executor, metrics: np.ndarray, first_lane: int, num_live: int, evaluations: int
) -> Progress:
    plan = executor.plan
    done = first_lane * plan.num_evaluations + num_live * evaluations
    finished = first_lane + (num_live if evaluations == plan.num_evaluations else 0)
    scores = metrics[executor.metric_names.index(_selection(executor))]
    known = scores[np.isfinite(scores)]
    return Progress(
        "training",
        done * plan.steps_per_evaluation,
        plan.num_lanes * plan.num_evaluations * plan.steps_per_evaluation,
        finished,
        plan.num_lanes,
        float(known.max()) if known.size else float("nan"),
    )


def _selection(executor: Executor) -> str:
    return f"validation/{executor.plan.study.study.metric}"


def results_table(plan: Plan, metric_names: list[str], metrics: np.ndarray) -> Any:
    """One row per configuration, seed and evaluation, as a pandas DataFrame.

    Args:
      plan: the study.
      metric_names: names of the first axis of `metrics`.
      metrics: [M, L, E] float32.
    """
    import pandas as pd

    num_seeds, num_evaluations = plan.study.study.num_seeds, plan.num_evaluations
    lane = np.repeat(np.arange(plan.num_lanes), num_evaluations)
    evaluation = np.tile(np.arange(num_evaluations), plan.num_lanes)
    columns = {
        "config": (lane // num_seeds).astype(np.int32),
        "seed": (lane % num_seeds).astype(np.int32),
        "evaluation": evaluation.astype(np.int32),
        "env_steps": (evaluation + 1).astype(np.int64) * plan.steps_per_evaluation,
    }
    for name, values in plan.configurations.items():
        columns[f"hparam/{name}"] = values[lane // num_seeds]
    for name, values in zip(metric_names, metrics, strict=True):
        columns[name] = values.reshape(-1)
    return pd.DataFrame(columns)


def baselines_of(plan: Plan, env_numbers: dict[str, Any]) -> dict[str, Any]:
    """{split: {policy: {metric: value}}} of known policies in the splits, with some numbers set."""
    if not hasattr(plan.env, "baselines"):
        return {}
    found = {
        split: plan.env.baselines(plan.lane_params(split, env_numbers))
        for split in ("validation", "test")
    }
    return {split: policies for split, policies in found.items() if policies}


def baselines_by_config(plan: Plan) -> list[dict[str, Any]]:
    """`baselines_of` each configuration's own economy.

    Nothing where economies do not differ, or there are too many to play the baselines in each.
    """
    names, first = [*plan.env_numbers], slice(None, None, plan.study.study.num_seeds)
    economies = [*zip(*(plan.env_numbers[name][first].tolist() for name in names), strict=True)]
    if len(set(economies)) > MOST_ECONOMIES:
        return []
    known = {
        economy: baselines_of(plan, dict(zip(names, economy, strict=True)))
        for economy in dict.fromkeys(economies)
    }
    return [known[economy] for economy in economies] if any(known.values()) else []


def _start_record(executor: Executor, earlier: dict[str, Any]) -> dict[str, Any]:
    """run.json of a run that starts or goes on."""
    import importlib.metadata

    device = jax.devices()[0]
    plan = executor.plan
    return {
        "status": "running",
        "started": earlier.get("started", timestamp()),
        "resumed": earlier.get("resumed", -1) + 1,
        "device": device.device_kind,
        "platform": device.platform,
        "num_devices": len(jax.devices()),
        "cores": devices.num_cores(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "strategy": executor.strategy,
        "lanes_per_wave": executor.lanes_per_wave,
        "num_lanes": plan.num_lanes,
        "num_configs": plan.num_lanes // plan.study.study.num_seeds,
        "num_weights": count_weights(executor.state_type),
        "num_traces": executor.num_traces,
        "num_compilations": executor.num_compilations,
        "compile_seconds": round(executor.compile_seconds, 3),
        "memory_bytes_per_device": executor.memory_bytes,
        "env_steps_per_lane": plan.num_evaluations * plan.steps_per_evaluation,
        "earlier_seconds": earlier.get("earlier_seconds", 0.0) + earlier.get("wall_seconds", 0.0),
    }


def _finish_record(record: dict[str, Any], plan: Plan, seconds: float) -> dict[str, Any]:
    """run.json of a finished run; throughput counts this session alone if it was not resumed."""
    steps = plan.num_lanes * plan.num_evaluations * plan.steps_per_evaluation
    finished = {
        "status": "finished",
        "finished": timestamp(),
        "wall_seconds": round(seconds, 3),
        "env_steps": steps,
    }
    if record["resumed"] == 0:
        finished["env_steps_per_second"] = round(steps / seconds)
    return record | finished
