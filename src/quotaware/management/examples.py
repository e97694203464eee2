"""What bodies look like: an example for each that has to say something, by the model that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..words.prices import NewPrice
from ..words.wire import Body
from .alert_channels import NewChannel
from .allocations import AllocateBody
from .api_keys import ApiKeyChange, NewApiKey, Rotation
from .explanations import Asked, AskedOf
from .groups import GroupChange, NewGroup
from .limits import LimitChange, NewLimit
from .members import HeldRole, MemberChange, NewMember
from .nodes import NewNode, NodeChange
from .organization_files import ApplyBody, PlanBody
from .organizations import OrganizationChange
from .overrides import NewOverride
from .projects import Move, NewProject, ProjectChange
from .quota_requests import NewRequest, Note
from .roles import NewRole, RoleChange

_FILE = {
    "organization": {"name": "StartupAI", "total_monthly_budget": 500.0},
    "teams": {
        "engineering": {
            "budget_usd": 300.0,
            "projects": ["backend-api", "mobile-app"],
            "roles": {"lead": ["admin"], "members": ["developer"]},
        },
    },
    "global_settings": {"alert_threshold": 0.75, "auto_upgrade": False, "carryover_allowed": False},
}

EXAMPLES: Mapping[type[Body], Mapping[str, Any]] = {
    AllocateBody: {
        "team_id": "org_startup_ai",
        "allocations": [
            {
                "target": "engineering",
                "type": "monthly_budget",
                "amount_usd": 300.0,
                "reset_period": "monthly",
                "carryover": False,
            }
        ],
        "enforcement": {"hard_limit": True, "notify_on_exceed": True, "auto_disable_on_exceed": False},
    },
    PlanBody: {"file": _FILE},
    ApplyBody: {"file": _FILE, "allow_destroy": False},
    OrganizationChange: {"monthly_budget_usd": 500.0, "time_zone": "Europe/Berlin"},
    NewNode: {"name": "engineering", "monthly_budget_usd": 300.0},
    NodeChange: {"monthly_budget_usd": 350.0},
    NewProject: {
        "name": "ml-feature-pipeline",
        "monthly_budget_usd": 1500.0,
        "quota_alerts": [{"threshold": 0.5, "action": "email"}, {"threshold": 0.95, "action": "disable"}],
        "model_limits": {"gpt-4.1": {"daily_requests": 500, "daily_budget_usd": 25}},
    },
    ProjectChange: {"limits": ["$1500/month", "20 requests/minute per end_user"]},
    Move: {"team_id": "product"},
    NewApiKey: {
        "name": "github-actions-ci-key",
        "project_id": "proj_production",
        "permissions": ["chat:create", "embeddings:create", "models:list"],
        "expires_at": "2026-12-23T09:15:00Z",
        "rate_limit": {"requests_per_minute": 60, "requests_per_day": 10000},
        "allowed_ips": [],
        "allowed_models": ["gpt-4.1", "gemini-2.5-flash"],
    },
    ApiKeyChange: {"add_permissions": ["responses:create"], "rate_limit": {"requests_per_minute": 30}},
    Rotation: {"grace_seconds": 3600},
    NewLimit: {"limit": "1000 requests/day for gpt-4.1*"},
    LimitChange: {"amount": 2000},
    NewOverride: {"limit": "cost/month", "amount_usd": 2000.0},
    NewRequest: {
        "limit": "cost/month",
        "amount_usd": 2000.0,
        "project_id": "ml-feature-pipeline",
        "reason": "the launch",
    },
    Note: {"note": "until the launch"},
    NewMember: {
        "name": "ada",
        "email": "ada@startup.example",
        "roles": [{"role": "developer", "node": "engineering"}],
    },
    MemberChange: {"email": "ada@startup.example"},
    HeldRole: {"role": "viewer", "node": "org_startup_ai"},
    NewGroup: {"name": "leads", "node": "engineering", "roles": ["admin"]},
    GroupChange: {"roles": ["developer"]},
    NewRole: {"name": "accountant", "permissions": ["analytics:full", "quota:read"]},
    RoleChange: {"permissions": ["analytics:full"]},
    Asked: {"model": "gpt-4.1", "input": 1000, "max_output": 500},
    AskedOf: {"model": "gpt-4.1", "project": "ml-feature-pipeline", "input": 1000, "max_output": 500},
    NewChannel: {"type": "slack", "url": "env:QUOTAWARE_ALERT_SLACK"},
    NewPrice: {"model": "our-model", "input": 2.0, "output": 8.0},
}
