"""What users import in their own tests: a fake provider, a faulty store, fixtures, the store conformance suite.

`quotaware.testing.server.serve` starts any ASGI app as a real server. Serving needs the extra `testing`.
"""

from __future__ import annotations

from .faults import Cut, Fault, Garbage, Hang, NoUsage, Redirect, Reset, Status
from .faulty_store import FaultKind, FaultyStore
from .provider import FakeProvider
from .seen import Seen

__all__ = [
    "Cut",
    "FakeProvider",
    "Fault",
    "FaultKind",
    "FaultyStore",
    "Garbage",
    "Hang",
    "NoUsage",
    "Redirect",
    "Reset",
    "Seen",
    "Status",
]
