"""Trading and portfolio choice."""

from jaxecon.envs.trading.baselines import run_baselines
from jaxecon.envs.trading.economy import split_params
from jaxecon.envs.trading.make_stocks import make_stock_trading
from jaxecon.envs.trading.planted_symmetry import PlantedSymmetryMarket
from jaxecon.envs.trading.portfolio import EnvParams, PortfolioTrading, make_portfolio_trading
from jaxecon.envs.trading.stocks import StockTrading

__all__ = [
    "EnvParams",
    "PlantedSymmetryMarket",
    "PortfolioTrading",
    "StockTrading",
    "make_portfolio_trading",
    "make_stock_trading",
    "run_baselines",
    "split_params",
]
