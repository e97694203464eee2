"""What a look through an organization's books finds."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Finding(NamedTuple):
    """Something that is not as it should be.

    what   used, held, parts (of a rolling window), link (of a key), parent (of a document)
    of     a counter's key, or the id of a document
    found, expected    nano-dollars, tokens, requests or calls; ids
    """

    organization: str
    what: str
    of: str
    found: str
    expected: str


class Checked(NamedTuple):
    """What was looked at, and what was found. `busy`: it was written to all the while, and figures moved."""

    organization: str
    counters: int
    reservations: int
    records: int
    busy: bool
    findings: tuple[Finding, ...]


class Heard(Protocol):
    """Hears how many rows were read, and of which organization."""

    def __call__(self, done: int, *, of: str = "") -> None: ...
