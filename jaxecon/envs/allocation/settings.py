"""Settings of sequential allocation: the four standard ones, seasons, and users' tables."""

import dataclasses
import inspect
import os
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from jaxecon.data.sites import Sites, load_sites
from jaxecon.envs import base
from jaxecon.envs.allocation.demand import Law
from jaxecon.envs.allocation.economy import EnvParams, check_params, check_shapes
from jaxecon.envs.allocation.env import Action, FillRule, Reward, SequentialAllocation
from jaxecon.envs.allocation.planning import Split
from jaxecon.suggest import unknown_name

Setting = Literal[
    "dense_symmetric",
    "dense_asymmetric",
    "sparse_symmetric",
    "sparse_asymmetric",
    "food_bank",
    "family",
]
SETTINGS = get_args(Setting)
GROUPS = {
    "dense": SETTINGS[:2],
    "sparse": SETTINGS[2:4],
    "all": SETTINGS[:4],
}
FAMILY = {"least_arrival": 0.5, "size_spread": 0.6, "budget_spread": 0.3}


def make_sequential_allocation(
    setting: Setting = "sparse_symmetric",
    *,
    demand: str | os.PathLike | Sites | None = None,
    num_agents: int = 20,
    num_steps: int = 40,
    law: Law = "gaussian",
    fill_rule: FillRule = "per_step",
    action: Action = "lambda",
    split: Split = "proportional",
    reward: Reward = "welfare",
    scarcity: float = 0.5,
    season: float = 0.0,
    seed: int = 0,
    **numbers: Any,
) -> tuple[SequentialAllocation, EnvParams]:
    """The environment and its parameters.

    Sizes have mean mu and deviation 0.3 mu. Arrivals are independent with probability p:

        dense_symmetric      p = 0.8,               mu = 1
        dense_asymmetric     p ~ U(0.5, 1),         mu ~ U(0.5, 2)
        sparse_symmetric     p = 2/T,               mu = 1
        sparse_asymmetric    p ~ U(1, 4)/T,         mu ~ U(0.5, 2)
        food_bank            70 sites, each expected once: `data.sites.synthetic_sites`
        family               another economy in every episode, for training one policy for many

    In the family p = 0.8 r_i with r_i = c U(1/2, 1) and c log-uniform from 2.5/T to 1, mu ~
    U(0.4, 1.6), and the budget 0.7 to 1.3 times what `scarcity` says: from sparse to dense,
    symmetric or not. Planners know an episode's p, mu and budget.

    Args:
      setting: one of these; asymmetric agents are drawn once, from `seed`.
      demand: a user's table instead, a CSV path or Sites, see `data.sites.load_sites`; it also
        sets the number of agents. Sites without arrival probabilities are expected once each.
      num_agents: N, of the four standard settings.
      num_steps: T.
      law, fill_rule, action, split, reward: structure, see SequentialAllocation.
      scarcity: budget over expected demand, if `budget` is not among the numbers.
      season: amplitude α in [0, 1] of one sine wave, p_t = p (1 + α sin(2π t / T)), cut off at 1.
      seed: of the asymmetric agents and the synthetic sites.
      **numbers: values of EnvParams, such as `budget`, `weight`, `forecast_scale`, `volatility`.
        `weight="expected"` weighs agents by their expected demand, which evens out fill ratios.

    Returns:
      (env, env_params).

    Raises:
      ValueError: a name, a number or a cell of the table does not fit.
    """
    base.require_count("num_agents", num_agents)
    base.require_count("num_steps", num_steps)
    if setting not in SETTINGS:
        raise ValueError(unknown_name("setting", setting, SETTINGS))
    if not 0.0 <= season <= 1.0:
        raise ValueError(f"season must be between 0 and 1, got {season}.")
    if not scarcity >= 0.0:
        raise ValueError(f"scarcity must be at least 0, got {scarcity}.")
    if demand is None and setting != "food_bank":
        rate, mean = _standard(setting, num_agents, num_steps, seed)
        tables = {"rate": rate, "mean": mean, "deviation": 0.3 * mean}
    else:
        tables = _from_sites(demand, num_steps, seed)
        numbers = {"least_size": 1.0} | numbers if demand is None else numbers
    if demand is None and setting == "family":
        numbers = FAMILY | {"common_arrival": min(2.5 / num_steps, 1.0)} | numbers
    wave = 1.0 + season * np.sin(2.0 * np.pi * np.arange(num_steps) / num_steps)
    probability = np.minimum(tables["rate"] * wave[:, None], 1.0)  # [T, N]
    rows = lambda x: jnp.asarray(np.broadcast_to(x, probability.shape), float)
    own: dict[str, Any] = {
        "arrival_probability": rows(probability),
        "mean_size": rows(tables["mean"]),
        "size_deviation": rows(tables["deviation"]),
        "max_steps_in_episode": num_steps,
    } | numbers
    known = {field.name for field in dataclasses.fields(EnvParams)}
    for name in numbers:
        if name not in known:
            named = inspect.signature(make_sequential_allocation).parameters
            valid = sorted(known | (set(named) - {"numbers"}))
            raise ValueError(unknown_name("keyword", name, valid))
    check_shapes(own, num_steps, probability.shape[1])
    asked = np.asarray(own["arrival_probability"]) * np.asarray(own["mean_size"])
    expected = asked.sum(axis=0)
    weight = own.setdefault("weight", jnp.ones(len(expected), float))
    if isinstance(weight, str):
        if weight != "expected":
            raise ValueError(unknown_name("weight", weight, ["expected"]))
        own["weight"] = jnp.asarray(expected / expected.mean(), float)
    own.setdefault("budget", scarcity * float(expected.sum()))
    params = EnvParams(**own)
    check_params(params)
    env = SequentialAllocation(len(expected), num_steps, law, fill_rule, action, split, reward)
    return env, params


def _standard(setting: str, num_agents: int, num_steps: int, seed: int) -> tuple:
    """(rate [N], mean size [N]) of one of the four standard settings."""
    generator = np.random.default_rng(seed)
    is_dense = setting == "family" or setting.startswith("dense")
    if setting == "family" or setting.endswith("_symmetric"):
        common = 0.8 if is_dense else min(2.0 / num_steps, 1.0)
        return np.full(num_agents, common), np.ones(num_agents)
    bounds = (0.5, 1.0) if is_dense else (1.0 / num_steps, 4.0 / num_steps)
    rate = np.minimum(generator.uniform(*bounds, num_agents), 1.0)
    return rate, generator.uniform(0.5, 2.0, num_agents)


def _from_sites(demand: Any, num_steps: int, seed: int) -> dict[str, np.ndarray]:
    """Rate, mean and deviation of a table of sites."""
    from jaxecon.data.sites import synthetic_sites

    if demand is None:
        sites = synthetic_sites(seed=seed)
    else:
        sites = demand if isinstance(demand, Sites) else load_sites(demand)
    rate = sites.arrival_probability
    if rate is None:
        rate = np.full(len(sites.names), 1.0 / num_steps)
    return {"rate": rate, "mean": sites.mean, "deviation": sites.deviation}
