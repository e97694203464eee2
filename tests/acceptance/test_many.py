"""A process that serves very many keys and projects keeps those that it used last, and no more."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from quotaware import Quota
from quotaware.context import Caller
from quotaware.core.bounds import Call
from quotaware.core.limits import Limit
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Doc
from quotaware.stores.redis.batch import Plans
from quotaware.tenancy.documents import to_doc
from quotaware.tenancy.nodes import Node

ORG = "org_a"
PROJECTS = 100_000
LIMITS = tuple(map(Limit.parse, ("$50/month", "600 requests/minute", "200000 tokens/minute")))
ROOT = Node(ORG, "organization", "", "a")


class Endless(MemoryStore):
    """Has every key and project that it is asked for, and keeps none."""

    def find(self, digest: str) -> tuple[str, str] | None:
        return ORG, f"key_{int(digest, 16)}"

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        return 1, [self._doc(id) for id in ids]

    def _doc(self, id: str) -> Doc:
        if id == ORG:
            return to_doc(ROOT)
        number = int(id.rpartition("_")[2])
        if id.startswith("key_"):
            parent = f"proj_{number % PROJECTS}"
            return to_doc(Node(id, "key", parent, None, LIMITS, permissions=("chat:create",)))
        return to_doc(Node(id, "project", ORG, f"project {number}", LIMITS))


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is in memory")
@pytest.mark.parametrize(
    ("keys", "projects"),
    [pytest.param(100_000, 20_000, id="bounded"), pytest.param(1_000_000, PROJECTS, id="all")],
)
def test_a_million_keys_and_100_000_projects_leave_little(keys: int, projects: int) -> None:
    """F10, I-27: paths, policies and packed plans of all that passes through."""
    quota = Quota(Endless())
    engine, plans = quota.engine, Plans()
    call = Call("openai", "chat", "gpt-4.1", cap=100)
    engine.price(call, engine.policy(engine.directory.load(ORG, "proj_0"), call, Caller(ORG, "proj_0")))
    before = resident()
    for number in range(keys):
        engine.directory.load_key(f"{number:064x}")
    for number in range(projects):
        key = f"key_{number}"
        plans(engine.policy(engine.directory.load(ORG, key), call, Caller(ORG, key)).plan)
    assert resident() - before < 32 * 2**20
    quota.close()
