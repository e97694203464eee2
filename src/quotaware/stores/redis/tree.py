"""The documents of an organization. A change is computed here over what was read, and written only if the revision is
still the one that was read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from ...errors import Conflict, StoreError
from ..protocol import Change, Doc
from .client import Command
from .keys import Names, decode, encode, listed, named
from .steps import Access, Met, Step, Word

PAGE = 500
EACH_S = 0.001
"""How much longer a change may take for each of its documents, seconds."""


def read(access: Access, org: str, ids: Sequence[str], deadline: float) -> tuple[int, list[Doc | None]]:
    """Documents and the revision, in one look."""
    names = access.names(org)
    step = Step(names)
    for start in range(0, len(ids), PAGE):
        for kind in "dvh":
            step.add("HMGET", names(kind), *ids[start : start + PAGE])
    met = access.look(org, step, deadline)
    return met.rev, [doc for start in range(0, len(ids), PAGE) for doc in _docs(met, ids, start)]


def _docs(met: Met, ids: Sequence[str], start: int) -> Iterator[Doc | None]:
    at = start // PAGE * 3
    for id, body, rev, stop in zip(ids[start : start + PAGE], *met.replies[at : at + 3], strict=True):
        yield None if body is None else doc_of(id, body, rev, stop)


def doc_of(id: str, body: bytes, rev: bytes | None, stop: bytes | None) -> Doc:
    """A document from what stands in the three hashes."""
    kind, parent, name, text = json.loads(body)
    return Doc(id, kind, parent, name, int(rev or 0), text, None if stop is None else decode(stop))


def children(
    access: Access,
    org: str,
    kind: str,
    parent: str,
    name: str | None,
    after: str,
    limit: int,
    deadline: float,
) -> list[Doc]:
    """Documents of a kind, below a parent or of one name, by id."""
    if parent and name is not None:
        names = access.names(org)
        (found,) = access.look(
            org, Step(names).add("HGET", names("n"), named(kind, parent, name)), deadline
        ).replies
        id = None if found is None else decode(found)
        pages = iter([[id]] if id is not None and id > after and limit > 0 else [])
    else:
        pages = _pages(
            access, org, listed(kind, "", parent or None), after, limit if name is None else PAGE, deadline
        )
    docs: list[Doc] = []
    for ids in pages:
        _, met = read(access, org, ids, deadline)
        docs += [doc for doc in met if doc is not None and name in (None, doc.name)]
        if len(docs) >= limit:
            break
    return docs[:limit]


def _pages(
    access: Access, org: str, listing: bytes, after: str, size: int, deadline: float
) -> Iterator[list[str]]:
    names = access.names(org)
    least = b"(" + listing + encode(after) if after else b"[" + listing
    while size > 0:
        step = Step(names).add(
            "ZRANGEBYLEX", names("i"), least, b"(" + listing[:-1] + b"\1", "LIMIT", 0, size
        )
        (found,) = access.look(org, step, deadline).replies
        if found:
            yield [decode(member[len(listing) :]) for member in found]
        if len(found) < size:
            return
        least = b"(" + found[-1]


def commit(access: Access, org: str, change: Change, deadline: float) -> int:
    """Writes a change; answers the new revision. Raises `Conflict`."""
    names = access.names(org)
    ids = [*dict.fromkeys([*change.drop, *(doc.id for doc in change.put)])]
    deadline += len(ids) * EACH_S
    wanted = [named(doc.kind, doc.parent, doc.name) for doc in change.put if doc.name is not None]
    look = Step(names).each("HMGET", names("d"), ids).each("HMGET", names("n"), wanted)
    met = access.look(org, look, deadline)
    if met.rev != change.expect:
        raise _conflict(org, met, change)
    found = [value for reply in met.replies for value in reply]
    old = {id: doc_of(id, body, None, None) for id, body in zip(ids, found, strict=False) if body is not None}
    owners = dict(zip(wanted, found[len(ids) :], strict=True))
    _check_names({field: decode(id) for field, id in owners.items() if id is not None}, change)
    step = Step(names).need(names("m"), "rev", met.rev_text)
    rev = change.expect + 1
    forget(step, names, old.values())
    for part in "dvh":
        step.each("HDEL", names(part), change.drop)
    put(step, names, [(doc, rev) for doc in change.put])
    step.each("HDEL", names("h"), change.resume)
    step.each("HSET", names("v"), [word for id in change.resume for word in (id, str(rev))])
    if change.audit:
        step.add("XADD", names("a"), f"{rev}-0", "r", change.audit)
    step.add("HSET", names("m"), "rev", rev)
    if change.put:
        list_org(access, org, deadline)
    met = access.write(org, step, deadline)
    if met.moved:
        raise _conflict(org, met, change)
    return rev


def _conflict(org: str, met: Met, change: Change) -> Conflict:
    return Conflict(f"organization {org} is at revision {met.rev}, not {change.expect}")


def _check_names(owners: dict[bytes, str], change: Change) -> None:
    """Raises `Conflict` where two documents would bear one name after the change."""
    moved = {*change.drop, *(doc.id for doc in change.put)}
    given: dict[bytes, str] = {}
    for doc in change.put:
        if doc.name is not None:
            place = named(doc.kind, doc.parent, doc.name)
            owner = owners.get(place, doc.id)
            if given.setdefault(place, doc.id) != doc.id or (owner != doc.id and owner not in moved):
                raise Conflict(f"there is a {doc.kind} named {doc.name!r} already")


def forget(step: Step, names: Names, docs: Collection[Doc]) -> None:
    """Takes documents out of the listings and their names from them."""
    listings = [listed(doc.kind, doc.id, parent) for doc in docs for parent in (None, doc.parent)]
    step.each("ZREM", names("i"), listings)
    step.each("HDEL", names("n"), [named(d.kind, d.parent, d.name) for d in docs if d.name is not None])


def put(step: Step, names: Names, docs: Collection[tuple[Doc, int]]) -> None:
    """Writes documents, each with its revision: in few commands, however many they are."""
    bodies: list[Word] = []
    revs: list[Word] = []
    listings: list[Word] = []
    owners: list[Word] = []
    for doc, rev in docs:
        bodies += (doc.id, json.dumps([doc.kind, doc.parent, doc.name, doc.body], separators=(",", ":")))
        revs += (doc.id, rev)
        listings += (0, listed(doc.kind, doc.id), 0, listed(doc.kind, doc.id, doc.parent))
        if doc.name is not None:
            owners += (named(doc.kind, doc.parent, doc.name), doc.id)
    step.each("HSET", names("d"), bodies)
    step.each("HSET", names("v"), revs)
    step.each("ZADD", names("i"), listings)
    step.each("HSET", names("n"), owners)


def audit(access: Access, org: str, after: int, limit: int, deadline: float) -> list[tuple[int, str]]:
    """Audit rows after a revision."""
    names = access.names(org)
    step = Step(names).add("XRANGE", names("a"), f"({max(0, after)}-0", "+", "COUNT", limit)
    (found,) = access.look(org, step, deadline).replies
    return [(int(decode(at).partition("-")[0]), decode(fields[1])) for at, fields in found]


# all organizations, and where keys live: each in a slot of its own


def list_org(access: Access, org: str, deadline: float) -> None:
    """Puts an organization into the listing, before it has its first document."""
    key = encode(f"{access.prefix}:orgs")
    access.ask("ZADD", key, 0, org, key=key, deadline=deadline)


def orgs(access: Access, after: str, limit: int, deadline: float) -> list[str]:
    """Organizations that have documents, in order."""
    key = encode(f"{access.prefix}:orgs")
    least = b"(" + encode(after) if after else b"-"
    there: list[str] = []
    while len(there) < limit:
        found = access.ask("ZRANGEBYLEX", key, least, "+", "LIMIT", 0, limit, key=key, deadline=deadline)
        try:
            ids = [decode(each) for each in found]
        except (TypeError, AttributeError) as error:
            raise StoreError(f"the server answered nonsense: {found!r:.100}") from error
        docs = [access.names(each)("d") for each in ids]
        exists = access.ask_all([Command((b"EXISTS", each), each) for each in docs], deadline)
        there += [each for each, is_there in zip(ids, exists, strict=True) if is_there]
        if len(found) < limit:
            break
        least = b"(" + found[-1]
    return there[:limit]


def _link_key(access: Access, digest: str) -> bytes:
    return encode(f"{access.prefix}:k:{digest}")


def link(access: Access, digest: str, org: str, key: str, deadline: float) -> None:
    """Remembers where a key lives, with the organization first."""
    names = access.names(org)
    access.write(org, Step(names).add("HSET", names("k"), digest, key), deadline)
    index = _link_key(access, digest)
    access.ask("SET", index, json.dumps([org, key]), key=index, deadline=deadline)


def unlink(access: Access, digest: str, deadline: float) -> None:
    """Forgets it."""
    found = find(access, digest, deadline)
    if found is not None:
        index = _link_key(access, digest)
        access.ask("DEL", index, key=index, deadline=deadline)
        names = access.names(found[0])
        access.write(found[0], Step(names).add("HDEL", names("k"), digest), deadline)


def find(access: Access, digest: str, deadline: float) -> tuple[str, str] | None:
    """(organization, key id) of a digest."""
    index = _link_key(access, digest)
    found = access.ask("GET", index, key=index, deadline=deadline)
    if found is None:
        return None
    try:
        org, key = json.loads(found)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the server answered nonsense: {found!r:.100}") from error
    return org, key
