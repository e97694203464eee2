"""`/projects`: the projects of teams, and of the organization itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..errors import AlreadyExists, ConfigurationError, NotFound, PreconditionFailed
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..words.wire import Body, Listing
from .nodes import Inside, NewNode, NodeAnswer, NodeChange, changed, found, made, page, shown, switched
from .routes import Again, Ask, Route

Environment = Annotated[
    str, Field(min_length=1, max_length=64, description="keys of one called `test` begin with qw_test_")
]


class NewProject(NewNode):
    """A project that is to be made, or changed where its name is known already: then what is sent replaces, and what is
    absent stays.
    """

    environment: Environment = "live"


class ProjectChange(NodeChange):
    """What is sent replaces, what is absent stays."""

    environment: Environment = "live"


class Projects(Inside):
    """Which of them, and which page."""

    team_id: str | None = Field(None, description="those of this team, by id or name")
    organization_id: str | None = Field(None, description="those of the organization, in teams or not")
    environment: str | None = None


class Move(Body):
    """Where to: one of the two, by id or name."""

    team_id: str | None = None
    organization_id: str | None = None


class ProjectAnswer(NodeAnswer):
    """A project; `team_id` is null for one right below the organization."""

    organization_id: str
    team_id: str | None
    environment: str


def list_projects(ask: Ask) -> Listing[ProjectAnswer]:
    """Those that the caller may look at. Takes quota:read:summary."""
    query = ask.query
    return page(
        ask,
        "project",
        lambda node: told(ask, node),
        place(ask, query),
        environment=query.environment,
    )


def put_project_of_team(ask: Ask) -> ProjectAnswer | Again:
    """Sent again with a known name in the same team it changes that project: what is sent replaces, what is absent
    stays, and calls go by it at once. Takes quota:manage.
    """
    return _put(ask, found(ask, "team", ask.params["team_id"]))


def put_project_of_organization(ask: Ask) -> ProjectAnswer | Again:
    """A project of no team; sent again with a known name it changes that project. Takes quota:manage."""
    return _put(ask, found(ask, "organization", ask.params["organization_id"]))


def get_project(ask: Ask) -> ProjectAnswer:
    """Takes quota:read:summary."""
    return told(ask, ask.tenancy.get(ask.org, found(ask, "project")))


def update_project(ask: Ask) -> ProjectAnswer:
    """Takes quota:manage; what gives it more than it has takes that where it stands, at its team or organization."""
    return told(ask, changed(ask, found(ask, "project"), ask.body.given()))


def delete_project(ask: Ask) -> None:
    """Takes quota:manage at what it stands below. Its keys are revoked first: 409 `has_children`."""
    ask.tenancy.delete(ask.org, found(ask, "project"), expect=ask.expect)


def enable_project(ask: Ask) -> ProjectAnswer:
    """Also one that a threshold stopped, or that was closed when its budget was used up. Takes quota:manage at
    its team or organization.
    """
    return told(ask, switched(ask, "project", enabled=True))


def disable_project(ask: Ask) -> ProjectAnswer:
    """Its calls are answered 403 `disabled` until it is enabled. Takes quota:manage."""
    return told(ask, switched(ask, "project", enabled=False))


def move_project(ask: Ask) -> ProjectAnswer:
    """Its keys, limits and what it used go along. Takes org:manage at the old place, whose people lose it, and
    quota:manage at the new one.
    """
    project = found(ask, "project")
    parent = place(ask, ask.body)
    if parent is None:
        raise ConfigurationError("team_id", "is missing; give it, or organization_id")
    return told(ask, ask.tenancy.move_project(ask.org, project, parent, expect=ask.expect))


def place(ask: Ask, where: Projects | Move) -> str | None:
    """The id of the team or organization that is named, None where none is. Raises NotFound, ConfigurationError."""
    named: list[tuple[Kind, str]] = []
    if where.team_id is not None:
        named.append(("team", where.team_id))
    if where.organization_id is not None:
        named.append(("organization", where.organization_id))
    if len(named) > 1:
        raise ConfigurationError("organization_id", "is given besides team_id; give one of the two")
    return found(ask, *named[0]) if named else None


def _put(ask: Ask, parent: str) -> ProjectAnswer | Again:
    given = ask.body.given()
    while True:
        known = ask.tenancy.child(ask.org, "project", parent, ask.body.name)
        if known is None:
            if ask.expect is not None:
                ask.actor.require("quota:manage", ask.tenancy.above(ask.org, parent).values())
                raise PreconditionFailed(f"There is no project named '{ask.body.name}' that could be changed")
            try:
                return told(ask, ask.tenancy.create_project(parent, org=ask.org, **made(ask.body)))
            except AlreadyExists as error:
                if error.fields.get("field") != "name":
                    raise
                continue  # somebody else made it meanwhile
        if given.get("id") not in (None, known):
            raise AlreadyExists(
                f"There is a project named '{ask.body.name}' already, with the id '{known}'",
                fields={"field": "id"},
            )
        try:
            return Again(
                told(ask, changed(ask, known, {name: value for name, value in given.items() if name != "id"}))
            )
        except NotFound:
            continue  # somebody else took it away meanwhile


def told(ask: Ask, node: Node) -> ProjectAnswer:
    """A project as it is answered."""
    return ProjectAnswer(
        **shown(ask, node),
        organization_id=ask.org,
        team_id=None if node.parent == ask.org else node.parent,
        environment=node.environment,
    )


_ONE = "/projects/{id}"
_TAG = "projects"

ROUTES = (
    Route(
        "GET",
        "/projects",
        list_projects,
        "Projects, by id",
        _TAG,
        "quota:read:summary",
        Listing[ProjectAnswer],
        query=Projects,
    ),
    Route(
        "POST",
        "/teams/{team_id}/projects",
        put_project_of_team,
        "Makes a project of a team, or changes the one of that name",
        _TAG,
        "quota:manage",
        ProjectAnswer,
        NewProject,
        status=201,
        errors=(PreconditionFailed,),
        again=True,
    ),
    Route(
        "POST",
        "/organizations/{organization_id}/projects",
        put_project_of_organization,
        "Makes a project of no team, or changes the one of that name",
        _TAG,
        "quota:manage",
        ProjectAnswer,
        NewProject,
        status=201,
        errors=(PreconditionFailed,),
        again=True,
    ),
    Route("GET", _ONE, get_project, "A project", _TAG, "quota:read:summary", ProjectAnswer),
    Route(
        "PATCH",
        _ONE,
        update_project,
        "Changes its name, environment, limits and alerts",
        _TAG,
        "quota:manage",
        ProjectAnswer,
        ProjectChange,
        errors=(AlreadyExists,),
    ),
    Route(
        "DELETE",
        _ONE,
        delete_project,
        "Takes a project without keys away",
        _TAG,
        "quota:manage",
        status=204,
        errors=(AlreadyExists,),
    ),
    Route(
        "POST",
        f"{_ONE}/enable",
        enable_project,
        "Lets calls go again",
        _TAG,
        "quota:manage",
        ProjectAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/disable",
        disable_project,
        "Stops its calls",
        _TAG,
        "quota:manage",
        ProjectAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/move",
        move_project,
        "Puts it below another team, or the organization",
        _TAG,
        "org:manage",
        ProjectAnswer,
        Move,
        errors=(PreconditionFailed,),
    ),
)
