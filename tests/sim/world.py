"""A world from a seed: its tree, its processes, its traffic and all that goes wrong in it; and `run`, which runs it."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from quotaware.context import Binding, Caller
from quotaware.core.bounds import Call as Wire
from quotaware.core.limits import Limit
from quotaware.core.permissions import CALL_PERMISSIONS
from quotaware.errors import ApiError, Conflict, StoreError
from quotaware.stores.protocol import Change
from quotaware.tenancy.documents import to_doc
from quotaware.tenancy.nodes import Node

from .calls import Call
from .invariants import OFTEN, Witness
from .process import BEGIN, Process, Ways, simulated
from .scheduler import MS, SECOND, Scheduler
from .server import Network, Server

Mode = Literal["safety", "liveness"]
CALM_AFTER = 0.7
"""In liveness mode, the part of the steps after which faults end."""
DRAIN_S = 60
"""Virtual seconds within which all must have drained then."""
PROCESSES = 3


@dataclass(frozen=True, slots=True)
class Habits:
    """How often calls do what calls should not, of one."""

    cancel: float
    hang: float
    long: float
    overrun: float
    abandon: float
    again: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. trace: a hash of all that happened."""

    seed: int
    steps: int
    trace: str
    admitted: int
    records: int
    virtual_s: float
    faults: dict[str, int]


class World:
    """Everything that there is, of one seed."""

    def __init__(self, seed: int, mode: Mode) -> None:
        scheduler = self.scheduler = Scheduler(seed)
        self.mode = mode
        self.calm = False
        self.acted: Process | None = None
        self.skew = 0
        self.faults: dict[str, int] = defaultdict(int)
        self.witness = Witness(self)
        self.server = Server(self, self._server_clock)
        self.network = Network(self)
        self.processes: list[Process] = []
        self._woken: list[tuple[Call, int]] = []
        self._homes: dict[str, str] = {}
        self._leaves: list[Caller] = []
        self._snapshot: Any = None
        self._started = 0
        self._calls = 0
        self._draw()
        scheduler.after = self._after

    # time

    def _server_clock(self) -> int:
        return BEGIN + self.scheduler.now // MS + self.skew

    def monotonic(self) -> float:
        return self.scheduler.now / SECOND

    def sleep(self, seconds: float) -> None:
        self.scheduler.wait(_Never(), self.scheduler.now + seconds * SECOND)

    # what the seed decides

    def _draw(self) -> None:
        """Each world has some kinds of faults and not others, so that each kind also meets an else healthy world."""
        scheduler = self.scheduler
        pick, some = scheduler.random.choice, self._some
        self.ways = Ways(
            settle_wait=pick((0.0, 0.3, 1.0)),
            tight=pick(("cap", "clamp", "deny")),
            on_expiry=pick(("input", "full", "none")),
        )
        self.habits = Habits(
            cancel=some(0.1),
            hang=some(0.03),
            long=some(0.3, 0.7),
            overrun=some(0.1),
            abandon=some(0.2),
            again=some(0.2),
        )
        self.gap = pick((25, 60, 200)) * MS
        self._disputed = pick((2, 2, 99))
        network = self.network
        network.lost, network.late, network.twice = some(0.04), some(0.04), some(0.1)
        self._befalls: list[tuple[str, float, Callable[[], None]]] = [
            ("policy", scheduler.between(0.3, 1.5) if scheduler.chance(0.7) else 0.0, self._change_policy),
            ("crash", some(5), self._crash),
            ("outage", some(6, 0.3), self._outage),
            ("loss", some(12, 0.35), self._loss),
            ("jump", some(3, 0.4), self._jump),
        ]
        self.loses = any(mean and name == "loss" for name, mean, _ in self._befalls)

    def _some(self, most: float, how_often: float = 0.5) -> float:
        """Something up to `most` in a part of all worlds, nothing in the others."""
        return self.scheduler.between(most / 3, most) if self.scheduler.chance(how_often) else 0.0

    # the tree

    def plant(self) -> None:
        """Organizations, projects and keys."""
        orgs = ["org_a"] if self.scheduler.chance(0.7) else ["org_a", "org_b"]
        for org in orgs:
            nodes = [Node(org, "organization", "", org, limits=self._limits("${}/day", "{} concurrent"))]
            for number in (1, 2):
                project = f"proj_{org[-1]}{number}"
                nodes.append(
                    Node(
                        project,
                        "project",
                        org,
                        project,
                        limits=self._limits("${}/calendar hour", "{} requests/minute"),
                    )
                )
                nodes += [self._key(f"key_{org[-1]}{number}{key}", project) for key in (1, 2)]
            self._homes.update((node.id, org) for node in nodes)
            self.server.begin(org, Change(0, tuple(map(to_doc, nodes))))

    def _key(self, id: str, project: str) -> Node:
        digest = f"{len(self._homes) * 16 + int(id[-1]):064x}"
        limits = self._limits("${}/life") if self.scheduler.chance(0.5) else self._limits("{} tokens/second")
        self._leaves.append(Caller(f"org_{id[4]}", id, digest=digest))
        return Node(
            id, "key", project, None, permissions=tuple(CALL_PERMISSIONS), limits=limits, digest=digest
        )

    def _limits(self, *texts: str) -> tuple[Limit, ...]:
        return tuple(Limit.parse(text.format(self._amount(text))) for text in texts)

    def _amount(self, text: str) -> int:
        between = self.scheduler.random.randint
        if text.startswith("$"):
            return between(2, 10) if "hour" in text else between(3, 25)
        return {"concurrent": between(3, 12), "requests/minute": between(20, 120)}.get(
            text.removeprefix("{} "), between(300, 3000)
        )

    # processes and their traffic

    def begin(self) -> None:
        for _ in range(PROCESSES):
            self._start()
        for name, mean, act in self._befalls:
            if mean:
                self._again(name, mean * SECOND, act)
        self._arrive()

    def _start(self) -> None:
        self._started += 1
        process = Process(self, f"p{self._started}")
        self.processes.append(process)

    def _again(self, name: str, mean: float, act: Callable[[], None]) -> None:
        def happen() -> None:
            if not self.calm:
                self.faults[name] += 1
                act()
                self._again(name, mean, act)

        self.scheduler.at(self.scheduler.gap(mean), name, happen)

    def _arrive(self) -> None:
        """A request of the host: one call or several at once."""
        scheduler = self.scheduler
        if self.processes:
            process = scheduler.random.choice(self.processes)
            self._request(process, scheduler.random.choice((1, 1, 1, 2, 3)))
        scheduler.at(scheduler.gap(1.5 * SECOND if self.calm else self.gap), "request", self._arrive)

    def _request(self, process: Process, calls: int) -> None:
        between = self.scheduler.random.randint
        caller = self.scheduler.random.choice(self._leaves)
        binding = Binding(process.quota.meter, caller)
        for _ in range(calls):
            cap = None if self.scheduler.chance(0.1) else between(1, 150)
            wire = Wire(None, "chat", "tenth", cap=cap, choices=between(1, 2), text=between(0, 2000))
            process.at(
                self.scheduler.between(0, 2 * MS), "c", Call(process, caller, binding, wire, self.habits).ask
            )
        self.acted = process

    def count(self) -> int:
        """The number of a new call."""
        self._calls += 1
        return self._calls

    def woken(self, call: Call, turn: int) -> None:
        """What a call waits for is there. Who is woken together goes on in an order of our own."""
        self._woken.append((call, turn))

    def _after(self) -> None:
        if self._woken:
            woken, self._woken = self._woken, []
            for call, turn in sorted(woken, key=lambda entry: (entry[0].number, entry[1])):
                call.woken(turn)
        if self.acted is not None and self.acted.alive:
            self.witness.process(self.acted)
            self.acted = None
        if self.scheduler.steps % OFTEN == 0:
            self.witness.everything()

    # what befalls it

    def _change_policy(self) -> None:
        """Somebody lowers or raises a limit, disables or enables a project, revokes a key."""
        if not self.processes:
            return
        scheduler = self.scheduler
        process = scheduler.random.choice(self.processes)
        id = scheduler.random.choice(list(self._homes)[: self._disputed])
        org = self._homes[id]
        node = self.witness.of(org).nodes.get(id)
        if node is None:
            return
        if node.kind == "project" and scheduler.chance(0.4):
            work = partial(process.tenancy.disable if node.enabled else process.tenancy.enable, org, id)
        elif node.kind == "key" and scheduler.chance(0.15):
            work = partial(process.tenancy.revoke_key, org, id)
        else:
            limits = tuple(self._another(limit) for limit in node.limits)
            work = partial(process.tenancy.update, org, id, limits=limits)
        process.engine.lanes.call(partial(self._change, process, org, work))

    def _another(self, limit: Limit) -> Limit:
        return Limit(limit.metric, max(1, int(limit.amount * self.scheduler.between(0.4, 1.8))), limit.window)

    def _change(self, process: Process, org: str, work: Callable[[], Node]) -> None:
        with suppress(StoreError, Conflict, ApiError):
            self.witness.acknowledged(process, org, work())

    def _crash(self) -> None:
        if not self.processes:
            return
        process = self.scheduler.random.choice(self.processes)
        process.crash()
        self.processes.remove(process)
        self.scheduler.at(self.scheduler.between(0.1, 2) * SECOND, "start", self._start)

    def _outage(self) -> None:
        self.server.up = False
        self.scheduler.at(self.scheduler.between(0.05, 3) * SECOND, "up", self._up)

    def _up(self) -> None:
        self.server.up = True

    def _loss(self) -> None:
        """The server comes back as it was some time ago, at once or after it was empty for a while."""
        if not self.server.heads:
            return
        self._snapshot = (self.server.snapshot(), self.witness.snapshot())
        later = self.scheduler.between(0.1, 4) * SECOND
        if self.scheduler.chance(0.3):
            self.scheduler.at(later, "empty", self._restore, ({}, {}))
            later += self.scheduler.between(0.2, 2) * SECOND
        self.scheduler.at(later, "restore", self._restore, self._snapshot)

    def _restore(self, snapshot: Any) -> None:
        state, books = snapshot
        self.server.restore(state)
        self.witness.restored(books)
        for process in self.processes:
            process.troubled()

    def _jump(self) -> None:
        """A clock is set, forward or back."""
        scheduler = self.scheduler
        if scheduler.chance(0.7) and self.processes:
            process = scheduler.random.choice(self.processes)
            process.skew += round(scheduler.between(-600_000, 600_000))
            return
        self.skew += round(scheduler.between(-3_000, 5_000) if scheduler.chance(0.8) else 3_600_000)
        for process in self.processes:
            process.troubled()

    def heal(self) -> None:
        """Faults are over."""
        self.calm = True
        self.network.lost = self.network.late = self.network.twice = 0.0


class _Never:
    done = False


def run(seed: int, steps: int = 2000, mode: Mode | None = None) -> Outcome:
    """Runs the world of a seed for so many steps, the last part of them calm in liveness mode, which every second seed
    has. Raises `Violation`, which names seed and step; a seed runs the same way every time.
    """
    mode = mode or ("safety" if seed % 2 else "liveness")
    world = World(seed, mode)
    scheduler = world.scheduler
    collecting = gc.isenabled()
    gc.disable()
    try:
        with simulated(world):
            world.plant()
            world.begin()
            scheduler.limit = steps if mode == "safety" else int(steps * CALM_AFTER)
            while scheduler.steps < scheduler.limit:
                scheduler.step()
            scheduler.limit = 1 << 62
            if mode == "liveness":
                _drain(world)
            world.witness.everything()
            for process in world.processes:
                process.crash()
    finally:
        if collecting:
            gc.enable()
    witness = world.witness
    return Outcome(
        seed,
        scheduler.steps,
        scheduler.trace,
        len(witness.calls),
        sum(len(books.rows) for books in witness.books.values()),
        scheduler.now / SECOND,
        dict(world.faults),
    )


def _drain(world: World) -> None:
    scheduler, witness = world.scheduler, world.witness
    world.heal()
    until = scheduler.now + DRAIN_S * SECOND
    while left := witness.unfinished():
        if scheduler.now > until:
            scheduler.fail("liveness", f"{DRAIN_S} s after the last fault {left}")
        scheduler.step()
    witness.drained()
