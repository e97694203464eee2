"""One organization's keys, reached in single steps: each is one script call that looks at the organization's epoch and
sequence, at what the caller built on, and then runs his commands (`step.lua`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import StoreError
from ..protocol import Clock
from ..seen import NOTHING, Known, Seen, new_epoch
from .client import Command, Refusal
from .keys import Names, decode, encode
from .scripts import Script, step_script
from .servers import Servers

HOUR_MS = 3_600_000
WORDS = 2000
"""Words of one command at most; more are sent in several."""
TRIES = 50
"""How often a step is tried whose conditions others change under it."""

_WRITER = b""
"""Stands for a key that is known when a step is sent."""

Word = bytes | str | int


def word(value: Word) -> bytes:
    """A word of a command as bytes."""
    if isinstance(value, bytes):
        return value
    return encode(value) if isinstance(value, str) else b"%d" % value


class Step:
    """Commands over one organization's keys, and what must still stand for them to be run."""

    def __init__(self, names: Names) -> None:
        self._keys: dict[bytes, int] = {names("m"): 1, _WRITER: 2}
        self._needs: list[bytes] = []
        self._words: list[bytes] = []
        self.commands = 0

    def need(self, key: bytes, field: Word, value: Word) -> Step:
        """What stands in a field of a hash; field "": in a string; "?": "1" if the key is there, else "0"."""
        self._needs += (b"%d" % self._number(key), word(field), word(value))
        return self

    def add(self, name: str, key: bytes, *words: Word) -> Step:
        """A command over a key."""
        packed = [word(each) for each in words]
        self._words += (b"%d" % (1 + len(packed)), b"%d" % self._number(key), encode(name), *packed)
        self.commands += 1
        return self

    def each(self, name: str, key: bytes, words: Iterable[Word]) -> Step:
        """A command over a key with as many words as there are; none, where there are none."""
        packed = [word(each) for each in words]
        for start in range(0, len(packed), WORDS):
            self.add(name, key, *packed[start : start + WORDS])
        return self

    def command(self, script: Script, writes: bytes, head: Sequence[bytes], *, whole: bool) -> Command:
        """The call of the script; `writes`: the key of the caller's count of writes."""
        arguments = [*head, b"%d" % (len(self._needs) // 3), *self._needs, *self._words]
        meta, _, *keys = self._keys
        return script.command([meta, writes, *keys], arguments, whole=whole)

    def _number(self, key: bytes) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)


@dataclass(frozen=True, slots=True)
class Met:
    """What a step met: the organization as it is behind it, and the replies; `moved`: others changed what it needed.

    writes  how often this process wrote it; now: the store's clock, never running back; rev_text: `rev` as it stands
    """

    epoch: str
    seq: int
    writes: int
    now: int
    rev: int
    rev_text: str
    closed: int
    folded: str
    former: str
    base: int
    accepted: bool
    moved: bool
    replies: list[Any]


def _met(reply: Any) -> tuple[Met, bool]:
    status, meta, *replies = reply
    epoch, seq, stored, rev, closed, folded, former, base, accepted, clock, writes = map(decode, meta)
    met = Met(
        epoch,
        int(seq or 0),
        int(writes),
        max(int(stored or 0), int(clock)),
        int(rev or 0),
        rev,
        int(closed or 0),
        folded,
        former,
        int(base or 0),
        accepted == "1",
        status == b"moved",
        replies[0] if replies else [],
    )
    return met, status == b"lost"


class Access:
    """How the organizations of a store are reached.

    clock  ms since the epoch, None: the server's; slack: how much longer than needed keys live that expire, ms
    """

    def __init__(self, servers: Servers, prefix: str, clock: Clock | None) -> None:
        self.servers = servers
        self.prefix = prefix
        self.seen = Seen()
        self.clock = clock
        self.slack = 1000 if clock is None else 86_400_000  # a test's clock may stand still for a while

    def names(self, org: str) -> Names:
        """The names of an organization's keys."""
        return Names(self.prefix, org)

    def now(self) -> int:
        """The clock as the scripts take it: 0 is the server's."""
        return self.clock() if self.clock is not None else 0

    def ttl(self, met: Met, end: int) -> int:
        """How long a key lives that may be forgotten at `end` ms: an hour more, for `prune` to be first."""
        return max(1, end - met.now + HOUR_MS + self.slack)

    def look(self, org: str, step: Step, deadline: float) -> Met:
        """Runs a step that only reads. Raises `Lost`, `StoreError`."""
        return self._checked(org, self.run(org, step, deadline, self.seen.of(org), again=True))

    def write(self, org: str, step: Step, deadline: float) -> Met:
        """Runs a step; an organization that is new begins with it. Raises `Lost`, `StoreError`."""
        return self._checked(org, self.run(org, step, deadline, self.seen.of(org), epoch=new_epoch()))

    def run(
        self,
        org: str,
        step: Step,
        deadline: float,
        known: Known = NOTHING,
        *,
        epoch: str = "",
        again: bool = False,
    ) -> tuple[Met, bool]:
        """What a step met, and whether it was refused since the organization is not the known one or older."""
        head = [
            encode(known.epoch),
            *(b"%d" % number for number in known[1:3]),
            encode(epoch),
            b"%d" % self.now(),
        ]
        writes = self.names(org)("q", self.seen.writer)
        script = step_script()
        until = time.monotonic() + deadline
        whole = False
        while True:
            (reply,) = self.servers.run([step.command(script, writes, head, whole=whole)], until, again=again)
            if not whole and isinstance(reply, Refusal) and reply.code == "NOSCRIPT":
                whole = True
                continue
            if isinstance(reply, StoreError):
                raise reply
            if isinstance(reply, Refusal):
                raise StoreError(f"the server refused it: {reply}")
            try:
                return _met(reply)
            except (TypeError, ValueError, AttributeError) as error:
                raise StoreError(f"the server answered nonsense: {reply!r:.100}") from error

    def _checked(self, org: str, found: tuple[Met, bool]) -> Met:
        met, is_lost = found
        if is_lost:
            raise self.lost(org, met.epoch, met.seq, met.writes)
        self.seen.note(org, met.epoch, met.seq, met.writes)
        return met

    def lost(self, org: str, epoch: str, seq: int, writes: int) -> StoreError:
        """What is wrong with an organization that was met in this state."""
        found = self.seen.check(org, epoch, seq, writes)
        return found or StoreError(f"organization {org} went on while it was asked")

    def ask(self, *words: Word, key: bytes | None = None, deadline: float) -> Any:
        """One plain command. Raises `StoreError`."""
        (reply,) = self.ask_all([Command(tuple(map(word, words)), key)], deadline)
        return reply

    def ask_all(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Plain commands that may be repeated. Raises `StoreError`."""
        replies = self.servers.run(commands, time.monotonic() + deadline)
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply
            if isinstance(reply, Refusal):
                raise StoreError(f"the server refused it: {reply}")
        return replies
