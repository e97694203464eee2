"""One process, no fork: threads and event loops that call at once share one exact ledger."""

from __future__ import annotations

import json

from quotaware.core.money import usd
from quotaware.testing import FakeProvider
from tests.acceptance.apps import generated
from tests.acceptance.mixed import CALLS, LOOPS, TASKS, THREADS
from tests.support import run_module


def test_threads_and_loops_of_one_process_are_exact_together() -> None:
    """I-23: both kinds are served, no id is given twice, the budget holds, and the process ends by itself."""
    provider = FakeProvider(output=(1, 50), seed=3)
    with provider.serve() as url:
        told = json.loads(run_module("tests.acceptance.mixed", url))
    assert sum(told["answered"].values()) + told["denied"] == THREADS * CALLS + LOOPS * TASKS * CALLS
    assert min(told["answered"].values()) > 0
    assert told["denied"] > 0
    assert told["records"] == told["ids"] == provider.requests == sum(told["answered"].values())
    assert told["spent"] == generated(provider) <= usd("0.01")
    assert told["peak"] <= usd("0.01")
    assert told["held"] == {}
    assert told["flushed"]
