"""How calls are decided: those arguments of `Quota` that the engine reads, checked once, where they are given."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Literal

from .core.bounds import BoundMode
from .core.money import MAX_AMOUNT
from .core.prices import Price
from .errors import ConfigurationError
from .tenancy.keys import is_id

_CHOICES = {
    "bound": ("calibrated", "strict"),
    "tight": ("cap", "clamp", "deny"),
    "on_expiry": ("input", "full", "none"),
    "shadow": (False, True),
}
_MAX_SECONDS = 1e9


Mode = Literal["deny", "allow"]


@dataclass(frozen=True, slots=True)
class OnStoreError:
    """What becomes of calls while the store is away: of those that a hard cost limit bears on, and of all others."""

    cost: Mode = "deny"
    rates: Mode = "deny"

    @classmethod
    def read(cls, given: object) -> OnStoreError:
        """From "deny", "allow", or a mapping of "cost" and "rates" to these. Raises `ConfigurationError`."""
        modes = given if isinstance(given, dict) else {"cost": given, "rates": given}
        if not modes or any(
            name not in ("cost", "rates") or mode not in ("deny", "allow") for name, mode in modes.items()
        ):
            raise _none_of(
                "on_store_error", given, "deny, allow, {'cost': …, 'rates': …} with one of these each"
            )
        return cls(**modes)

    @property
    def allows(self) -> bool:
        """Whether any calls are let through."""
        return "allow" in (self.cost, self.rates)


@dataclass(frozen=True, slots=True)
class Settings:
    """Each is an argument of `Quota`, documented there. Raises `ConfigurationError` naming the one that is wrong."""

    unattributed: str = "deny"
    unknown_model: Literal["deny"] | Price = "deny"
    default_output: int | None = None
    bound: BoundMode = "calibrated"
    tight: Literal["cap", "clamp", "deny"] = "cap"
    clamp_min: int = 256
    settle_wait: float = 5.0
    max_waiters: int = 4096
    on_expiry: Literal["input", "full", "none"] = "input"
    shadow: bool = False
    on_store_error: OnStoreError = OnStoreError()
    allow_max: float = 0.05
    journal: str = "quotaware-journal"
    key_ttl: float = 5.0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if type(value) is not type(known[0]) or value not in known:
                raise _none_of(name, value, ", ".join(map(str, known)))
        if self.unattributed not in ("deny", "allow") and not is_id(self.project):
            raise _none_of("unattributed", self.unattributed, "deny, allow, project:<id>")
        if self.default_output is not None:
            whole("default_output", self.default_output, 1)
        whole("clamp_min", self.clamp_min, 1)
        whole("max_waiters", self.max_waiters)
        milliseconds("settle_wait", self.settle_wait)
        milliseconds("key_ttl", self.key_ttl)
        if type(self.allow_max) not in (int, float) or not 0 <= self.allow_max <= 1:
            raise _none_of("allow_max", self.allow_max, "the shares from 0 to 1")
        if not isinstance(self.journal, str) or not self.journal:
            raise _none_of("journal", self.journal, "the paths of a directory")

    @property
    def key_ms(self) -> int:
        """How long what is known of a key or member is trusted where no LLM call is made, ms."""
        return milliseconds("key_ttl", self.key_ttl)

    @property
    def project(self) -> str | None:
        """The project that unattributed calls fall to, if one was named."""
        head, _, project = str(self.unattributed).partition(":")
        return project if head == "project" else None


def whole(name: str, value: int, least: int = 0) -> int:
    """The number itself, where it is whole, at least `least` and within the bound. Raises `ConfigurationError`."""
    if type(value) is not int or not least <= value <= MAX_AMOUNT:
        raise _none_of(name, value, f"the whole numbers from {least} to {MAX_AMOUNT}")
    return value


def milliseconds(name: str, value: float, least: float = 0) -> int:
    """Seconds, at least `least`, as whole ms. Raises `ConfigurationError`."""
    if type(value) not in (int, float) or not least <= value <= _MAX_SECONDS:
        raise _none_of(name, value, f"the seconds from {least:g} to {_MAX_SECONDS:g}")
    return round(value * 1000)


def _none_of(name: str, value: object, known: str) -> ConfigurationError:
    return ConfigurationError(name, f"{reprlib.repr(value)} is none of {known}")
