"""What every command has: the options of where to look and how to print, and the client and printer made of them."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from .client import Client, Home, client, in_the_clear
from .failures import STOPPED, USAGE, Failure
from .printing import Printer
from .settings import Settings, settings

WHERE = "Where to look, and how to print"
"""The panel of the help that the options of every command stand in."""


def _option(*names: str, about: str) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=WHERE, show_default=False)


Url = Annotated[
    str | None, _option("--url", about="The management API of a running app, as far as its mount.")
]
Key = Annotated[str | None, _option("--key", about="A quotaware key for it.")]
Store = Annotated[
    str | None, _option("--store", about="A store that is opened here, such as sqlite:///quota.db.")
]
Records = Annotated[
    str | None, _option("--records", about="The store of usage records, where there is a second.")
]
Organization = Annotated[
    str | None, _option("--organization", "-o", about="By id or name, where the store has several.")
]
Timeout = Annotated[float | None, _option("--timeout", about="Seconds that an answer of the app may take.")]
Config = Annotated[str | None, _option("--config", about="A configuration file, instead of quotaware.toml.")]
Json = Annotated[bool, _option("--json", about="Print JSON.")]

PREFIX = "common_"
"""Tells their parameters from a command's own."""
COMMON: tuple[tuple[str, Any, Any], ...] = (
    ("url", Url, None),
    ("key", Key, None),
    ("store", Store, None),
    ("records", Records, None),
    ("organization", Organization, None),
    ("timeout", Timeout, None),
    ("config", Config, None),
    ("json", Json, False),
)
"""Name, type and default of the options that every command takes, before its name and after it."""


@dataclass(frozen=True, slots=True)
class Common:
    """The options as they were given."""

    settings: Settings = field(default_factory=Settings)
    config: str | None = None
    json: bool = False

    @classmethod
    def take(cls, values: dict[str, Any]) -> Common:
        """Takes them out of a command's values."""
        given = {name: values.pop(f"{PREFIX}{name}") for name, _, _ in COMMON}
        config, as_json = given.pop("config"), given.pop("json")
        if given["timeout"] is not None and not given["timeout"] > 0:
            raise Failure("--timeout is a number of seconds above 0", USAGE)
        return cls(Settings(**given), config, as_json)

    def over(self, other: Common) -> Common:
        """These, and where they say nothing the other's."""
        return Common(
            self.settings.over(other.settings), self.config or other.config, self.json or other.json
        )


class Session:
    """One run of a command."""

    def __init__(self, common: Common) -> None:
        self.out = Printer(json=common.json)
        self._common = common
        self._client: Client | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        """Where to look."""
        return settings(self._common.settings, self._common.config, os.environ)

    @property
    def api(self) -> Client:
        """The management API that is meant, reached at the first use."""
        return self.reach()

    def reach(self, home: Home | None = None, *, dry: bool = False) -> Client:
        """The same; `home` says of a store that is opened here which organization is meant, which may be one that is to
        be made. `dry`: a file that is not there is not made either.
        """
        if self._client is None:
            if in_the_clear(self.settings.url):
                self.out.aside("The key goes in the clear: use https", style="yellow")
            self._client = client(self.settings, home, dry=dry)
        return self._client

    def confirm(self, question: str, yes: bool) -> None:
        """Goes on only where a person agrees, or has agreed with `--yes`. Raises Failure."""
        if yes:
            return
        if not self.out.interactive:
            raise Failure(f"{question} Say --yes where nobody can be asked", USAGE)
        try:
            agreed = typer.confirm(question, err=True)
        except typer.Abort:  # ctrl-c, or the end of what can be typed
            agreed = False
        if not agreed:
            raise Failure("Nothing was done", STOPPED)

    def secret(self, given: str, what: str) -> str:
        """What is secret, and so is not said on a command line, where others see it: `-` reads it, typed unseen or a
        line of stdin; `env:NAME`, a variable of the app, is none itself. Raises Failure.
        """
        if given.startswith("env:"):
            return given
        if given != "-":
            told = f"{what} would be seen by others here: say - and type it, or env:QUOTAWARE_ALERT_…"
            raise Failure(told, USAGE)
        if self.out.interactive:
            try:
                return str(typer.prompt(what, hide_input=True, err=True))
            except typer.Abort:
                raise Failure("Nothing was done", STOPPED) from None
        if not (line := sys.stdin.readline().strip()):
            raise Failure(f"{what} is missing: stdin has none", USAGE)
        return line

    def close(self) -> None:
        """Closes what was opened."""
        if self._client is not None:
            self._client.close()


def command(app: typer.Typer, name: str | None = None, **about: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function a command: it is given a Session, and its own parameters. What it answers is the exit code,
    None: 0.
    """

    def made(run: Callable[..., Any]) -> Callable[..., Any]:
        _, *own = inspect.signature(run, eval_str=True).parameters.values()

        @functools.wraps(run)
        def called(context: typer.Context, **values: Any) -> None:
            session = Session(Common.take(values).over(context.find_root().obj or Common()))
            try:
                code = run(session, **values)
            finally:
                session.close()
            if code:
                raise typer.Exit(code)

        _dressed(called, [_parameter("context", typer.Context), *own, *common_parameters()])
        app.command(name, **about)(called)
        return run

    return made


def remembered(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback of the whole app: takes the options of every command before its name."""
    _, *own = inspect.signature(callback, eval_str=True).parameters.values()

    @functools.wraps(callback)
    def called(context: typer.Context, **values: Any) -> None:
        context.obj = Common.take(values)
        callback(context, **values)

    _dressed(called, [_parameter("context", typer.Context), *own, *common_parameters()])
    return called


def common_parameters() -> list[inspect.Parameter]:
    """The options of every command."""
    return [_parameter(f"{PREFIX}{name}", annotation, default) for name, annotation, default in COMMON]


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _dressed(called: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Gives a function the parameters that the command line is to show of it."""
    found = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    called.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in found}
    del called.__wrapped__  # type: ignore[attr-defined]
