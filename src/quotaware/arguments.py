"""What a host gives a Quota, read once and checked: each part answers what the Quota works with, or raises
`ConfigurationError`, which names the argument and the way out. What the engine reads of it is in `settings`.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from typing import Literal

from .alerts.settings import Alerts
from .core.alerts import Alert
from .core.limits import Limit
from .core.prices import Price, UsdPerMillion
from .errors import ConfigurationError
from .observing import Observer
from .stores.opening import open_store
from .stores.protocol import Clock, Store
from .tenancy import keys
from .tenancy.nodes import Node, fields_of
from .tenancy.starts import SIMPLE_ORG, SIMPLE_PROJECT


def check_names(**given: object) -> None:
    """Each is None or a mapping whose keys are text."""
    for argument, mapping in given.items():
        if mapping is not None and not (
            isinstance(mapping, Mapping) and all(isinstance(name, str) for name in mapping)
        ):
            raise ConfigurationError(argument, f"{reprlib.repr(mapping)} is no mapping of names")


def check_identify(given: object) -> None:
    """It is None or a function."""
    if given is not None and not callable(given):
        raise ConfigurationError("identify", "is a function that takes the ASGI scope")


def limits(given: Iterable[str | Limit]) -> list[Limit]:
    """Those of the simple way."""
    if isinstance(given, str | Limit) or not isinstance(given, Iterable):
        raise ConfigurationError("limits", f"is a list of limits, such as limits=[{str(given)[:100]!r}]")
    parsed = tuple(limit if isinstance(limit, Limit) else Limit.parse(limit) for limit in given)
    return list(Node(SIMPLE_PROJECT, "project", SIMPLE_ORG, "app", parsed).limits)  # no two that contradict


def alerts(given: Alerts | None) -> Alerts:
    """Who is told; nobody, where nothing was given."""
    if given is not None and not isinstance(given, Alerts):
        raise ConfigurationError("alerts", "is Alerts(smtp=…, slack=…, webhooks=…, callback=…)")
    return given or Alerts()


def rules(given: Alerts | None, limits: list[Limit] | None) -> tuple[Alert, ...] | None:
    """The alerts on the limits of the simple way."""
    found = tuple(given.rules) if given is not None else ()
    if not found:
        return None
    if limits is None:
        raise ConfigurationError(
            "alerts.rules", "are on the limits of limits=; others are set where the limits are"
        )
    checked = fields_of({"alerts": found})["alerts"]
    return Node(SIMPLE_PROJECT, "project", SIMPLE_ORG, "app", (), checked).alerts


def observers(given: Observer | Iterable[Observer]) -> tuple[Observer, ...]:
    """One or several of `telemetry`."""
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    for each in found:
        if not all(callable(getattr(each, name, None)) for name in ("begun", "refused", "late", "observe")):
            raise ConfigurationError(
                "telemetry", f"{reprlib.repr(each)} is no observer; give OpenTelemetry() or Prometheus()"
            )
    return found


def price(given: Literal["deny"] | Price | UsdPerMillion) -> Literal["deny"] | Price:
    """What a model costs that is in no list."""
    if given == "deny" or isinstance(given, Price):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError("unknown_model", f"{reprlib.repr(given)} is neither 'deny' nor a price")
    try:
        return Price.per_million(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"unknown_model.{error.field}", str(error).partition(": ")[2]) from None


def store(given: str | Store, clock: Clock, argument: str = "store") -> Store:
    """The store of a URL, or as it was given."""
    if isinstance(given, str):
        return open_store(given, clock)
    if not hasattr(given, "apply"):
        raise ConfigurationError(argument, f"{type(given).__name__} is neither a URL nor a Store")
    return given


def records(given: str | Store, first: str | Store, clock: Clock) -> Store:
    """The second store, beside the `first`."""
    if given == first:
        raise ConfigurationError("records", "is another store than the one that the records come from")
    return store(given, clock, "records")


def journal(given: str | Store) -> str:
    """A directory that all processes of an app with this store find; for a store that is no URL, this one alone."""
    name = f"{os.getcwd()} {given}" if isinstance(given, str) else secrets.token_hex()
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), f"quotaware-{digest}")


def shadow() -> bool:
    """As QUOTAWARE_SHADOW in the environment says."""
    return os.environ.get("QUOTAWARE_SHADOW", "") not in {"", "0"}


def admin_key() -> str | None:
    """The one of QUOTAWARE_ADMIN_KEY in the environment."""
    key = os.environ.get("QUOTAWARE_ADMIN_KEY") or None
    if key is not None and not keys.well_formed(key, "admin"):
        raise ConfigurationError(
            "QUOTAWARE_ADMIN_KEY", "is no admin key; quotaware.tenancy.keys.make('admin') makes one"
        )
    return key
