"""Data: loaders of users' files, shipped constants with their sources, and synthetic series."""

from jaxecon.data.market import MarketData
from jaxecon.data.ohlcv import load_ohlcv
from jaxecon.data.panel import Prices, split_by_date
from jaxecon.data.prices import load_prices
from jaxecon.data.synthetic import synthetic_prices
from jaxecon.data.synthetic_market import SyntheticMarket, synthetic_market

__all__ = [
    "MarketData",
    "Prices",
    "SyntheticMarket",
    "load_ohlcv",
    "load_prices",
    "split_by_date",
    "synthetic_market",
    "synthetic_prices",
]
