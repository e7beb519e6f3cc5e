"""Trading and portfolio choice."""

from jaxecon.envs.trading.baselines import run_baselines
from jaxecon.envs.trading.economy import split_params
from jaxecon.envs.trading.portfolio import EnvParams, PortfolioTrading, make_portfolio_trading

__all__ = [
    "EnvParams",
    "PortfolioTrading",
    "make_portfolio_trading",
    "run_baselines",
    "split_params",
]
