"""What `jaxecon envs` shows."""

import dataclasses
import inspect
from typing import Any

import numpy as np
from rich.table import Table

from jaxecon.envs import registry


def environments(include_gymnax: bool) -> list[dict[str, str]]:
    """One row per environment: id, source and what it is."""
    rows = []
    for env_id in registry.list_environments(include_gymnax=include_gymnax):
        is_ours = env_id in registry.ENVIRONMENTS
        about = _first_line(registry.make(env_id)[0]) if is_ours else ""
        rows.append({"id": env_id, "source": "jaxecon" if is_ours else "gymnax", "about": about})
    return rows


def environment(env_id: str) -> dict[str, str]:
    """Spaces, structure and parameters of one environment."""
    env, env_params = registry.make(env_id)
    described = {
        "id": env_id,
        "about": _first_line(env),
        "observations": str(env.observation_space(env_params)),
        "actions": str(env.action_space(env_params)),
        "agents": str(getattr(env, "num_agents", None) or 1),
    }
    if dataclasses.is_dataclass(env):
        for field in dataclasses.fields(env):
            described[f"static {field.name}"] = str(getattr(env, field.name))
    for field in dataclasses.fields(env_params):
        value = getattr(env_params, field.name)
        shape = np.shape(value)
        described[f"env.{field.name}"] = f"array {list(shape)}" if shape else f"{value}"
    return described


def as_table(rows: Any) -> Table:
    """Rows as a terminal table."""
    if isinstance(rows, dict):
        table = Table("property", "value", show_header=False)
        for name, value in rows.items():
            table.add_row(name, value)
        return table
    table = Table("id", "source", "about")
    for row in rows:
        table.add_row(row["id"], row["source"], row["about"])
    return table


def _first_line(env: Any) -> str:
    return (inspect.getdoc(type(env)) or "").partition("\n")[0]
