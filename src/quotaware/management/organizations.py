"""`/organizations`: the caller's own. Organizations are made and taken away by the host's own code."""

from __future__ import annotations

from ..core.alerts import SHARE
from ..errors import AlreadyExists, PreconditionFailed
from ..tenancy.nodes import Node
from ..words.terms import Threshold
from ..words.wire import Listing
from .nodes import NodeAnswer, NodeChange, Nodes, changed, found, page, shown, switched
from .routes import Ask, Route


class OrganizationChange(NodeChange):
    """What is sent replaces, what is absent stays."""

    time_zone: str = "UTC"
    alert_threshold: Threshold | None = None
    auto_upgrade: bool = False
    carryover_allowed: bool = True


class OrganizationAnswer(NodeAnswer):
    """An organization.

    time_zone          IANA name of the zone whose midnight begins its days and months
    alert_threshold    an alert at this share of every budget that has none
    auto_upgrade       requests for more are granted at once within the parent's budget
    carryover_allowed  false: no limit may carry over
    """

    time_zone: str
    alert_threshold: float | None
    auto_upgrade: bool
    carryover_allowed: bool


def list_organizations(ask: Ask) -> Listing[OrganizationAnswer]:
    """The caller's own, if the caller may look at it. Takes quota:read:summary."""
    return page(ask, "organization", lambda node: told(ask, node))


def get_organization(ask: Ask) -> OrganizationAnswer:
    """Takes quota:read:summary."""
    return told(ask, ask.tenancy.get(ask.org, found(ask, "organization")))


def update_organization(ask: Ask) -> OrganizationAnswer:
    """Takes org:manage for name, time_zone, alert_threshold, auto_upgrade and carryover_allowed, quota:manage for what
    else there is.
    """
    return told(ask, changed(ask, found(ask, "organization"), ask.body.given()))


def enable_organization(ask: Ask) -> OrganizationAnswer:
    """Takes org:manage, of somebody who is not in it: the host's own code. Nobody acts in one that is disabled."""
    return told(ask, switched(ask, "organization", enabled=True))


def disable_organization(ask: Ask) -> OrganizationAnswer:
    """No calls, and nothing is managed any more, until the host's own code enables it. Takes org:manage."""
    return told(ask, switched(ask, "organization", enabled=False))


def told(ask: Ask, node: Node) -> OrganizationAnswer:
    """An organization as it is answered."""
    return OrganizationAnswer(
        **shown(ask, node),
        time_zone=node.zone,
        alert_threshold=None if node.alert_threshold is None else node.alert_threshold / SHARE,
        auto_upgrade=node.auto_upgrade,
        carryover_allowed=node.carryover_allowed,
    )


_ONE = "/organizations/{id}"
_TAG = "organizations"

ROUTES = (
    Route(
        "GET",
        "/organizations",
        list_organizations,
        "The caller's own",
        _TAG,
        "quota:read:summary",
        Listing[OrganizationAnswer],
        query=Nodes,
    ),
    Route("GET", _ONE, get_organization, "An organization", _TAG, "quota:read:summary", OrganizationAnswer),
    Route(
        "PATCH",
        _ONE,
        update_organization,
        "Changes its settings, limits and alerts",
        _TAG,
        "org:manage",
        OrganizationAnswer,
        OrganizationChange,
        errors=(AlreadyExists,),
    ),
    Route(
        "POST",
        f"{_ONE}/enable",
        enable_organization,
        "Lets calls go again",
        _TAG,
        "org:manage",
        OrganizationAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/disable",
        disable_organization,
        "Stops all calls, and all management",
        _TAG,
        "org:manage",
        OrganizationAnswer,
        errors=(PreconditionFailed,),
    ),
)
