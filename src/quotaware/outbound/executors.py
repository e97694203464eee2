"""Jobs of a thread pool are whoever submits them: `ThreadPoolExecutor.submit`, and so `map` and `loop.run_in_executor`.

A pool's threads outlive requests, and know no context, or (as `sys.flags.thread_inherit_context` has it) that of the
request which was the first to need them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from ..context import current, run_as
from .patching import Patch, Serving

INHERITED = bool(getattr(sys.flags, "thread_inherit_context", False))
"""Whether a thread begins in the context of who started it: from Python 3.14 on, where it has no GIL or is told to."""


def _submits(original: Any, serving: Serving) -> Any:
    @functools.wraps(original)
    def submit(executor: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        binding = current()
        if binding is None and not INHERITED:
            return original(executor, fn, *args, **kwargs)
        return original(executor, run_as, binding, fn, *args, **kwargs)

    return submit


PATCHES = (Patch("concurrent.futures.thread", "ThreadPoolExecutor", "submit", _submits),)
