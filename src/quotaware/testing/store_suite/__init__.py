"""The conformance suite: what every store must do, whatever it is made of. quotaware's own stores run through it too.

    from quotaware.testing.store_suite import StoreSuite

    class TestMine(StoreSuite):
        @pytest.fixture
        def store(self, clock):
            store = MyStore(clock)
            yield store
            store.close()

        @pytest.fixture
        def other_store(self, clock): ...   # the same, with nothing in common with `store`

        @pytest.fixture
        def same_store(self, store): ...    # a second object on the data of `store`, as another process has it

        @pytest.fixture
        def snapshot(self, store): ...      # takes a snapshot when called; what that answers puts it back

The decisions themselves are the kernel's (`quotaware.core.ledger`) and proved there; here it is what a store adds to
them, or can break of them. After each test the books of `store` must balance.

steps.py      a batch of steps, and what it answers
limits.py     budgets that are lowered, soft and forced, at the exact range's end; policies that changed
windows.py    rolling and calendar windows, late corrections, carry-over
repeats.py    steps that come twice, late or in any order
waiting.py    claims: first come first served
tree.py       documents, names, links, audit
records.py    records, sums, events
sharing.py    several objects on the same data; data that was put back
moving.py     dump and load; the end
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in (
            "kit",
            "limits",
            "moving",
            "records",
            "repeats",
            "sharing",
            "steps",
            "tree",
            "waiting",
            "windows",
        )
    )
)

from ...stores.memory import system_clock  # noqa: E402
from ...stores.protocol import Store  # noqa: E402
from ..books import check_books  # noqa: E402
from .kit import ORG, OTHER_ORG, FakeClock, NewId, ids, plan_of  # noqa: E402
from .limits import Limits  # noqa: E402
from .moving import Moving  # noqa: E402
from .records import Records  # noqa: E402
from .repeats import Repeats  # noqa: E402
from .sharing import Sharing  # noqa: E402
from .steps import Steps  # noqa: E402
from .tree import Tree  # noqa: E402
from .waiting import Waiting  # noqa: E402
from .windows import Windows  # noqa: E402

__all__ = ["FakeClock", "StoreSuite"]

PutBack = Callable[[], None]
"""Puts the data back to what it was when the snapshot was taken, as a restored backup does."""
Snapshot = Callable[[], PutBack]


class StoreSuite(Steps, Limits, Windows, Repeats, Waiting, Tree, Records, Sharing, Moving):
    """Tests to inherit, with fixtures of one's own: `store`, `other_store`, and for a store that several processes
    share `same_store` and `snapshot`.

    own_clock  True for a store that takes no clock from outside; tests that move the clock are skipped then
    """

    own_clock: ClassVar[bool] = False

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The store's clock, moved by hand."""
        if self.own_clock:
            pytest.skip("own_clock: the store has a clock of its own, and this test needs to move it")
        return FakeClock()

    @pytest.fixture
    def new(self, request: pytest.FixtureRequest) -> NewId:
        """Makes reservation ids of now."""
        return ids(system_clock if self.own_clock else request.getfixturevalue("clock"))

    @pytest.fixture
    def same_store(self, store: Store) -> Store | None:
        """A second object on the data of `store`; None where no other object can share them."""
        _only_alone(store, "same_store: a second object on the same data")
        return None

    @pytest.fixture
    def snapshot(self, store: Store) -> Snapshot | None:
        """Takes a snapshot of the data; None where they cannot be put back behind the store's back."""
        _only_alone(store, "snapshot: a function that takes one and answers a function that puts it back")
        return None

    @pytest.fixture(autouse=True)
    def balanced_books(self, store: Store) -> Iterator[None]:
        """I-2: after each test, used = Σ records and held = Σ open reservations, in every counter."""
        yield
        for org in (ORG, OTHER_ORG):
            check_books(store, org, plan_of)


def _only_alone(store: Store, wanted: str) -> None:
    """A store that is called inline is its process's own; any other is shared, and has to show how."""
    if store.lane(ORG) is not None:
        pytest.fail(f"the suite needs a fixture {wanted}; one that answers None where there is no such thing")
