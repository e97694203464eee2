"""Stores keep counters, reservations, records and the tenancy tree; found by URL, moved by `copy`."""

from __future__ import annotations

from .moving import Copied, copy
from .opening import StoreFactory, open_store, register_store

__all__ = ["Copied", "StoreFactory", "copy", "open_store", "register_store"]
