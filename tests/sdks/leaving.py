"""What becomes of streams that an SDK leaves before their end and keeps hold of, as LiteLLM's sync client did.

python -m tests.sdks.leaving

says it as a line of JSON: what was recorded, as (input, output, quality), at each step.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from quotaware import Quota
from quotaware.stores.memory import MemoryStore
from quotaware.testing.clocks import FakeClock
from quotaware.testing.server import serve
from tests.sdks.provider import Provider
from tests.sdks.trying import PATIENCE, PRICE, nowhere_else
from tests.sdks.ways import WAYS, At

LEASE = 60  # seconds

Left = list[tuple[int, int, str]]


def steps(at: At, clock: FakeClock) -> dict[str, Left]:
    """Streams through LiteLLM, one after another; each is read until it says that it is over, and forgotten."""
    limits = ["$1000/month", "1 concurrent"]
    quota = Quota(MemoryStore(clock), clock=clock, limits=limits, unknown_model=PRICE, lease=LEASE)
    quota.instrument()

    def left(until: Callable[[Left], bool]) -> Left:
        deadline = time.monotonic() + PATIENCE
        while True:
            gc.collect()
            assert quota.flush()
            found = [
                (one.usage.input, one.usage.output, one.quality) for one in quota.blocking.usage.records()
            ]
            if until(found) or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    try:
        found: dict[str, Left] = {}
        _read("groq", at)
        found["partly read"] = left(lambda now: len(now) == 1)
        _read("anthropic", at)
        found["held"] = left(lambda now: len(now) == 2)
        clock.advance(LEASE * 1000)
        quota.tend()
        found["quiet"] = left(lambda now: len(now) == 2)
        _read("anthropic", at)
        found["again"] = left(lambda now: len(now) == 3)
        return found
    finally:
        quota.close()


def _read(model: str, at: At) -> None:
    (way,) = [way for way in WAYS if (way.sdk, way.method) == ("litellm", f"completion to {model}")]
    for _ in way.asking(at).streamed():
        pass


def main() -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    warnings.simplefilter("ignore")
    out: Any = sys.stdout
    with redirect_stdout(sys.stderr), serve(Provider()) as url, nowhere_else():
        port = url.rpartition(":")[2]
        print(json.dumps(steps(lambda host: f"http://{host}:{port}", FakeClock())), file=out)


if __name__ == "__main__":
    main()
