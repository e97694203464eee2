"""How many processes an app runs in, where its counters live in one of them only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from ...stores.memory import MemoryStore
from ..client import TIMEOUT_S
from ..settings import Settings
from .findings import Evidence, Finding, NotLooked

ASKED, AT_ONCE = 24, 8
"""How often a running app is asked who it is, each time over a connection of its own, and how many at once."""
_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")
_DO = "use sqlite:///quota.db for several workers on one machine, redis:// for several machines"


def on_memory(evidence: Evidence) -> Iterator[Finding]:
    """Several workers on a memory store: each would have every budget for itself."""
    if evidence.settings.url is not None:
        yield from _running(evidence.settings)
    elif evidence.store is None:
        raise NotLooked("no app, store or URL was given")
    if isinstance(evidence.store, MemoryStore):
        workers, said = _said(evidence)
        if workers > 1:
            yield Finding(
                "error",
                f"the app counts in memory, and runs in {workers} workers ({said}): each has every budget for itself, "
                "and keys that no other knows",
                _DO,
            )


def _said(evidence: Evidence) -> tuple[int, str]:
    """How many workers there are, and who says so."""
    if evidence.workers is not None:
        return evidence.workers, "--workers"
    found = [(_number(evidence.environ.get(name, "")), name) for name in _VARIABLES]
    found.append((_of_gunicorn(evidence.environ), "GUNICORN_CMD_ARGS"))
    return max(found)


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 1


def _of_gunicorn(environ: Mapping[str, str]) -> int:
    words = environ.get("GUNICORN_CMD_ARGS", "").replace("=", " ").split()
    after = [words[at + 1 :][:1] for at, word in enumerate(words) if word in {"-w", "--workers"}]
    return max((_number(word) for words in after for word in words), default=1)


def _running(settings: Settings) -> Iterator[Finding]:
    """Asks often, so that several workers answer: on one store all say the same."""
    url = (settings.url or "").rstrip("/")
    headers = {"authorization": f"Bearer {settings.key}"}

    def ask(_: int) -> str | None:
        with httpx.Client(headers=headers, timeout=settings.timeout or TIMEOUT_S) as client:
            answer = client.get(f"{url}/organizations")
        if answer.status_code not in {200, 401}:
            raise NotLooked(f"the running app answered {answer.status_code}")
        own = answer.json()["data"] if answer.status_code == 200 else ()
        return ",".join(f"{each['id']} {each['created_at']}" for each in own) if own else None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = set(pool.map(ask, range(ASKED)))
    if len(told) > 1:
        yield Finding(
            "error",
            f"asked {ASKED} times, the running app gave one key {len(told)} different answers: its workers "
            "have a store each, and so each has every budget for itself",
            _DO,
        )
