"""The Store protocol over Redis or Valkey: one server, Sentinel or Cluster.

An organization's keys bear its hash tag, so one organization is on one server. A batch is one script call an
organization (`batch.py` and the scripts that it names), all else a step or two (`steps.py`, `step.lua`).
"""

from __future__ import annotations

import os
import struct
import time
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from ...core.steps import REV_STEP, Answer, Event, Op, Row, Sum
from ...errors import StoreError
from ..memory import system_clock
from ..protocol import CLOSED_MS, Change, Clock, Doc, Item
from ..seen import new_epoch
from . import books, moving, setup, tree
from .batch import Batch, Done, Foreign, Packed, Plans, pack_batch, read_answer
from .client import Refusal, redis_module
from .place import Place, parse
from .scripts import batch_script
from .servers import Servers
from .steps import TRIES, Access, Step

__all__ = ["Place", "RedisStore", "open_url"]

FORMER = 16
"""Epochs before an organization's own that are remembered."""
FOREIGN = 3
"""How often a batch is sent again with plans that it did not name."""


class RedisStore:
    """Counters, reservations, records and documents in Redis or Valkey, for all processes of a fleet.

    url    `redis://user:password@host:6379/0?prefix=qw`, … (`place.py` has all forms and options)
    clock  ms since the epoch, in place of the server's: for tests

    Nothing connects before the first use. Raises `ConfigurationError`.
    """

    parallel = 2

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        redis_module()
        self.deadline = 0.25
        self._place = parse(url)
        self._servers = Servers(self._place)
        self._access = Access(self._servers, self._place.prefix, clock)
        self._plans = Plans()
        _stores.add(self)

    def __repr__(self) -> str:
        return f"RedisStore({self._place})"

    @property
    def place(self) -> Hashable:
        """What tells it from other stores, as far as its URL does."""
        return self._place.where

    def hello(self) -> int:
        self._servers.check()
        now = setup.check(self._servers, self.deadline)
        return self._access.now() or now

    def facts(self) -> dict[str, dict[str, str]]:
        """What each server says of itself (INFO), by its address. Raises `ConfigurationError`, `StoreError`."""
        found = setup.look(self._servers, time.monotonic() + self.deadline)
        return {f"{host}:{port}" if port else host: facts for (host, port), facts, _ in found}

    def lane(self, org: str) -> Hashable | None:
        return self._servers.lane(self._access.names(org).base)

    def close(self) -> None:
        self._servers.close()

    # what happens

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        self._servers.check()
        until = time.monotonic() + deadline
        answers: dict[str, Answer | StoreError] = dict.fromkeys(
            work, StoreError("reservations are settled under plans that change all the time")
        )
        extra: dict[str, list[Packed]] = {}
        waiting = dict(work)
        whole: set[str] = set()
        for _ in range(FOREIGN):
            batches = [self._batch(org, ops, extra.get(org, ())) for org, ops in waiting.items()]
            for batch, reply in zip(batches, self._send(batches, whole, until), strict=True):
                found = self._read(batch, reply)
                if isinstance(found, Foreign):
                    extra.setdefault(batch.org, []).extend(found.plans)
                else:
                    answers[batch.org] = found
                    del waiting[batch.org]
            if not waiting:
                break
        return answers

    def _batch(self, org: str, ops: Sequence[Op], extra: Sequence[Packed]) -> Batch:
        access = self._access
        return pack_batch(
            access.names(org),
            org,
            ops,
            access.seen.of(org),
            access.seen.writer,
            new_epoch(),
            access.now(),
            access.slack,
            self._plans,
            extra,
        )

    def _send(self, batches: Sequence[Batch], whole: set[str], until: float) -> list[object]:
        """Replies of the script, which a server that does not know it is told."""
        script = batch_script()
        commands = [script.command(batch.keys, [batch.payload]) for batch in batches]
        replies: list[object] = self._servers.run(commands, until)
        unknown = [
            n for n, reply in enumerate(replies) if isinstance(reply, Refusal) and reply.code == "NOSCRIPT"
        ]
        if unknown:
            commands = [script.command(batches[n].keys, [batches[n].payload], whole=True) for n in unknown]
            for n, reply in zip(unknown, self._servers.run(commands, until), strict=True):
                replies[n] = reply
        return replies

    def _read(self, batch: Batch, reply: object) -> Answer | StoreError | Foreign:
        if isinstance(reply, StoreError):
            return reply
        if not isinstance(reply, bytes):
            return StoreError(f"the server refused it: {reply!r:.200}")
        try:
            found = read_answer(batch, reply)
        except (ValueError, LookupError, TypeError, struct.error) as error:
            return StoreError(f"the server answered nonsense: {error!r}")
        if isinstance(found, Foreign):
            return found
        if isinstance(found, Done):
            self._access.seen.note(batch.org, found.epoch, found.seq, found.writes)
            return found.answer
        return self._access.lost(batch.org, found.epoch, found.seq, found.writes)

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        access = self._access
        names = access.names(org)
        for _ in range(TRIES):
            look = Step(names).add("HLEN", names("d"))
            met, _ = access.run(org, look, self.deadline, again=True)
            known, newest = access.seen.of(org)[:2]
            has_docs = bool(met.replies[0])
            if not (empty or met.accepted or has_docs):
                return None
            former = met.former.split()
            if known and known == met.epoch and met.seq >= newest:
                return met.rev
            if met.epoch and (known in former or met.now < met.closed):
                access.seen.take(org, met.epoch, met.seq)
                return met.base
            before = [epoch for epoch in (known, met.epoch) if epoch and epoch not in former]
            told: dict[str, str | int] = {
                "epoch": new_epoch(),
                "base": met.rev,
                "rev": met.rev + REV_STEP,
                "now": met.now,
                "closed": met.now + CLOSED_MS,
                "former": " ".join([*before, *former][:FORMER]),
                "accepted": int(empty or met.accepted),
            }
            step = Step(names).need(names("m"), "epoch", met.epoch)
            step.add("HSET", names("m"), *(word for pair in told.items() for word in pair))
            written, _ = access.run(org, step, self.deadline, epoch=str(told["epoch"]))
            if not written.moved:
                access.seen.take(org, str(told["epoch"]), written.seq)
                if has_docs:
                    tree.list_org(access, org, self.deadline)
                return met.rev
        raise StoreError(f"organization {org} is adopted by others all the time")

    # the tree

    def link(self, digest: str, org: str, key: str) -> None:
        tree.link(self._access, digest, org, key, self.deadline)

    def unlink(self, digest: str) -> None:
        tree.unlink(self._access, digest, self.deadline)

    def find(self, digest: str) -> tuple[str, str] | None:
        return tree.find(self._access, digest, self.deadline)

    def orgs(self, after: str, limit: int) -> list[str]:
        return tree.orgs(self._access, after, limit, self.deadline)

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        return tree.read(self._access, org, ids, self.deadline)

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        return tree.children(self._access, org, kind, parent, name, after, limit, self.deadline)

    def commit(self, org: str, change: Change) -> int:
        return tree.commit(self._access, org, change, self.deadline)

    def audit(self, org: str, after: int, limit: int) -> list[tuple[int, str]]:
        return tree.audit(self._access, org, after, limit, self.deadline)

    # what happened

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        return books.records(self._access, org, since, until, after, limit, back, self.deadline)

    def under_way(self, org: str, limit: int) -> list[tuple[str, str]]:
        return books.under_way(self._access, org, limit, self.deadline)

    def folded(self, org: str) -> str:
        return self._access.look(org, Step(self._access.names(org)), self.deadline).folded

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        return books.sums(self._access, org, cube, since, until, lead, self.deadline)

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        return books.pick(self._access, org, which, self.deadline)

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        return books.fold(self._access, org, after, upto, put, self.deadline)

    def keep(self, org: str, after: str, rows: Sequence[tuple[str, Row]]) -> bool:
        return books.keep(self._access, org, after, rows, self.deadline)

    def outbox(self, org: str, put: Sequence[Event] = (), done: Sequence[str] = ()) -> list[Event]:
        return books.outbox(self._access, org, put, done, self.deadline)

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        return books.once(self._access, org, name, value, ttl, expect, self.deadline)

    # house-keeping

    def prune(self, org: str, limit: int) -> int:
        return books.prune(self._access, org, limit, self._place.records_days, self.deadline)

    def dump(self, org: str) -> Iterator[Item]:
        yield from moving.Dump(self._access, org, self.deadline)

    def load(self, org: str, rows: Iterable[Item]) -> None:
        epoch, seq = moving.load(self._access, org, rows, self.deadline)
        self._access.seen.take(org, epoch, seq)


_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


def _begin_again() -> None:
    for store in list(_stores):
        store._servers.begin_again()
        store._access.seen.begin_again()
        store._plans = Plans()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


def open_url(url: str, clock: Clock) -> RedisStore:
    """The store of a URL, not connected yet; the server's clock counts, unless a test has one of its own. Raises
    `ConfigurationError`.
    """
    return RedisStore(url, None if clock is system_clock else clock)
