"""The simulated store: one server with the real kernel and the memory store's logic, and a client in each process.

Each organization has an epoch and a sequence, and how often each client wrote it; a client sends along what it has seen
of that, so that a server that came back empty or older is noticed before anything is read or written
(`stores/seen.py`). Requests and replies are messages, which the network may lose, delay, double and so reorder.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from quotaware.core.steps import REV_STEP, Answer, Op
from quotaware.errors import Conflict, Lost, StoreError
from quotaware.stores.memory import MemoryStore, _Organization
from quotaware.stores.protocol import CLOSED_MS, Change, Item
from quotaware.stores.seen import Known, Seen

from .scheduler import MS

if TYPE_CHECKING:
    from .process import Process
    from .world import World

WRITES = frozenset({"commit", "once", "fold", "keep", "outbox", "prune"})
"""Verbs about one organization that move its sequence; the others only read."""
READS = frozenset({"read", "children", "audit", "records", "folded", "sums", "pick"})
FORMER = 16
"""Epochs that an organization remembers to have had."""
ANYWHERE = frozenset({"hello", "find", "link", "unlink", "orgs"})
"""Verbs about none in particular."""


@dataclass(slots=True)
class Head:
    """What tells an organization's state from an older one, and from another's: `writes` are by client. `base` is the
    revision from before the last adoption, `former` the epochs that went before.
    """

    epoch: str
    seq: int = 0
    writes: dict[str, int] = field(default_factory=dict)
    base: int = 0
    former: tuple[str, ...] = ()


class Asked(NamedTuple):
    """What a client sends along: its name among those that write, and what it has seen of organizations."""

    writer: str
    known: Mapping[str, Known]


Met = tuple[str, int, int]
"""Epoch and sequence of an organization, and how often a client wrote it."""


class Server(MemoryStore):
    """The store's own side. `up` False: requests vanish."""

    def __init__(self, world: World, clock: Callable[[], int]) -> None:
        super().__init__(clock, records=1 << 30)
        self.world = world
        self.up = True
        self.heads: dict[str, Head] = {}
        self._epochs = 0

    def new_epoch(self) -> str:
        self._epochs += 1
        return f"{self._epochs:016x}"

    def begin(self, org: str, change: Change) -> None:
        """An organization that is there from the start."""
        self.commit(org, change)
        self._head(org)
        self.world.witness.committed(None, org)

    # requests

    def handle(self, process: Process, verb: str, arguments: Sequence[Any], by: Asked) -> Any:
        """The answer to a request, or the error to raise, as a value."""
        try:
            if verb == "apply":
                (work,) = arguments
                return {org: self._apply(process, org, ops, by) for org, ops in work.items()}
            if verb == "adopt":
                return self._adopt(*arguments, by=by)
            call = partial(getattr(MemoryStore, verb), self, *arguments)
            return call() if verb in ANYWHERE else self._about(process, arguments[0], verb, call, by)
        except (Conflict, StoreError) as error:
            return error

    def _apply(self, process: Process, org: str, ops: Sequence[Op], by: Asked) -> Answer | StoreError:
        if lost := self._lost(process, org, by):
            return lost
        state = self._orgs.get(org) or self._of(org)
        records = len(state.rows)
        answer = self._batch(state, ops)
        self._wrote(org, by)
        self.world.witness.batch(process, org, ops, answer, state, records)
        return answer

    def _about(self, process: Process, org: str, verb: str, call: Callable[[], Any], by: Asked) -> Any:
        if lost := self._lost(process, org, by):
            return lost
        answer = call()
        if verb in WRITES and org in self._orgs:
            self._wrote(org, by)
        if verb == "commit":
            self.world.witness.committed(process, org)
        return answer

    def _lost(self, process: Process, org: str, by: Asked) -> Lost | None:
        met = self.met(org, by.writer)
        seen = Seen()
        seen.note(org, *by.known[org][:3])
        lost = seen.check(org, *met)
        self.world.witness.met(process, org, by.known[org], met, lost is not None)
        return lost

    def met(self, org: str, writer: str) -> Met:
        """What a client meets of an organization."""
        head = self.heads.get(org)
        return (head.epoch, head.seq, head.writes.get(writer, 0)) if head is not None else ("", 0, 0)

    def _wrote(self, org: str, by: Asked) -> None:
        head = self._head(org)
        head.seq += 1
        head.writes[by.writer] = head.writes.get(by.writer, 0) + 1

    def _adopt(self, org: str, empty: bool, *, by: Asked) -> int | None:
        state = self._orgs.get(org)
        if (state is None or not state.docs) and not empty:
            return None
        view, head = self._of(org).view, self._head(org)
        epoch, seq = by.known[org][:2]
        now = max(view.now, self._clock())
        if epoch == head.epoch and head.seq >= seq:
            return view.rev
        if epoch in head.former or now < view.closed:  # somebody was here before with the same news
            return head.base
        view.base = view.rev
        head.former = tuple(dict.fromkeys((epoch, head.epoch, *head.former)))[:FORMER]
        head.epoch, head.base, head.seq = self.new_epoch(), view.rev, head.seq + 1
        view.rev += REV_STEP
        view.closed = now + CLOSED_MS
        self.world.witness.adopted(org)
        return head.base

    def _head(self, org: str) -> Head:
        head = self.heads.get(org)
        if head is None:
            head = self.heads[org] = Head(self.new_epoch())
        return head

    # what befalls it

    def snapshot(self) -> dict[str, tuple[Head, list[Item]]]:
        return {org: (_copy(head), list(self.dump(org))) for org, head in self.heads.items()}

    def restore(self, snapshot: Mapping[str, tuple[Head, list[Item]]]) -> None:
        """An older state, and nothing of what came after it."""
        self.heads.clear()
        self._orgs.clear()
        for org, (head, rows) in snapshot.items():
            self.load(org, rows)
            self.heads[org] = _copy(head)
            if head.former:
                self._of(org).view.base = head.base

    def organization(self, org: str) -> _Organization:
        return self._of(org)


def _copy(head: Head) -> Head:
    return replace(head, writes=dict(head.writes))


class Reply:
    """What a client waits for: the value (an exception is raised) and the heads of the organizations it is about."""

    __slots__ = ("done", "heads", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.heads: dict[str, Met] = {}


class Client:
    """The Store that a process talks to: each call a request over the network, given up after the deadline."""

    deadline = 0.4

    def __init__(self, process: Process) -> None:
        self.process = process
        self.seen = Seen()

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb in ANYWHERE:
            return lambda *arguments: self._ask((), verb, arguments)
        if verb in WRITES or verb in READS:
            return lambda org, *arguments, **more: self._ask((org,), verb, (org, *arguments), more)
        raise AttributeError(verb)

    def lane(self, org: str) -> Hashable:
        return "sim"

    def close(self) -> None:
        """Nothing is held open."""

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        answers: Mapping[str, Answer | StoreError] = self._ask(
            tuple(work), "apply", (work,), timeout=deadline
        )
        return answers

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        rev: int | None = self._ask((org,), "adopt", (org, empty), take=True)
        return rev

    def _ask(
        self,
        orgs: Sequence[str],
        verb: str,
        arguments: Sequence[Any],
        more: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        take: bool = False,
    ) -> Any:
        process, world = self.process, self.process.world
        if more:
            arguments = _in_order(verb, arguments, more)
        reply = Reply()
        by = Asked(self.seen.writer, {org: self.seen.of(org) for org in orgs})
        if process.alive:
            world.network.send(process, reply, verb, arguments, by)
        until = world.scheduler.now + (timeout or self.deadline) * 1000 * MS
        world.scheduler.wait(reply, until)
        if not reply.done or not process.alive:
            raise StoreError("no answer in time")
        for org in orgs:
            head = reply.heads.get(org, ("", 0, 0))
            about = _of(reply.value, org)
            if isinstance(about, Lost):
                self.seen.check(org, *head)
                world.witness.heard(process, org)
            elif take and about is not None:
                self.seen.take(org, *head[:2])
            elif not isinstance(about, Exception):
                self.seen.note(org, *head)
        if isinstance(reply.value, Exception):
            raise reply.value
        return reply.value


def _of(value: Any, org: str) -> Any:
    return value.get(org) if isinstance(value, dict) else value


def _in_order(verb: str, arguments: Sequence[Any], more: Mapping[str, Any]) -> Sequence[Any]:
    names = {"outbox": ("put", "done"), "once": ("name", "value", "ttl", "expect")}[verb]
    defaults = {"put": (), "done": (), "expect": None}
    given = dict(zip(names, arguments[1:], strict=False)) | dict(more)
    return (arguments[0], *(given[name] if name in given else defaults[name] for name in names))


class Network:
    """Carries requests and replies. What goes wrong on the way is the seed's to say."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lost = self.late = self.twice = 0.0

    def send(self, process: Process, reply: Reply, verb: str, arguments: Sequence[Any], by: Asked) -> None:
        scheduler = self.world.scheduler
        if not self.world.server.up:
            process.troubled()
        request = (process, reply, verb, arguments, by)
        if scheduler.chance(self.twice):
            scheduler.at(scheduler.between(0, 60 * MS), process.name + ">", self._arrive, *request)
        if scheduler.chance(self.lost):
            process.troubled()
        else:
            scheduler.at(self._delay(process), process.name + ">", self._arrive, *request)

    def _arrive(self, process: Process, reply: Reply, verb: str, arguments: Sequence[Any], by: Asked) -> None:
        server, scheduler = self.world.server, self.world.scheduler
        if not server.up:
            process.troubled()
            return
        value = server.handle(process, verb, arguments, by)
        heads = {org: server.met(org, by.writer) for org in by.known if org in server.heads}
        if not scheduler.chance(self.lost):
            scheduler.at(self._delay(process), process.name + "<", self._answer, process, reply, value, heads)
        else:
            process.troubled()

    def _answer(self, process: Process, reply: Reply, value: Any, heads: dict[str, Met]) -> None:
        if process.alive and not reply.done:
            reply.value, reply.heads, reply.done = value, heads, True

    def _delay(self, process: Process) -> float:
        scheduler = self.world.scheduler
        if scheduler.chance(self.late):
            process.troubled()
            return scheduler.between(50 * MS, 1500 * MS)
        return scheduler.between(0.2 * MS, 3 * MS)
