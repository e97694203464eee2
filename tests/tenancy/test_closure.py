"""Whatever is done, and by whomever: nobody comes to have what the one who did it did not have at that moment.

What somebody has is reckoned here anew from the documents, by rules that are written down once more: a permission at a
node, for a model, from an address, until a time. What a node has is given from above it; what a limited key makes
counts under it.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.permissions import ROLES
from quotaware.errors import ApiError, ConfigurationError
from quotaware.stores.items import doc_of
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.access import Actor
from quotaware.tenancy.documents import Thing, read_doc
from quotaware.tenancy.nodes import Node
from quotaware.tenancy.people import Group, Member, Role
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import NOON, FakeClock

from .people import ORG, House

PERMISSIONS = (
    "org:manage",
    "team:create",
    "team:delete",
    "api_key:create",
    "api_key:create:limited",
    "api_key:delete",
    "api_key:read",
    "quota:manage",
    "quota:override",
    "quota:read",
    "analytics:full",
    "chat:create",
    "embeddings:create",
)
WILD = ("*", "org:*", "api_key:*", "api_key:write", "chat:*", "analytics:read", "quota:*")
MODELS = ("gpt-4.1", "gpt-5", "claude")
PATTERNS = ("gpt-*", "gpt-4.1", "*", "claude")
ADDRESSES = ("10.0.0.1", "10.1.0.1", "192.168.0.1")
BLOCKS = ("10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0", "192.168.0.1")
ENDS = (NOON + 10**6, NOON + 10**9)
TIMES = (NOON + 10**6 - 1, NOON + 10**9 - 1, NOON + 10**12)
NODES = (ORG, "team_one", "team_two", "proj_one", "proj_two", "proj_alone")
BUDGETS = ("$5/month", "$9/month", "$20/month", "$9/month soft")
LIMITS = ("60 requests/minute", "30 requests/minute", "90 requests/minute soft", "$5/day", "$50/day")

Things = dict[str, Thing]


def has(held: tuple[str, ...], wanted: str) -> bool:
    """The contract's words: what grants what."""
    reach = set()
    for each in held:
        if each in ("*", "org", "org:*", "org:manage"):
            return True
        reach |= {"api_key:create", "api_key:delete"} if each == "api_key:write" else {each}
        reach |= {"analytics:*"} if each in ("analytics:full", "analytics:read") else set()
        if each.endswith((":manage", ":create", ":full")):
            reach.add(each.rpartition(":")[0] + ":read")
    stems = {each.removesuffix(":*") for each in reach}
    return any(wanted == stem or wanted.startswith(f"{stem}:") for stem in stems) and wanted != "org:manage"


class Has(NamedTuple):
    """Permissions at nodes, each for all of the models, addresses and times."""

    at: frozenset[tuple[str, str]]
    models: frozenset[str]
    addresses: frozenset[str]
    times: frozenset[int]

    def beyond(self, *others: Has) -> set[Any]:
        """The points that none of the others has."""
        points = set(product(self.at, self.models, self.addresses, self.times))
        return points.difference(*(product(*other) for other in others))


NOTHING = Has(frozenset(), frozenset(MODELS), frozenset(ADDRESSES), frozenset(TIMES))
EVERYTHING = Has(frozenset(product(NODES, PERMISSIONS)), *NOTHING[1:])


def things(house: House) -> Things:
    docs = (doc_of(item) for item in house.store.dump(ORG) if item.table == "doc")
    return {doc.id: read_doc(doc) for doc in docs}


def below(found: Things, top: str) -> set[str]:
    def under(id: str) -> bool:
        return id == top or (bool(id) and under(found[id].parent))

    return {node for node in NODES if node in found and under(node)}


def everybody(found: Things) -> dict[str, Has]:
    """What each key and member has."""
    roles = {**ROLES, **{each.id: each.permissions for each in found.values() if isinstance(each, Role)}}
    answer = {}
    for thing in found.values():
        if isinstance(thing, Node) and thing.kind == "key" and not thing.revoked and thing.enabled:
            held = {p for p in PERMISSIONS if has(thing.permissions, p)}
            ends = thing.expires_at or 10**15
            answer[thing.id] = Has(
                frozenset(product(below(found, thing.parent), held)),
                frozenset(
                    m for m in MODELS if not thing.models or any(fnmatchcase(m, p) for p in thing.models)
                ),
                frozenset(
                    a
                    for a in ADDRESSES
                    if not thing.addresses
                    or any(ipaddress.ip_address(a) in ipaddress.ip_network(b) for b in thing.addresses)
                ),
                frozenset(t for t in TIMES if t < ends),
            )
        elif isinstance(thing, Member) and thing.enabled:
            holdings = [(role, node) for role, node in thing.roles]
            for id in thing.groups:
                group = found[id]
                assert isinstance(group, Group)
                holdings += [(role, group.parent) for role in group.roles]
            at = {
                (node, p)
                for role, top in holdings
                for node in below(found, top)
                for p in PERMISSIONS
                if has(roles[role], p)
            }
            answer[thing.id] = NOTHING._replace(at=frozenset(at))
    return answer


def amounts(node: Node) -> dict[str, int]:
    return {limit.shape: limit.amount for limit in node.limits if limit.mode == "hard"}


def check(before: Things, after: Things, actor: Actor) -> None:
    """That a change by this actor gave nobody more than the actor had."""
    had, have = everybody(before), everybody(after)
    own = had.get(actor.id, NOTHING)
    for id, now in have.items():
        was = had.get(id, NOTHING)
        if now != was:
            assert not now.beyond(was, own), f"{actor.name} gave {id} what it lacks"
    own_key = before.get(actor.id)
    for id, thing in after.items():
        old = before.get(id)
        if not isinstance(thing, Node) or thing == old:
            continue
        if thing.kind == "key":
            if isinstance(own_key, Node) and amounts(own_key) and not thing.revoked:
                check_counts(own_key, thing)
        elif isinstance(old, Node) and is_wider(old, thing):
            above = thing.parent or thing.id
            assert (above, "quota:manage") in own.at, f"{actor.name} lifted what {id} has"


def check_counts(maker: Node, key: Node) -> None:
    """That a key which a limited one made or changed is held to that one's limits."""
    root = maker.origin or maker.id
    assert root in (key.origin or key.id, *key.makers)
    assert set(maker.makers) <= set(key.makers)
    for shape, amount in amounts(maker).items():
        assert amounts(key).get(shape, amount + 1) <= amount


def is_wider(old: Node, new: Node) -> bool:
    more = any(
        new_amount > amounts(old)[shape]
        for shape, new_amount in amounts(new).items()
        if shape in amounts(old)
    )
    return (
        more
        or not amounts(old).keys() <= amounts(new).keys()
        or (new.enabled and not old.enabled)
        or not set(old.alerts) <= set(new.alerts)
        or bool(old.models and set(new.models) != set(old.models) and not new.models)
    )


def subsets(of: tuple[str, ...], most: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(of), max_size=most, unique=True)


restrictions = st.fixed_dictionaries(
    {},
    optional={
        "models": subsets(PATTERNS, 2),
        "addresses": subsets(BLOCKS, 2),
        "expires_at": st.sampled_from((None, *ENDS)),
        "limits": st.lists(st.sampled_from(LIMITS), max_size=1),
    },
)
permissions = st.just(["org:manage"]) | subsets((*PERMISSIONS, *WILD), 4)
roles = st.sampled_from((*ROLES, "role_a", "role_b"))
nodes = st.sampled_from(NODES)
holdings = st.lists(st.tuples(roles, nodes), max_size=2, unique=True)


class World:
    """A tree with people and keys of all sorts, and everything that can be done to it."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.clock = FakeClock()
        self.house = House(MemoryStore(self.clock), self.clock)
        host = self.house.host
        host.update(ORG, ORG, auto_upgrade=True)
        for node in NODES:
            host.update(ORG, node, limits=["$9/month"], alerts=["80% disable"])
        for name in "ab":
            host.create_role(ORG, name, self.draw(permissions), id=f"role_{name}")
        for name in "ab":
            held = self.draw(st.lists(roles, max_size=1))
            host.create_group(ORG, self.draw(nodes), name, roles=held, id=f"grp_{name}")
        for name in "ab":
            groups = self.draw(subsets(("grp_a", "grp_b"), 1))
            host.create_member(ORG, name, roles=self.draw(holdings), groups=groups, id=f"mem_{name}")
        for top, held in (
            (ORG, ["org:manage"]),
            ("team_one", ["org:manage"]),
            (self.draw(nodes), self.draw(permissions)),
        ):
            host.create_key(top, org=ORG, permissions=held, **self.draw(restrictions))

    def who(self) -> Actor:
        """A key, or a member who may act at all."""
        found = things(self.house)
        ids = [
            id
            for id, each in found.items()
            if (isinstance(each, Member) and each.enabled) or getattr(each, "kind", "") == "key"
        ]
        id = ids[self.draw(st.integers(0, len(ids) - 1))]
        if isinstance(found[id], Member):
            return self.house.host.acting(ORG, found[id].name or "")
        return self.house.as_key(id)._actor

    def of(self, kind: type[Thing] | str) -> str:
        found = [
            id
            for id, each in things(self.house).items()
            if (isinstance(each, Node) and each.kind == kind)
            or (not isinstance(kind, str) and isinstance(each, kind))
        ]
        return found[self.draw(st.integers(0, len(found) - 1))]

    def attempts(self, t: Tenancy) -> list[Callable[[], object]]:
        """All that may be tried."""
        draw = self.draw
        return [
            lambda: t.create_key(
                draw(nodes), permissions=draw(st.none() | permissions), **draw(restrictions)
            ),
            lambda: t.create_key(draw(nodes), permissions=draw(permissions), **draw(restrictions)),
            lambda: t.update_key(ORG, self.of("key"), **draw(restrictions)),
            lambda: t.update_key(ORG, self.of("key"), add_permissions=draw(permissions)),
            lambda: t.update(ORG, self.of("key"), enabled=draw(st.booleans()), permissions=draw(permissions)),
            lambda: t.rotate_key(ORG, self.of("key"), grace_ms=draw(st.sampled_from((0, 10_000)))),
            lambda: t.override(ORG, self.of("key"), "cost/day", draw(st.sampled_from((10**9, 10**11)))),
            lambda: t.ask(ORG, self.of("key"), "cost/day", draw(st.sampled_from((10**9, 10**11)))),
            lambda: t.update(ORG, draw(nodes), limits=[draw(st.sampled_from(BUDGETS))]),
            lambda: t.set_limit(ORG, draw(nodes), draw(st.sampled_from(BUDGETS))),
            lambda: t.drop_limit(ORG, draw(nodes), "cost/month"),
            lambda: t.update(ORG, draw(nodes), enabled=draw(st.booleans())),
            lambda: t.update(ORG, draw(nodes), alerts=draw(subsets(("80% disable", "50% email"), 2))),
            lambda: t.update(ORG, draw(nodes), models=draw(subsets(PATTERNS, 1))),
            lambda: t.move_project(ORG, draw(nodes), draw(nodes)),
            lambda: t.update_member(ORG, self.of(Member), roles=draw(holdings), enabled=draw(st.booleans())),
            lambda: t.update_member(ORG, self.of(Member), groups=draw(subsets(("grp_a", "grp_b"), 2))),
            lambda: t.give_role(ORG, self.of(Member), draw(roles), draw(nodes)),
            lambda: t.update_group(ORG, self.of(Group), roles=draw(st.lists(roles, max_size=2, unique=True))),
            lambda: t.update_role(ORG, self.of(Role), permissions=draw(permissions)),
            lambda: t.create_member(ORG, f"n{len(things(self.house))}", roles=draw(holdings)),
        ]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_nobody_comes_to_have_more_than_who_gave_it(data: st.DataObject) -> None:
    world = World(data)
    for _ in range(12):
        actor = world.who()
        before = things(world.house)
        done = False
        with contextlib.suppress(ApiError, ConfigurationError):
            data.draw(st.sampled_from(world.attempts(world.house.host.by(actor))))()
            done = True
        after = things(world.house)
        if done:
            check(before, after, actor)
        else:
            assert after == before
