"""More for a time, or for good: overrides of a limit, and requests for them that somebody else decides.

Who may override (quota:override) says what a limit is in the current and the next periods, and decides requests. Who
may not asks; where the organization has `auto_upgrade`, what fits the parent's budget is granted at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ..core.limits import Limit
from ..core.terms import Override
from ..errors import AlreadyExists, ConfigurationError, InvalidRequest, NotFound
from ..stores.protocol import Doc
from .budgets import overdrawn
from .documents import as_a
from .keys import new_id
from .nodes import Node, Path
from .people import Request, State
from .tree import Tree, check_expected
from .writes import MAX_PAGE, Edit

MAX_PERIODS = 120
STANDS_MS = 7 * 86_400_000
"""How long a request waits to be decided."""


class Requests(Tree):
    """Overrides and requests."""

    def override(
        self,
        org: str,
        id: str,
        limit: str,
        amount: int,
        *,
        periods: int = 1,
        skip: int = 0,
        expect: int | None = None,
    ) -> Node:
        """The limit of this shape on a node is `amount` in the current period and the next ones, `periods` in all,
        beginning `skip` periods from now. Takes quota:override. One that is in the way is replaced.
        """
        for field, value, least in (("periods", periods, 1), ("skip", skip, 0)):
            if not least <= value <= MAX_PERIODS:
                raise ConfigurationError(field, f"is from {least} to {MAX_PERIODS}")

        def draft() -> Edit:
            path = self._path(org, id)
            self._require("quota:override", path)
            check_expected(path.nodes[0], expect)
            return self._raised(path, limit, amount, periods, skip, "override")

        return self._made(self._commit(org, draft))

    def drop_overrides(
        self, org: str, id: str, limit: str, *, since: int | None = None, expect: int | None = None
    ) -> Node:
        """The limit is what it was set to, from now on; with `since` (ms), only where the override that begins then
        said otherwise. Takes quota:override. NotFound where there is none.
        """

        def draft() -> Edit:
            path = self._path(org, id)
            self._require("quota:override", path)
            old = path.nodes[0]
            check_expected(old, expect)
            left = tuple(
                each for each in old.overrides if each.limit != limit or since not in (None, each.since)
            )
            if left == old.overrides:
                raise NotFound(f"There is no such override of '{limit[:100]}' on {old.kind} '{old.name}'")
            new = replace(old, overrides=left)
            return self._edit(f"{old.kind}.override", path, new, {"overrides": left})

        return self._made(self._commit(org, draft))

    def overrides(self, org: str, id: str) -> tuple[Node, tuple[Override, ...]]:
        """A node, and its overrides that are not over. Takes quota:read."""
        path = self._path(org, id)
        self._require("quota:read", path)
        now = self._clock()
        return path.nodes[0], tuple(each for each in path.nodes[0].overrides if each.until > now)

    def ask(
        self, org: str, id: str, limit: str, amount: int, *, periods: int = 0, reason: str | None = None
    ) -> Request:
        """Asks that a limit of a node become `amount`, for so many periods, or for good (0). Takes quota:read. Granted
        at once where the actor may set it, or where the organization lets requests through (`auto_upgrade`) and the
        parent's budget has room.
        """
        if not 0 <= periods <= MAX_PERIODS:
            raise ConfigurationError("periods", f"is from 0 to {MAX_PERIODS}")
        now = self._clock()
        request = Request(
            new_id("request"), id, None, limit, amount, periods, reason, "pending", self._actor.id,
            created_at=now, expires_at=now + STANDS_MS,
        )  # fmt: skip

        def draft() -> Edit:
            path = self._path(org, id)
            self._require("quota:read", path)
            found = _limit_of(path.nodes[0], limit)
            if amount <= found.amount:
                raise ConfigurationError("limit", f"is {found} already, which is no less")
            if not self._at_once(path, request):
                return Edit("request.create", path.rev, after=(request,))
            granted = replace(request, state="approved", decider=self._actor.id)
            return self._granted(path, granted, Edit("request.create", path.rev, after=(granted,)))

        return self._request(self._commit(org, draft))

    def decide(
        self, org: str, request_id: str, verdict: Literal["approved", "rejected"], *, note: str | None = None
    ) -> Request:
        """Approves or rejects a request that stands. Takes quota:override at its node."""

        def draft() -> Edit:
            _, request = self._read(Request, "request", org, request_id)
            path = self._path(org, request.parent)
            self._require("quota:override", path)
            state = self.state(request)
            if state != "pending":
                raise AlreadyExists(
                    f"The request is {state} already", code="decided", fields={"state": state}
                )
            decided = replace(request, state=verdict, decider=self._actor.id, note=note)
            edit = Edit(f"request.{verdict}", path.rev, (request,), (decided,))
            return self._granted(path, decided, edit) if verdict == "approved" else edit

        return self._request(self._commit(org, draft))

    def request(self, org: str, id: str) -> Request:
        """A request. Takes quota:read at its node."""
        _, found = self._read(Request, "request", org, id)
        self._require("quota:read", self._path(org, found.parent))
        return self._as_it_stands(found)

    def requests(
        self, org: str, node: str | None = None, state: State | None = None, after: str = "", limit: int = 100
    ) -> tuple[Request, ...]:
        """Requests by id, after the given one: those of nodes at which the actor has quota:read."""
        self._inside(org)
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigurationError("limit", f"is from 1 to {MAX_PAGE}")
        above: dict[str, tuple[str, ...]] = {}
        found: list[Request] = []
        for doc in self._from(org, node or "", after):
            if self._actor.may("quota:read", self._above(org, doc.parent, above)):
                request = self._as_it_stands(as_a(Request, doc))
                if state in (None, request.state):
                    found.append(request)
            if len(found) == limit:
                break
        return tuple(found)

    def state(self, request: Request) -> State:
        """What a request is by now: one that nobody decided in time is expired."""
        over = request.state == "pending" and request.expires_at <= self._clock()
        return "expired" if over else request.state

    # how

    def _as_it_stands(self, request: Request) -> Request:
        return replace(request, state=self.state(request))

    def _from(self, org: str, node: str, after: str) -> Iterator[Doc]:
        while page := self._store.children(org, "request", node, None, after, MAX_PAGE):
            yield from page
            after = page[-1].id

    def _at_once(self, path: Path, request: Request) -> bool:
        node = path.nodes[0]
        new = _with(node, request.limit, request.amount)
        refusal = overdrawn(self._store, path.org, path.nodes[1], [node], [new]) if path.nodes[1:] else None
        may_set = self._actor.may("quota:override", path.ids) or (
            self._actor.may("quota:manage", path.ids) and refusal is None and not request.periods
        )
        return may_set or (path.organization.auto_upgrade and refusal is None)

    def _granted(self, path: Path, request: Request, edit: Edit) -> Edit:
        """The write with what was asked for made true; what is more already stays."""
        if not request.periods and _limit_of(path.nodes[0], request.limit).amount >= request.amount:
            return edit
        if request.periods:
            more = self._raised(path, request.limit, request.amount, request.periods, 0, "raise")
        else:
            old = path.nodes[0]
            new = _with(old, request.limit, request.amount)
            more = self._edit("raise", path, new, {"limits": new.limits})
        return Edit(
            edit.what, path.rev, (*edit.before, *more.before), (*edit.after, *more.after), more.resume
        )

    def _raised(self, path: Path, limit: str, amount: int, periods: int, skip: int, what: str) -> Edit:
        old = path.nodes[0]
        window = _limit_of(old, limit).window
        now = self._clock()
        if window is None or window.kind != "calendar":
            raise ConfigurationError("limit", "has no periods; set it to another amount instead")
        since, until = now, window.bounds(now, path.zone)[1]
        for _ in range(skip):
            since, until = until, window.bounds(until, path.zone)[1]
        for _ in range(periods - 1):
            until = window.bounds(until, path.zone)[1]
        kept = tuple(
            each
            for each in old.overrides
            if each.until > now and (each.limit != limit or each.until <= since or each.since >= until)
        )
        new = replace(old, overrides=(*kept, Override(limit, amount, since, until)))
        return self._edit(f"{old.kind}.{what}", path, new, {"overrides": new.overrides})

    def _request(self, edit: Edit) -> Request:
        (request,) = (thing for thing in edit.after if isinstance(thing, Request))
        return request


def _limit_of(node: Node, shape: str) -> Limit:
    found = [limit for limit in node.limits if limit.shape == shape]
    if not found:
        names = ", ".join(sorted({limit.shape for limit in node.limits})) or "none"
        raise InvalidRequest(
            f"There is no limit '{shape[:100]}' on {node.kind} '{node.name}'; it has {names}",
            code="no_such_limit",
            fields={"errors": [{"field": "limit", "message": f"is one of {names}"}]},
        )
    return next((limit for limit in found if limit.mode == "hard"), found[0])


def _with(node: Node, shape: str, amount: int) -> Node:
    chosen = _limit_of(node, shape)
    return replace(
        node, limits=tuple(replace(each, amount=amount) if each is chosen else each for each in node.limits)
    )
