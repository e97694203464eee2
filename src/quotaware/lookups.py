"""Requests that make nothing and cost nothing: listings, and what is asked of an answer that was made before.

They are recorded as such, count under no limit and are in nobody's way. One that tells what an earlier call used
settles that call.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from .admission import about
from .context import Caller
from .core.bounds import Call
from .core.charges import Outcome
from .core.steps import NOTHING, Plan, Settle
from .logs import logged
from .observing import UNWATCHED
from .tenancy.nodes import Path

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger("quotaware")


class LookUp:
    """One such request on its way, as a tap sees an `Admission`.

    whose   who makes it, and the way up from there; None where nobody knows: then it is not recorded
    answer  what it asks for: the name under which the provider knows an earlier answer, or ""
    """

    def __init__(self, engine: Engine, call: Call, whose: tuple[Caller, Path] | None, answer: str) -> None:

        self.engine = engine
        self.call = call
        self._whose = whose
        self._answer = answer
        self._end = Lock()

    def around(self) -> AbstractContextManager[object]:
        """Nobody watches it."""
        return UNWATCHED

    def moved(self) -> None:
        """Nothing is held that could lapse."""

    def when_quiet(self, look: WeakMethod[Callable[[], None]]) -> None:
        """Nor this."""

    def generated(self) -> None:
        """Nothing is."""

    def settle(self, outcome: Outcome, model: str | None = None) -> None:
        """Ends it, the first time: records it, and settles what it tells of. Never waits, never raises."""
        if not self._end.acquire(blocking=False):
            return
        try:
            self._settle(outcome, model)
        except Exception:
            self.engine.count("faults")
            logger.exception("a look-up could not be recorded", extra=logged("lookup_not_recorded"))

    def abandon(self, outcome: Outcome, model: str | None = None) -> None:
        """The same from a finalizer: takes no lock that others hold."""
        if not self._end.locked():
            self.engine.lanes.later(lambda: self.settle(outcome, model))

    def _settle(self, outcome: Outcome, model: str | None) -> None:
        engine, whose = self.engine, self._whose
        over = outcome.done and (outcome.usage is not None or model is not None)
        if self._answer and outcome.status == 200 and over and not outcome.later:
            engine.deferred.settle(whose[0].org if whose else None, self._answer, outcome, model)
        if whose is None or not outcome.sent:
            return
        caller, path = whose
        told: dict[str, Any] = {"status": outcome.status, "model": model, "usage": {}, "quality": "exact"}
        text = json.dumps({name: value for name, value in told.items() if value is not None})
        said = json.dumps({**about(self.call, caller, path), "lookup": True})
        plan = Plan(caller.org, path.rev, (), ())
        step = Settle(engine.ids.new(engine.now()), plan, NOTHING, text, force=True, about=said)
        engine.lanes.post(caller.org, step)
