"""What finished calls left: usage records, and what they come to (`totals.py`), read back from the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, Unpack

from .core.denied import is_of_denied
from .core.money import to_usd
from .core.rollups import quality_of, usage_of
from .core.steps import REMEMBER_MS, Row
from .core.totals import FOREVER_MS, Denied, DeniedWhere, Narrowed, Total, Unit, ask
from .core.usage import Quality, Usage
from .rollups import Folder
from .stores.memory import system_clock
from .stores.protocol import Clock, Store
from .totals import Accounts

PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One finished call, or (`correction`) the difference to an earlier charge of the call with the same id.

    id            the reservation's id; time-ordered
    first         the id under which a call was let go that could only be booked after its id was forgotten
    at            when the call was admitted; duration_ms until it was settled, first_token_ms until the first piece of
                  a streamed answer with something generated in it was there (None: it came whole, or never)
    project, team, key, member, end_user, tags   whose it was; the member: who acted, by the host's own login
    provider, operation   where it went
    model         as the answer names it, else as it was asked for; requested_model: as it was asked for
    usage         tokens, and its `quality`: exact, partial, estimated, unsettled
    cost          nano-dollars, at the price in force when the call was made; `cost_usd` the same in dollars
    reserved      nano-dollars that were held for it
    status        HTTP status of the answer, 0 where none came
    flags         overrun (cost more than was reserved), suspect (the report could not be true), unpriced,
                  degraded (let through while the store was away)
    would_deny    limits (or reasons) that refused it, had they not been in shadow
    """

    id: str
    at: datetime
    duration_ms: int
    organization: str
    project: str | None
    team: str | None
    key: str | None
    member: str | None
    end_user: str | None
    tags: Mapping[str, str]
    provider: str | None
    operation: str
    model: str | None
    requested_model: str | None
    usage: Usage
    quality: Quality
    cost: int
    reserved: int
    status: int
    stream: bool = False
    flags: frozenset[str] = frozenset()
    would_deny: tuple[str, ...] = ()
    first: str | None = None
    first_token_ms: int | None = None
    correction: bool = False

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_usd(self.cost)


class UsageLog:
    """Reads usage records of an organization, and adds them up. Blocking; `quota.usage` is its awaited face.

    folder  keeps the sums, and knows where records are read (an archive, if there is one)
    clock   ms since the epoch
    """

    def __init__(self, store: Store, folder: Folder | None = None, clock: Clock = system_clock) -> None:
        folder = folder or Folder(store)
        self._source = folder.records
        self._accounts = Accounts(store, folder, clock)

    def records(
        self,
        organization: str,
        *,
        project: str | None = None,
        key: str | None = None,
        end_user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[UsageRecord]:
        """Records of calls admitted in [since, until), in the order in which they were booked (a call is booked when it
        ends), narrowed by what is given.
        """
        wanted = {"project": project, "key": key, "end_user": end_user}
        begin, end = _ms(since, 0), _ms(until, FOREVER_MS)
        after = ""
        while True:  # none is booked before it was admitted, or later than its end is remembered
            page = self._source.records(organization, begin, end + REMEMBER_MS, after, PAGE)
            for _, row in page:
                if begin <= row.at < end and not is_of_denied(row):
                    record = _record(organization, row)
                    if all(value is None or getattr(record, name) == value for name, value in wanted.items()):
                        yield record
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def totals(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("model",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Total]:
        """What calls admitted in [since, until) came to, by these dimensions: `team`, `project`, `key`, `member`,
        `provider`, `model`, `operation`, `status`, `end_user`, `tag` (a call counts once for each of its tags);
        narrowed by the same dimensions. In all, or by "hour", "day", "week", "month", "quarter" or "year" of a time
        zone (the organization's, if none is named), or by stretches of one length from `since` on. The largest cost
        first.

        Exact at every moment, or of the period that the totals say. `end_user` and `tag` are summed by day, and with
        `team` and `project` only; what else they are combined with, and buckets shorter than an hour, are answered from
        the records, as far back as these are kept. Of a project and day 1,000 models, 10,000 end users and 1,000 tags
        are summed apart, and what comes later as `(other)`.
        Raises `ConfigurationError` for a dimension, bucket or zone that there is not, `StoreError`.
        """
        begin = None if since is None else _ms(since, 0)
        end = None if until is None else _ms(until, 0)
        return self._accounts.answer(
            ask(organization, begin, end, by, bucket, where, zone=time_zone)
        ).totals()

    def denied(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("code",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[DeniedWhere],
    ) -> list[Denied]:
        """How many calls were denied in [since, until), by these dimensions: `code` (of the error), `team`, `project`,
        `key`, `provider`, `model`, `operation`; in all or by bucket, narrowed, exact and kept as `totals`. The most
        first. Whose a call is that nobody was identified for is None. Raises as `totals` does.
        """
        begin = None if since is None else _ms(since, 0)
        end = None if until is None else _ms(until, 0)
        return self._accounts.answer(
            ask(organization, begin, end, by, bucket, where, "denied", time_zone)
        ).denied()

    def last_used(self, organization: str, keys: Iterable[str]) -> dict[str, datetime]:
        """When the newest call of each of these keys was admitted, to the ms; a key without one is not there. A call
        counts once it has ended. Raises `StoreError`.
        """
        found = self._accounts.last_used(organization, tuple(dict.fromkeys(keys)))
        return {key: _EPOCH + at * _MS for key, at in found.items()}


def _ms(moment: datetime | None, otherwise: int) -> int:
    """A moment as ms since the epoch, exactly; one without a zone is local time."""
    return otherwise if moment is None else (moment.astimezone(UTC) - _EPOCH) // _MS


def _record(organization: str, row: Row) -> UsageRecord:
    about = json.loads(row.about) if row.about else {}
    outcome = json.loads(row.outcome) if row.outcome else {}
    flags: dict[str, Literal[True] | None] = {
        "overrun": row.overrun or None,
        "suspect": outcome.get("suspect"),
        "unpriced": outcome.get("unpriced"),
        "degraded": outcome.get("degraded"),
    }
    return UsageRecord(
        id=row.id,
        at=datetime.fromtimestamp(row.at / 1000, UTC),
        duration_ms=outcome.get("ms", row.settled_at - row.at),
        organization=organization,
        project=about.get("project"),
        team=about.get("team"),
        key=about.get("key"),
        member=about.get("member"),
        end_user=about.get("end_user"),
        tags=about.get("tags", {}),
        provider=about.get("provider"),
        operation=about.get("operation", "unknown"),
        model=outcome.get("model") or about.get("model"),
        requested_model=about.get("model"),
        usage=Usage(**usage_of(row, outcome)),
        quality=quality_of(row, outcome),
        cost=row.real[1],
        reserved=row.hold[1],
        status=outcome.get("status", 0),
        stream=bool(about.get("stream")),
        flags=frozenset(name for name, is_set in flags.items() if is_set),
        would_deny=tuple(outcome.get("would_deny", ())),
        first=about.get("first"),
        first_token_ms=outcome.get("first_ms"),
        correction=row.part > 0,
    )
