"""Whatever text is given as an id, a name or anything else: it is kept as it came, or refused with its field named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotaware import Quota
from quotaware.errors import ApiError, ConfigurationError
from quotaware.stores.protocol import Store
from quotaware.tenancy.directory import missing
from quotaware.tenancy.sharing import Share
from quotaware.testing.clocks import FakeClock

from .people import ORG, House

ODD = (
    "",
    " ",
    "'",
    "'; DROP TABLE doc; --",
    '"',
    ";",
    "{}",
    "{org_b}",
    "a}b{c",
    ":",
    "org_a:team_one",
    "*",
    "%",
    "_",
    "a%00",
    "line\r\nX-Header: 1",
    "\0",
    "a\0b",
    "x" * 10_000,
    "\U0001f9ee\U0001f3fd",
    "__proto__",
    "\ud800",
    "\u202eevil",
    "ﬁ",
    "../../etc/passwd",
    "$(id)",
    "{{7*7}}",
    "=1+1",
    "-",
    "org_a",
    "team_one",
    "null",
    "1e999",
)
odd = (
    st.sampled_from(ODD)
    | st.text(st.characters(), max_size=40)
    | st.text("{}:*%'\"\\/ \n\0-_a1", max_size=12)
)
KEPT: dict[str, tuple[Callable[[House, str], Any], str]] = {
    "name of a team": (lambda h, text: h.host.create_team(ORG, text), "name"),
    "name of a project": (lambda h, text: h.host.create_project(ORG, text, org=ORG), "name"),
    "name of a key": (lambda h, text: h.host.create_key("proj_one", org=ORG, name=text).node, "name"),
    "id of a project": (lambda h, text: h.host.create_project(ORG, "by id", org=ORG, id=text), "id"),
    "environment": (
        lambda h, text: h.host.create_project(ORG, "e", org=ORG, environment=text),
        "environment",
    ),
    "name of a member": (lambda h, text: h.host.create_member(ORG, text), "name"),
    "e-mail": (lambda h, text: h.host.create_member(ORG, "m", email=text), "email"),
    "name of a group": (lambda h, text: h.host.create_group(ORG, ORG, text), "name"),
    "name of a role": (lambda h, text: h.host.create_role(ORG, text, []), "name"),
    "description": (lambda h, text: h.host.create_role(ORG, "d", [], description=text), "description"),
    "reason": (
        lambda h, text: h.as_member("asker").ask(ORG, "proj_one", "cost/month", 2 * 10**9, reason=text),
        "reason",
    ),
    "target": (lambda h, text: h.host.allocate(ORG, "team_one", [Share(text, 1)])[0], "name"),
}
"""What is given of a new thing, and the field that it stands in."""
LOOKS: tuple[Callable[[House, str], Any], ...] = (
    lambda h, text: h.host.get(ORG, text),
    lambda h, text: h.host.get(text, "proj_one"),
    lambda h, text: h.host.get(None, text),
    lambda h, text: h.host.find(ORG, "project", text),
    lambda h, text: h.host.path(ORG, "key", text),
    lambda h, text: h.host.place(ORG, text, "team", "project"),
    lambda h, text: h.host.child(ORG, "project", "team_one", text),
    lambda h, text: h.host.child(ORG, "project", text, "p one"),
    lambda h, text: h.host.those(ORG, [text]),
    lambda h, text: h.host.list(ORG, "project", text),
    lambda h, text: h.host.list(ORG, "project", name=text),
    lambda h, text: h.host.list(ORG, "project", below=text, environment=text),
    lambda h, text: h.host.list(ORG, "project", after=text),
    lambda h, text: h.host.list(text, "project"),
    lambda h, text: h.host.member(ORG, text),
    lambda h, text: h.host.members(ORG, name=text, group=text),
    lambda h, text: h.host.group(ORG, text),
    lambda h, text: h.host.groups(ORG, node=text),
    lambda h, text: h.host.role(ORG, text),
    lambda h, text: h.host.roles(ORG, after=text),
    lambda h, text: h.host.acting(ORG, text),
    lambda h, text: h.host.request(ORG, text),
    lambda h, text: h.host.requests(ORG, text),
    lambda h, text: h.host.allocated(ORG, text),
    lambda h, text: h.host.create_project(text, "P", org=ORG),
    lambda h, text: h.host.create_project(text, "P"),
    lambda h, text: h.host.create_key(text),
    lambda h, text: h.host.create_member(ORG, "x", roles=[(text, "team_one")]),
    lambda h, text: h.host.create_member(ORG, "x", roles=[("viewer", text)]),
    lambda h, text: h.host.create_member(ORG, "x", groups=[text]),
    lambda h, text: h.host.create_group(ORG, text, "g"),
    lambda h, text: h.host.create_group(ORG, ORG, "g", roles=[text]),
    lambda h, text: h.host.create_role(ORG, "x", [text]),
    lambda h, text: h.host.move_project(ORG, "proj_one", text),
    lambda h, text: h.host.delete(ORG, text),
    lambda h, text: h.host.update(ORG, text, enabled=True),
    lambda h, text: h.host.update(ORG, "proj_one", models=[text]),
    lambda h, text: h.host.override(ORG, "proj_one", text, 1),
    lambda h, text: h.host.drop_limit(ORG, "proj_one", text),
    lambda h, text: h.host.decide(ORG, text, "approved"),
    lambda h, text: h.host.audit(text),
)

on_each_store = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def house(any_store: Store, clock: FakeClock) -> House:
    house = House(any_store, clock)
    house.host.update(ORG, "proj_one", limits=["$1/month"])
    house.host.create_member(ORG, "asker", roles=[("developer", "proj_one")])
    return house


def tried(attempt: Callable[[], Any]) -> tuple[Any, str | None]:
    """What comes of it, or else the code or field of the refusal, which is told in one line. Nothing else is raised."""
    try:
        return attempt(), None
    except ApiError as error:
        message, told = error.message, error.code
    except ConfigurationError as error:
        message, told = str(error), error.field
    assert not set(message) & set("\r\n\0")
    return None, told


def untouched(house: House) -> Any:
    """The organization beside the one that the odd text is given to."""
    beside = House(house.store, house.clock, "org_b")
    return beside, beside.documents()


@pytest.mark.parametrize("what", KEPT)
def test_text_is_kept_as_it_came_or_refused_with_its_field(house: House, what: str):
    make, field = KEPT[what]
    beside, before = untouched(house)

    @on_each_store
    @given(odd)
    def kept(text: str) -> None:
        documents = house.documents()
        made, refused = tried(lambda: make(house, text))
        if refused is None:
            assert getattr(made, field) == text
            doc = house.store.read(ORG, (made.id,))[1][0]
            assert doc is not None
            if field == "name":
                found = house.store.children(ORG, doc.kind, doc.parent, text, "", 10)
                assert made.id in [each.id for each in found]
        else:
            assert house.documents() == documents
            assert refused in (field, "allocations[0].target", "already_exists")

    kept()
    assert beside.documents() == before


@pytest.mark.parametrize("number", range(len(LOOKS)))
def test_odd_text_finds_nothing_and_breaks_nothing(house: House, number: int):
    beside, before = untouched(house)

    @settings(on_each_store, max_examples=15)
    @given(odd)
    def looked_for(text: str) -> None:
        tried(lambda: LOOKS[number](house, text))

    for text in ODD:
        tried(lambda: LOOKS[number](house, text))
    looked_for()
    assert beside.documents() == before


def test_end_users_and_tags_of_any_text_are_counted_and_recorded(any_store: Store, clock: FakeClock):
    house = House(any_store, clock)
    house.host.update(ORG, "proj_one", limits=["2 requests/day per end_user"])
    quota = Quota(any_store, clock=clock, settle_wait=0)

    @on_each_store
    @given(odd, odd)
    def counted(user: str, tag: str) -> None:
        def call() -> None:
            with (
                quota.acting_as(project="proj_one", end_user=user, tags={"t": tag}),
                quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1) as made,
            ):
                made.used(input=1, output=1)

        _, refused = tried(call)
        assert refused in (None, "rate_limit_exceeded", "end_user", "tags")

    counted()
    assert quota.flush(5)
    for record in quota.blocking.usage.records(project="proj_one"):
        assert isinstance(record.end_user, str | None)


@given(odd)
def test_what_is_not_there_is_told_in_one_printable_line(text: str):
    assert missing("node", text).message.isprintable()
    assert len(missing("node", text).message) < 200
