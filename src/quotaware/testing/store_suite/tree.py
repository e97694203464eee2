# ruff: noqa: S101
"""The tree: documents with their revisions and names, links of keys, audit rows, names that are one's for a while."""

from __future__ import annotations

import pytest

from ...core.steps import Event, Peek, Sum
from ...errors import Conflict
from ...stores.protocol import Change, Store
from .kit import FOREVER, ORG, OTHER_ORG, FakeClock, ask, budget, commit, doc, in_threads

ODD = "a'b\";--{}:*\r\n\0é€😀\u2028 % \\ [1,2] " + "x" * 10_000
"""Text that is nobody's business but its owner's."""


class Tree:
    """Small documents, and what hangs on them."""

    def test_documents_are_written_and_read_with_their_revision(self, store: Store) -> None:
        assert store.read(ORG, ["a"]) == (0, [None])
        assert commit(store, doc("a", body='{"x":1}'), doc("b", "a", "B")) == 1
        assert commit(store, doc("c")) == 2
        assert store.read(ORG, ["b", "nobody", "a"]) == (
            2,
            [doc("b", "a", "B")._replace(rev=1), None, doc("a", body='{"x":1}')._replace(rev=1)],
        )
        commit(store, doc("a"), drop=("b",))
        assert store.read(ORG, ["a", "b"]) == (3, [doc("a")._replace(rev=3), None])

    def test_a_change_of_another_revision_is_a_conflict_and_writes_nothing(self, store: Store) -> None:
        commit(store, doc("a"))
        for expect in (0, 2):
            with pytest.raises(Conflict, match=f"at revision 1, not {expect}"):
                store.commit(ORG, Change(expect, (doc("b"),), audit="{}"))
        assert store.read(ORG, ["b"]) == (1, [None])
        assert store.audit(ORG, 0, 10) == []

    def test_of_writers_at_once_each_revision_is_one_writers(self, store: Store) -> None:
        commit(store, doc("count", body="0"))

        def increase(number: int) -> None:
            for _ in range(20):
                while True:
                    rev, (found,) = store.read(ORG, ["count"])
                    assert found is not None
                    try:
                        store.commit(ORG, Change(rev, (doc("count", body=str(int(found.body) + 1)),)))
                        break
                    except Conflict:
                        continue

        in_threads(4, increase)
        rev, (found,) = store.read(ORG, ["count"])
        assert found is not None
        assert (rev, found.body) == (81, "80")

    def test_a_name_is_one_documents_among_its_kind_and_parent(self, store: Store) -> None:
        commit(store, doc("a", "top", "Red"))
        for other in (doc("b", "else", "Red"), doc("c", "top", "Red", kind="team"), doc("d", "top", None)):
            commit(store, other)
        with pytest.raises(Conflict, match="'Red'"):
            commit(store, doc("e", "top", "Blue"), doc("f", "top", "Red"))
        assert store.read(ORG, ["e"]) == (4, [None])
        with pytest.raises(Conflict, match="'Blue'"):
            commit(store, doc("e", "top", "Blue"), doc("f", "top", "Blue"))
        assert store.children(ORG, "node", "top", "Blue", "", 10) == []

    def test_a_name_is_free_again_when_its_document_is_renamed_moved_or_dropped(self, store: Store) -> None:
        for number, away in enumerate([doc("a", "top", "Blue"), doc("a", "else", "Red"), None]):
            commit(store, doc("a", "top", "Red"))
            commit(store, *([away] if away else []), drop=() if away else ("a",))
            commit(store, doc(f"heir{number}", "top", "Red"))
            (found,) = store.children(ORG, "node", "top", "Red", "", 10)
            assert found.id == f"heir{number}"
            commit(store, drop=(f"heir{number}",))

    def test_a_change_of_many_documents_is_taken_whole(self, store: Store) -> None:
        many = [doc(f"many{number:05}", "top", f"Name {number}") for number in range(6000)]
        assert commit(store, *many) == 1
        renamed = [each._replace(name=f"Other {each.name}") for each in many[:3000]]
        gone = tuple(each.id for each in many[3000:])
        with pytest.raises(Conflict):
            store.commit(ORG, Change(0, tuple(renamed), gone))
        assert store.read(ORG, [gone[0]])[1] == [many[3000]._replace(rev=1)]
        assert commit(store, *renamed, drop=gone) == 2
        assert store.children(ORG, "node", "top", "Name 0", "", 10) == []
        found = store.children(ORG, "node", "top", None, "", 10_000)
        assert found == [each._replace(rev=2) for each in renamed]

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_documents_can_change_names_in_one_change(self, store: Store, order: int) -> None:
        commit(store, doc("a", "top", "Red"), doc("b", "top", "Blue"))
        commit(store, *[doc("a", "top", "Blue"), doc("b", "top", "Red")][::order])
        assert [found.id for found in store.children(ORG, "node", "top", "Red", "", 10)] == ["b"]
        assert [found.id for found in store.children(ORG, "node", "top", "Blue", "", 10)] == ["a"]
        commit(store, doc("c", "top", "Red"), drop=("b",))
        assert [found.id for found in store.children(ORG, "node", "top", "Red", "", 10)] == ["c"]

    def test_children_come_in_pages_by_id(self, store: Store) -> None:
        commit(
            store,
            *(doc(f"n{number}", f"top{number % 2}") for number in range(7)),
            doc("t", "top0", kind="team"),
        )

        def children(parent: str, after: str, limit: int) -> list[str]:
            return [found.id for found in store.children(ORG, "node", parent, None, after, limit)]

        assert children("top0", "", 2) == ["n0", "n2"]
        assert children("top0", "n2", 2) == ["n4", "n6"]
        assert children("top0", "n6", 2) == []
        assert children("", "n1", 3) == ["n2", "n3", "n4"]
        assert children("nowhere", "", 2) == []
        assert store.children(OTHER_ORG, "node", "", None, "", 2) == []

    def test_children_are_found_by_name(self, store: Store) -> None:
        commit(store, doc("a", "top", "Red"), doc("b", "else", "Red"), doc("c", "top", "Blue"))
        found = store.children(ORG, "node", "top", "Red", "", 10)
        assert found == [doc("a", "top", "Red")._replace(rev=1)]
        assert [child.id for child in store.children(ORG, "node", "", "Red", "", 10)] == ["a", "b"]
        assert store.children(ORG, "node", "top", "Red", "a", 10) == []
        assert store.children(ORG, "node", "top", "Green", "", 10) == []

    def test_organizations_come_in_pages_and_only_with_documents(self, store: Store) -> None:
        for number in range(5):
            commit(store, doc("root"), org=f"org_{number}")
        ask(store, Peek(budget(1)), org="org_empty")
        assert store.orgs("", 3) == ["org_0", "org_1", "org_2"]
        assert store.orgs("org_2", 3) == ["org_3", "org_4"]
        assert store.orgs("org_4", 3) == []

    def test_audit_rows_come_by_revision(self, store: Store) -> None:
        for number in range(4):
            commit(store, doc("a"), audit=f"row {number}" if number != 2 else "")
        assert store.audit(ORG, 0, 2) == [(1, "row 0"), (2, "row 1")]
        assert store.audit(ORG, 2, 2) == [(4, "row 3")]
        assert store.audit(OTHER_ORG, 0, 2) == []

    def test_links_lead_to_keys(self, store: Store) -> None:
        assert store.find("digest") is None
        store.link("digest", ORG, "key_a")
        assert store.find("digest") == (ORG, "key_a")
        store.link("digest", ORG, "key_b")
        assert store.find("digest") == (ORG, "key_b")
        store.unlink("digest")
        store.unlink("digest")
        assert store.find("digest") is None

    def test_once_is_the_first_ones_until_it_ends(self, store: Store, clock: FakeClock) -> None:
        assert store.once(ORG, "sender", "me", 100) == "me"
        assert store.once(ORG, "sender", "you", 100) == "me"
        assert store.once(ORG, "folder", "you", 100) == "you"
        assert store.once(OTHER_ORG, "sender", "you", 100) == "you"
        clock.advance(99)
        assert store.once(ORG, "sender", "you", 100, expect="them") == "me"
        assert store.once(ORG, "sender", "me", 100, expect="me") == "me"
        clock.advance(99)
        assert store.once(ORG, "sender", "you", 100) == "me"
        clock.advance(1)
        assert store.once(ORG, "sender", "you", 100) == "you"

    def test_of_threads_that_want_it_at_once_one_has_it(self, store: Store) -> None:
        told = [""] * 8

        def want(number: int) -> None:
            told[number] = store.once(ORG, "sender", str(number), 1000)

        in_threads(8, want)
        assert len(set(told)) == 1

    def test_text_comes_back_as_it_was(self, store: Store) -> None:
        """Whatever a user names or tags, nothing of it is read as anything else."""
        store.link("digest", ORG, ODD)
        commit(store, doc("a", "top", ODD, body=ODD), doc("b", "top", ODD.upper()), audit=ODD)
        store.fold(ORG, "", "5-0", [Sum("hour", 0, ODD, ODD, FOREVER)])
        assert store.find("digest") == (ORG, ODD)
        assert store.read(ORG, ["a"])[1] == [doc("a", "top", ODD, body=ODD)._replace(rev=1)]
        assert [found.id for found in store.children(ORG, "node", "top", ODD, "", 9)] == ["a"]
        assert store.audit(ORG, 0, 9) == [(1, ODD)]
        assert store.pick(ORG, [("hour", 0, ODD)]) == [ODD]
        assert store.outbox(ORG, put=[Event(ODD, 5, ODD)]) == [Event(ODD, 5, ODD)]
        assert store.once(ORG, ODD, ODD, 60_000) == ODD
        assert store.once(ORG, ODD, "", 60_000) == ODD
