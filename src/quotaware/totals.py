"""Answers about what was used: the sums, and the records behind them that are in no sum yet.

So an answer is exact at every moment, whenever records were folded last, and a year costs what its days cost. Where a
period begins or ends within a day, that day is made of its hours, and the hour of its records, as long as these are
there; where they are gone the answer takes the whole hour or day, and says so by its own `since` and `until`.
Combinations of dimensions that no cube knows are made of the records alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .core import rollups
from .core.denied import is_of_denied
from .core.rollups import PROJECTS, Bucket, Cell, Cube, Measures, Period, Told, Values
from .core.steps import REMEMBER_MS, Row, Sum, position_of
from .core.totals import FOREVER_MS, Answer, Asked, Label, lead, lead_text, names
from .errors import StoreError
from .rollups import Folder, History, dims_of, pages, zone_of
from .stores.protocol import Clock, Store

PAGE = 1000
"""Records read at once; so many behind the sums are folded before an answer."""
STRIDE_MS = 64 * rollups.DAY_MS
"""So much time's sums are read at once."""
LOOKS = 20
"""How often the sums are looked at before one look is not disturbed by others' folding; the pause between, seconds."""
PAUSE_S = (0.005, 0.05)


@dataclass(slots=True)
class _Piece:
    """A bucket with its cells, their steps unread; `finer`: the buckets that it is made of, where these were read."""

    bucket: Bucket
    cells: dict[Values, tuple[Measures, str]]
    finer: Sequence[_Piece] = ()

    def made_of(self, pieces: Sequence[_Piece]) -> bool:
        """Whether these are all of it, none gone."""
        together: dict[Values, Measures] = {}
        for piece in pieces:
            for values, (measures, _) in piece.cells.items():
                rollups.add(together.setdefault(values, {}), measures)
        return self.comes_to(together)

    def comes_to(self, together: dict[Values, Measures]) -> bool:
        """Whether these are its measures."""
        return together.keys() == self.cells.keys() and all(
            measures == self.cells[values][0] for values, measures in together.items()
        )

    def values(self, told: Told, leads: Sequence[Values]) -> Iterator[Values]:
        """Where a record stands in its cells, which begin so: under the name for all others, where its own is not
        summed apart.
        """
        cube = self.bucket.cube
        places = rollups.points(told, cube.dims)
        found = [each for each in places if any(each[: len(begin)] == begin for begin in leads)]
        return iter(
            dict.fromkeys(values if values in self.cells else cube.renamed(values) for values in found)
        )


class _Again(Exception):
    """The answer is to be begun anew, with what can be answered of the question."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked


class Accounts:
    """Answers questions from a store's sums and records. Blocking, thread-safe; raises `StoreError`.

    folder  folds before an answer where much is behind the sums, and knows where records are read
    clock   ms since the epoch
    """

    def __init__(self, store: Store, folder: Folder, clock: Clock) -> None:
        self._store = store
        self._folder = folder
        self._records = folder.records
        self._clock = clock

    def answer(self, asked: Asked) -> Answer:
        """All that is asked for; a period is narrowed or widened only as `Total` says."""
        if asked.begin is not None and asked.end is not None and asked.begin >= asked.end:
            return Answer(asked, asked.dims)
        asked = asked._replace(zone=asked.zone or zone_of(self._store, asked.org))
        finest = asked.finest
        cube = None if finest is None else rollups.cube_for(asked.dims, finest, asked.of)
        if cube is not None:
            asked = self._kept(asked)
        for _ in range(LOOKS):
            try:
                if cube is not None:
                    return self._from_sums(asked, cube)
                return self._from_records(asked)
            except _Again as again:
                asked = again.asked
                time.sleep(_random.uniform(*PAUSE_S))
        raise StoreError(f"the records of {asked.org} kept moving while they were added up")

    def last_used(self, org: str, keys: Sequence[str]) -> dict[str, int]:
        """When the newest call of each of these keys was admitted, ms; a key of which none is known is not there."""
        wanted = set(keys)
        with self._caught_up(org):
            upto = self._store.folded(org)
            found = self._folder.last_used(
                org, keys
            )  # and what is folded meanwhile is behind `upto` all the same
            for page in pages(self._records, org, 0, FOREVER_MS, upto, PAGE):
                behind = rollups.last_used(told for _, told in _each(page))
                found |= {key: max(at, found.get(key, at)) for key, at in behind.items() if key in wanted}
        return found

    @contextmanager
    def _caught_up(self, org: str) -> Iterator[None]:
        """While it lasts little is behind the sums, unless others fold."""
        turn = self._folder.turn
        mine = turn.take(org)
        try:
            while mine and self._folder.fold(org, least=PAGE):
                mine = turn.take(org)
            yield
        finally:
            if mine:
                turn.let_go(org)

    # from sums

    def _kept(self, asked: Asked) -> Asked:
        """What sums are still kept of, where there was more."""
        period = asked.finest or "day"
        history = History.of(self._store, asked.org)
        zone = zone_of(self._store, asked.org)
        since, _ = rollups.bounds(period, self._clock() - self._folder.keep.of(period), zone)
        gone = position_of(history.first)[0] < since and history.first and (asked.begin or 0) < since
        return asked._replace(begin=since) if gone else asked

    def _from_sums(self, asked: Asked, cube: Cube) -> Answer:
        with self._caught_up(asked.org):
            upto = self._store.folded(asked.org)
            look = _Look(asked, cube, History.of(self._store, asked.org), upto)
            answer, cut = self._look(look)
        for piece in cut:  # what is folded is folded: nobody else's folding changes these
            self._cut(answer, piece, look)
        return answer

    def _look(self, look: _Look) -> tuple[Answer, list[_Piece]]:
        """One consistent look at the sums and the records behind them: an answer, and the buckets that are not in it
        since the period, or where its buckets meet, cuts them.
        """
        asked, cube = look.asked, look.cube
        answer = Answer(asked, cube.dims)
        cut: list[_Piece] = []
        period = self._period(look)
        look.leads = self._leads(look, period)
        for span in look.spans(period):
            for piece in self._pieces(asked.org, span, look.leads):
                if look.summed.whole(piece.bucket):
                    _take(answer, piece)
                    continue
                if piece.bucket.period != cube.periods[0]:
                    finer = piece.bucket._replace(period=cube.periods[0])
                    piece.finer = self._pieces(asked.org, finer, look.leads)
                cut.append(piece)
        for page in pages(self._records, asked.org, 0, FOREVER_MS, look.upto, PAGE):
            answer.take_rows(page)
        if self._store.folded(asked.org) != look.upto:
            raise _Again(asked)
        return answer, cut

    def _period(self, look: _Look) -> Period:
        """The buckets of sums to begin with: where days would all be cut, the hours that they are made of."""
        asked, hours = look.asked, look.cube.periods[0]
        if asked.finest == "hour":
            return "hour"
        if isinstance(asked.bucket, int):
            meets = asked.bucket < 2 * rollups.DAY_MS
        else:
            meets = asked.bucket == "day" and look.history.zones != {asked.zone}
        kept = asked.begin is not None and asked.begin > self._clock() - self._folder.keep.of(hours)
        return hours if meets and kept else "day"

    def _leads(self, look: _Look, period: Period) -> Sequence[Values]:
        """How the values begin of all sums that it is about: a project's with each team that it was in."""
        where, cube = look.asked.where, look.cube
        if "project" not in where or look.leads[0] or cube is PROJECTS or cube.of != "calls":
            return look.leads
        teams = {
            dims_of(each.dims)[0]
            for span in look.spans(period, PROJECTS)
            for each in self._sums(look.asked.org, span, ())
            if dims_of(each.dims)[1] == where["project"]
        }
        return [lead(cube, {**where, "team": team}) for team in teams]

    def _sums(self, org: str, span: Bucket, begin: Values) -> Iterator[Sum]:
        """Sums whose bucket begins in a stretch of time, and whose values so."""
        table, cube = span.cube.table(span.period, span.zone), span.cube
        yield from self._store.sums(org, table, span.begin, span.end, lead_text(cube, begin))

    def _pieces(self, org: str, span: Bucket, leads: Sequence[Values]) -> list[_Piece]:
        """All buckets that begin in a stretch of time, with the cells whose values begin so."""
        found: dict[int, dict[Values, tuple[Measures, str]]] = {}
        for begin in leads:
            for each in self._sums(org, span, begin):
                found.setdefault(each.bucket, {})[dims_of(each.dims)] = rollups.of_body(each.body)
        return [
            _Piece(span._replace(begin=begin, end=rollups.bounds(span.period, begin, span.zone)[1]), cells)
            for begin, cells in found.items()
        ]

    def _cut(self, answer: Answer, piece: _Piece, look: _Look) -> None:
        """Takes of a bucket what the period and the answer's own buckets have of it, from its hours or its records;
        where these are gone, the question is widened, or what meets in it is told apart at its end.
        """
        if look.summed.whole(piece.bucket):
            _take(answer, piece)
        elif piece.finer and piece.made_of(piece.finer):
            for finer in piece.finer:
                if look.summed.touches(finer.bucket):
                    self._cut(answer, finer, look)
        elif (part := self._part(piece, look)) is not None:
            for (label, values), cell in part.items():
                answer.take(values, cell.measures, cell.steps, label)
        elif look.summed.covers(piece.bucket):
            _take(answer, piece, answer.straddled(piece.bucket))
        else:
            raise _Again(look.widened(piece.bucket))

    def _part(self, piece: _Piece, look: _Look) -> dict[tuple[Label, Values], Cell] | None:
        """What a bucket's records in the period come to, by the answer's own buckets; None where some of its records
        are gone.
        """
        asked, bucket = look.asked, piece.bucket
        if self._whole_since(asked.org, look.history) > bucket.begin:
            return None
        everything: dict[Values, Measures] = {}
        part: dict[tuple[Label, Values], Cell] = {}
        for page in pages(self._records, asked.org, bucket.begin, bucket.end + REMEMBER_MS, "", PAGE):
            for at, told in _each(look.of(page)):
                ours = bucket.begin <= told.at < bucket.end and look.history.zone_at(at) == bucket.zone
                if ours and told.of == bucket.cube.of and position_of(at) <= position_of(look.upto):
                    steps = dict.fromkeys(told.steps, 1)
                    for values in piece.values(told, look.leads):
                        rollups.add(everything.setdefault(values, {}), told.measures)
                        if asked.within(told.at):
                            key = asked.label(told.at), values
                            part.setdefault(key, Cell({}, {})).take(told.measures, steps)
            if piece.comes_to(everything):
                return part
        return None

    # from records

    def _from_records(self, asked: Asked) -> Answer:
        """An answer that no cube has, of the time since all records are there."""
        history = History.of(self._store, asked.org)
        whole = self._whole_since(asked.org, history)
        if whole > (asked.begin or 0):
            asked = asked._replace(begin=whole)
        answer = Answer(asked, asked.dims)
        until = FOREVER_MS if asked.end is None else asked.end + REMEMBER_MS
        for page in pages(self._records, asked.org, asked.begin or 0, until, "", PAGE):
            answer.take_rows(page)
        later = self._whole_since(asked.org, history)
        if later > (asked.begin or 0):  # some were taken away meanwhile, and will be again
            raise _Again(asked._replace(begin=later + 2 * (later - whole)))
        return answer

    def _whole_since(self, org: str, history: History) -> int:
        """Since when (ms) the records of all calls are there; the oldest ones are taken first."""
        oldest = self._records.records(org, 0, FOREVER_MS, "", 1)
        if not history.first:
            return 0  # what is not in the sums is not taken
        if not oldest:
            return FOREVER_MS
        at = position_of(oldest[0][0])
        return 0 if at <= position_of(history.first) else at[0] + 1


class _Look:
    """One look at the sums of a cube, which tell of the records up to a position.

    summed  the same question to the sums alone: no call in them was admitted after the last was booked, so where the
            period ends later they are not cut by its end
    leads   how the values of all sums begin that it is about
    """

    def __init__(self, asked: Asked, cube: Cube, history: History, upto: str) -> None:
        self.asked = asked
        self.cube = cube
        self.history = history
        self.upto = upto
        self._last = position_of(upto)[0]
        self.summed = asked if asked.end is None or asked.end <= self._last else asked._replace(end=None)
        self.leads: Sequence[Values] = [lead(cube, asked.where)]

    def of(self, page: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
        """The records of a page that can be in one of those sums, by their text alone."""
        own = [dict(zip(self.cube.dims, begin, strict=False)) for begin in self.leads]
        return [each for each in page if is_of_denied(each[1]) or any(names(each[1], where) for where in own)]

    def widened(self, bucket: Bucket) -> Asked:
        """The question with all of a bucket."""
        wider = self.summed.widened(bucket)
        return wider if wider.end is not None else wider._replace(end=self.asked.end)

    def spans(self, period: Period, cube: Cube | None = None) -> Iterator[Bucket]:
        """Stretches of time in which all buckets begin (of this or another cube) that have something of the period in
        them.
        """
        asked, first = self.asked, position_of(self.history.first)[0]
        end = self._last + 1 if asked.end is None else min(self._last + 1, asked.end)
        for zone in sorted(self.history.zones):
            begin = 0 if asked.begin is None else rollups.bounds(period, asked.begin, zone)[0]
            stop = max(first, begin + STRIDE_MS)
            while begin < end:
                yield Bucket(cube or self.cube, period, zone, begin, min(stop, end))
                begin, stop = stop, stop + STRIDE_MS


def _take(answer: Answer, piece: _Piece, label: Label = None) -> None:
    """Adds all of a bucket to an answer: to this of its own, or to the one that it lies in."""
    label = label or answer.asked.label(piece.bucket.begin)
    for values, (measures, steps) in piece.cells.items():
        answer.take(values, measures, steps, label)


def _each(page: list[tuple[str, Row]]) -> Iterator[tuple[str, Told]]:
    """What the records of a page tell, each with its position."""
    return ((at, told) for at, row in page for told in rollups.told(row))


_random = random.SystemRandom()
