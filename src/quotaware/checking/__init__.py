"""Whether the books of a store balance: what is used is what records say, what is held is what open reservations hold.

All of an organization is read once, as it comes, and summed: memory grows with counters and nodes, not with records.
Of a counter two bounds are known. At most it counts every record that its node, models, end user and window take in;
at least those since its limit stands where it does, which the audit log tells. Where nothing was changed the two are
one, and what is used must be that to the unit. Records that were pruned are taken from the sums. Requests are looked at
from below only: a call that never reached its provider keeps its place in a rate, and leaves no record.
"""

from __future__ import annotations

from ..stores.protocol import Store
from .findings import Checked, Finding, Heard
from .look import Look

__all__ = ["TRIES", "Checked", "Finding", "Heard", "check"]

TRIES = 3
"""How often an organization is read at most, where it is written to meanwhile."""


def check(store: Store, org: str, hear: Heard | None = None) -> Checked:
    """Looks through an organization. A store need not stand still, nor answer all of it as of one moment: what is found
    counts where another look finds the same. Blocks; raises StoreError.
    """
    look = Look(store, org, hear)
    found = look.findings()
    for _ in range(TRIES - 1):
        if not found:
            break
        before, look = found, Look(store, org, hear)
        found = look.findings()
        if found == before:
            break
    else:
        stands = tuple(each for each in found if each in before) if found else ()
        return Checked(org, len(look.cells), look.reservations, look.records, True, stands)
    return Checked(org, len(look.cells), look.reservations, look.records, False, tuple(found))
