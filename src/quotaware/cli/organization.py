"""`quotaware plan`, `apply` and `export`: the organization as one file."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import FileError, Problem
from ..organization import reading
from ..organization.exporting import written
from ..organization.model import OrganizationFile
from ..organization.plans import text as lines_of
from ..organization.reading import Text
from ..quota import Quota
from .arguments import Yes
from .failures import FOUND, USAGE, Failure, as_failure
from .printing import Printer
from .secret_files import kept
from .session import Session

_STYLES = {"+": "green", "-": "red", "~": "yellow", ">": "cyan"}
"""What is made, taken away, changed and moved."""

File = Annotated[
    Path, typer.Argument(help="The organization as a file: .yaml, .toml or .json.", show_default=False)
]
SecretsTo = Annotated[
    Path | None,
    typer.Option(
        "--secrets-to", help="A new JSON file for the secrets of new keys; else they are printed once."
    ),
]


@contextmanager
def _unswept() -> Iterator[None]:
    """Without the collector of cycles, which looks through all that a large file says again and again: a quarter of
    the time of ten thousand projects.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_unswept()
def plan(to: Session, file: File) -> int:
    """What `apply` would change, and the money moved; nothing is done. Exit code 1 where something would change."""
    found = _Wanted(to, file, dry=True).plan()
    if to.out.json:
        to.out.data(found)
    else:
        _show(to.out, found)
    return FOUND if found["steps"] else 0


@_unswept()
def apply(
    to: Session,
    file: File,
    yes: Yes = False,
    allow_destroy: Annotated[
        bool,
        typer.Option("--allow-destroy", help="Also take away what the file leaves out of what it lists."),
    ] = False,
    secrets_to: SecretsTo = None,
) -> None:
    """Makes the organization as the file says, all of it or nothing. What was spent is not touched."""
    if to.out.json and not yes:
        raise Failure("With --json nobody is asked: say --yes, too", USAGE)
    wanted = _Wanted(to, file)
    found = wanted.plan()
    if not to.out.json:
        _show(to.out, found)
    if not found["steps"]:
        if to.out.json:
            to.out.data(found)
        return
    gone = [step for step in found["steps"] if step["destroys"]]
    if gone and not allow_destroy:
        if yes or not to.out.interactive:
            raise Failure(f"{len(gone)} would be taken away; say --allow-destroy if that is meant", USAGE)
        to.confirm(f"{len(gone)} of that would be gone for good. Take it away?", False)
    to.confirm("Make it so?", yes)
    with kept(secrets_to) as keep:
        done = wanted.apply(found["revision"], bool(gone))
        secrets = done["secrets"] or []
        if secrets and keep(json.dumps(secrets, indent=2) + "\n"):
            done = {**done, "secrets": [{**each, "secret": None} for each in secrets]}
    if to.out.json:
        to.out.data(done)
        return
    to.out.line("Done.", style="green")
    for each in done["secrets"] or []:
        told = f"in {secrets_to}" if each["secret"] is None else "shown this once"
        to.out.aside(f"The secret of {each['kind']} {each['name']} at {each['where']}, {told}:")
        if each["secret"] is not None:
            to.out.secret(each["secret"])


def export(
    to: Session,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; without it stdout.")] = None,
    format: Annotated[
        Literal["yaml", "toml", "json"] | None,
        typer.Option(help="Without it, as the file is called; else YAML."),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Also ids that nobody chose.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """The organization as a file, without secrets. Applied where it comes from, it changes nothing."""
    place = to.api.organization()
    values = to.api.get(f"{place.path}/export", ids=ids or None)["file"]
    if to.out.json and file is None:
        to.out.data(values)
        return
    suffix = (
        {".toml": "toml", ".json": "json"}.get(file.suffix.lower(), "yaml") if file is not None else "yaml"
    )
    text = written(values, format or suffix)  # type: ignore[arg-type]
    if file is None:
        print(text, end="")
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as kept_file:
            kept_file.write(text)
    except FileExistsError:
        raise Failure(f"{file} is there already; --force writes over it", USAGE) from None
    to.out.done(f"{place.name} is in {file}.", {"organization": place.id, "file": str(file)})


class _Wanted:
    """A file, and the organization that it is for."""

    def __init__(self, to: Session, file: Path, *, dry: bool = False) -> None:
        self._to = to
        self._text = reading.text_of(file)

        def home(quota: Quota) -> str:
            return quota.blocking.organization.home(self._head(), to.settings.organization)

        api = to.reach(home, dry=dry)
        self._path = api.organization_path

    def plan(self) -> Any:
        """What would change."""
        with self._to.out.progress("Planning", unit="things") as told:
            return self._ask(told, "plan", {"file": self._text.data})

    def apply(self, revision: int, destroy: bool) -> Any:
        """Just that, done."""
        with self._to.out.progress("Applying", unit="things") as told:
            body = {"file": self._text.data, "allow_destroy": destroy, "revision": revision}
            return self._ask(told, "apply", body)

    def _head(self) -> OrganizationFile:
        """What the file says of whose it is: all else is read, and what is wrong with it told, by the plan."""
        first = {"organization": self._text.data.get("organization")}
        return reading.look(Text(self._text.name, first)).said

    def _ask(self, told: Callable[..., None], verb: str, body: Mapping[str, Any]) -> Any:
        self._to.api.heard = told
        try:
            return self._to.api.post(f"{self._path}/{verb}", body, long=True)
        except Failure as failure:
            raise _lined(failure, self._text) or failure from None


def _lined(failure: Failure, text: Text) -> Failure | None:
    """A refusal with the lines of the file that it is about, where it names some."""
    errors = failure.error.get("errors")
    if not isinstance(errors, list):
        return None
    problems = [
        text.at(Problem(str(each.get("field", "")).removeprefix("file."), str(each.get("message", ""))))
        for each in errors
    ]
    return as_failure(FileError(text.name, problems))


def _show(out: Printer, plan: Mapping[str, Any]) -> None:
    out.lines((line, _STYLES.get(line.lstrip()[:1], "")) for line in lines_of(plan))
