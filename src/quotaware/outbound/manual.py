"""Calls that are not HTTP at all: reserved and settled by hand, under the same limits."""

from __future__ import annotations

from typing import Any

from ..admission import Admission
from ..core.bounds import Call
from ..core.charges import Outcome
from ..core.usage import Usage
from ..errors import ApiError
from ..observing import UNWATCHED
from ..settings import whole
from ..stores.tickets import drive, drive_async, on_loop
from .meter import Meter


class ManualCall:
    """`async with quota.call(...) as call: …; call.used(input=…, output=…)`; `with` in sync code.

    Entering raises the `ApiError` of a denial. Leaving settles what `used` was told; without a word of it the call is
    charged by estimate, or, where an exception ended it, as partial.
    """

    def __init__(self, meter: Meter, call: Call) -> None:
        self._meter = meter
        self._call = call
        self._admission: Admission | None = None
        self._usage: Usage | None = None
        self._around = UNWATCHED

    @property
    def cap(self) -> int | None:
        """Output tokens (a choice) that were reserved and are the app's to keep; None: no more than the model has.
        What goes over is booked all the same, as an overrun.
        """
        return self._admission.bound.cap or self._call.cap if self._admission is not None else self._call.cap

    def used(self, **tokens: int) -> None:
        """What the call used: `input`, `output`, and the other counts of `Usage`; told again, the last word counts.
        Raises `ConfigurationError` naming what is no count.
        """
        self._usage = Usage(**{name: whole(name, value) for name, value in tokens.items()})

    def _admitted(self, outcome: Admission | ApiError) -> ManualCall:
        if isinstance(outcome, ApiError):
            raise outcome
        self._admission = outcome
        self._usage = None
        self._around = outcome.around()
        self._around.__enter__()
        return self

    def _end(self, error: BaseException | None) -> None:
        if self._admission is not None:
            self._around.__exit__(None, None, None)
            self._admission.settle(
                Outcome(200, usage=self._usage, done=error is None or self._usage is not None)
            )

    def __enter__(self) -> ManualCall:
        binding = self._meter.binding()
        return self._admitted(drive(self._meter.engine.admit(self._call, binding, may_wait=not on_loop())))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._end(error)

    async def __aenter__(self) -> ManualCall:
        binding = self._meter.binding()
        return self._admitted(await drive_async(self._meter.engine.admit(self._call, binding, may_wait=True)))

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._end(error)
