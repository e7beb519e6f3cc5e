"""Data: loaders of users' files, shipped constants with their sources, and synthetic series."""

from jaxecon.data.panel import Prices, split_by_date
from jaxecon.data.prices import load_prices
from jaxecon.data.synthetic import synthetic_prices

__all__ = ["Prices", "load_prices", "split_by_date", "synthetic_prices"]
