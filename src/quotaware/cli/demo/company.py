"""The company of the demo: its tree, and the month behind it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ... import Alerts, ApiError, Identity, Notice, Quota
from ...stores.memory import system_clock

DAYS = 30
"""Days of calls that lie behind it."""
DAY_MS = 86_400_000
CALLS = 6
"""Calls a project and day of these."""
END_USERS = 12
TEAMS = {"Search": "$500/month", "Support": "$200/month", "Research": "$150/month"}


@dataclass(frozen=True, slots=True)
class Service:
    """A project that makes calls.

    every  seconds between two of its calls, on average
    daily  what a day of it cost in the past, US dollars
    """

    name: str
    team: str
    limits: tuple[str, ...]
    alerts: tuple[str, ...]
    models: tuple[str, ...]
    every: float
    daily: float


SERVICES = (
    Service(
        "ranker", "Search", ("$300/month", "600 requests/minute"), ("80% email", "forecast 100% slack"),
        ("gpt-4.1", "gpt-4.1-mini"), 0.8, 7.0,
    ),
    Service("summaries", "Search", ("$150/month",), ("80% email",), ("claude-haiku-4-5",), 1.2, 3.5),
    Service(
        "chatbot", "Support", ("$120/month", "12 requests/minute", "$2/day per end_user"),
        ("80% email", "denied slack on requests/minute"), ("gpt-4.1-mini", "claude-haiku-4-5"), 1.0, 2.6,
    ),
    Service("ticket-triage", "Support", ("$0.1/day",), ("80% email",), ("gpt-4.1",), 1.0, 0.06),
    Service("evals", "Research", ("$60/month", "2 concurrent"), ("80% email",), ("gpt-4.1",), 2.0, 1.9),
)  # fmt: skip
"""`chatbot` asks more often than it may, and the budget of `ticket-triage` is gone within a minute."""


class Clock:
    """The system's, so many ms back."""

    def __init__(self) -> None:
        self.back = 0

    def __call__(self) -> int:
        return system_clock() - self.back


@dataclass(slots=True)
class Company:
    """A Quota, and who is who in it: ids of projects, and secrets of keys, by the project's name."""

    quota: Quota
    org: str
    admin: str
    projects: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


def who(scope: Any) -> Identity | None:
    """The end user whom the demo's own requests name."""
    named = dict(scope["headers"]).get(b"x-user")
    return Identity(end_user=named.decode("latin-1")) if named else None


def company(told: Callable[[Notice], None], seed: int = 7) -> Company:
    """Makes it; `told` hears each alert that becomes due from now on."""
    clock = Clock()
    heard = Alerts(callback=lambda notice: told(notice) if not clock.back else None)
    quota = Quota("memory://", clock=clock, identify=who, alerts=heard)
    clock.back = DAYS * DAY_MS
    made = _tree(quota)
    _month(made, clock, random.Random(seed))  # noqa: S311  # no secret hangs on it
    clock.back = 0
    return made


def _tree(quota: Quota) -> Company:
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("StartupAI", limits=["$1000/month"], alerts=["80% email"]).id
    made = Company(quota, org, tenancy.create_key(org, name="demo", permissions=["org:manage"]).secret)
    teams = {
        name: tenancy.create_team(org, name, limits=[budget], alerts=["90% slack"]).id
        for name, budget in TEAMS.items()
    }
    for service in SERVICES:
        project = tenancy.create_project(
            teams[service.team], service.name, limits=service.limits, alerts=service.alerts
        ).id
        made.projects[service.name] = project
        made.keys[service.name] = tenancy.create_key(project, name=f"{service.name}-prod").secret
        tenancy.create_member(org, f"{service.name}-lead", roles=[("developer", project)])
    tenancy.create_member(org, "finance", roles=[("viewer", org)])
    return made


def _month(made: Company, clock: Clock, chance: random.Random) -> None:
    """Calls of the days before today, fewer on weekends."""
    for day in range(DAYS, 0, -1):
        clock.back = day * DAY_MS
        weekend = datetime.fromtimestamp(clock() / 1000, UTC).weekday() >= 5
        for service in SERVICES:
            cost = service.daily / CALLS * (0.4 if weekend else 1)
            for _ in range(CALLS):
                _past_call(made, service, cost * chance.uniform(0.6, 1.2), chance)
        made.quota.flush()


def _past_call(made: Company, service: Service, cost: float, chance: random.Random) -> None:
    """One call of the past that cost about so much, where it might go."""
    tokens = round(cost / _USD_PER_TOKEN)
    user = f"user-{chance.randrange(END_USERS)}" if service.name == "chatbot" else None
    model = chance.choice(service.models)
    provider = "anthropic" if model.startswith("claude") else "openai"
    quota = made.quota
    try:
        with (
            quota.acting_as(project=made.projects[service.name], end_user=user),
            quota.call(provider=provider, model=model, input=tokens // 4, max_output=tokens) as call,
        ):
            call.used(input=tokens // 4, output=chance.randrange(tokens // 2, tokens))
    except ApiError:
        pass  # it is what limits are for


_USD_PER_TOKEN = 0.000006
"""What a token of output costs about."""
