"""More for a time, or for good: overrides of a limit, and requests for them that somebody else decides.

Who may override (quota:override) says what a limit is in the current and the next periods, and decides requests. Who
may not asks; where the organization has `auto_upgrade`, what fits the parent's budget is granted at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import Literal

from ..core.limits import Limit
from ..core.terms import Override
from ..errors import AlreadyExists, ConfigurationError, InvalidRequest, NotFound, PermissionDenied
from .access import escalation
from .budgets import budgets, overdrawn, set_anew
from .directory import shortened
from .documents import as_a
from .keys import newest_first
from .looking import check_page
from .nodes import Node, Path
from .people import Request, State
from .tree import Tree, given_from
from .writes import Edit

MAX_PERIODS = 120
MAX_PENDING = 100
"""Requests of one node that may wait to be decided."""
DAY_MS = 86_400_000
STANDS_MS = 7 * DAY_MS
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
        beginning `skip` periods from now. Takes quota:override above the node (on the organization for its own). One
        that is in the way is replaced.
        """
        check_periods(periods, "periods", 1)
        check_periods(skip, "skip", 0)

        def draft() -> Edit:
            path = self._path(org, id)
            self._require_above("quota:override", path)
            return self._allowed(path, self._raised(path, limit, amount, periods, skip, "override"))

        return self._made(self._commit(org, "node.override", id, draft, expect))

    def set_overrides(
        self, org: str, id: str, overrides: Iterable[Override], *, expect: int | None = None
    ) -> Node:
        """All overrides of a node at once, in place of those that it has. Takes quota:override above the node."""
        given = tuple(overrides)

        def draft() -> Edit:
            path = self._path(org, id)
            self._require_above("quota:override", path)
            for each in given:
                _limit_of(path.nodes[0], each.limit)
            new = replace(path.nodes[0], overrides=given)
            return self._allowed(path, self._edit(f"{new.kind}.override", path, new, {"overrides": given}))

        return self._made(self._commit(org, "node.override", id, draft, expect))

    def drop_overrides(
        self, org: str, id: str, limit: str, *, since: int | None = None, expect: int | None = None
    ) -> Node:
        """The limit is what it was set to, from now on; with `since` (ms), only where the override that begins then
        said otherwise. Takes quota:override above the node. NotFound where there is none.
        """

        def draft() -> Edit:
            path = self._path(org, id)
            self._require_above("quota:override", path)
            old = path.nodes[0]
            left = tuple(
                each for each in old.overrides if each.limit != limit or since not in (None, each.since)
            )
            if left == old.overrides:
                raise NotFound(
                    f"There is no such override of '{shortened(limit)}' on {old.kind} '{old.name}'"
                )
            new = replace(old, overrides=left)
            return self._allowed(path, self._edit(f"{old.kind}.override", path, new, {"overrides": left}))

        return self._made(self._commit(org, "node.override", id, draft, expect))

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
        at once where the actor may set it, or where it is a budget, the organization lets requests through
        (`auto_upgrade`) and the parent's budget has room; an organization's own has no parent, and waits.
        AlreadyExists with code `too_many_pending` where 100 requests of the node wait.
        """
        check_periods(periods, "periods", 0)
        now = self._clock()
        request = Request(
            newest_first("request", now), id, None, limit, amount, periods, reason, "pending", self._actor.id,
            created_at=now, expires_at=now + STANDS_MS,
        )  # fmt: skip

        def draft() -> Edit:
            path = self._path(org, id)
            self._require("quota:read", path)
            found = _limit_of(path.nodes[0], limit)
            if amount <= found.amount:
                raise ConfigurationError("limit", f"is {found} already, which is no less")
            granted = replace(request, state="approved", decider=self._actor.id)
            edit = self._granted(path, granted, Edit("request.create", path.rev, after=(granted,)))
            if self._at_once(path, request, edit):
                return edit
            self._check_room(org, id)
            return Edit("request.create", path.rev, after=(request,))

        return self._request(self._commit(org, "request.create", id, draft))

    def decide(
        self,
        org: str,
        request_id: str,
        verdict: Literal["approved", "rejected"],
        *,
        note: str | None = None,
        expect: int | None = None,
    ) -> Request:
        """Approves or rejects a request that stands. Takes quota:override above its node (on the organization for its
        own), so that nobody grants himself what he asks for.
        """
        if verdict not in ("approved", "rejected"):
            raise ConfigurationError("verdict", "is approved or rejected")

        def draft() -> Edit:
            rev, request = self._read(Request, "request", org, request_id)
            path = self._path(org, request.parent)
            path = replace(path, rev=min(rev, path.rev))
            self._require_above("quota:override", path)
            state = self.state(request)
            if state != "pending":
                raise AlreadyExists(
                    f"The request is {state} already", code="decided", fields={"state": state}
                )
            decided = replace(request, state=verdict, decider=self._actor.id, note=note)
            edit = Edit(f"request.{verdict}", path.rev, (request,), (decided,))
            if verdict == "rejected":
                return edit
            return self._allowed(path, self._granted(path, decided, edit))

        return self._request(self._commit(org, f"request.{verdict}", request_id, draft, expect))

    def request(self, org: str, id: str) -> Request:
        """A request. Takes quota:read at its node."""
        _, found = self._read(Request, "request", org, id)
        self._require("quota:read", self._path(org, found.parent))
        return self._as_it_stands(found)

    def requests(
        self, org: str, node: str | None = None, state: State | None = None, after: str = "", limit: int = 100
    ) -> tuple[Request, ...]:
        """Requests by id, which is the newest first, after the given one: those of nodes at which the actor has
        quota:read.
        """
        self._inside(org)
        check_page(limit)
        above: dict[str, tuple[str, ...]] = {}

        def fits(request: Request) -> bool:
            return state in (None, request.state) and self._actor.may(
                "quota:read", self._above(org, request.parent, above)
            )

        docs = self._all(org, "request", node or "", after)
        stored: Iterator[Request] = (as_a(Request, doc) for doc in docs)
        if state == "pending":  # those behind one that is long over are over too
            still = self._clock() - DAY_MS
            stored = takewhile(lambda request: request.expires_at > still, stored)
        found = map(self._as_it_stands, stored)
        return tuple(islice(filter(fits, found), limit))

    def state(self, request: Request) -> State:
        """What a request is by now: one that nobody decided in time is expired."""
        over = request.state == "pending" and request.expires_at <= self._clock()
        return "expired" if over else request.state

    # how

    def _require_above(self, permission: str, path: Path) -> None:
        """Raises PermissionDenied where the actor lacks it above a node; who has it on the node is told that it is not
        enough.
        """
        if not self._actor.may(permission, given_from(path)):
            has = self._actor.may(permission, path.ids)
            raise self._actor.lacks(permission, at=path.ids[1] if has else None)

    def _check_room(self, org: str, id: str) -> None:
        """Raises where so many requests of a node wait that another would be no help."""
        waiting = (as_a(Request, doc) for doc in self._all(org, "request", id))
        if sum(self.state(each) == "pending" for each in waiting) >= MAX_PENDING:
            raise AlreadyExists(
                f"{MAX_PENDING} requests of this node wait to be decided already", code="too_many_pending"
            )

    def _as_it_stands(self, request: Request) -> Request:
        return replace(request, state=self.state(request))

    def _at_once(self, path: Path, request: Request, edit: Edit) -> bool:
        """Whether a request needs nobody else's word."""
        may = self._actor.may
        if may("quota:override", given_from(path)):
            return self._escalation(path, edit) is None
        old, new = path.nodes[0], self._made(edit)
        if path.nodes[1:]:
            parent, now = path.nodes[1], self._clock()
            if overdrawn(self._store, path.org, parent, [old], [new], now) is not None:
                return False
        if old.kind != "key" and not request.periods and may("quota:manage", given_from(path)):
            return True
        if (
            not path.organization.auto_upgrade or old.kind == "organization"
        ):  # that one's is given by nobody above
            return False
        is_budget = any(limit.shape == request.limit for limit in budgets(old).values())
        return is_budget and self._escalation(path, edit) is None

    def _allowed(self, path: Path, edit: Edit) -> Edit:
        """The write, unless it gives a key more than the actor has himself."""
        refusal = self._escalation(path, edit)
        if refusal is not None:
            raise refusal
        return edit

    def _escalation(self, path: Path, edit: Edit) -> PermissionDenied | None:
        keys = (thing for thing in edit.after if isinstance(thing, Node) and thing.kind == "key")
        refusals = (escalation(self._actor, path.ids[1:], key) for key in keys)
        return next((each for each in refusals if each is not None), None)

    def _granted(self, path: Path, request: Request, edit: Edit) -> Edit:
        """The write with what was asked for made true; what is more already stays."""
        if not request.periods and _limit_of(path.nodes[0], request.limit).amount >= request.amount:
            return edit
        if request.periods:
            more = self._raised(path, request.limit, request.amount, request.periods, 0, "raise")
        else:
            old = path.nodes[0]
            new = set_anew(old, _with(old, request.limit, request.amount))
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
            f"There is no limit '{shortened(shape)}' on {node.kind} '{node.name}'; it has {names}",
            code="no_such_limit",
            fields={"errors": [{"field": "limit", "message": f"is one of {names}"}]},
        )
    return next((limit for limit in found if limit.mode == "hard"), found[0])


def _with(node: Node, shape: str, amount: int) -> Node:
    chosen = _limit_of(node, shape)
    return replace(
        node, limits=tuple(replace(each, amount=amount) if each is chosen else each for each in node.limits)
    )


def check_periods(value: int, field: str, least: int) -> None:
    """Raises ConfigurationError naming the field where so many periods cannot be."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_PERIODS:
        raise ConfigurationError(field, f"is from {least} to {MAX_PERIODS}")
