"""Several writes as one: all or none, one revision and one row, what only holds of a whole looked at in the end."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.money import NANO
from quotaware.core.terms import Override
from quotaware.errors import AlreadyExists, ConfigurationError, InvalidRequest, NotFound, PermissionDenied
from quotaware.stores.protocol import Store
from quotaware.tenancy import keys
from quotaware.tenancy.access import of_key
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock

ORG = "org_startup"


@pytest.fixture
def tenancy(any_store: Store, clock: FakeClock) -> Tenancy:
    made = Tenancy(any_store, Directory(any_store, clock), clock)
    made.create_organization("StartupAI", id=ORG, limits=["$500/month"])
    made.create_team(ORG, "engineering", id="eng", limits=["$300/month"])
    made.create_team(ORG, "product", id="prod", limits=["$150/month"])
    return made


def actor_of(tenancy: Tenancy, node: str, *permissions: str) -> Tenancy:
    secret = tenancy.create_key(node, org=ORG, permissions=permissions).secret
    place = tenancy._directory.load_key(keys.digest(secret))
    assert place is not None
    return tenancy.by(_of(tenancy, place.key))


def _of(tenancy: Tenancy, key: str) -> Any:
    return of_key(tenancy._directory.load(ORG, key))


def test_all_of_it_is_one_revision_and_one_row(tenancy: Tenancy) -> None:
    before = tenancy.get(ORG, ORG).rev
    rows = len(tenancy.audit(ORG))
    tenancy.create_project("eng", "old", id="old", org=ORG)

    def work(writes: Tenancy) -> str:
        made = writes.create_key("eng", org=ORG, name="ci", permissions=["quota:read"])
        writes.create_project("eng", "api", id="api", org=ORG, limits=["$10/month"])
        writes.update(ORG, "eng", limits=["$310/month"])
        writes.delete(ORG, "old")
        return made.secret

    secret = tenancy.together(ORG, "organization.apply", work)
    assert tenancy.get(ORG, "api").rev == tenancy.get(ORG, "eng").rev > before
    with pytest.raises(NotFound):
        tenancy.get(ORG, "old")
    place = tenancy._store.find(keys.digest(secret))
    assert place is not None
    assert tenancy.get(ORG, place[1]).name == "ci"
    last = tenancy.audit(ORG)[-1]
    assert len(tenancy.audit(ORG)) == rows + 2
    assert last["what"] == "organization.apply"
    assert {each["id"] for each in last["after"]} == {"api", "eng", place[1]}
    assert {each["id"] for each in last["before"]} == {"eng", "old"}


def test_what_fails_in_the_middle_leaves_all_as_it_was(tenancy: Tenancy) -> None:
    rev = tenancy._store.read(ORG, ())[0]

    def work(writes: Tenancy) -> None:
        writes.create_project("eng", "api", id="api", org=ORG)
        writes.create_key("api", org=ORG)
        writes.create_team(ORG, "engineering", id="eng")

    with pytest.raises(AlreadyExists):
        tenancy.together(ORG, "organization.apply", work)
    assert tenancy._store.read(ORG, ("api",)) == (rev, [None])


def test_a_rehearsal_writes_nothing(tenancy: Tenancy) -> None:
    rev = tenancy._store.read(ORG, ())[0]
    answered = tenancy.rehearse(ORG, lambda writes: writes.create_project("eng", "api", org=ORG).name)
    assert answered == "api"
    assert tenancy._store.read(ORG, ())[0] == rev


def test_nothing_changed_is_no_revision(tenancy: Tenancy) -> None:
    rev = tenancy._store.read(ORG, ())[0]

    def work(writes: Tenancy) -> None:
        writes.update(ORG, "eng", name="other")
        writes.update(ORG, "eng", name="engineering")

    tenancy.together(ORG, "organization.apply", work)
    assert tenancy._store.read(ORG, ())[0] == rev


def test_budgets_are_looked_at_in_the_end_whatever_the_order(tenancy: Tenancy) -> None:
    admin = actor_of(tenancy, ORG, "quota:manage")

    def work(writes: Tenancy) -> None:
        writes.update(ORG, "prod", limits=["$250/month"])  # 550 of 500 for a moment
        writes.update(ORG, "eng", limits=["$250/month"])

    admin.together(ORG, "organization.apply", work)
    assert [limit.amount for limit in tenancy.get(ORG, "prod").limits] == [250 * NANO]


def test_a_sum_over_the_parents_budget_is_refused_with_the_figures_of_all(tenancy: Tenancy) -> None:
    admin = actor_of(tenancy, ORG, "quota:manage")

    def work(writes: Tenancy) -> None:
        writes.update(ORG, "prod", limits=["$250/month"])
        writes.create_project("eng", "a", org=ORG, limits=["$301/month"])
        writes.update(ORG, "eng", limits=["$290/month"])

    with pytest.raises(InvalidRequest, match=r"would come to \$540 of its \$500/month") as caught:
        admin.together(ORG, "organization.apply", work)
    assert caught.value.code == "over_allocated"
    assert sorted(each["node"] for each in caught.value.fields["errors"]) == ["eng", ORG]
    overrider = actor_of(tenancy, ORG, "quota:manage", "quota:override")
    overrider.together(ORG, "organization.apply", work)
    assert tenancy.get(ORG, "prod").limits[0].amount == 250 * NANO


def test_a_budget_under_what_the_children_have_is_refused(tenancy: Tenancy) -> None:
    admin = actor_of(tenancy, ORG, "org:manage")
    quota = actor_of(tenancy, ORG, "quota:manage")

    def work(writes: Tenancy) -> None:
        writes.update(ORG, ORG, limits=["$400/month"])

    with pytest.raises(InvalidRequest):
        quota.together(ORG, "organization.apply", work)
    admin.together(ORG, "organization.apply", work)


def test_each_write_takes_what_it_takes_alone_and_a_refusal_is_told_once(tenancy: Tenancy) -> None:
    lead = actor_of(tenancy, "eng", "quota:manage")

    def work(writes: Tenancy) -> None:
        writes.create_project("eng", "mine", id="mine", org=ORG)
        writes.create_project("prod", "not-mine", org=ORG)

    with pytest.raises(PermissionDenied):
        lead.together(ORG, "organization.apply", work)
    assert tenancy._store.read(ORG, ("mine",))[1] == [None]
    assert [row["what"] for row in tenancy.audit(ORG)][-1] == "organization.apply.refused"


def test_the_last_admin_may_be_another_in_the_end_but_not_nobody(tenancy: Tenancy) -> None:
    first = tenancy.create_key(ORG, org=ORG, permissions=["org:manage"]).node.id
    admin = tenancy.by(_of(tenancy, first))

    def nobody(writes: Tenancy) -> None:
        writes.update_key(ORG, first, permissions=["quota:read"])

    with pytest.raises(AlreadyExists, match="Nobody would be left"):
        admin.together(ORG, "organization.apply", nobody)


def test_names_are_looked_at_in_the_end(tenancy: Tenancy) -> None:
    def swap(writes: Tenancy) -> None:
        writes.update(ORG, "eng", name="product")
        writes.update(ORG, "prod", name="engineering")

    tenancy.together(ORG, "organization.apply", swap)
    assert (tenancy.get(ORG, "eng").name, tenancy.get(ORG, "prod").name) == ("product", "engineering")
    with pytest.raises(AlreadyExists, match="There is a team named 'product' already") as caught:
        tenancy.together(ORG, "organization.apply", lambda writes: writes.create_team(ORG, "product"))
    assert caught.value.fields == {"field": "name"}
    with pytest.raises(AlreadyExists):
        tenancy.together(
            ORG, "organization.apply", lambda writes: writes.update(ORG, "eng", name="engineering")
        )


def test_another_writer_between_has_it_done_anew(
    tenancy: Tenancy, clock: FakeClock, any_store: Store
) -> None:
    other = Tenancy(any_store, Directory(any_store, clock), clock)
    came: list[int] = []

    def work(writes: Tenancy) -> int:
        if not came:
            other.update(ORG, "prod", name="products")
        came.append(1)
        writes.update(ORG, "eng", name=writes.get(ORG, "prod").name + "-eng")
        return len(came)

    assert tenancy.together(ORG, "organization.apply", work) == 2
    assert tenancy.get(ORG, "eng").name == "products-eng"


def test_overrides_are_set_as_a_whole(tenancy: Tenancy, clock: FakeClock) -> None:
    now = clock()
    given = (Override("cost/month", 400 * NANO, now, now + 1000),)
    assert tenancy.set_overrides(ORG, "eng", given).overrides == given
    assert tenancy.set_overrides(ORG, "eng", ()).overrides == ()
    with pytest.raises(InvalidRequest, match="no limit"):
        tenancy.set_overrides(ORG, "eng", (Override("tokens/day", 1, now, now + 1),))
    with pytest.raises(PermissionDenied):
        actor_of(tenancy, ORG, "quota:manage").set_overrides(ORG, "eng", given)
    with pytest.raises(ConfigurationError):
        tenancy.update(ORG, "eng", overrides=())
