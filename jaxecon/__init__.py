"""jaxecon: economics at accelerator speed.

Environments, algorithms and sweeps that compile into one program. Importing the package is
cheap: every public name below is loaded when first used, and no device array is created.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxecon import algos, data, envs, interop, mechanisms, solvers, sweeps, testing
    from jaxecon.envs.registry import list_environments, make

__version__ = "0.2.0"

_SUBMODULES = (
    "algos",
    "data",
    "econ",
    "envs",
    "interop",
    "mechanisms",
    "networks",
    "solvers",
    "sweeps",
    "testing",
)
_FUNCTIONS = {
    "make": "jaxecon.envs.registry",
    "list_environments": "jaxecon.envs.registry",
}

__all__ = [
    "__version__",
    "algos",
    "data",
    "envs",
    "interop",
    "list_environments",
    "make",
    "mechanisms",
    "solvers",
    "sweeps",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"jaxecon.{name}")
    raise AttributeError(f"module 'jaxecon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
