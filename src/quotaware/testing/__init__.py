"""What users import in their own tests: a fake provider, fixtures, the store conformance suite.

`quotaware.testing.server.serve` starts any ASGI app as a real server. Serving needs the extra `testing`.
"""

from __future__ import annotations

from .faults import Cut, Fault, Garbage, Hang, NoUsage, Redirect, Reset, Status
from .provider import FakeProvider
from .seen import Seen

__all__ = [
    "Cut",
    "FakeProvider",
    "Fault",
    "Garbage",
    "Hang",
    "NoUsage",
    "Redirect",
    "Reset",
    "Seen",
    "Status",
]
