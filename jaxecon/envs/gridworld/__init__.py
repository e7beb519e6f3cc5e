"""Gridworlds whose actions often do nothing, with exact masks and shortest paths."""

from jaxecon.envs.gridworld.env import EnvParams, EnvState, GridWorld, make_gridworld, make_params
from jaxecon.envs.gridworld.layouts import MAPS, Layout, make_layout

__all__ = [
    "MAPS",
    "EnvParams",
    "EnvState",
    "GridWorld",
    "Layout",
    "make_gridworld",
    "make_layout",
    "make_params",
]
