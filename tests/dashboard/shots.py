"""Screenshots of the dashboard of a small company with a month behind it:

    python -m tests.dashboard.shots [directory]
    python -m tests.dashboard.shots --readme      the two of the README, in docs/images

Needs a Chromium (`CHROMIUM`, or one on the path) and playwright.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.context import Identity
from quotaware.testing.clocks import FakeClock
from quotaware.testing.server import serve
from tests.calls import a_call, a_quota, ask, used
from tests.dashboard.chromium import a_browser, sign_in
from tests.dashboard.conftest import BASE

NOW = round(datetime(2026, 11, 18, 14, 20, tzinfo=UTC).timestamp() * 1000)
DAY = 86_400_000
MODELS = ("gpt-4.1", "claude-sonnet-4-5", "gemini-2.5-flash")
TEAMS = {
    "Search": ("$900/month", {"ranker": "$400/month", "summaries": "$350/month"}),
    "Support": ("$600/month", {"chatbot": "$250/month", "ticket-triage": "$120/month"}),
    "Research": ("$300/month", {"evals": "$200/month"}),
}
PACE = {"ranker": 2050, "summaries": 1300, "chatbot": 700, "ticket-triage": 640, "evals": 1700}
"""Cents a day."""
WIDE, PHONE = (1360, 900), (390, 844)


def company() -> tuple[Quota, dict[str, str], str]:
    """A Quota with a month of calls, the ids of its projects, and an admin's key."""
    clock = FakeClock(NOW - 29 * DAY)
    price = {"input": 0, "output": 1000}
    quota = a_quota(clock=clock, prices=dict.fromkeys(MODELS, price), default_output=100_000)
    tenancy: Any = quota.blocking.tenancy
    org = tenancy.create_organization("StartupAI", id="startup", limits=["$2000/month"]).id
    projects: dict[str, str] = {}
    for team, (budget, inside) in TEAMS.items():
        id = tenancy.create_team(org, name=team, limits=[budget]).id
        for name, limit in inside.items():
            limits = [limit, "600 requests/minute", "$20/day per end_user"]
            projects[name] = tenancy.create_project(
                id,
                name=name,
                limits=limits,
                alerts=["80% email", "95% disable"] if name == "evals" else ["80% email"],
            ).id
            tenancy.create_key(projects[name], name=f"{name}-prod")
    admin = tenancy.create_key(org, permissions=["org:manage"], name="Finance").secret
    chance = random.Random(7)
    for day in range(30):
        clock.now = NOW - (29 - day) * DAY
        for name, project in projects.items():
            weekend = datetime.fromtimestamp(clock() / 1000, UTC).weekday() >= 5
            cents = round(PACE[name] * chance.uniform(0.6, 1.3) * (0.4 if weekend else 1))
            for part in range(3):
                caller = Identity(project=project, end_user=f"user-{chance.randrange(12)}")
                _call(quota, cents // 6 if part else cents // 2, MODELS[(part + len(name)) % 3], caller)
        quota.flush()
    return quota, projects, admin


def _call(quota: Quota, cents: int, model: str, caller: Identity) -> None:
    """One call, where it may go."""
    admission = ask(quota, a_call(cents, model=model), caller)
    if isinstance(admission, Admission):
        admission.settle(used(cents))


def people(quota: Quota, projects: dict[str, str]) -> None:
    """Members, where alerts go, and requests for more: one that was granted, and one that waits."""
    tenancy: Any = quota.blocking.tenancy
    org = "startup"
    for name, role, node in (
        ("mina", "org_admin", org), ("jun", "developer", projects["ranker"]), ("sora", "viewer", org),
    ):  # fmt: skip
        tenancy.create_member(org, name, email=f"{name}@example.com", roles=[(role, node)])
    quota.blocking.alerts.add_channel(org, org, "email", email="finance@example.com")
    tenancy.create_role(org, "auditor", ["quota:read", "analytics:full"])
    by = {name: tenancy.by(tenancy.acting(org, name)) for name in ("mina", "jun")}
    night = by["jun"].ask(org, projects["ranker"], "requests/minute", 900, reason="backfill over the weekend")
    by["mina"].decide(org, night.id, "approved", note="fine until Monday")
    by["jun"].ask(org, projects["ranker"], "cost/month", 550_000_000_000, reason="the launch is on Friday")


@contextmanager
def shown() -> Iterator[tuple[str, dict[str, str], str]]:
    """The company's dashboard, served: its address, the pages that are worth seeing, and an admin's key."""
    quota, projects, admin = company()
    app = Starlette()
    app.mount("/v1", quota.management())
    people(quota, projects)
    held = ask(quota, a_call(900, model=MODELS[0]), Identity(project=projects["ranker"]))
    pages = {"overview": "/", "project": f"/projects/{projects['ranker']}", "keys": "/keys"}
    pages |= {name: f"/{name}" for name in ("members", "requests", "alerts", "audit", "settings")}
    pages["explain"] = f"/explain?project={projects['evals']}&model={MODELS[0]}&max_output=1000"
    with serve(app) as url:
        yield url, pages, admin
    del held
    quota.close()


def readme(directory: Path) -> None:
    """Writes the two of the README: the overview, and a project in the dark."""
    directory.mkdir(parents=True, exist_ok=True)
    with shown() as (url, pages, admin), a_browser() as browser:
        for what, theme in (("overview", "light"), ("project", "dark")):
            context = browser.new_context(
                viewport={"width": WIDE[0], "height": WIDE[1]}, color_scheme=theme, locale="en"
            )
            page = context.new_page()
            sign_in(page, url, admin)
            page.goto(f"{url}{BASE}{pages[what]}")
            page.wait_for_selector(".pulse.on", state="attached")
            page.screenshot(path=directory / f"{what}.png")
            context.close()


def main(directory: Path) -> None:
    """Writes them all."""
    directory.mkdir(parents=True, exist_ok=True)
    with shown() as (url, pages, admin), a_browser() as browser:
        for theme, size, language in (
            ("light", WIDE, "en"), ("dark", WIDE, "en"), ("light", PHONE, "en"), ("dark", PHONE, "en"),
            ("light", WIDE, "ko"),
        ):  # fmt: skip
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]}, color_scheme=theme, locale=language,
                device_scale_factor=1 if size == WIDE else 2,
            )  # fmt: skip
            page = context.new_page()
            page.goto(f"{url}{BASE}/sign-in")
            name = f"{'wide' if size == WIDE else 'phone'}-{theme}-{language}.png"
            page.screenshot(path=directory / f"sign-in-{name}")
            sign_in(page, url, admin)
            for what, path in pages.items():
                page.goto(f"{url}{BASE}{path}")
                page.wait_for_selector(".pulse.on", state="attached")
                page.screenshot(path=directory / f"{what}-{name}", full_page=True)
            context.close()
    print(f"written to {directory}")


if __name__ == "__main__":
    if "--readme" in sys.argv:
        readme(Path(__file__).parents[2] / "docs" / "images")
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"))
