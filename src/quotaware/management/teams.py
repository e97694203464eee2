"""`/teams`: the teams of an organization."""

from __future__ import annotations

from ..errors import AlreadyExists, PreconditionFailed
from ..tenancy.nodes import Node
from ..words.wire import Listing
from .nodes import NewNode, NodeAnswer, NodeChange, Nodes, changed, found, made, page, shown, switched
from .routes import Ask, Route


class TeamAnswer(NodeAnswer):
    """A team."""

    organization_id: str


def list_teams(ask: Ask) -> Listing[TeamAnswer]:
    """Those that the caller may look at. Takes quota:read:summary."""
    return page(ask, "team", lambda node: told(ask, node))


def create_team(ask: Ask) -> TeamAnswer:
    """Takes team:create."""
    org = found(ask, "organization", ask.params["organization_id"])
    return told(ask, ask.tenancy.create_team(org, **made(ask.body)))


def get_team(ask: Ask) -> TeamAnswer:
    """Takes quota:read:summary."""
    return told(ask, ask.tenancy.get(ask.org, found(ask, "team")))


def update_team(ask: Ask) -> TeamAnswer:
    """Takes quota:manage; what gives it more than it has takes that at the organization."""
    return told(ask, changed(ask, found(ask, "team"), ask.body.given()))


def delete_team(ask: Ask) -> None:
    """Takes team:delete at the organization. Projects and keys below it are deleted first: 409 `has_children`."""
    ask.tenancy.delete(ask.org, found(ask, "team"), expect=ask.expect)


def enable_team(ask: Ask) -> TeamAnswer:
    """Takes quota:manage at the organization."""
    return told(ask, switched(ask, "team", enabled=True))


def disable_team(ask: Ask) -> TeamAnswer:
    """Keys on it and below do nothing until it is enabled. Takes quota:manage."""
    return told(ask, switched(ask, "team", enabled=False))


def told(ask: Ask, node: Node) -> TeamAnswer:
    """A team as it is answered."""
    return TeamAnswer(**shown(ask, node), organization_id=node.parent)


_ONE = "/teams/{id}"
_TAG = "teams"

ROUTES = (
    Route(
        "GET",
        "/teams",
        list_teams,
        "Teams, by id",
        _TAG,
        "quota:read:summary",
        Listing[TeamAnswer],
        query=Nodes,
    ),
    Route(
        "POST",
        "/organizations/{organization_id}/teams",
        create_team,
        "Makes a team",
        _TAG,
        "team:create",
        TeamAnswer,
        NewNode,
        status=201,
    ),
    Route("GET", _ONE, get_team, "A team", _TAG, "quota:read:summary", TeamAnswer),
    Route(
        "PATCH",
        _ONE,
        update_team,
        "Changes its name, limits and alerts",
        _TAG,
        "quota:manage",
        TeamAnswer,
        NodeChange,
        errors=(AlreadyExists,),
    ),
    Route(
        "DELETE",
        _ONE,
        delete_team,
        "Takes an empty team away",
        _TAG,
        "team:delete",
        status=204,
        errors=(AlreadyExists,),
    ),
    Route(
        "POST",
        f"{_ONE}/enable",
        enable_team,
        "Lets calls go again",
        _TAG,
        "quota:manage",
        TeamAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/disable",
        disable_team,
        "Stops calls on it and below",
        _TAG,
        "quota:manage",
        TeamAnswer,
        errors=(PreconditionFailed,),
    ),
)
