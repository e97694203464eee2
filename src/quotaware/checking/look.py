"""One reading of an organization: its counters beside what its records, sums and open reservations say."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..core.cells import Cell, part_ms
from ..core.denied import is_of_denied
from ..core.limits import Limit
from ..core.models import Model, concerns
from ..core.steps import COST, REQUESTS, Counter, Row, position_of
from ..core.totals import Total
from ..rollups import Folder, History
from ..stores import items
from ..stores.protocol import Doc, Item, Store
from ..tenancy.documents import as_a, is_a
from ..tenancy.nodes import KINDS, Node
from ..usage import UsageLog
from .counting import INDEX, Bounds, Call, Change, Family, digest, parts_of
from .findings import Finding, Heard

TOLD = 1000
"""Rows between two words of progress."""
SKEW_MS = 60_000
"""So far may the clock of who changed a limit be from the store's."""
_NEVER = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Look:
    """One reading of an organization."""

    def __init__(self, store: Store, org: str, hear: Heard | None) -> None:
        self.cells: dict[str, Cell] = {}
        self.reservations = self.records = 0
        self._store = store
        self._org = org
        self._now = 0
        self._zone, self._zoned = "UTC", 0  # and since when, ms
        self._oldest: int | None = None  # when the oldest record was booked that is still here, ms
        self._docs: dict[str, Doc] = {}
        self._links: dict[str, str] = {}
        self._changes: defaultdict[str, list[Change]] = defaultdict(list)
        self._keys: dict[str, tuple[str, tuple[str, ...]]] = {}  # its origin, and those who made it
        self._held: defaultdict[str, int] = defaultdict(int)
        self._used: defaultdict[str, Bounds] = defaultdict(Bounds)
        self._parts: defaultdict[tuple[str, int], Bounds] = defaultdict(Bounds)
        self._calls: dict[str, Call] = {}
        self._families: dict[str, list[Family]] | None = None
        for count, item in enumerate(store.dump(org), 1):
            if hear is not None and count % TOLD == 0:
                hear(count, of=org)
            if item.table == "record":
                self._record(item.key, items.unpack_row(json.loads(item.value)))
            else:
                self._take(item)
        self._families = self._families or self._sorted()
        for call in self._calls.values():
            self._enter(call)

    # reading

    def _take(self, item: Item) -> None:
        match item.table:
            case "org":
                self._now = json.loads(item.value)["now"]
            case "doc":
                self._docs[item.key] = items.doc_of(item)
            case "link":
                self._links[item.key] = json.loads(item.value)
            case "audit":
                self._hear(int(item.key), json.loads(item.value))
            case "counter":
                self.cells[item.key] = items.unpack_cell(json.loads(item.value))
            case "open":
                self.reservations += 1
                held = items.unpack_open(item.key, json.loads(item.value))
                for counter, index in held.plan.lines:
                    if index != REQUESTS:
                        self._held[counter.key] += held.hold[index - 1]

    def _hear(self, rev: int, row: Mapping[str, Any]) -> None:
        """What the audit log tells of nodes, also of those that are gone."""
        for thing in (*row.get("before", ()), *row.get("after", ())):
            if thing["kind"] == "key":
                self._keys[thing["id"]] = (thing.get("origin") or thing["id"], tuple(thing.get("makers", ())))
        before, after = ({each["id"]: each for each in row.get(side, ())} for side in ("before", "after"))
        for id, thing in (before | after).items():
            if thing["kind"] in KINDS:
                limits = thing.get("limits", ()) if id in after else ()
                shapes = frozenset(Limit.parse(text).shape for text in limits)
                change = Change(rev, row["at"], shapes, id not in before)
                self._changes[thing.get("origin") or id].append(change)

    def _sorted(self) -> dict[str, list[Family]]:
        """The counters by the node that they are on."""
        nodes = [as_a(Node, doc) for doc in self._docs.values() if is_a(Node, doc)]
        for node in nodes:
            if node.kind == "organization":
                self._zone, self._zoned = node.zone, node.zone_since + SKEW_MS if node.zone_since else 0
        for node in nodes:
            if node.kind == "key":
                self._keys[node.id] = (node.origin or node.id, node.makers)
            if not node.revoked:
                self._expect(node)
        for changes in self._changes.values():
            changes.sort()
        families: dict[tuple[str, str], Family] = {}
        for key, cell in self.cells.items():
            node_id, shape, user, since = parts_of(key, cell.counter)
            if shape.partition("/")[0] not in INDEX:
                continue  # of a newer version
            family = families.setdefault((node_id, shape), Family(node_id, shape))
            family.counters[user].append(cell.counter._replace(since=since))
        found: dict[str, list[Family]] = {}
        for family in families.values():
            found.setdefault(family.node, []).append(family)
        return found

    def _expect(self, node: Node) -> None:
        """The counters of windows that run now: one that should be there and is not counts nothing."""
        for limit in node.limits:
            if limit.window is None or limit.window.length_ms or limit.per is not None:
                continue
            since, until = limit.window.bounds(self._now, self._zone)
            key = f"{node.origin or node.id}/{limit.shape}" + (f"@{since}" if until else "")
            if key not in self.cells:
                self.cells[key] = Cell(Counter(key, limit.amount, since=since, until=until))

    def _record(self, position: str, row: Row) -> None:
        self._families = self._families or self._sorted()
        booked, _ = position_of(position)
        self._oldest = booked if self._oldest is None else min(booked, self._oldest)
        self.records += 1
        about = json.loads(row.about) if row.about else {}
        if is_of_denied(row) or about.get("lookup"):  # which touch no counter
            return
        rolling = []
        for family in self._bearing(about):
            user = digest(about["end_user"]) if family.per_user else ""
            counters = family.at(user, row.at)
            sure = (
                len(counters) == 1 and self._stood(family, row.at) and self._fits(family, counters[0], row.at)
            )
            for counter in counters:
                if counter.span:
                    rolling.append((counter, family.index, sure))
                elif family.index == REQUESTS:
                    self._used[counter.key].add(int(row.part == 0), sure)
                else:
                    self._used[counter.key].add(row.real[family.index - 1], sure)
        span = max((counter.span for counter, _, _ in rolling), default=0)
        if rolling and max(row.at, row.settled_at) >= self._now - 2 * span:
            call = self._calls.setdefault(row.id, Call(row.at, row.hold, row.settled_at, rolling))
            call.settled_at = row.settled_at
            call.real = [sum(both) for both in zip(call.real, row.real, strict=True)]

    def _bearing(self, about: Mapping[str, Any]) -> Iterator[Family]:
        """The families of counters that a call touches."""
        model = Model(about.get("provider"), about["model"]) if about.get("model") else None
        for node in self._path(about):
            for family in (self._families or {}).get(node, ()):
                fits = family.pattern is None or (model is not None and concerns(family.pattern, model))
                if fits and not (family.per_user and about.get("end_user") is None):
                    yield family

    def _path(self, about: Mapping[str, Any]) -> Iterable[str]:
        """The nodes that a call counted on, as they stood then."""
        above = [about[name] for name in ("project", "team") if about.get(name)]
        key = about.get("key")
        origin, makers = self._keys.get(key, (key, ())) if key else (None, ())
        made = [self._keys.get(maker, (maker, ()))[0] for maker in makers]
        return dict.fromkeys([*([origin] if origin else []), *above, self._org, *made])

    def _stood(self, family: Family, at: int) -> bool:
        """Whether the limit stood there at that time, without a break until now."""
        changes = self._changes.get(family.node, ())
        since = 0  # as long as the node itself, where it was never without
        if changes and not changes[0].made:  # what was before is not in the log any more
            since = changes[0].at + SKEW_MS
        for change in changes:
            if family.shape not in change.shapes:
                since = _NEVER
            elif since == _NEVER:
                since = change.at + SKEW_MS
        return at >= since

    def _fits(self, family: Family, counter: Counter, at: int) -> bool:
        """Whether a window is the one of the time zone as it is, and has been since before the call: with another zone
        there were other windows, and a call is in one of them.
        """
        if family.window is None or not counter.until:
            return True
        return at >= self._zoned and family.window.bounds(at, self._zone)[0] == counter.since

    def _enter(self, call: Call) -> None:
        """A call in the parts of its rolling windows: as far as it was held when it began, the rest when it ended."""
        for counter, index, sure in call.counters:
            length = part_ms(counter.span)
            if index == REQUESTS:
                self._parts[counter.key, call.at // length].add(1, sure)
                continue
            within = min(call.real[index - 1], call.hold[index - 1])
            self._parts[counter.key, call.at // length].add(within, sure)
            self._parts[counter.key, call.settled_at // length].add(call.real[index - 1] - within, sure)

    # comparing

    def findings(self) -> list[Finding]:
        """All that is not as it should be."""
        found = [*self._of_keys(), *self._of_documents()]
        pruned = self._pruned()
        for family in (each for some in (self._families or {}).values() for each in some):
            for counter in (each for some in family.counters.values() for each in some):
                if 0 < counter.keep <= self._now:
                    continue  # it may be forgotten at any time
                cell = self.cells[counter.key]
                if cell.held != self._held[counter.key] and family.index != REQUESTS:
                    found.append(self._finding("held", counter.key, cell.held, self._held[counter.key]))
                if counter.span:
                    found += self._of_parts(family, cell)
                elif counter.since < pruned:
                    found += self._of_used(family, cell, self._from_sums(family, counter))
                else:
                    found += self._of_used(family, cell, self._used[counter.key])
        return sorted(found)

    def _of_used(self, family: Family, cell: Cell, bounds: Bounds) -> Iterator[Finding]:
        most = cell.used if family.index == REQUESTS else bounds.most
        if not bounds.least <= cell.used <= most:
            yield self._finding("used", cell.counter.key, cell.used, bounds)

    def _of_parts(self, family: Family, cell: Cell) -> Iterator[Finding]:
        key = cell.counter.key
        if cell.used != sum(used for _, _, used, _ in cell.ring):
            yield self._finding("parts", key, cell.used, sum(used for _, _, used, _ in cell.ring))
        for index, _, used, _ in cell.ring:
            bounds = self._parts[key, index]
            most = used if family.index == REQUESTS else bounds.most
            if not bounds.least <= used <= most:
                yield self._finding(
                    "parts", f"{key} at {_told(index * part_ms(cell.counter.span))}", used, bounds
                )

    def _of_keys(self) -> Iterator[Finding]:
        for doc in self._docs.values():
            if doc.kind == "key" and not (node := as_a(Node, doc)).revoked:
                place = self._links.get(node.digest) or (self._store.find(node.digest) or ("", ""))[1]
                if node.digest and place != node.id:
                    yield self._finding("link", node.id, place or "nothing", node.id)

    def _of_documents(self) -> Iterator[Finding]:
        for doc in self._docs.values():
            if doc.parent and doc.parent not in self._docs:
                yield self._finding("parent", doc.id, "nothing", doc.parent)

    def _finding(self, what: str, of: str, found: object, expected: object) -> Finding:
        if isinstance(expected, Bounds):
            low, high = expected.least, expected.most
            expected = low if low == high else f"{low} to {high}"
        return Finding(self._org, what, of, str(found), str(expected))

    # what was pruned

    def _pruned(self) -> int:
        """Records of windows that began before this ms may be gone; 0: none are."""
        first = History.of(self._store, self._org).first
        if not first or (self._oldest is not None and position_of(first)[0] >= self._oldest):
            return 0
        return self._now + 1 if self._oldest is None else self._oldest + 1

    def _from_sums(self, family: Family, counter: Counter) -> Bounds:
        """What records that are there say at least, and at most what is in the sums."""
        least = self._used[counter.key].least
        totals = [] if family.per_user else self._totals(family.node, counter)
        if not totals and (family.per_user or least):
            return Bounds(self.cells[counter.key].used, least)
        most = sum(_measure(total, family.index) for total in totals)
        whole = all(total.since is None or total.since <= _moment(counter.since) for total in totals)
        sure = family.pattern is None and whole and self._stood(family, counter.since)
        return Bounds(most if whole else self.cells[counter.key].used, most if sure else least)

    def _totals(self, node: str, counter: Counter) -> list[Total]:
        log = UsageLog(self._store, Folder(self._store), lambda: self._now)
        since, until = _moment(counter.since), _moment(counter.until) if counter.until else None
        if node == self._org:
            return log.totals(self._org, since=since, until=until, by=())
        kind = self._docs[node].kind if node in self._docs else "key"
        ids = [key for key, (origin, _) in self._keys.items() if origin == node] if kind == "key" else [node]
        return [
            total
            for id in ids
            for total in log.totals(self._org, since=since, until=until, by=(), **{kind: id})  # type: ignore[arg-type]
        ]


def _measure(total: Total, index: int) -> int:
    if index == REQUESTS:
        return total.calls
    return total.cost if index == COST else total.usage.input + total.usage.output


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _told(ms: int) -> str:
    return _moment(ms).strftime("%Y-%m-%dT%H:%M:%SZ")
