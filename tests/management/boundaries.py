"""Every bound that the document tells of, tried from both sides, operation by operation: sixteen thousand requests.

Not collected by itself: `test_schema.py` runs it with schemathesis' own plugin, which deals these cases out.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings

from tests.management.house import House
from tests.management.test_schema import JUDGED, Described

HOUSE = House()
SCHEMA = Described(HOUSE, "enabled = true").schema


@SCHEMA.parametrize()
@settings(
    max_examples=1,
    deadline=None,
    database=None,
    phases=[Phase.explicit],
    suppress_health_check=[*HealthCheck],
)
def test_a_bound_is_one(case: Any) -> None:
    response = case.call()
    if HOUSE.changed():
        HOUSE.undo()
    case.validate_response(response, checks=JUDGED)
