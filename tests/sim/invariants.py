"""What always holds, looked at after every step; and what holds in the end, when faults are over.

Always (safety), with the `Books` of each organization, which judge each step that the server takes:

I-1   never over: whoever is let in fits every hard limit of the moment, and who is refused does not
I-2   used = Σ records, held = Σ open reservations; I-4: what is refused moves nothing
I-5   one end and one record a reservation, one correction of what had expired; a repeat changes nothing
I-9   a call under way keeps its reservation, and is never let go, nor expired while its process tends it
I-16  no rolling window admits more than its limit
I-18  nobody is let in under a policy that was changed, also after the change was lost and made again
I-26  what an older waiter claims is not taken by a younger one; a room's lines are in order
books each process keeps the leases and holds of its calls under way, and no others

In the end (liveness), within a bounded time: nothing is held, nobody waits, every settle is booked once, as it was.

What is excused, and how long:
- An overrun (I-3) counts in full; its limit may be passed by what it cost above its bound, for as long as it counts.
- A lease may lapse for a process that met trouble (a message lost or late, the store away, its clock set, a stalled
  turn) within two leases before, or whose call was idle or too old; its settle corrects the charge (I-5).
- What an older snapshot lost is excused until whoever told the store of it has noticed the loss; for good where he is
  dead, told it more than a minute before he noticed, or never noticed, because others' writes had carried the sequence
  past what he saw before he asked again. Until somebody who noticed has adopted the older state, policies are not
  compared (a revision of the lost time may be given out again), and what is changed meanwhile may be undone. After a
  second loss the order of changes that are made again is not looked at: revisions given out between the two may be
  given out again.
- Steps that are told once more after a loss are not held to the limits: they happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from quotaware.core.denied import counts_of, is_of_denied
from quotaware.core.steps import COST, NOTHING, Answer, Op, Reserve, Settle
from quotaware.stores.guard import REPLAY_S
from quotaware.stores.memory import _Organization
from quotaware.stores.protocol import Doc
from quotaware.tenancy.documents import from_doc, to_doc
from quotaware.tenancy.nodes import Node

from .books import Books, Held
from .calls import Call
from .process import CALL_MS, IDLE_MS, LEASE_MS
from .scheduler import MS, SECOND

if TYPE_CHECKING:
    from quotaware.stores.seen import Known

    from .process import Process
    from .server import Met
    from .world import World

OFTEN = 100
"""Steps between two looks at everything."""


@dataclass(slots=True)
class _Decree:
    """The newest change of a node: who made it; and when he was told that it is done, µs."""

    said: str
    rev: int
    by: Process
    blind: bool  # made in what a server went back to, before anybody had seen to it
    told: int | None = None


class Witness:
    """Sees all that happens, on the wire, in the processes and in the server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books: dict[str, Books] = {}
        self.calls: dict[str, Call] = {}
        self.granted: set[str] = set()
        self.booked: dict[str, int] = {}  # id → µs at which its process was told that its settle is taken
        self.losses = self.restores = 0
        self.denied_by_dead = 0
        self.mended_losses: dict[tuple[Process, str], tuple[int, int]] = {}  # → (how many of them, µs)
        self.unmended: set[tuple[Process, str]] = set()  # has met that something is lost, and not replayed it
        self.adrift: set[str] = set()
        self.changed: dict[
            tuple[str, str], int
        ] = {}  # which change of a node was written since the last loss
        self.lost: dict[str, int] = {}  # id → the loss that took something of it
        self.excused: set[str] = set()  # calls whose hold was gone before their end
        self.most: dict[str, int] = {}  # the highest cap that each limit ever had
        self.policy: dict[tuple[str, str], _Decree] = {}

    def fail(self, invariant: str, what: str) -> None:
        self.world.scheduler.fail(invariant, what)

    def of(self, org: str) -> Books:
        books = self.books.get(org)
        if books is None:
            books = self.books[org] = Books(self.fail, self.granted)
        return books

    # the server

    def committed(self, process: Process | None, org: str) -> None:
        """The tree was changed; not for the first time, where a loss is being mended."""
        state = self.world.server.organization(org)
        revs, stops = state.view.revs, state.view.stops
        docs = [doc._replace(rev=revs[id], stopped=stops.get(id)) for id, doc in state.docs.items()]
        nodes = {doc.id: from_doc(doc) for doc in docs}
        changed = [doc for doc in docs if doc.rev == state.view.rev]
        if process is not None:
            self._decreed(process, org, changed, state.audit[-1][1])
        self.of(org).documents(nodes, state.view.rev)
        for node in nodes.values():
            for limit in node.limits:
                key = f"{node.id}/{limit.shape}"
                self.most[key] = max(self.most.get(key, 0), limit.amount)

    def _decreed(self, process: Process, org: str, changed: list[Doc], audit: str) -> None:
        for doc in changed:
            first = json.loads(audit).get(
                "again", doc.rev
            )  # its revision when it was changed so the first time
            decree, newest = self._decree(org, doc.id), self.changed.get((org, doc.id))
            self.changed[org, doc.id] = first
            if not process.mending.taken:
                self.policy[org, doc.id] = _Decree(doc.body, doc.rev, process, org in self.adrift)
            elif decree is not None and newest == decree.rev and doc.body != decree.said:
                self.fail("I-18", f"{process.name} undoes a later change of {doc.id} while it mends a loss")

    def batch(
        self, process: Process, org: str, ops: list[Op], answer: Answer, state: _Organization, records: int
    ) -> None:
        """The server took some steps."""
        books, note = self.of(org), self.world.scheduler.note
        books.closed, books.adrift = state.view.closed, org in self.adrift
        for op, result, held in books.take(ops, answer):
            note(result.verdict)
            if result.verdict == "done" and held is not None:
                if isinstance(op, Settle):
                    self._ended(process, op, held)
                elif isinstance(op, Reserve) and not op.force:
                    self._acknowledged(org, op)
        books.enter_rows([state.rows[index][1] for index in range(records, len(state.rows))])
        books.compare(answer.now, answer.totals)

    def _decree(self, org: str, id: str) -> _Decree | None:
        """The newest change of a node, where it was acknowledged and binds."""
        decree = self.policy.get((org, id))
        binds = decree is not None and decree.told is not None and not decree.blind and self.restores < 2
        return decree if binds else None

    def _acknowledged(self, org: str, op: Reserve) -> None:
        """I-18 over losses: a change that was acknowledged binds, once the loss that took it could be mended."""
        docs = self.world.server.organization(org).docs
        for id in op.plan.deps:
            decree = self._decree(org, id)
            if decree is None or docs[id].body == decree.said:
                continue
            if self._mended(decree.by, org, decree.told or 0):
                self.fail("I-18", f"{op.id} is let in under {docs[id]}, acknowledged was {decree.said}")

    def _mended(self, process: Process, org: str, told: int) -> bool:
        """Whether what a process told the store at that time must be there again by now."""
        losses, at = self.mended_losses.get((process, org), (0, 0))
        return process.alive and losses == self.losses and at - told < REPLAY_S * SECOND

    def _ended(self, process: Process, op: Settle, held: Held) -> None:
        call = self.calls.get(op.id)
        if call is None:
            if op.how == "settled" and not op.outcome.startswith('{"denied":'):
                self.fail("I-5", f"{op.id} is settled, and nobody made such a call")
        elif op.how == "released":
            self.fail("I-9", f"{op.id} was let go, and is {call.state}")
        elif op.how == "settled":
            if op.real != call.real:
                self.fail("I-3", f"{op.id} is settled at {op.real}, it came to {call.real}")
        elif call.state == "wire" and not self._may_lapse(call):
            self.fail("I-9", f"{op.id} expires under way: {held}")

    def _may_lapse(self, call: Call) -> bool:
        self.excused.add(call.id)
        now = self.world.scheduler.now
        idle, old = now - call.moved, now - call.began
        return (
            call.process.in_trouble()
            or idle > (IDLE_MS - LEASE_MS) * MS
            or old > (CALL_MS - LEASE_MS) * MS
            or call.id in self.lost
        )

    # losses

    def snapshot(self) -> dict[str, Books]:
        return {org: books.copy() for org, books in self.books.items()}

    def restored(self, snapshot: dict[str, Books]) -> None:
        """The server went back to an older state."""
        self.losses += 1
        self.restores += bool(snapshot)
        self.adrift = {*self.books, *snapshot}
        self.changed.clear()
        for org, newer in self.books.items():
            older = snapshot.get(org)
            for id, held in newer.reservations.items():
                before = older.reservations.get(id) if older else None
                if before is None or (before.how, before.charged) != (held.how, held.charged):
                    self.lost[id] = self.losses
        self.books = {org: books.copy() for org, books in snapshot.items()}

    def met(self, process: Process, org: str, known: Known, met: Met, lost: bool) -> None:
        """Rule 7: who meets another epoch than he knows, an earlier sequence or fewer of his own writes, is told so."""
        epoch, seq, writes = met
        older = epoch != known.epoch or seq < known.seq or writes < known.writes
        if lost != (known.epoch != "" and older):
            self.fail("rule 7", f"{process.name} knows {known[:3]} of {org}, meets {met}, lost is {lost}")

    def heard(self, process: Process, org: str) -> None:
        """A process was told that something is lost."""
        self.unmended.add((process, org))

    def mended(self, process: Process, org: str, losses: int) -> None:
        """A process has replayed what it knows, as far as those losses took it."""
        self.mended_losses[process, org] = losses, self.world.scheduler.now
        self.unmended.discard((process, org))
        docs = self.world.server.organization(org).docs
        for of, id in self.policy:
            decree = self._decree(org, id) if of == org else None
            doc = docs.get(id)  # None where all was lost again before it was through
            if decree is None or decree.by is not process or (doc is not None and doc.body == decree.said):
                continue
            if self._mended(process, org, decree.told or 0):
                self.fail("I-18", f"{process.name} has mended {doc}, acknowledged was {decree.said}")

    def adopted(self, org: str) -> None:
        """Somebody who had noticed has seen to it that all others do."""
        self.adrift.discard(org)

    # calls and processes

    def admitted(self, call: Call) -> None:
        """A call goes out."""
        self.calls[call.id] = call
        held = self.of(call.caller.org).reservations.get(call.id)
        if held is not None and held.hold != NOTHING and held.hold[COST - 1] < call.most:
            self.fail("I-3", f"{call.id} may cost {call.most}, and holds {held.hold[COST - 1]}")
        if not self.of(call.caller.org).is_open(call.id) and not self._may_lapse(call):
            self.fail("I-1", f"{call.id} goes out, and nothing is held for it")

    def acknowledged(self, process: Process, org: str, node: Node) -> None:
        """Who changed the tree was told that it is done."""
        decree = self.policy.get((org, node.id))
        if decree is not None and decree.said == to_doc(node).body:
            decree.told = self.world.scheduler.now

    def process(self, process: Process) -> None:
        """The books of a process that has just done something."""
        engine = process.engine
        for thread in process.threads:
            for id in thread._leases:
                if id not in process.wire and (id not in self.calls or not thread.busy):
                    self.fail("books", f"{process.name} keeps a lease of {id}, which is not under way")
        tally = engine.tally
        if tally["admitted"] + tally["denied"] != process.decided:
            self.fail("books", f"{process.name} counts {dict(tally)}, {process.decided} were decided")
        room = engine.room
        if len(room) or room._lines:
            waiters = {waiter for line in room._lines.values() for waiter in line}
            if len(waiters) > len(room) or len(room) > len(process.asking):
                self.fail("books", f"{len(room)} wait in {process.name}, {len(waiters)} stand in lines")
            for key, line in room._lines.items():
                if any(a.id >= b.id for a, b in pairwise(line)) or not line:
                    self.fail("I-26", f"{process.name}: the line for {key} is out of order")

    def everything(self) -> None:
        """A look at all that the server has."""
        for org, books in self.books.items():
            if org in self.world.server.heads:
                books.compare_all(self.world.server.organization(org))
        for process in self.world.processes:
            holding = {id for call in process.wire.values() for id in call.binding.holding}
            if not holding >= process.wire.keys():
                self.fail("books", f"{process.name} holds {holding} for {process.wire.keys()}")

    # in the end

    def unfinished(self) -> str:
        """What is still to come, if anything is."""
        for process in self.world.processes:
            under_way = sum(not call.hung for call in process.wire.values())
            if process.asking or under_way or len(process.engine.room):
                return f"{process.name} has {len(process.asking)} waiting, {under_way} under way"
            for org in self.books:
                if process.is_behind(org) or (process, org) in self.unmended:
                    return f"{process.name} has not replayed what was lost of {org}"
            if any(thread.busy for thread in process.threads):
                return f"{process.name} has something left for the store"
        for org, books in self.books.items():
            if open_ := [id for id in books.reservations if books.is_open(id)]:
                return f"{len(open_)} reservations are open in {org}: {open_[0]}"
            if held := {key: held for key, held in books.held.items() if held}:
                return f"{held} is held in {org}"
        return ""

    def drained(self) -> None:
        """Every call is booked as it ended, or as its lease's end says; and nothing went over."""
        self.everything()
        for call in self.calls.values():
            rows = self.of(call.caller.org).rows.get(call.id, ())
            booked = sum(row.real[COST - 1] for row in rows)
            if call.real is not None and (not rows or booked != call.real[COST - 1]) and not self._gone(call):
                self.fail("I-7", f"{call.id} came to {call.real}, booked is {list(rows)}")
            if call.real is None and len(rows) != 1 and not self._gone(call):
                self.fail("I-7", f"{call.id} was left to its lease, booked is {list(rows)}")
        self._never_over()
        self._denied()

    def _denied(self) -> None:
        """Of the calls that were denied each is handed over once; who died may have taken some along, and so a loss."""
        rows = [row for books in self.books.values() for rows in books.rows.values() for row in rows]
        counted = sum(n for row in rows if is_of_denied(row) for _, n in counts_of(row))
        living = 0
        for process in self.world.processes:
            waiting = process.engine.denied._counts.values()
            living += process.engine.tally["denied"] - sum(n for counts in waiting for n in counts.values())
        least = 0 if self.losses else living
        if not least <= counted <= living + self.denied_by_dead:
            self.fail(
                "I-5", f"{counted} denials are counted, of {living} and {self.denied_by_dead} of the dead"
            )

    def _gone(self, call: Call) -> bool:
        """Whether the end of a call may be lost: with its process before it was told, or with what a server lost."""
        told = self.booked.get(call.id)
        lost = call.id in self.lost
        if not call.process.alive:
            return lost or told is None
        if not lost or (told is None and call.real is not None):
            return False
        return not self._mended(call.process, call.caller.org, call.began if told is None else told)

    def told(self, process: Process, op: Settle) -> None:
        """A process heard that a settle of its own is taken."""
        if op.id in self.calls and self.calls[op.id].process is process:
            self.booked.setdefault(op.id, self.world.scheduler.now)

    def _never_over(self) -> None:
        """I-1 on the wire: what calls really cost is within the highest cap that there was, overruns aside."""
        spent: dict[str, int] = {}
        for call in self.calls.values():
            if call.admission is None:
                continue
            aside = call.id in self.excused or call.id in self.lost or not call.process.alive
            real = NOTHING if aside or call.real is None else call.real
            for counter, index in call.admission.policy.plan.lines:
                if index == COST and not counter.span and counter.hard:
                    spent[counter.key] = spent.get(counter.key, 0) + real[COST - 1] - call.over * (not aside)
        for key, cost in spent.items():
            most = self.most[key.partition("@")[0]]
            if cost > most:
                self.fail("I-1", f"{cost} was spent of {key}, of {most}")
