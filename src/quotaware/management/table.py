"""The table of routes: what the API serves, documents and is tested by."""

from __future__ import annotations

from . import (
    alert_channels,
    allocations,
    analytics,
    api_keys,
    audit_log,
    explanations,
    groups,
    limits,
    me,
    members,
    organization_files,
    organizations,
    overrides,
    prices,
    projects,
    quota_requests,
    roles,
    simulations,
    teams,
    usage,
)
from .routes import Route

ROUTES: tuple[Route, ...] = (
    *me.ROUTES,
    *allocations.ROUTES,
    *organizations.ROUTES,
    *organization_files.ROUTES,
    *teams.ROUTES,
    *projects.ROUTES,
    *api_keys.ROUTES,
    *overrides.ROUTES,
    *quota_requests.ROUTES,
    *limits.ROUTES,
    *alert_channels.ROUTES,
    *members.ROUTES,
    *groups.ROUTES,
    *roles.ROUTES,
    *analytics.ROUTES,
    *usage.ROUTES,
    *simulations.ROUTES,
    *explanations.ROUTES,
    *audit_log.ROUTES,
    *prices.ROUTES,
)
