"""Groups, and roles of the organization's own: made, changed for all who are in them or hold them, removed."""

from __future__ import annotations

from ..groups import GroupChange, NewGroup, create_group, delete_group, get_group, update_group
from ..roles import NewRole, RoleChange, create_role, delete_role, get_role, update_role
from .forms import WRONG, names, shown_again
from .members import choices, listed
from .view import Html, Page, Redirect, View


def new_group(view: View) -> Html | Redirect:
    """Makes a group."""
    try:
        given = {"name": view.said("group_name"), "node": view.said("node"), "roles": view.lines("roles")}
        body = view.body(NewGroup, **given)
        made = view.call(create_group, body=body)
    except WRONG as error:
        return listed(view, error)
    return Redirect(f"/groups/{made.id}", "told.group_made")


def group(view: View) -> Html:
    """One group."""
    return _group(view)


def change_group(view: View) -> Html | Redirect:
    """Its name and what its members may do, for all of them."""
    try:
        body = view.body(GroupChange, name=view.said("group_name"), roles=view.lines("roles"))
        view.call(update_group, body=body, id=view.params["id"])
    except WRONG as error:
        return _group(view, error)
    return Redirect(f"/groups/{view.params['id']}", "told.saved")


def remove_group(view: View) -> Redirect:
    """Takes one away; its members are in it no more."""
    view.call(delete_group, id=view.params["id"])
    return Redirect("/members", "told.group_removed")


def new_role(view: View) -> Html | Redirect:
    """Makes a role of the organization's own."""
    try:
        body = view.body(NewRole, name=view.said("role_name"), permissions=view.said("permissions").split())
        view.call(create_role, body=body)
    except WRONG as error:
        return listed(view, error)
    return Redirect("/members", "told.role_made")


def role(view: View) -> Html:
    """One role."""
    return _role(view)


def change_role(view: View) -> Html | Redirect:
    """Its name and permissions, for all who hold it."""
    try:
        permissions = view.said("permissions").split()
        body = view.body(RoleChange, name=view.said("role_name"), permissions=permissions)
        view.call(update_role, body=body, id=view.params["id"])
    except WRONG as error:
        return _role(view, error)
    return Redirect(f"/roles/{view.params['id']}", "told.saved")


def remove_role(view: View) -> Redirect:
    """Takes one away."""
    view.call(delete_role, id=view.params["id"])
    return Redirect("/members", "told.role_removed")


def _group(view: View, error: Exception | None = None) -> Html:
    found = view.call(get_group, id=view.params["id"])
    values, status = shown_again(view, error)
    values |= {**choices(view), "group": found, "names": names(view, {found.node})}
    return Html("group.html", values, status)


def _role(view: View, error: Exception | None = None) -> Html:
    found = view.call(get_role, id=view.params["id"])
    values, status = shown_again(view, error)
    values |= {"role": found, "changes": not found.predefined and view.may("org:manage", view.org)}
    return Html("role.html", values, status)


PAGES = (
    Page("POST", "/groups", new_group),
    Page("GET", "/groups/{id}", group),
    Page("POST", "/groups/{id}", change_group),
    Page("POST", "/groups/{id}/remove", remove_group),
    Page("POST", "/roles", new_role),
    Page("GET", "/roles/{id}", role),
    Page("POST", "/roles/{id}", change_role),
    Page("POST", "/roles/{id}/remove", remove_role),
)
