"""Prices: what a call costs, the most that it can cost, and the book in which a model's price is found.

The list is genai-prices'; what a user says of a model goes before it. All arithmetic is on integers, and a
cost equals genai-prices' own to the nano-dollar. How many tokens a call may take is left to the bounds.

rates.py    rates of tokens, and how each token is charged once
price.py    a price: what a usage costs, the most that a call can cost, ways of service
said.py     prices as people write them
listing.py  prices as genai-prices lists them
book.py     the price of a model
"""

from .book import MAX_NAME, PriceBook
from .price import Dearest, Price, dearest
from .rates import BATCH, COUNTED, Rates, Service, service
from .said import COUNTED_AS, RATES, SERVICES, Usd, UsdPerMillion

__all__ = [
    "BATCH", "COUNTED", "COUNTED_AS", "MAX_NAME", "RATES", "SERVICES", "Dearest", "Price", "PriceBook", "Rates",
    "Service", "Usd", "UsdPerMillion", "dearest", "service",
]  # fmt: skip
