"""Members: who is in the organization, and which roles they hold where."""

from __future__ import annotations

from typing import Any

from ...words.wire import Page as Listed
from ..members import (
    AtNode,
    HeldRole,
    NewMember,
    create_member,
    delete_member,
    disable_member,
    enable_member,
    get_member,
    give_role,
    list_members,
    take_role,
)
from ..roles import NewRole, create_role, delete_role, list_roles
from .forms import WRONG, Places, names, places, shown_again
from .overview import zone_of
from .view import Html, Page, Redirect, View

PAGE = 100


def members(view: View) -> Html:
    """The list, the roles that there are, and the forms for new ones."""
    return _list(view)


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
        return _list(view, error)
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


def new_role(view: View) -> Html | Redirect:
    """Makes a role of the organization's own."""
    try:
        body = view.body(NewRole, name=view.said("role_name"), permissions=view.said("permissions").split())
        view.call(create_role, body=body)
    except WRONG as error:
        return _list(view, error)
    return Redirect("/members", "told.role_made")


def remove_role(view: View) -> Redirect:
    """Takes one away."""
    view.call(delete_role, id=view.params["id"])
    return Redirect("/members", "told.role_removed")


def _list(view: View, error: Exception | None = None) -> Html:
    cursor = view.query.get("cursor") or None
    found = view.call(list_members, query=Listed(limit=PAGE, cursor=cursor))
    values, status = shown_again(view, error)
    values |= _choices(view)
    values |= {
        "members": found.data,
        "next": found.next_cursor,
        "names": names(view, {held.node for each in found.data for held in each.roles}),
        "makes_roles": view.may("org:manage", view.org),
    }
    return Html("members.html", values, status)


def _one(view: View, error: Exception | None = None) -> Html:
    found = view.call(get_member, id=view.params["id"])
    values, status = shown_again(view, error)
    values |= (
        _choices(view) if view.may("org:manage") else {"roles": [], "role_names": {}, "places": Places()}
    )
    values |= {
        "member": found,
        "zone": zone_of(view),
        "names": names(view, {held.node for held in found.roles}),
        "groups": [_group(view, id) for id in found.groups],
        "changes": view.may("org:manage", view.org),
        "may_take": {held.node for held in found.roles if view.may("org:manage", held.node)},
    }
    return Html("member.html", values, status)


def _group(view: View, id: str) -> str:
    group = view.maybe(lambda ask: ask.tenancy.group(view.org, id))
    return id if group is None else group.name


def _choices(view: View) -> dict[str, Any]:
    roles = view.call(list_roles, query=Listed(limit=PAGE, cursor=None)).data
    return {
        "roles": roles,
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
    Page("POST", "/roles", new_role),
    Page("POST", "/roles/{id}/remove", remove_role),
)
