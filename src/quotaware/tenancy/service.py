"""The service over the tree: one object behind the Python face, the API, the dashboard and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast

from ..errors import InvalidRequest, NotFound
from ..stores.protocol import Store
from .auditing import Auditing
from .budgets import overdrawn, too_small
from .channeling import Channeling
from .directory import Directory
from .documents import Thing
from .membership import Membership
from .nodes import Node, Path
from .pricing import Pricing
from .requests import Requests
from .sharing import Sharing
from .sketch import Changed, Sketch, sketched
from .standing import Standing
from .starts import Starts
from .writes import Edit, taken

R = TypeVar("R")


class Tenancy(Starts, Membership, Requests, Sharing, Standing, Auditing, Pricing, Channeling):
    """Organizations, teams, projects, keys, people and requests, all in one store.

    Used as it is, it acts for the host and may do everything; `by(actor)` is the same for somebody else. Methods block.
    They raise NotFound for an id that is not there (or is another organization's), AlreadyExists (`fields["field"]`)
    for a name or id that is taken, PermissionDenied naming what is missing, ConfigurationError naming the field of a
    bad value, InvalidRequest with figures where a parent's budget is passed, StoreError, and Conflict where other
    writers kept coming between. Limits and alerts are given as values or as text (`"$50/month"`, `"80% email"`).
    """

    def together(self, org: str, what: str, work: Callable[[Rehearsal], R]) -> R:
        """Several writes as one: `work` does them with the service that it is given, and all of them are taken, as one
        revision with one audit row called `what`, or none. Each is checked as it would be alone, but for names, a
        parent's budget and the last admin: these are looked at as all is in the end.

        `work` may be called several times, each time with what stands by then; what it answered last is answered.
        """
        tried: list[tuple[R, Sketch]] = []

        def draft() -> Edit:
            rehearsal = self._rehearsal(org)
            answer = work(rehearsal)
            rehearsal.check()
            tried[:] = [(answer, rehearsal.sketch)]
            return Edit(what, rehearsal.sketch.rev, *rehearsal.sketch.changed())

        self._commit(org, what, org, draft)
        answer, sketch = tried[0]
        for digest in sketch.unlinked:
            self._store.unlink(digest)
            self._directory.forget_key(digest)
        for digest, place in sketch.links.items():
            self._link(digest, *place)
        return answer

    def rehearse(self, org: str, work: Callable[[Rehearsal], R]) -> R:
        """What `work` answers, done as `together` does it; nothing is written."""
        self._inside(org)
        self._actor, _ = self._actor_now()
        rehearsal = self._rehearsal(org)
        answer = work(rehearsal)
        rehearsal.check()
        return answer

    def _rehearsal(self, org: str) -> Rehearsal:
        sketch = sketched(self._store, org)
        found = Rehearsal(cast("Store", sketch), Directory(cast("Store", sketch), self._clock), self._clock)
        found.org, found.sketch = org, sketch
        return found.by(self._actor)


class Wrong(NamedTuple):
    """A budget that does not go with those of its children."""

    node: Node
    error: InvalidRequest


class Rehearsal(Tenancy):
    """The service over a copy of an organization. What only holds of a whole is looked at in `check`."""

    org: str
    sketch: Sketch

    def check(self) -> None:
        """Raises AlreadyExists where two have one name, and InvalidRequest where a parent has less than its children,
        unless the actor may go over it: with the figures of the first, and under `errors` all of them, each with the
        `node` that has too little.
        """
        if (twice := self.sketch.twice_named()) is not None:
            raise taken("name", f"There is a {twice.kind} named '{twice.name}' already")
        if self._actor.kind == "host":
            return
        wrong = list(self._overdrawn(self.sketch.changed()))
        if wrong:
            first = wrong[0].error
            errors = [
                {"field": "limits", "message": each.error.message, "node": each.node.id} for each in wrong
            ]
            raise InvalidRequest(first.message, code=first.code, fields={**first.fields, "errors": errors})

    def _overdrawn(self, changed: Changed) -> Iterable[Wrong]:
        store, now = self._store, self._clock()
        old, new = (
            {each.id: each for each in things if isinstance(each, Node) and each.kind != "key"}
            for things in changed[:2]
        )
        parents = {each.parent for each in (*old.values(), *new.values())} | {*new}
        for id in sorted(filter(None, parents), key=lambda id: (id != self.org, id)):
            try:
                path = self._path(self.org, id)
            except NotFound:  # it goes as well
                continue
            if path.nodes[0].kind not in ("organization", "team") or self._actor.may(
                "quota:override", path.ids
            ):
                continue
            before, after = ([each for each in side.values() if each.parent == id] for side in (old, new))
            refusal = overdrawn(store, self.org, path.nodes[0], before, after, now)
            if refusal is None and id in old and id in new:
                refusal = too_small(store, self.org, old[id], new[id], now)
            if refusal is not None:
                yield Wrong(path.nodes[0], refusal)

    def _within_budget(self, above: Path, before: Iterable[Node], after: Iterable[Node]) -> None:
        pass  # `check`

    def _above_children(self, path: Path, old: Node, new: Node) -> None:
        pass  # `check`

    def _check_name(self, org: str, thing: Thing) -> None:
        pass  # `check`

    def _audit(self, *done: Any) -> str:
        return ""  # there will be one row of the whole

    def _check_admins(self, org: str, edit: Edit) -> None:
        pass  # the write of the whole does

    def _tell_refused(self, *refused: Any) -> None:
        pass  # the write of the whole does

    def _rearm(self, org: str, edit: Edit) -> None:
        pass  # the write of the whole does
