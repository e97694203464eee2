"""Members: who is in the organization, and which roles they hold where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...words.wire import Page as Listed
from ..groups import GroupAnswer, list_groups
from ..members import (
    AtNode,
    HeldRole,
    MemberChange,
    NewMember,
    create_member,
    delete_member,
    disable_member,
    enable_member,
    get_member,
    give_role,
    list_members,
    take_role,
    update_member,
)
from ..roles import list_roles
from .forms import WRONG, Places, names, places, shown_again
from .overview import zone_of
from .pulse import MOST
from .view import Html, Page, Redirect, View

PAGE = 100


def members(view: View) -> Html:
    """The list, the roles that there are, and the forms for new ones."""
    return listed(view)


def create(view: View) -> Html | Redirect:
    """Makes a member."""
    try:
        given: dict[str, Any] = {"name": view.said("name")}
        if email := view.said("email"):
            given["email"] = email
        if role := view.said("role"):
            given["roles"] = [{"role": role, "node": view.said("node")}]
        made = view.call(create_member, body=view.body(NewMember, **given))
    except WRONG as error:
        return listed(view, error)
    return Redirect(f"/members/{made.id}", "told.member_added")


def member(view: View) -> Html:
    """One member."""
    return _one(view)


def give(view: View) -> Html | Redirect:
    """Gives a role."""
    try:
        body = view.body(HeldRole, role=view.said("role"), node=view.said("node"))
        view.call(give_role, body=body, id=view.params["id"])
    except WRONG as error:
        return _one(view, error)
    return Redirect(f"/members/{view.params['id']}", "told.role_given")


def take(view: View) -> Redirect:
    """Takes a role."""
    at = AtNode.model_validate({"node": view.said("node")})
    view.call(take_role, query=at, id=view.params["id"], role=view.said("role"))
    return Redirect(f"/members/{view.params['id']}", "told.role_taken")


def join(view: View) -> Redirect:
    """Puts a member in a group."""
    return _grouped(view, lambda groups: [*groups, view.said("group")], "told.group_joined")


def leave(view: View) -> Redirect:
    """Takes a member out of one."""
    return _grouped(
        view, lambda groups: [each for each in groups if each != view.said("group")], "told.group_left"
    )


def _grouped(view: View, change: Callable[[list[str]], list[str]], told: str) -> Redirect:
    found = view.call(get_member, id=view.params["id"])
    body = view.body(MemberChange, groups=change(found.groups))
    view.call(update_member, body=body, expect=found.revision, id=found.id)
    return Redirect(f"/members/{found.id}", told)


def enable(view: View) -> Redirect:
    """Lets a member act again."""
    view.call(enable_member, id=view.params["id"])
    return Redirect(f"/members/{view.params['id']}", "told.member_enabled")


def disable(view: View) -> Redirect:
    """Lets a member do nothing."""
    view.call(disable_member, id=view.params["id"])
    return Redirect(f"/members/{view.params['id']}", "told.member_disabled")


def remove(view: View) -> Redirect:
    """Takes a member away."""
    view.call(delete_member, id=view.params["id"])
    return Redirect("/members", "told.member_removed")


def listed(view: View, error: Exception | None = None) -> Html:
    """The page, with what was wrong with a form of it."""
    cursor = view.query.get("cursor") or None
    found = view.call(list_members, query=Listed(limit=PAGE, cursor=cursor))
    values, status = shown_again(view, error)
    values |= choices(view)
    groups = view.call(list_groups, query=Listed(limit=PAGE, cursor=view.query.get("groups") or None))
    nodes = {held.node for each in found.data for held in each.roles} | {each.node for each in groups.data}
    values |= {
        "members": found.data,
        "next": found.next_cursor,
        "names": names(view, nodes),
        "groups": groups.data,
        "next_groups": groups.next_cursor,
        "makes_roles": view.may("org:manage", view.org),
    }
    return Html("members.html", values, status)


def _one(view: View, error: Exception | None = None) -> Html:
    found = view.call(get_member, id=view.params["id"])
    values, status = shown_again(view, error)
    values |= choices(view) if view.may("org:manage") else {"roles": [], "role_names": {}, "places": Places()}
    values |= {
        "member": found,
        "zone": zone_of(view),
        "names": names(view, {held.node for held in found.roles}),
        "groups": [_group(view, id) for id in found.groups],
        "joins": [each for each in _groups(view) if each.id not in found.groups],
        "changes": view.may("org:manage", view.org),
        "may_take": {held.node for held in found.roles if view.may("org:manage", held.node)},
    }
    return Html("member.html", values, status)


def _group(view: View, id: str) -> tuple[str, str, bool]:
    """A group's id and name, and whether the viewer may take somebody out of it."""
    group = view.maybe(lambda ask: ask.tenancy.group(view.org, id))
    return (id, id, False) if group is None else (id, group.name, True)


def _groups(view: View) -> Sequence[GroupAnswer]:
    """Those that the viewer may put somebody in."""
    found = view.maybe(list_groups, query=Listed(limit=MOST, cursor=None))
    return [] if found is None else found.data


def choices(view: View) -> dict[str, Any]:
    """Roles and places to choose from."""
    found = view.call(list_roles, query=Listed(limit=MOST, cursor=None))
    roles = found.data
    return {
        "roles": roles,
        "roles_cut": MOST if found.next_cursor else 0,
        "role_names": {role.id: role.name for role in roles},
        "places": places(view, "org:manage"),
    }


_ONE = "/members/{id}"

PAGES = (
    Page("GET", "/members", members, "nav.members", ("org:manage",)),
    Page("POST", "/members", create),
    Page("GET", _ONE, member),
    Page("POST", f"{_ONE}/roles", give),
    Page("POST", f"{_ONE}/roles/remove", take),
    Page("POST", f"{_ONE}/enable", enable),
    Page("POST", f"{_ONE}/disable", disable),
    Page("POST", f"{_ONE}/remove", remove),
    Page("POST", f"{_ONE}/groups", join),
    Page("POST", f"{_ONE}/groups/leave", leave),
)
