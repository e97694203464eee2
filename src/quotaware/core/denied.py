"""Denied calls as a record tells of them: how many there were, by what, in which minute.

Many denials make one record, which says `{"denied": [[minute, team, …, code, count], …]}` in its outcome, costs nothing
and bears on no limit. It is booked, kept, copied and folded like any other, so that each denial is counted once; who
adds up calls passes it over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from .steps import Row

MINUTE_MS = 60_000
NAME = 200
"""So much of a name that a caller chose is kept, characters."""
_BEGINS = '{"denied":'


class Denial(NamedTuple):
    """What denied calls are counted by: the minute (ms at its begin), whose they were, where they would have gone, and
    the code of their error.
    """

    minute: int
    team: str | None
    project: str | None
    key: str | None
    provider: str | None
    model: str | None
    operation: str
    code: str

    @property
    def values(self) -> tuple[str | None, ...]:
        """Where it stands in the dimensions of sums, but the tag."""
        return (self.team, self.project, self.key, None, *self[4:7], None, None, self.code)


def outcome_of(counts: Mapping[Denial, int]) -> str:
    """The outcome of a record that tells of so many denied calls."""
    return _BEGINS + json.dumps([[*denial, n] for denial, n in counts.items()], separators=(",", ":")) + "}"


def is_of_denied(row: Row) -> bool:
    """Whether a record tells of denied calls, and is no call itself."""
    return row.outcome.startswith(_BEGINS)


def counts_of(row: Row) -> list[tuple[Denial, int]]:
    """What such a record tells."""
    return [(Denial(*cell[:-1]), cell[-1]) for cell in json.loads(row.outcome)["denied"]]
