"""What commands print: tables, bars and sparklines for a person, JSON for a script, progress beside the answer.

The answer goes to stdout and all else to stderr. Text that others chose is printed with its control characters shown,
so that no name moves a cursor or writes a title.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

WIDE = 10_000
"""Columns of what is no terminal: nothing is cut there."""
AT_ONCE = 500
"""Lines that are printed together."""
BAR = 12
"""Characters of a bar."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = str.maketrans("█░▁▂▃▄▅▆▇…–·∞", "#...::=++.-.-")
_WARM, _HOT = 0.8, 1.0
_HIDDEN = [*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""Characters that terminals take for orders, or that change the order of others."""
_ESCAPED = {code: f"\\u{code:04x}" for code in _HIDDEN if code > 126}
_SHOWN = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _HIDDEN if code != 10}


class Progressed(Protocol):
    """Is told how much is done, of how much in all, and where it is."""

    def __call__(self, done: int, total: int | None = None, of: str = "") -> None: ...


class Column(NamedTuple):
    """A column of a table: its title, what it shows of an entry, and whether it is a number."""

    title: str
    of: Callable[[Any], Any]
    right: bool = False


class Screen:
    """A whole terminal that is written anew each time."""

    def __init__(self, live: Live) -> None:
        self._live = live

    @property
    def lines(self) -> int:
        """How many it has."""
        return self._live.console.height

    def show(self, what: RenderableType) -> None:
        """This and nothing else."""
        self._live.update(what, refresh=True)


class Printer:
    """Prints for one command. `json`: the answer is JSON."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._out = _console(sys.stdout)
        self._aside = _console(sys.stderr)

    # the answer

    def data(self, value: Any) -> None:
        """A value as JSON."""
        print(as_json(value, indent=2))

    def rows(self, entries: Iterable[Mapping[str, Any]], columns: Sequence[Column], empty: str) -> None:
        """A list as a table, or as a JSON list; `empty` is said where there is nothing in it."""
        found = list(entries)
        if self.json:
            self.data(found)
        elif not found:
            self.aside(empty)
        else:
            self.tabulate(found, columns)

    def one(self, entry: Mapping[str, Any], columns: Sequence[Column]) -> None:
        """One entry as a table of one row, or as a JSON object."""
        if self.json:
            self.data(entry)
        else:
            self.tabulate([entry], columns)

    def tabulate(self, entries: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        """Entries as a table."""
        self.table(columns, [[column.of(entry) for column in columns] for entry in entries])

    def done(self, text: str, data: Any) -> None:
        """What was done: said to a person, or as JSON."""
        if self.json:
            self.data(data)
        else:
            self.line(text)

    def table(
        self, columns: Sequence[Column], cells: Iterable[Sequence[Any]], title: str | None = None
    ) -> None:
        """A table of cells that are made already; where the terminal is too narrow, a fact a line."""
        rows = [[self.text(each) for each in row] for row in cells]
        widths = _widths(columns, rows, self._out.width)
        if widths is None:
            for row in rows:
                self.facts({column.title: cell for column, cell in zip(columns, row, strict=True)})
                self._out.print()
            return
        self._out.print(self.made_table(columns, rows, title, widths))

    def made_table(
        self,
        columns: Sequence[Column],
        cells: Iterable[Sequence[Any]],
        title: str | None = None,
        widths: Sequence[int] | None = None,
    ) -> Table:
        """A table that is not printed yet."""
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
        for place, column in enumerate(columns):
            justify: Literal["left", "right"] = "right" if column.right else "left"
            width = None if widths is None else widths[place]
            table.add_column(column.title, justify=justify, width=width, no_wrap=column.right)
        for row in cells:
            table.add_row(*(self.text(each) for each in row))
        return table

    def fits(self, table: Table) -> bool:
        """Whether it is shown without a break in any line."""
        return (
            self._out.measure(table, options=self._out.options.update(width=WIDE)).maximum <= self._out.width
        )

    @property
    def live(self) -> bool:
        """Whether somebody looks on who can type."""
        return sys.stdin.isatty() and self._out.is_terminal

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        """A screen of its own, gone at the end."""
        with Live(console=self._out, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            yield Screen(live)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """One thing, a fact a line; what is None or empty is left out."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in facts.items():
            if value not in (None, "", [], {}) and str(value):
                table.add_row(name, self.text(value))
        self._out.print(table)

    def line(self, *parts: Any, style: str = "") -> None:
        """A line of text."""
        line = Text(" ", style=style).join(self.text(part) for part in parts)
        self._out.print(line, soft_wrap=True)

    def lines(self, lines: Iterable[tuple[str, str]]) -> None:
        """Many lines, each with its style, some hundred at a time."""
        if not self._out.is_terminal:
            sys.stdout.writelines(f"{self.text(line).plain}\n" for line, _ in lines)
            return
        rest = iter(lines)
        while some := list(islice(rest, AT_ONCE)):
            text = Text(end="")
            for line, style in some:
                text.append_text(self.text(f"{line}\n", style))
            self._out.print(text, soft_wrap=True)

    def secret(self, secret: str) -> None:
        """A new key: alone on its line and whole, for whoever reads stdout."""
        print(secret)

    # beside the answer

    def aside(self, text: str, style: str = "dim") -> None:
        """What is said to a person, and is no part of the answer."""
        self._aside.print(self.text(text), style=style, soft_wrap=True)

    def wrong(self, text: str) -> None:
        """An error or a warning."""
        self._aside.print(Text("error: ", style="bold red").append_text(self.text(text)), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int | None = None, unit: str = "") -> Iterator[Progressed]:
        """A bar on a terminal, gone when it is done: answers what is told how much is done, of how much, and where."""
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(BAR * 2),
            _Done(unit),
            TimeElapsedColumn(),
            console=self._aside,
            transient=True,
            disable=not self._aside.is_terminal,
        ) as bar:
            task = bar.add_task(shown(what), total=total)

            def told(done: int, total: int | None = None, of: str = "") -> None:
                bar.update(task, completed=done, total=total, description=shown(f"{what} {of}".rstrip()))

            yield told

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and self._aside.is_terminal

    def text(self, value: Any, style: str = "") -> Text:
        """Any value as this terminal can show it."""
        if isinstance(value, Text):
            return value if self._unicode else Text(value.plain.translate(_PLAIN), style=value.style)
        text = shown(value)
        return Text(text if self._unicode else text.translate(_PLAIN), style=style)

    @property
    def _unicode(self) -> bool:
        return self._out.encoding.startswith("utf")


def shown(value: Any) -> str:
    """Any value as text of which nothing moves a cursor."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value)
    return str(value).translate(_SHOWN)


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, in which nothing moves a cursor either."""
    return json.dumps(value, indent=indent, ensure_ascii=False).translate(_ESCAPED)


def money(usd: float | None) -> str:
    """US dollars, as exactly as they matter."""
    if usd is None:
        return "–"
    if usd and abs(usd) < 1:
        return f"${usd:.6f}".rstrip("0").ljust(5, "0")
    return f"${usd:,.2f}"


def number(value: float | None) -> str:
    """A whole number with its thousands set apart."""
    return "–" if value is None else f"{value:,.0f}"


def moment(text: str | None) -> str:
    """A time of the API, to the minute, in UTC."""
    return "–" if text is None else datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def bar(used: float | None, limit: float | None, width: int = BAR) -> Text:
    """How much of a limit is used."""
    if used is None or not limit:
        return Text("")
    share = used / limit
    full = min(width, round(share * width)) or (1 if used > 0 else 0)
    style = "red" if share >= _HOT else "yellow" if share >= _WARM else "green"
    return Text(f"{'█' * full}{'░' * (width - full)} {share:4.0%}", style=style)


def portion(value: float, most: float, width: int = BAR) -> Text:
    """A bar beside others, of which the longest is `most`."""
    full = round(value / most * width) if most > 0 else 0
    return Text("█" * (full or (1 if value > 0 else 0)), style="cyan")


def sparkline(values: Sequence[float]) -> Text:
    """A line of the course of something."""
    most = max(values, default=0)
    marks = (_BLOCKS[min(7, int(value / most * 7.999))] if most > 0 else _BLOCKS[0] for value in values)
    return Text("".join(marks), style="cyan")


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]], most: int) -> list[int] | None:
    """The widths of a table's columns, together `most`; None where words would be cut, or numbers parted."""
    widths, slack = [], []
    for place, column in enumerate(columns):
        texts = [column.title, *(row[place].plain for row in rows)]
        widths.append(max(map(cell_len, texts)))
        words = texts if column.right else [word for text in texts for word in text.split()]
        slack.append(widths[-1] - max(map(cell_len, words), default=0))
    over = sum(widths) + 2 * (len(widths) - 1) - most
    for place in sorted(range(len(widths)), key=lambda place: -slack[place]):
        given = min(max(0, over), slack[place])
        widths[place] -= given
        over -= given
    return widths if over <= 0 else None


class _Done(ProgressColumn):
    """How much is done, of how much where that is known; nothing where nothing is counted."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        if task.total is None and not task.completed:
            return Text("")
        of = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of} {self._unit}".rstrip(), style="progress.download")


def _console(stream: Any) -> Console:
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console
