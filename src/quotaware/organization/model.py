"""The shape of the file: an organization as pydantic models, in the words that requests say the same things in.

What the file says is made so; what it does not say is left alone. A list or a mapping that it says is the whole of it:
what is not in it is taken away. The JSON Schema that editors use is made of these models (`schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ..alerts.secrets import PREFIX
from ..core.money import MAX_AMOUNT
from ..errors import ConfigurationError
from ..tenancy.channels import MAX_CHANNELS, ChannelType
from ..tenancy.checks import MAX_ENTRIES, MAX_NAME
from ..words.prices import NewPrice
from ..words.terms import Terms, Threshold
from ..words.wire import Body, Time, Usd

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
ChosenId = Annotated[str, Field(min_length=1, max_length=64, description="1 to 64 of a-z, 0-9, _ and -")]
Texts = Annotated[list[Name], Field(max_length=MAX_ENTRIES)]
Shape = Annotated[
    str, Field(min_length=1, max_length=512, description="a limit by its shape, such as cost/month")
]
SCHEMA_ID = "https://github.com/quotaware/quotaware/raw/main/docs/organization.schema.json"


def _reference(text: str) -> str:
    name = text.removeprefix("env:")
    if name == text or not name.startswith(PREFIX):
        raise ValueError(f"no secret stands in the file: name a variable, such as env:{PREFIX}SLACK")
    return text


Reference = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": f"^env:{PREFIX}[A-Za-z0-9_]*$"}),
    AfterValidator(_reference),
]
"""A variable of the app's environment, in place of a secret."""


class OverrideEntry(Body):
    """Another amount of a limit from `since` on, until `until`: `amount_usd` of one on cost, `amount` of any other."""

    limit: Shape
    amount: int | None = Field(None, ge=0, le=MAX_AMOUNT)
    amount_usd: Usd | None = None
    since: Time
    until: Time


class ChannelEntry(Body):
    """Where alerts go: an `email`, or the `url` of Slack or a webhook, by the name of a variable of the environment.

    `secret`: what a webhook is signed with; without it one is made, and shown once. One whose URL was set elsewhere
    stands here by its `id`.
    """

    type: ChannelType
    email: str | None = Field(None, max_length=320)
    url: Reference | None = None
    secret: Reference | None = None
    id: ChosenId | None = None


class Common(Terms):
    """What all nodes have."""

    id: ChosenId | None = Field(None, description="without it, a node is known by its name and place")
    carryover: bool | None = Field(
        None, description="what is left of the budgets that stand here is added to the next period"
    )
    allowed_models: Texts | None = Field(
        None, description="patterns of the models that may be used; empty: all"
    )
    overrides: list[OverrideEntry] | None = Field(None, max_length=MAX_ENTRIES)


def _named(value: Any) -> Any:
    """A list of names as a mapping of what has nothing but its name; a name that says nothing is empty."""
    if isinstance(value, Mapping):
        return {name: {} if entry is None else entry for name, entry in value.items()}
    if not isinstance(value, list):
        return value
    found: dict[str, Any] = {}
    for number, name in enumerate(value):
        if not isinstance(name, str):
            raise ConfigurationError(
                str(number), "is the name of a project; write the list as a mapping to say more"
            )
        if name in found:
            raise ConfigurationError(str(number), f"names {name!r} twice")
        found[name] = {}
    return found


def _filled(value: Any) -> Any:
    """The same of what is no list."""
    return _named(value) if isinstance(value, Mapping) else value


class KeyEntry(Common):
    """An API key, by its name. Its secret is answered once, when it is made, and never stands here."""

    permissions: Texts | None = Field(None, description="of a new key without them: what makes calls")
    allowed_ips: Texts | None = Field(None, description="addresses and CIDR blocks; empty: all")
    expires_at: Time | None = None
    enabled: bool | None = None


Keys = Annotated[
    dict[Name, KeyEntry], BeforeValidator(_filled, json_schema_input_type=dict[Name, KeyEntry | None])
]


class Place(Common):
    """What organizations, teams and projects have."""

    roles: dict[Name, Texts] | None = Field(
        None, description="groups of people, by name, and the roles that their members hold here"
    )
    keys: Keys | None = Field(None, description="API keys by name; those without a name are let be")
    channels: list[ChannelEntry] | None = Field(None, max_length=MAX_CHANNELS)


class ProjectEntry(Place):
    """A project."""

    budget_usd: Usd | None = Field(None, description="the same as monthly_budget_usd")
    environment: str | None = Field(
        None, min_length=1, max_length=64, description="keys of one called `test` look so"
    )
    enabled: bool | None = None


Projects = Annotated[
    dict[Name, ProjectEntry],
    BeforeValidator(_named, json_schema_input_type=list[Name] | dict[Name, ProjectEntry | None]),
]
"""Projects by name, or nothing but their names."""


class TeamEntry(Place):
    """A team."""

    budget_usd: Usd | None = Field(None, description="the same as monthly_budget_usd")
    projects: Projects | None = None
    enabled: bool | None = None


Teams = Annotated[
    dict[Name, TeamEntry],
    BeforeValidator(_filled, json_schema_input_type=dict[Name, TeamEntry | None]),
]


class OrganizationEntry(Place):
    """The organization itself."""

    name: Name
    total_monthly_budget: Usd | None = Field(None, description="the same as monthly_budget_usd")
    time_zone: str | None = Field(None, description="IANA name of the zone that its days and months follow")


class GlobalSettings(Body):
    """What holds everywhere in it."""

    alert_threshold: Threshold | None = Field(
        None, description="an alert at this share of every budget that has none"
    )
    auto_upgrade: bool | None = Field(
        None, description="requests for more are granted at once within the parent's budget"
    )
    carryover_allowed: bool | None = Field(None, description="false: no limit may carry over")


class RoleEntry(Body):
    """A role of the organization's own."""

    permissions: Texts = Field(default_factory=list)
    description: str | None = Field(None, max_length=1000)


class HeldEntry(Body):
    """A role at a node: its name, `team/project`, or its id."""

    role: Name
    node: str = Field(min_length=1, max_length=2 * MAX_NAME + 1)


class MemberEntry(Body):
    """A person, by the name that the host's own login has; `groups`: `team/group`, or a name that is there once."""

    email: str | None = Field(None, max_length=320)
    roles: list[HeldEntry] | None = Field(None, max_length=MAX_ENTRIES)
    groups: list[str] | None = Field(None, max_length=MAX_ENTRIES)
    enabled: bool | None = None


Roles = Annotated[
    dict[Name, RoleEntry], BeforeValidator(_filled, json_schema_input_type=dict[Name, RoleEntry | None])
]
Members = Annotated[
    dict[Name, MemberEntry], BeforeValidator(_filled, json_schema_input_type=dict[Name, MemberEntry | None])
]


class OrganizationFile(Body):
    """An organization as one file, in YAML, TOML or JSON. What it does not say is left alone; a list or mapping that it
    says is the whole of it. null takes away.
    """

    organization: OrganizationEntry
    teams: Teams | None = None
    projects: Projects | None = Field(None, description="those of no team")
    global_settings: GlobalSettings | None = None
    custom_roles: Roles | None = None
    members: Members | None = None
    prices: list[NewPrice] | None = Field(
        None, max_length=MAX_ENTRIES, description="over the maintained list"
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of the file (draft 2020-12)."""
    found = OrganizationFile.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **found,
        "title": "A quotaware organization",
    }
