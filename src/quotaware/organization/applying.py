"""A plan done, step by step, by the service over the tree: each step takes what it takes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import ApiError, ConfigurationError, FileError, Problem
from ..tenancy import keys
from ..tenancy.channels import Channel
from ..tenancy.keys import Kind, id_of
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Member, Role
from ..tenancy.service import Tenancy
from .entries import dotted, word_of
from .planning import Progress
from .plans import Plan, Step

AddChannel = Callable[..., tuple[Channel, str | None]]
"""`AlertService.add_channel`, for whoever the tenancy acts for."""
_SET: Mapping[Kind, tuple[str, ...]] = {
    "organization": (
        "name", "limits", "alerts", "models", "zone", "prices", "alert_threshold", "auto_upgrade", "carryover_allowed",
    ),
    "team": ("name", "limits", "alerts", "models", "enabled"),
    "project": ("name", "limits", "alerts", "models", "enabled", "environment"),
    "key": ("name", "limits", "alerts", "models", "enabled", "permissions", "addresses", "expires_at"),
}  # fmt: skip
"""What is set of a node; overrides go apart."""
_OF: Mapping[type, tuple[str, ...]] = {
    Role: ("permissions", "description"),
    Group: ("roles",),
    Member: ("email", "roles", "groups", "enabled"),
}


class Secret(NamedTuple):
    """What was made and is shown once: a key, or what a webhook is signed with.

    kind   key or channel; name, where: of it, as a plan has them
    """

    kind: str
    id: str
    name: str
    where: str
    secret: str


def done(
    plan: Plan, tenancy: Tenancy, org: str, add_channel: AddChannel, progress: Progress | None = None
) -> list[Secret]:
    """Does all steps; answers what is shown once. Raises as the service does; FileError where a value is refused."""
    found: list[Secret] = []
    for number, step in enumerate(plan.steps):
        if progress is not None and number % 100 == 0:
            progress(number, len(plan.steps))
        try:
            found += _do(step, tenancy, org, add_channel)
        except ConfigurationError as error:
            field = word_of(step.said, error.field) if step.said is not None else error.field
            path = dotted((*step.path, field))
            raise FileError("organization", [Problem(path, str(error).partition(": ")[2])]) from None
        except ApiError as error:
            error.fields.setdefault("step", f"{step.action} {step.kind} '{step.name}'")
            raise
    if progress is not None:
        progress(len(plan.steps), len(plan.steps))
    return found


def _do(step: Step, tenancy: Tenancy, org: str, add_channel: AddChannel) -> Iterable[Secret]:
    match step.thing:
        case Node() as node:
            return _do_node(step, node, tenancy, org)
        case Channel() as channel:
            return _do_channel(step, channel, tenancy, org, add_channel)
        case thing:
            return _do_people(step, thing, tenancy, org)


def _do_node(step: Step, node: Node, tenancy: Tenancy, org: str) -> Iterable[Secret]:
    old = step.before if isinstance(step.before, Node) else None
    if step.action == "remove":
        if node.kind == "key":
            tenancy.revoke_key(org, node.id)
        else:
            tenancy.delete(org, node.id)
        return ()
    if step.action == "move":
        tenancy.move_project(org, node.id, node.parent)
        return ()
    secrets: list[Secret] = []
    made: Node | None = old
    if old is None:
        made, secret = _create(step, node, tenancy, org)
        if secret is not None:
            is_key = node.kind == "key"
            id = made.id if is_key else id_of("key", keys.digest(secret))
            secrets.append(Secret("key", id, step.name if is_key else "admin", step.where, secret))
    assert made is not None  # noqa: S101  # it was there, or was made
    _set(made, node, old is None, tenancy, org)
    return secrets


def _create(step: Step, node: Node, tenancy: Tenancy, org: str) -> tuple[Node, str | None]:
    """The node as it is made at first, and the secret of the key that came to be with it."""
    name = node.name or ""
    if node.kind == "organization":
        first = tenancy.bootstrap(name, id=org)
        return tenancy.get(org, org), first.key
    given = {field: getattr(node, field) for field in ("limits", "alerts", "models")}
    if node.kind == "team":
        return tenancy.create_team(org, name, id=node.id, **given), None
    if node.kind == "project":
        return (
            tenancy.create_project(
                node.parent, name, org=org, id=node.id, environment=node.environment, **given
            ),
            None,
        )
    permissions = node.permissions if getattr(step.said, "permissions", None) is not None else None
    key = tenancy.create_key(
        node.parent,
        org=org,
        name=name,
        id=node.id,
        permissions=permissions,
        addresses=node.addresses,
        expires_at=node.expires_at,
        **given,
    )
    return key.node, key.secret


def _set(made: Node, node: Node, is_new: bool, tenancy: Tenancy, org: str) -> None:
    """What is still to be set of a node."""
    fields = _SET[node.kind] if not is_new or node.kind == "organization" else ("enabled",)
    changes = {
        field: getattr(node, field) for field in fields if getattr(node, field) != getattr(made, field)
    }
    if changes:
        update: Any = tenancy.update_key if node.kind == "key" else tenancy.update
        made = update(org, node.id, **changes)
    if node.overrides != made.overrides:
        tenancy.set_overrides(org, node.id, node.overrides)


def _do_channel(
    step: Step, channel: Channel, tenancy: Tenancy, org: str, add_channel: AddChannel
) -> Iterable[Secret]:
    if step.action == "remove":
        tenancy.delete_channel(org, channel.id)
        return ()
    said = step.channel
    assert said is not None  # noqa: S101  # the plan makes none without
    given = {name: value for name in ("email", "url", "secret") if (value := getattr(said, name)) is not None}
    made, secret = add_channel(org, channel.parent, said.type, **given)
    return () if secret is None else (Secret("channel", made.id, step.name, step.where, secret),)


def _do_people(step: Step, thing: Any, tenancy: Tenancy, org: str) -> Iterable[Secret]:
    if step.action == "remove":
        verbs = {"role": tenancy.delete_role, "group": tenancy.delete_group, "member": tenancy.delete_member}
        verbs[step.kind](org, thing.id)
        return ()
    if step.before is not None:
        fields = _OF[type(thing)]
        changes = {
            field: getattr(thing, field)
            for field in fields
            if getattr(thing, field) != getattr(step.before, field)
        }
        change: Any = getattr(tenancy, f"update_{step.kind}")
        change(org, thing.id, **changes)
        return ()
    match thing:
        case Role():
            tenancy.create_role(
                org, thing.name, thing.permissions, description=thing.description, id=thing.id
            )
        case Group():
            tenancy.create_group(org, thing.parent, thing.name, roles=thing.roles, id=thing.id)
        case Member():
            tenancy.create_member(
                org, thing.name, email=thing.email, roles=thing.roles, groups=thing.groups, id=thing.id
            )
            if not thing.enabled:
                tenancy.update_member(org, thing.id, enabled=False)
    return ()
