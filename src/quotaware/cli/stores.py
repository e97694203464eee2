"""`quotaware store`: looks after the store itself: moved, checked, tidied up, brought forward, taken back into use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from ..archive import Archive
from ..checking import check
from ..housekeeping import Housekeeper
from ..quota import Quota
from ..stores.moving import UNATTRIBUTED, copy
from ..stores.protocol import Store
from .arguments import Yes
from .client import NOWHERE, missing_file, patient
from .failures import CONFLICT, FOUND, USAGE, Failure
from .printing import Column, money, number
from .session import Session, command

app = typer.Typer(
    name="store", help="The store itself: copy, check, prune, migrate, adopt.", no_args_is_help=True
)

PAGE = 100
Url = Annotated[str | None, typer.Argument(help="A store; without it the one that is set (--store).")]


@command(app, "copy")
def copy_store(
    to: Session,
    source: Annotated[str, typer.Argument(help="The store with everything.", show_default=False)],
    target: Annotated[str, typer.Argument(help="An empty store.", show_default=False)],
) -> None:
    """Moves everything into an empty store, and compares the two. No process may use either meanwhile."""
    _must_exist(source)
    with to.out.progress("Copying", unit="rows") as told:
        done = 0
        last = ("", 0)

        def hear(org: str, rows: int) -> None:
            nonlocal done, last
            done += rows - last[1] if org == last[0] else rows
            last = (org, rows)
            told(done, of=org)

        with closing(patient(source)) as here, closing(patient(target)) as there:
            moved = copy(here, there, progress=hear)
    if to.out.json:
        to.out.data(asdict(moved))
    else:
        figures = {name: number(value) for name, value in asdict(moved).items() if name != "used"}
        to.out.facts({**figures, "cost": money(moved.cost / 10**9)})


FINDINGS = (
    Column("organization", lambda finding: finding["organization"]),
    Column("what", lambda finding: finding["what"]),
    Column("of", lambda finding: finding["of"]),
    Column("found", lambda finding: finding["found"]),
    Column("expected", lambda finding: finding["expected"]),
)


@command(app, "check")
def check_store(to: Session, url: Url = None) -> int:
    """Whether the books are in order. What is used is what records say, what is held what open reservations hold, and
    every key leads to its place.

    Exit code 1 where something is not.
    """
    with _opened(to, url) as store, to.out.progress("Checking", unit="rows") as told:
        found = [check(store, org, told) for org in _orgs(store)]
    number_of = len(found) - 1  # the last is of nobody
    findings = [finding._asdict() for each in found for finding in each.findings]
    busy = [each.organization for each in found if each.busy]
    figures = {
        name: sum(getattr(each, name) for each in found) for name in ("counters", "reservations", "records")
    }
    if to.out.json:
        to.out.data({"organizations": number_of, **figures, "busy": busy, "findings": findings})
    else:
        to.out.facts(
            {"organizations": number(number_of), **{name: number(each) for name, each in figures.items()}}
        )
        if findings:
            to.out.tabulate(findings, FINDINGS)
        for org in busy:
            to.out.aside(f"{org} was written to all the while: what is used there could not be compared")
        if findings:
            to.out.line(f"{len(findings)} finding{'s' * (len(findings) > 1)}.", style="red")
        elif not busy:
            to.out.line("The books are in order.", style="green")
    return FOUND if findings or busy else 0


@command(app, "prune")
def prune(to: Session, url: Url = None) -> None:
    """Takes away what is past its time, now. The app does it by and by; records are folded into sums before."""
    with _opened(to, url) as store, to.out.progress("Pruning", unit="rows") as told:
        records = to.settings.records
        archive = Archive(store, patient(records)) if records is not None else None
        try:
            keeper = Housekeeper(store, archive)
            gone: dict[str, int | None] = {}
            for org in _orgs(store):
                gone[org] = keeper.clear(org, lambda rows, org=org: told(rows, of=org))  # type: ignore[misc]
        finally:
            if archive is not None:
                archive.store.close()
    left = [org for org, rows in gone.items() if rows is None]
    total = sum(rows or 0 for rows in gone.values())
    to.out.done(f"{number(total)} rows were past their time.", {"pruned": total, "busy": left})
    if left and not to.out.json:
        to.out.aside(f"Another process tidies up {', '.join(left)} at this moment.")


@command(app, "migrate")
def migrate(
    to: Session,
    url: Url = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look; exit code 1 where it is behind.")
    ] = False,
) -> int:
    """Brings a store's schema forward, as opening it does. For a deployment that does it before the app starts."""
    named = _url(to, url)
    store = patient(named)
    try:
        before, newest = _schema(store)
        if not check:
            store.hello()
    finally:
        store.close()
    behind = before is not None and before != newest
    now = before if check else newest
    to.out.done(
        "It has no schema of its own to bring forward."
        if newest is None
        else f"Schema {now}, and the newest is {newest}."
        if check or not behind
        else f"Brought forward from schema {before} to {newest}.",
        {"before": before, "schema": now, "newest": newest},
    )
    return FOUND if check and behind else 0


@command(app, "adopt")
def adopt(
    to: Session,
    organization: Annotated[
        str, typer.Argument(help="The id of an organization that is gone.", show_default=False)
    ],
    url: Url = None,
    yes: Yes = False,
) -> None:
    """Goes on with an organization that is gone from the store. As with an empty one, where there is no backup."""
    named = _url(to, url)
    to.confirm(
        f"What was spent in '{organization}' is forgotten, if the store has nothing of it. Go on?", yes
    )
    quota = Quota(patient(named))
    try:
        quota.alerting.stop(0)
        quota.adopt(organization)
    finally:
        quota.close()
    to.out.done(
        f"{organization} goes on as it stands in the store.", {"organization": organization, "adopted": True}
    )


def _url(to: Session, url: str | None) -> str:
    found = url or to.settings.store
    if found is None:
        raise Failure(
            NOWHERE if to.settings.url is None else "This is done on a store: give its --store", USAGE
        )
    _must_exist(found)
    return found


def _must_exist(url: str) -> None:
    if missing := missing_file(url):
        raise Failure(f"There is no file {missing}", CONFLICT)


@contextmanager
def _opened(to: Session, url: str | None) -> Iterator[Store]:
    with closing(patient(_url(to, url))) as store:
        store.hello()
        yield store


def _orgs(store: Store) -> list[str]:
    """All organizations, and what is recorded of calls that nobody was identified for."""
    found: list[str] = []
    while page := store.orgs(found[-1] if found else "", PAGE):
        found += page
    return [*found, UNATTRIBUTED]


def _schema(store: Store) -> tuple[int | None, int | None]:
    """The schema of a store's file and the newest; None where a store has none. Raises ConfigurationError for one that
    is newer than this version, or no store's.
    """
    look = getattr(store, "schema", None)
    return look() if look is not None else (None, None)
