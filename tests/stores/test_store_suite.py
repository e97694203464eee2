"""The conformance suite as a third party runs it: a store that keeps its promises passes, and a broken one does not."""

from __future__ import annotations

import re

import pytest

from quotaware.core.steps import NOTHING, REQUESTS, Counter, Settle
from quotaware.stores.memory import MemoryStore
from quotaware.testing.books import check_books
from quotaware.testing.store_suite.kit import ORG, ask, hold, plan, plan_of

pytest_plugins = ["pytester"]

BEGINNING = """
import pytest
from dataclasses import replace
from quotaware.core.steps import Reserve, Settle
from quotaware.stores.memory import MemoryStore
from quotaware.testing.store_suite import StoreSuite


class Suite(StoreSuite):
    made = MemoryStore

    @pytest.fixture
    def store(self, clock):
        return self.made(clock)

    @pytest.fixture
    def other_store(self, clock):
        return self.made(clock)
"""

BROKEN = {
    "ForgetsWhatEnded": (
        "each_step_once",
        """
    def apply(self, work, deadline):
        for org in work:
            self._of(org).view.ended.clear()
        return super().apply(work, deadline)
""",
    ),
    "HoldsForEver": (
        "each_step_once",
        """
    def apply(self, work, deadline):
        released = lambda op: getattr(op, "how", "") == "released"
        return super().apply({org: [op for op in ops if not released(op)] for org, ops in work.items()}, deadline)
""",
    ),
    "LosesCorrections": (
        "corrects_the_window",
        """
    def apply(self, work, deadline):
        told = super().apply(work, deadline)
        for org in work:
            rows = self._of(org).rows
            while rows and rows[-1][1].part:
                rows.pop()
        return told
""",
    ),
    "HasNoClock": (
        "exact_log",
        """
    def apply(self, work, deadline):
        for org in work:
            self._of(org).view.now -= self._of(org).view.now % 1000
        return super().apply(work, deadline)

    _clock = property(lambda self: lambda: 1_781_524_800_000, lambda self, given: None)
""",
    ),
    "RoundsLargeAmounts": (
        "exact_up_to_their_bound",
        """
    def apply(self, work, deadline):
        told = super().apply(work, deadline)
        for org in work:
            for cell in self._of(org).view.cells.values():
                cell.held = int(float("%.14g" % cell.held))
        return told
""",
    ),
    "DropsClaims": (
        "nobody_younger",
        """
    def apply(self, work, deadline):
        told = super().apply(work, deadline)
        for org in work:
            for cell in self._of(org).view.cells.values():
                cell.claim = None
        return told
""",
    ),
    "NeverStale": (
        "exactly_the_documents",
        """
    def apply(self, work, deadline):
        for org in work:
            self._of(org).view.revs = dict.fromkeys(self._of(org).view.revs, 0)
        return super().apply(work, deadline)
""",
    ),
    "RefusesByHalf": (
        "all_or_none",
        """
    def apply(self, work, deadline):
        told = super().apply(work, deadline)
        for org, ops in work.items():
            if any(result.verdict == "denied" for result in told[org].results):
                super().apply({org: [replace(op, force=True) for op in ops]}, deadline)
        return told
""",
    ),
    "ForgetsLinks": (
        "dumped_can_be_loaded",
        """
    def dump(self, org):
        return (item for item in super().dump(org) if item.table != "link")
""",
    ),
    "TakesStaleChanges": (
        "of_another_revision",
        """
    def commit(self, org, change):
        return super().commit(org, replace(change, expect=self.read(org, ())[0]))
""",
    ),
    "FoldsTwice": (
        "watermark_that_one_of_many_moves",
        """
    def fold(self, org, after, upto, put):
        return super().fold(org, self.folded(org), upto, put)
""",
    ),
}
"""Stores that break one promise each: the test that catches it, and how."""


def suite_of(name: str, body: str) -> str:
    return f"class {name}(MemoryStore):\n{body}\n\nclass Test{name}(Suite):\n    made = {name}\n\n"


def test_a_store_that_keeps_its_promises_passes_and_says_what_was_not_proved(pytester):
    pytester.makepyfile(BEGINNING + suite_of("Sound", "    pass"))
    told = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs", "-q")
    outcomes = told.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["skipped"] == 4
    told.stdout.fnmatch_lines(["*same_store: no second object*", "*snapshot: nobody puts*"])


def test_each_of_many_broken_stores_is_caught(pytester):
    pytester.makepyfile(BEGINNING + "".join(suite_of(name, body) for name, (_, body) in BROKEN.items()))
    expected = " or ".join(f"(Test{name} and {test})" for name, (test, _) in BROKEN.items())
    told = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", expected, "-rfE", "-q", "--tb=no")
    caught = set(re.findall(r"^(?:FAILED|ERROR) \S+::Test(\w+)::", told.stdout.str(), re.MULTILINE))
    assert caught == set(BROKEN)


def test_the_books_are_checked_after_each_test(pytester):
    """I-2: a test that asserts nothing fails where something is held that no reservation holds."""
    pytester.makepyfile(
        BEGINNING
        + """
from quotaware.testing.store_suite.kit import ask, budget, hold

class TestMine(Suite):
    def test_of_mine(self, store, new):
        ask(store, hold(new(), budget(10), 4))
        store._orgs["org_a"].view.cells["budget"].held += 1
"""
    )
    told = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", "test_of_mine")
    assert told.parseoutcomes() == {
        "passed": 1,
        "errors": 1,
        "deselected": told.parseoutcomes()["deselected"],
    }
    told.stdout.fnmatch_lines(["*budget: used and held: (0, 5), where records and reservations say (0, 4)"])


def test_a_shared_store_must_show_that_it_is(pytester):
    """Nothing is skipped in silence: a store that waits for something is shared, and says how."""
    pytester.makepyfile(BEGINNING + suite_of("Shared", '    def lane(self, org):\n        return "far away"'))
    told = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", "another_object or that_is_gone")
    assert told.parseoutcomes()["errors"] == 2
    told.stdout.fnmatch_lines(
        ["*the suite needs a fixture same_store*", "*the suite needs a fixture snapshot*"]
    )


def test_a_store_with_a_clock_of_its_own_says_so(pytester):
    pytester.makepyfile(
        BEGINNING
        + """
class TestMine(Suite):
    own_clock = True

    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def other_store(self):
        return MemoryStore()
"""
    )
    told = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs")
    outcomes = told.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["passed"] > 50
    told.stdout.fnmatch_lines(["*own_clock: the store has a clock of its own*"])


def test_a_released_call_keeps_its_place_in_a_request_rate_and_nothing_more(clock, new):
    """The books of a counter that none but released calls touched: as many requests as these, and no holds."""
    store = MemoryStore(clock)
    rate = plan((Counter("calls", 10, span=60_000), REQUESTS), (Counter("life", 10), REQUESTS))
    for id in (new(), new()):
        ask(store, hold(id, rate), Settle(id, rate, NOTHING, "", "released"))
    check_books(store, ORG, plan_of)
    for name in ("calls", "life"):
        cell = store._orgs[ORG].view.cells[name]
        for used, held in ((1, 0), (0, 1)):
            cell.take(cell.counter, clock.now, used, held)
            with pytest.raises(AssertionError, match=name):
                check_books(store, ORG, plan_of)
            cell.take(cell.counter, clock.now, -used, -held)
    check_books(store, ORG, plan_of)
