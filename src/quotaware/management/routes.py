"""One operation of the API as a value: the table of them serves the requests, makes the OpenAPI page and the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..errors import ApiError, PreconditionFailed
from ..tenancy.access import Actor
from ..tenancy.service import Tenancy
from ..words.wire import Answer, Body
from .parts import Parts

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a route sees it.

    actor    who sends it; `tenancy` does everything as this actor
    params   what stands in the path, by name
    query, body   read by the route's models; None where it has none
    expect   the revision of `If-Match`, None where it was not sent
    """

    actor: Actor
    tenancy: Tenancy
    parts: Parts
    params: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None
    expect: int | None = None

    @property
    def org(self) -> str:
        """The caller's organization: nothing outside of it is there."""
        return self.actor.org

    def require_anywhere(self, permission: str) -> None:
        """Raises `PermissionDenied` where the caller has the permission at no node at all."""
        self.actor.require(permission, [grant.node for grant in self.actor.grants])


class Streamed(NamedTuple):
    """An answer that is text, sent as it is made: of this media type, to be kept as a file of this name."""

    media: str
    filename: str
    pieces: Iterator[str]


class Again(NamedTuple):
    """The answer of a POST that found what it would have made, and changed that: 200."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    run      blocking; answers an `Answer`, `Again` where a POST found what is there already, `Streamed` where it is a
             file of one of these `media` types, or None for 204. Raises `ApiError`, `ConfigurationError` (422)
    takes    the permission that it takes at the node that it names, as the contract has it; one of several
             that are joined by ` or `; "": every caller may
    errors   what else than 400, 401, 403, 404, 422 and 503 it may answer
    large    its body may hold a whole organization
    again    a POST that is sent again with a known name changes what is there, and answers 200
    secrets  fields of its answer that are shown once: a repeat with the same Idempotency-Key has them null
    """

    method: Method
    path: str
    run: Callable[[Ask], Answer | Again | Streamed | None]
    summary: str
    tag: str
    takes: str = ""
    answer: Any = None
    body: type[Body] | None = None
    query: type[Body] | None = None
    status: int = 200
    errors: tuple[type[ApiError], ...] = ()
    secrets: tuple[str, ...] = ()
    large: bool = False
    again: bool = False
    media: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.run.__name__

    @property
    def pattern(self) -> str:
        """The path as it is matched: the shape of a limit has slashes."""
        return self.path.replace("{shape}", "{shape:path}")

    @property
    def guarded(self) -> bool:
        """Whether it changes what is there, and so only from the revision that `If-Match` names."""
        return self.method in {"PUT", "PATCH", "DELETE"} or PreconditionFailed in self.errors
