"""The race for a budget: 640 calls offered, a budget of 100 of them, at rising concurrency.

    python benchmarks/overspend.py

`naive` reads what is spent, calls, and adds the cost afterwards. `ours` reserves before and settles after. `spent` is
what reached the (simulated) provider times its true price; every call costs one cent and takes 20 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from quotaware import Quota
from quotaware.context import Binding
from quotaware.core.bounds import Call
from quotaware.core.charges import Outcome
from quotaware.core.steps import Settle
from quotaware.core.usage import Usage
from quotaware.errors import ApiError
from quotaware.stores.tickets import drive_async

OFFERED, ALLOWED, CENT = 640, 100, 10_000_000
CALL_S = 0.02
PRICES = {"model": {"input": 0, "output": 100}}  # 100 tokens are one cent


class Wire:
    """Counts what reached the provider."""

    def __init__(self, call_s: float) -> None:
        self.call_s = call_s
        self.calls = 0
        self.spent = 0

    async def call(self, cost: int = CENT) -> None:
        self.calls += 1
        await asyncio.sleep(self.call_s)
        self.spent += cost


def naive(wire: Wire) -> Callable[[], Awaitable[bool]]:
    booked = 0

    async def once() -> bool:
        nonlocal booked
        if booked + CENT > ALLOWED * CENT:
            return False
        await wire.call()
        booked += CENT
        return True

    return once


def ours(
    wire: Wire, real: int = 1, twice: bool = False, lease: float = 60.0
) -> Callable[[], Awaitable[bool]]:
    quota = Quota("memory://", limits=["$1/month"], prices=PRICES, settle_wait=30, lease=lease)
    binding = Binding(quota.meter, None)
    call = Call(None, "chat", "model", cap=100)

    async def once() -> bool:
        admission = await drive_async(quota.engine.admit(call, binding, may_wait=True))
        if isinstance(admission, ApiError):
            return False
        await wire.call(CENT * real)
        outcome = Outcome(200, usage=Usage(0, 100 * real))
        admission.settle(outcome)
        if twice:  # as a network that repeats the message would
            again = Settle(admission.id, admission.policy.plan, (100 * real, CENT * real, 0), "{}")
            quota.engine.thread.post(again.plan.org, again)
        return True

    return once


async def race(
    make: Callable[[Wire], Callable[[], Awaitable[bool]]], concurrency: int, call_s: float = CALL_S
) -> tuple[Wire, int]:
    wire = Wire(call_s)
    once = make(wire)
    waiting = iter(range(OFFERED))
    denied = 0

    async def caller() -> None:
        nonlocal denied
        for _ in waiting:
            denied += not await once()

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return wire, denied


def row(name: str, concurrency: int, wire: Wire, denied: int) -> None:
    over = 100 * (wire.spent - ALLOWED * CENT) / (ALLOWED * CENT)
    print(f"{name:<36} {concurrency:>5} {wire.calls:>6} {denied:>7} {wire.spent / 1e9:>9.2f} {over:>+8.1f} %")


async def main() -> None:
    print(f"{'':<36} {'at':>5} {'calls':>6} {'denied':>7} {'spent $':>9} {'overspend':>10}")
    for concurrency in (1, 8, 64, 256, 1000):
        row("naive check-then-record", concurrency, *await race(naive, concurrency))
        row("ours", concurrency, *await race(ours, concurrency))
    row("ours, every settle told twice", 64, *await race(lambda wire: ours(wire, twice=True), 64))
    row(
        "ours, calls three times as long as a lease",
        64,
        *await race(lambda wire: ours(wire, lease=1.0), 64, 3.0),
    )
    row("ours, real cost three times the bound", 64, *await race(lambda wire: ours(wire, real=3), 64))


if __name__ == "__main__":
    asyncio.run(main())
