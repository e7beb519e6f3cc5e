"""The one list of environments, and `make`, which builds one from its id."""

import importlib
import warnings
from typing import Any

from jaxecon.suggest import unknown_name

# id -> "module:factory". A factory takes the static keywords of `make` and returns an
# environment, or (environment, env_params) where the parameters come from data.
ENVIRONMENTS: dict[str, str] = {
    "Cournot-v0": "jaxecon.envs.games.cournot:Cournot",
    "Newsvendor-v0": "jaxecon.envs.control.newsvendor:Newsvendor",
    "PortfolioTrading-v0": "jaxecon.envs.trading.portfolio:make_portfolio_trading",
}


def _gymnax_ids() -> list[str]:
    import gymnax

    return list(gymnax.registered_envs)


def list_environments(*, include_gymnax: bool = False) -> list[str]:
    """Sorted ids that `make` accepts; gymnax's own ids follow when asked for."""
    return sorted(ENVIRONMENTS) + (_gymnax_ids() if include_gymnax else [])


def make(env_id: str, **static: Any) -> tuple[Any, Any]:
    """Build an environment and its default parameters.

    Args:
      env_id: an id of `list_environments(include_gymnax=True)`, such as "Cournot-v0".
      **static: structure of the environment (counts, grids, data); each new value compiles anew.

    Returns:
      (env, env_params): a hashable environment and the traced numbers of its economy.

    Raises:
      ValueError: the id is unknown; the message names the nearest ones.
      TypeError: a keyword is not one of the environment's.
    """
    if env_id in ENVIRONMENTS:
        module_name, _, attribute = ENVIRONMENTS[env_id].partition(":")
        factory = getattr(importlib.import_module(module_name), attribute)
        built = factory(**static)
        return built if isinstance(built, tuple) else (built, built.default_params)
    if env_id in _gymnax_ids():
        import gymnax

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return gymnax.make(env_id, **static)
    raise ValueError(unknown_name("environment id", env_id, list_environments(include_gymnax=True)))
