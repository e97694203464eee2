"""`/organizations/{id}/plan`, `/apply` and `/export`: the organization as one file (docs/organization-file.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, WrapValidator

from ..errors import AlreadyExists, FileError, InvalidRequest
from ..organization.model import OrganizationFile
from ..organization.service import Organizations
from ..words.wire import Answer, Body, Revised
from .bodies import bad_fields
from .nodes import found
from .routes import Ask, Route

Values = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "description": "as `apply` takes it"}, mode="serialization"),
]


def _as_it_is(value: Any, check: Any) -> Any:
    """The values themselves: all that is wrong with them is told at once where they are used."""
    if not isinstance(value, dict):
        raise ValueError("is an object")
    return value


File = Annotated[Any, WrapValidator(_as_it_is, json_schema_input_type=OrganizationFile)]
"""The file's content as JSON."""


class PlanBody(Body):
    """What the organization is to be. What the file does not say is left alone; a list or mapping that it says is the
    whole of it.
    """

    file: File


class ApplyBody(PlanBody):
    """The same, done."""

    allow_destroy: bool = Field(
        False, description="whether something may be taken away; 409 `would_destroy` else"
    )
    revision: int | None = Field(
        None,
        ge=0,
        le=2**53,
        description="that of a plan: only if nothing changed since; 409 `changed_since` else",
    )


class Exported(Body):
    """How."""

    ids: bool = Field(False, description="also ids that nobody chose")


class DifferenceAnswer(Answer):
    """A value that becomes another; null where there is none."""

    field: str
    before: Any
    after: Any


class StepAnswer(Answer):
    """One thing that is made, changed, moved or taken away (`destroys`). `id` is null for what is not there yet.

    where  the node that it is at; path: where the file says it
    """

    action: Literal["create", "change", "move", "remove"]
    kind: str
    id: str | None
    name: str
    where: str
    path: str | None
    destroys: bool
    changes: list[DifferenceAnswer]


class MoneyAnswer(Answer):
    """A budget that becomes another one, US dollars a window."""

    where: str
    window: str
    before_usd: float | None
    after_usd: float | None


class CountsAnswer(Answer):
    """How many things of each kind of step, and how many are as the file says."""

    create: int
    change: int
    move: int
    remove: int
    unchanged: int


class StepsAnswer(Answer):
    """What changes, in the order in which it is done."""

    organization: str
    steps: list[StepAnswer]
    money: list[MoneyAnswer]
    counts: CountsAnswer


class PlanAnswer(Revised, StepsAnswer):
    """What would change. `revision` is what `apply` takes to do just that."""


class SecretAnswer(Answer):
    """A key that was made, or what signs a channel's messages: shown this once."""

    kind: Literal["key", "channel"]
    id: str
    name: str
    where: str
    secret: str


class ApplyAnswer(StepsAnswer):
    """What was done. `secrets` is null in a repeat with the same Idempotency-Key."""

    secrets: list[SecretAnswer] | None


class ExportAnswer(Answer):
    """The organization as the file says it, without what the caller may not look at."""

    file: Values


def plan_organization(ask: Ask) -> PlanAnswer:
    """What `apply` would do; nothing is changed. Takes quota:read, and for members, roles and prices org:manage, for
    keys api_key:read, for channels quota:manage; and refuses what `apply` would.
    """
    with _in_the_body():
        return PlanAnswer(**_files(ask).plan(ask.body.file, organization=_home(ask)).told())


def apply_organization(ask: Ask) -> ApplyAnswer:
    """All of it or nothing, as one change. Each step takes what it takes alone; what was spent is not touched. Again,
    it changes nothing.
    """
    body: ApplyBody = ask.body
    with _in_the_body():
        done = _files(ask).apply(
            body.file, organization=_home(ask), allow_destroy=body.allow_destroy, revision=body.revision
        )
    secrets = [SecretAnswer(**each._asdict()) for each in done.secrets]
    return ApplyAnswer(**done.plan.told(), secrets=secrets)


def export_organization(ask: Ask) -> ExportAnswer:
    """Applied where it comes from, it changes nothing. Secrets, keys without a name and what is over are not in it."""
    return ExportAnswer(file=_files(ask).values(_home(ask), ids=ask.query.ids))


@contextmanager
def _in_the_body() -> Iterator[None]:
    """What is wrong with the file stands under `file` in the body."""
    try:
        yield
    except FileError as error:
        raise bad_fields(
            [{"field": f"file.{each.field}".rstrip("."), "message": each.message} for each in error.problems]
        ) from None
    except InvalidRequest as error:
        for each in error.fields.get("errors", ()):
            each["field"] = f"file.{each['field']}"
        raise


def _files(ask: Ask) -> Organizations:
    return ask.parts.organization.by(ask.tenancy)


def _home(ask: Ask) -> str:
    """The caller's organization, which the path names; for the host it may be one that is to be made."""
    if ask.actor.kind == "host" and ask.params["id"] == ask.org:
        return ask.org
    return found(ask, "organization")


_ONE = "/organizations/{id}"
_TAG = "organizations"
_TAKES = "quota:read"

ROUTES = (
    Route(
        "POST", f"{_ONE}/plan", plan_organization, "What a file would change", _TAG, _TAKES, PlanAnswer, PlanBody,
        errors=(AlreadyExists,), large=True,
    ),
    Route(
        "POST", f"{_ONE}/apply", apply_organization, "Makes it as a file says", _TAG, _TAKES, ApplyAnswer, ApplyBody,
        errors=(AlreadyExists,), secrets=("secrets",), large=True,
    ),
    Route(
        "GET", f"{_ONE}/export", export_organization, "The organization as a file", _TAG, _TAKES, ExportAnswer,
        query=Exported,
    ),
)  # fmt: skip
