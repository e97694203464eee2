"""Planning and applying an organization of many projects from one file.

    python benchmarks/organization_file.py [--projects 10000] [--store memory:// | sqlite:///file.db | redis://…]

Prints the seconds of each step, as the clock has them and as this process worked: reading the file (100 teams, a budget
and a rate limit a project), planning it against nothing, applying it, planning it again, planning one change, and
writing it back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quotaware import Quota
from quotaware.organization.exporting import written

TEAMS = 100


def organization(projects: int) -> dict[str, Any]:
    """So many projects in a hundred teams."""
    entry = {"budget_usd": 100, "rate_limit": {"requests_per_minute": 60}}
    return {
        "organization": {"name": "Large", "total_monthly_budget": 5_000_000},
        "teams": {
            f"team {team}": {
                "budget_usd": 50_000,
                "projects": {f"project {team}-{number}": dict(entry) for number in range(projects // TEAMS)},
            }
            for team in range(TEAMS)
        },
    }


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Does it, and prints how long it took."""
    begin, worked = time.perf_counter(), time.process_time()
    answer = work()
    took, cpu = time.perf_counter() - begin, time.process_time() - worked
    print(f"{what:<32} {took:6.2f} s   {cpu:6.2f} s of work")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--store", default="memory://")
    asked = parser.parse_args()
    data = organization(asked.projects)
    heard: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "organization.yaml"
        file.write_text(written(data))
        quota = Quota(asked.store, deadline=60)
        try:
            face = quota.blocking.organization
            timed("plan, nothing is there yet", lambda: face.plan(file))
            timed("apply", lambda: face.apply(file))
            same = timed(
                "plan, nothing differs", lambda: face.plan(file, progress=lambda *at: heard.append(at))
            )
            data["teams"]["team 1"]["projects"]["project 1-1"]["budget_usd"] = 120
            file.write_text(written(data))
            changed = timed("plan, one budget differs", lambda: face.plan(file))
            timed("export", face.export)
        finally:
            quota.close()
    assert same.empty
    assert [step.name for step in changed.steps] == ["project 1-1"]
    print(f"progress was told {len(heard)} times")


if __name__ == "__main__":
    main()
