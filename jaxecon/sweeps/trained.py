"""What a run trained: policies out of a run folder, and how many weights they have."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxecon.sweeps.plan import Plan, make_plan
from jaxecon.sweeps.storage import RunFolder
from jaxecon.sweeps.study import load_study
from jaxecon.symmetry import relaxed_weights
from jaxecon.types import PyTree


def load_policy(run_dir: str | os.PathLike, config: int, seed: int = 0) -> Callable[..., Any]:
    """One trained policy out of a run: a function (key, obs [B, ...], mask=None) -> actions.

    Args:
      run_dir: a run folder.
      config: configuration, as in results.parquet.
      seed: seed index.

    Raises:
      ValueError: there is no such configuration or seed.
      FileNotFoundError: no run folder, or the lane has not finished.
    """
    plan, policy, env_params = load_lane(run_dir, config, seed)
    compiled = jax.jit(plan.algorithm.act)

    def act(key: jax.Array, obs: Any, mask: Any = None) -> Any:
        return compiled(key, policy, obs, mask, env_params)

    return act


def load_mechanism(run_dir: str | os.PathLike, config: int, seed: int = 0) -> Callable[..., Any]:
    """One learned mechanism out of a run: a function reports -> `Outcome`, ready to be attacked.

    Args:
      run_dir: folder of a study whose algorithm is "mechanism".
      config, seed: as for `load_policy`.

    Raises:
      ValueError: there is no such configuration or seed, or the study learned something else.
      FileNotFoundError: no run folder, or the lane has not finished.
    """
    from jaxecon.algos.mechanism_config import build_mechanism

    plan, params, _ = load_lane(run_dir, config, seed)
    algorithm = plan.study.algorithm
    if algorithm.id != "mechanism":
        raise ValueError(
            f"{run_dir} holds policies of {algorithm.id!r}, not mechanisms; use load_policy."
        )
    mechanism = build_mechanism(plan.env, **algorithm.config)
    return lambda reports: mechanism(reports, params)


def load_lane(run_dir: str | os.PathLike, config: int, seed: int) -> tuple[Plan, Any, Any]:
    """The plan of a run, and the trained policy and economy of one of its lanes.

    Raises:
      ValueError, FileNotFoundError: as `load_policy` does.
    """
    path = pathlib.Path(run_dir)
    study = load_study(path / "study.toml")
    plan = make_plan(study)
    num_configs = plan.num_lanes // study.study.num_seeds
    for name, value, count in (
        ("config", config, num_configs),
        ("seed", seed, study.study.num_seeds),
    ):
        if not 0 <= value < count:
            raise ValueError(f"{name} must be between 0 and {count - 1}, got {value}.")
    lane = config * study.study.num_seeds + seed
    policy, env_params = _policy_type(plan, lane)
    leaves = RunFolder.open(path).read_policy(lane)
    return plan, jax.tree.unflatten(jax.tree.structure(policy), leaves), env_params


def _policy_type(plan: Plan, lane: int = 0) -> tuple[PyTree, Any]:
    """Shapes and types of what acting needs, and the economy that a lane trained in."""
    env_params, hparams = plan.lane(lane)
    state = jax.eval_shape(plan.algorithm.init, jax.random.key(0), env_params, hparams)
    return plan.algorithm.policy(state), env_params


def load_relaxed_weights(run_dir: str | os.PathLike) -> tuple[Plan, dict[str, np.ndarray]]:
    """The plan of a run, and the relaxed weights that it ended with.

    Args:
      run_dir: a run folder.

    Returns:
      The plan, and [C, S, L, n] of each layer by its path in the saved policy, such as
      "actor/Lift_0": configurations, seeds, banks, group elements. No layer where no network is
      relaxed.

    Raises:
      ValueError: the study does not fit this version.
      FileNotFoundError: no run folder, or lanes have not finished.
    """
    path = pathlib.Path(run_dir)
    plan = make_plan(load_study(path / "study.toml"))
    policy, _ = _policy_type(plan)
    leaves, treedef = jax.tree.flatten(policy)
    numbered = jax.tree.unflatten(treedef, range(len(leaves)))
    numbers: dict[str, Any] = relaxed_weights(getattr(numbered, "params", {}))
    read = RunFolder.open(path).read_leaves(list(numbers.values()), plan.num_lanes)
    seeds = plan.study.study.num_seeds
    weights = zip(numbers, read, strict=True)
    return plan, {layer: x.reshape(-1, seeds, *x.shape[1:]) for layer, x in weights}


def count_weights(state: PyTree) -> int | None:
    """Number of weights that gradients train; None for an algorithm without a network.

    Policy and value networks count, with what is trained beside them (deviations of actions, a
    temperature); target networks and running moments do not.

    Args:
      state: an algorithm's state, or its shapes.
    """
    holder = getattr(state, "learner", getattr(state, "policy", state))
    params = getattr(holder, "params", None)
    return None if params is None else sum(leaf.size for leaf in jax.tree.leaves(params))
