"""`POST /explain`: may this call go now, and if not, why and until when. Nothing is reserved or counted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from ..context import Binding
from ..core.permissions import allows
from ..errors import ConfigurationError
from ..explaining import explain
from ..stores.tickets import drive
from ..words.wire import Answer, Body
from .routes import Ask, Route

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Asked(Body):
    """A call of a project, in a few words."""

    model: Name
    provider: Name | None = Field(None, description="openai, anthropic, …; null where nobody knows")
    operation: Name = Field("chat", description="chat, responses, embeddings, …")
    input: int | None = Field(
        None, ge=0, le=10**12, description="the most tokens in; null where nobody knows yet"
    )
    max_output: int | None = Field(
        None, ge=0, le=10**12, description="the most tokens out; null for the model's longest answer"
    )
    member: Name | None = Field(None, description="the name or id of the member who calls")
    end_user: Name | None = None
    tags: dict[str, str] = Field(default_factory=dict, max_length=32)


class AskedOf(Asked):
    """A call of a key or a project; of whoever asks, where nobody is named."""

    key: Name | None = Field(None, description="its id or name; never its secret")
    project: Name | None = None
    address: str | None = Field(None, min_length=1, max_length=64, description="from where a key is used")

    @model_validator(mode="after")
    def _one_caller(self) -> AskedOf:
        if self.key is not None and (self.project is not None or self.member is not None):
            raise ConfigurationError("key", "says its project already, and acts itself; give one of them")
        return self


class Reason(Answer):
    """The error that the call would be answered with."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    code: str
    message: str


class State(Answer):
    """A limit that bears on the call, as it stands; figures in dollars, tokens or requests, as its metric is."""

    rule: str = Field(description="the limit, as limits are written")
    on: str = Field(description="id of the node whose it is")
    kind: str
    name: str
    metric: str
    limit: float
    used: float
    held: float = Field(description="by calls under way")
    remaining: float
    resets_at: str | None = Field(json_schema_extra={"format": "date-time"})
    mode: Literal["hard", "soft", "shadow"]


class Explained(Answer):
    """Whether the call may go at this moment, and why.

    `until`: from when on it fits, other traffic aside; null where it is allowed, or nobody knows, or never.
    `output_cap`: output tokens that would be written into its body. `input_bound`: the most tokens that its input is
    taken to be; `allowance`: how many of these are allowed for what its body does not show. `would_deny`: what would
    refuse it, were it not in shadow.
    """

    allowed: bool
    error: Reason | None
    until: str | None = Field(json_schema_extra={"format": "date-time"})
    limits: list[State]
    caller: dict[str, str]
    reserved_usd: float | None
    estimated_usd: float | None
    expected_tokens: int | None
    output_cap: int | None
    input_bound: int | None
    allowance: int | None
    would_deny: list[str]


def explain_call(ask: Ask) -> Explained:
    """Takes nothing where callers ask for themselves; quota:read at the project, api_key:read for another key, and
    org:manage for a member.
    """
    asked: AskedOf = ask.body
    told = asked.given()
    if asked.key is not None:
        told["key"] = ask.tenancy.find(ask.org, "key", asked.key).id
    elif asked.project is None and asked.member is None:
        told |= {"key": ask.actor.id} if ask.actor.kind == "key" else {"member": ask.actor.name}
    return _explained(ask, told, asked.project)


def explain_project(ask: Ask) -> Explained:
    """Takes quota:read at the project; for a member org:manage too."""
    return _explained(ask, ask.body.given(), ask.params["id"])


def _explained(ask: Ask, told: dict[str, Any], project: str | None) -> Explained:
    if project is not None:
        told["project"] = ask.tenancy.place(ask.org, project, "project")
        if not allows(ask.tenancy.held_at(ask.org, told["project"]), "quota:read"):
            raise ask.actor.lacks("quota:read")
    if told.get("member") is not None:
        told["member"] = ask.tenancy.member(ask.org, told["member"]).name
    found = explain(ask.parts.engine, Binding(None, None), organization=ask.org, **told)
    return Explained.model_validate(drive(found).body())


_TAG = "explain"

ROUTES = (
    Route("POST", "/explain", explain_call, "May this call go now, and why not", _TAG, "", Explained, AskedOf),
    Route(
        "POST", "/projects/{id}/explain", explain_project, "May this call of a project go now, and why not", _TAG,
        "quota:read", Explained, Asked,
    ),
)  # fmt: skip
