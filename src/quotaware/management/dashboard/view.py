"""What a page is, and what it sees of a request.

A page asks the very operations of the API, as the one who looks (`View.call`): there is no second set of rights here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from ...errors import NotFound, PermissionDenied
from ...words.wire import Body
from .. import bodies
from ..parts import Parts
from ..routes import Ask
from .pulse import Pulse
from .texts import Language, text

A = TypeVar("A")
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Html:
    """A page to show: its template and what stands in it; `made`: the page of what its form has just made."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    made: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To another page, by its path below the dashboard; `told`: the text that greets there."""

    path: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A request of somebody who is signed in.

    ask     as the operations of the API see it; `actor` and `tenancy` are the viewer's
    root    the path of the dashboard
    path    the page's own, below that
    query, form   what was sent, by name, each once
    theme   "light", "dark", or "" for what the system has
    kept    what was found out for one part of the page and serves the others too
    """

    ask: Ask
    pulse: Pulse
    root: str
    path: str
    language: Language
    theme: str
    csrf: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def org(self) -> str:
        """The viewer's organization."""
        return self.ask.org

    @property
    def parts(self) -> Parts:
        """The parts of the Quota."""
        return self.ask.parts

    @property
    def params(self) -> Mapping[str, str]:
        """What stands in the page's path."""
        return self.ask.params

    def t(self, key: str, **values: object) -> str:
        """A text in the viewer's language."""
        return text(self.language, key, **values)

    def call(
        self,
        run: Callable[..., A],
        *args: Any,
        query: Any = None,
        body: Any = None,
        expect: int | None = None,
        **params: str,
    ) -> A:
        """An operation of the API, as the viewer. Raises as it does."""
        return run(replace(self.ask, params=params, query=query, body=body, expect=expect), *args)

    def maybe(self, run: Callable[..., A], *args: Any, **asked: Any) -> A | None:
        """The same; None where the viewer may not, or it is not there."""
        try:
            return self.call(run, *args, **asked)
        except (PermissionDenied, NotFound):
            return None

    def may(self, permission: str, node: str | None = None) -> bool:
        """Whether the viewer has a permission at a node (None: anywhere). Only for what is worth showing: what is done
        is judged by what does it.
        """
        actor = self.ask.actor
        if node is None:
            return actor.may(permission, [grant.node for grant in actor.grants])
        return actor.may(permission, self.ask.tenancy.above(self.org, node).values())

    def body(self, model: type[B], /, **given: Any) -> B:
        """A body of the API. Raises `InvalidRequest`."""
        return bodies.parsed(model, json.dumps(given).encode(), "application/json")

    def said(self, name: str) -> str:
        """A field of the form, without spaces around; "" where it was left empty."""
        return self.form.get(name, "").strip()

    def lines(self, name: str) -> list[str]:
        """The lines of a field, or all that was chosen under its name, without those that are empty."""
        return [line.strip() for line in self.said(name).splitlines() if line.strip()]


Run = Callable[[View], Html | Redirect]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or what one of its forms does.

    run     blocking; raises what the operations of the API raise
    nav     the key of its name in the menu, "" where it does not stand there
    takes   the permissions of which its viewer has one somewhere, for it to stand in the menu; (): everybody
    """

    method: Literal["GET", "POST"]
    path: str
    run: Run
    nav: str = ""
    takes: tuple[str, ...] = ()
