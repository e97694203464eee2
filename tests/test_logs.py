"""Log records can be read by programs: each says its event and what it is about, as data, and never a key."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

import quotaware
from quotaware import Quota
from quotaware.errors import RateLimitExceeded, StoreError
from quotaware.logs import logged
from quotaware.stores.memory import MemoryStore
from quotaware.testing import FaultyStore
from tests.support import FakeClock

SOURCES = Path(quotaware.__file__).parent


def test_all_of_it_goes_to_one_logger() -> None:
    names = {
        name for path in SOURCES.rglob("*.py") for name in re.findall(r"getLogger\((.*?)\)", path.read_text())
    }
    assert names == {'"quotaware"'}


def test_what_it_is_about_is_json_without_keys() -> None:
    key = "qw_live_" + "Q" * 40
    told = logged(
        "x", why=StoreError(f"no {key} here"), path=Path("/tmp/a"), calls=3, cost_usd=0.5, request=None
    )
    assert told == {
        "quotaware": {"event": "x", "why": "no qw_live_… here", "path": "/tmp/a", "calls": 3, "cost_usd": 0.5}
    }


def test_what_happens_is_there_as_data(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(MemoryStore(FakeClock()))
    quota = Quota(store, limits=["2 requests/day"], on_store_error="allow", deadline=0.05, clock=FakeClock())
    a_call(quota)
    store.p = 1.0
    a_call(quota)
    store.p = 0.0
    assert quota.flush(10)

    def fails(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    quota.engine.tell_denials(fails)
    with pytest.raises(RateLimitExceeded):
        a_call(quota)
    quota.close()
    records = [record for record in caplog.records if record.name == "quotaware"]
    told = {
        event["event"]: event
        for event in json.loads(json.dumps([vars(each)["quotaware"] for each in records]))
    }
    assert told["denial_not_told"] == {"event": "denial_not_told", "organization": "org_app"}
    assert told["outage_booked"]["organization"] == "org_app"
    assert told["outage_booked"]["cost_usd"] > 0
    for record in records:
        assert set(vars(record)) - set(vars(logging.makeLogRecord({}))) <= {"quotaware", "message", "asctime"}


def a_call(quota: Quota) -> None:
    with quota.call(provider="openai", model="gpt-4.1", input=10, max_output=10) as call:
        call.used(input=10, output=10)
