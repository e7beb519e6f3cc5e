"""The one list of environments, and `make`, which builds one from its id."""

import functools
import importlib
import inspect
import warnings
from typing import Any

from jaxecon.suggest import unknown_name

# id -> "module:factory". A factory takes the static keywords of `make` and returns an
# environment, or (environment, env_params) where the parameters come from data.
ENVIRONMENTS: dict[str, str] = {
    "AllocationDesigner-v0": "jaxecon.envs.mechanisms.designer:AllocationDesigner",
    "AuctionDesigner-v0": "jaxecon.envs.mechanisms.auction:AuctionDesigner",
    "CartPoleSwingUp-v0": "jaxecon.envs.control.cartpole_swingup:CartPoleSwingUp",
    "ContextualBandit-v0": "jaxecon.envs.bandits.contextual:ContextualBandit",
    "Cournot-v0": "jaxecon.envs.games.cournot:Cournot",
    "DynamicalLinearBandit-v0": "jaxecon.envs.bandits.dynamical:make_dynamical_bandit",
    "GridWorld-v0": "jaxecon.envs.gridworld.env:make_gridworld",
    "LotSizing-v0": "jaxecon.envs.control.lot_sizing:LotSizing",
    "Misreporter-v0": "jaxecon.envs.mechanisms.misreporter:Misreporter",
    "Newsvendor-v0": "jaxecon.envs.control.newsvendor:Newsvendor",
    "OrderPlacing-v0": "jaxecon.envs.trading.order_placing:OrderPlacing",
    "PartiallyObservedLinearBandit-v0": (
        "jaxecon.envs.bandits.partially_observed:make_partially_observed_bandit"
    ),
    "PlantedSymmetryMarket-v0": "jaxecon.envs.trading.planted_symmetry:PlantedSymmetryMarket",
    "PointReach2D-v0": "jaxecon.envs.control.point_reach:PointReach2D",
    "PortfolioTrading-v0": "jaxecon.envs.trading.portfolio:make_portfolio_trading",
    "Reacher-v0": "jaxecon.envs.control.reacher:Reacher",
    "RestlessBandit-v0": "jaxecon.envs.bandits.restless:make_restless_bandit",
    "SequentialAllocation-v0": "jaxecon.envs.allocation.settings:make_sequential_allocation",
    "StockTrading-v0": "jaxecon.envs.trading.make_stocks:make_stock_trading",
    "StrategyBandit-v0": "jaxecon.envs.bandits.strategies:make_strategy_bandit",
}


SPLITS = ("train", "validation", "test")


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
      ValueError: the id or a keyword is unknown (the message names the nearest valid ones), or a
        keyword's value does not fit.
    """
    factory = _factory(env_id)
    _check_keywords(env_id, factory, static)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # gymnax's own, at construction
        built = factory(**static)
    return built if isinstance(built, tuple) else (built, built.default_params)


def make_splits(env_id: str, **static: Any) -> tuple[Any, dict[str, Any]]:
    """Build an environment with parameters to train, validate and test on.

    An environment whose data are split (its factory takes `split`, as PortfolioTrading-v0's does
    with `train_end` and `validation_end`) gets one set of parameters for each. In any other the
    three are the same economy, and only the random numbers differ.

    Returns:
      (env, {"train": env_params, "validation": env_params, "test": env_params}).
    """
    if "train_end" in static and "split" in _keywords(_factory(env_id)):
        built = {split: make(env_id, **static, split=split) for split in SPLITS}
        return built["train"][0], {split: params for split, (_, params) in built.items()}
    env, env_params = make(env_id, **static)
    return env, dict.fromkeys(SPLITS, env_params)


def _factory(env_id: str) -> Any:
    """The callable that builds an environment; ValueError names the nearest ids."""
    if env_id in ENVIRONMENTS:
        module_name, _, attribute = ENVIRONMENTS[env_id].partition(":")
        return getattr(importlib.import_module(module_name), attribute)
    if env_id in _gymnax_ids():
        return functools.partial(_make_gymnax, env_id)
    raise ValueError(unknown_name("environment id", env_id, list_environments(include_gymnax=True)))


def _make_gymnax(env_id: str, **static: Any) -> Any:
    """A gymnax environment, whose constructors mix dtypes."""
    import gymnax
    import jax

    with jax.numpy_dtype_promotion("standard"):
        return gymnax.make(env_id, **static)


def _keywords(factory: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(factory).parameters)


def _check_keywords(env_id: str, factory: Any, static: dict[str, Any]) -> None:
    parameters = _keywords(factory)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return  # the factory checks its own
    for name in static:
        if name not in parameters:
            raise ValueError(unknown_name(f"keyword of {env_id}", name, parameters))
