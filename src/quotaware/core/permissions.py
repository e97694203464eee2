"""Permissions: words joined by colons (`api_key:create:limited`), what grants what, and the three roles.

A longer permission narrows a shorter one, and `*` as the last part takes in all below. Where in the tree a
role is held, and what `:limited`, `:own`, `:aggregate` and `:summary` let through, is for others to decide.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from quotaware.errors import ConfigurationError

MAX_PERMISSION: Final = 128

CALL_PERMISSIONS: Final[tuple[str, ...]] = (
    "chat:create",
    "responses:create",
    "embeddings:create",
    "images:create",
    "audio:create",
    "moderations:create",
    "batches:create",
    "files:create",
    "rerank:create",
    "models:list",
)
"""What a key carries to make calls."""

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "org_admin": (
        "org:manage",
        "team:create",
        "team:delete",
        "api_key:create",
        "api_key:delete",
        "quota:manage",
        "quota:override",
        "analytics:full",
    ),
    "developer": ("api_key:read", "api_key:create:limited", "quota:read", "analytics:own", *CALL_PERMISSIONS),
    "viewer": ("quota:read:summary", "analytics:read:aggregate"),
}
"""The predefined roles; a developer makes calls, a viewer none."""

ROLE_ALIASES: Final[Mapping[str, str]] = {"admin": "org_admin"}

_FORM = re.compile(r"\*|[a-z0-9_]+(?::[a-z0-9_]+)*(?::\*)?")

_SAME = {
    "org": "*",
    "org:*": "*",
    "org:manage": "*",
    "analytics:full": "analytics:*",
    "analytics:read": "analytics:*",
}
_WRITE = "api_key:write"
_WRITE_MEANS = ("api_key:create", "api_key:delete")
_READERS = ("manage", "create", "full")


def parse(text: str) -> str:
    """A permission as it is kept: without spaces around it.

    Raises ConfigurationError unless it is words of a-z, 0-9 and _ joined by `:`, the last of which may
    be `*`, or `*` alone; at most 128 characters.
    """
    name = text.strip() if isinstance(text, str) else ""
    if len(name) > MAX_PERMISSION or not _FORM.fullmatch(name):
        raise ConfigurationError(
            "permission",
            f"{reprlib.repr(text)} is none; give lower-case words joined by ':', such as 'chat:create',"
            f" '*' only as the last, at most {MAX_PERMISSION} characters",
        )
    return name


def grants(held: str, wanted: str) -> bool:
    """Whether who holds one permission may do what takes another; both as `parse` answers them.

    Reflexive and transitive. `org:manage` grants everything, `x:manage`, `x:create` and `x:full` grant
    `x:read`, `analytics:full` (alias `analytics:read`) every analytics permission, `api_key:write` creating
    and deleting.
    """
    return allows((held,), wanted)


def allows(held: Iterable[str], wanted: str) -> bool:
    """Whether who holds these permissions may do what takes `wanted`."""
    reach = {base for permission in held for base in _reach(permission)}
    return all(need in reach or any(_takes_in(base, need) for base in reach) for need in _meanings(wanted))


def covers(granter: Iterable[str], granted: Iterable[str]) -> list[str]:
    """Those of `granted` that `granter` lacks, in their order; empty where none may be called escalation."""
    held = tuple(granter)
    return [permission for permission in granted if not allows(held, permission)]


def _takes_in(base: str, permission: str) -> bool:
    if base == "*":
        return True
    if base.endswith(":*"):
        return permission.startswith(base[:-1])
    return permission == base or permission.startswith(f"{base}:")


@lru_cache(maxsize=1024)
def _reach(held: str) -> tuple[str, ...]:
    """The permissions that, each with all below it, make up what `held` grants."""
    meanings = _meanings(held)
    readable = [
        f"{above}:read"
        for above, colon, last in (name.rpartition(":") for name in meanings)
        if colon and last in _READERS
    ]
    return (*meanings, *(meaning for name in readable for meaning in _meanings(name)))


def _meanings(permission: str) -> tuple[str, ...]:
    """The permission with its alias resolved."""
    if permission == _WRITE or permission.startswith(f"{_WRITE}:"):
        return tuple(base + permission[len(_WRITE) :] for base in _WRITE_MEANS)
    return (_SAME.get(permission, permission),)
