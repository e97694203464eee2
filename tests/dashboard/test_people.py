"""Members, roles and requests for more, over HTTP."""

from __future__ import annotations

import re

import pytest

from quotaware.context import Identity
from quotaware.core.permissions import ROLES
from quotaware.errors import ApiError
from tests.calls import a_call, ask, let_go, spend
from tests.dashboard.conftest import Browser, House, led_to, text_of
from tests.dashboard.test_pages import ATTACKS

DEVELOPER = ROLES["developer"]


def asked(house: House, amount: str = "20", **more: str) -> Browser:
    """A developer who asked for more of the project's month."""
    browser = house.browser(house.key(house.project, *DEVELOPER, name="dev"))
    browser.page("/requests")
    fields = {"limit": f"project:{house.project}:cost/month", "amount": amount, "reason": "launch", **more}
    assert led_to(browser.post("/requests", **fields)) == "/requests?told=told.asked"
    return browser


def waiting(page: str) -> list[str]:
    """Ids of the requests that the viewer can decide."""
    return re.findall(r"/requests/([^/]+)/approve", page)


def test_a_member_is_added_with_a_role_and_loses_it(house: House, admin: Browser) -> None:
    admin.page("/members")
    made = admin.post("/members", name="mina", email="mina@example.com", role="developer", node=house.project)
    path = led_to(made).partition("?")[0]
    assert "developer at ranker" in text_of(admin.page("/members"))
    assert admin.post(f"{path}/roles", role="viewer", node=house.team).status_code == 303
    assert "viewer at Search" in text_of(admin.page(path))
    assert admin.post(f"{path}/roles/remove", role="developer", node=house.project).status_code == 303
    assert house.tenancy.member(house.org, "mina").roles == (("viewer", house.team),)
    assert admin.post(f"{path}/roles", role="nothing", node=house.team).status_code == 422
    again = admin.post("/members", name="mina", email="", role="", node=house.org)
    assert again.status_code == 409
    assert 'value="mina"' in again.text


def test_a_member_is_disabled_enabled_and_removed(house: House, admin: Browser) -> None:
    path = f"/members/{house.tenancy.create_member(house.org, 'mina').id}"
    admin.page(path)
    assert admin.post(f"{path}/disable").status_code == 303
    assert not house.tenancy.member(house.org, "mina").enabled
    assert admin.post(f"{path}/enable").status_code == 303
    assert house.tenancy.member(house.org, "mina").enabled
    assert led_to(admin.post(f"{path}/remove")) == "/members?told=told.member_removed"
    assert admin.get(path).status_code == 404


def test_a_role_is_made_given_and_removed(house: House, admin: Browser) -> None:
    admin.page("/members")
    assert (
        admin.post("/roles", role_name="auditor", permissions="quota:read\nanalytics:full").status_code == 303
    )
    (role,) = house.tenancy.roles(house.org)
    assert role.permissions == ("quota:read", "analytics:full")
    wrong = admin.post("/roles", role_name="auditor2", permissions="<b>tea")
    assert wrong.status_code == 422
    assert "&lt;b&gt;tea" in wrong.text
    assert led_to(admin.post(f"/roles/{role.id}/remove")) == "/members?told=told.role_removed"
    assert admin.post("/roles/developer/remove").status_code == 409


def test_a_role_is_changed_for_all_who_hold_it(house: House, admin: Browser) -> None:
    role = house.tenancy.create_role(house.org, "auditor", ["quota:read"]).id
    assert f'href="/v1/dashboard/roles/{role}"' in admin.page("/members")
    assert "quota:read</textarea>" in admin.page(f"/roles/{role}")
    made = admin.post(f"/roles/{role}", role_name="seer", permissions="quota:read analytics:full")
    assert led_to(made) == f"/roles/{role}?told=told.saved"
    found = house.tenancy.role(house.org, role)
    assert (found.name, found.permissions) == ("seer", ("quota:read", "analytics:full"))
    wrong = admin.post(f"/roles/{role}", role_name="seer", permissions="<b>tea")
    assert wrong.status_code == 422
    assert "&lt;b&gt;tea</textarea>" in wrong.text
    fixed = admin.page("/roles/developer")
    assert "<textarea" not in fixed
    assert admin.post("/roles/developer", role_name="d", permissions="org:manage").status_code == 409
    lead = house.browser(house.key(house.team, "org:manage"))
    assert "<textarea" not in lead.page(f"/roles/{role}")
    assert lead.post(f"/roles/{role}", role_name="mine", permissions="org:manage").status_code == 403


def test_a_group_is_made_changed_joined_left_and_removed(house: House, admin: Browser) -> None:
    member = house.tenancy.create_member(house.org, "mina").id
    admin.page("/members")
    made = led_to(admin.post("/groups", group_name="ops", node=house.team, roles="developer"))
    path = made.partition("?")[0]
    (group,) = house.tenancy.groups(house.org)
    assert (group.name, group.parent, group.roles) == ("ops", house.team, ("developer",))
    assert "ops Search developer" in text_of(admin.page("/members"))
    page = admin.page(path)
    assert re.findall(r'value="([a-z_]+)" checked', page) == ["developer"]
    assert admin.post(path, group_name="on call", roles="developer\nviewer").status_code == 303
    (group,) = house.tenancy.groups(house.org)
    assert (group.name, group.roles) == ("on call", ("developer", "viewer"))
    assert admin.post(path, group_name="on call", roles="nothing").status_code == 422
    assert admin.post(path, group_name="on call").status_code == 303
    assert house.tenancy.groups(house.org)[0].roles == ()
    admin.page(f"/members/{member}")
    assert admin.post(f"/members/{member}/groups", group=group.id).status_code == 303
    assert house.tenancy.member(house.org, member).groups == (group.id,)
    page = text_of(admin.page(f"/members/{member}"))
    assert "on call Take out" in page
    assert "Add to group" not in page
    assert admin.post(f"/members/{member}/groups/leave", group=group.id).status_code == 303
    assert house.tenancy.member(house.org, member).groups == ()
    assert led_to(admin.post(f"{path}/remove")) == "/members?told=told.group_removed"
    assert house.tenancy.groups(house.org) == ()
    taken = admin.post("/groups", group_name="", node=house.team)
    assert taken.status_code == 422


def test_a_groups_team_lead_changes_it_and_nobody_elses(house: House) -> None:
    member = house.tenancy.create_member(house.org, "mina").id
    own = house.tenancy.create_group(house.org, house.team, "ours").id
    other = house.tenancy.create_group(house.org, house.org, "theirs", roles=["org_admin"]).id
    lead = house.browser(house.key(house.team, "org:manage"))
    page = lead.page("/members")
    assert "ours" in page
    assert "theirs" not in page
    assert lead.get(f"/groups/{other}").status_code == 403
    assert lead.post(f"/members/{member}/groups", group=other).status_code == 403
    assert lead.post(f"/members/{member}/groups", group=own).status_code == 303
    assert "theirs" not in lead.page(f"/members/{member}")
    assert house.tenancy.member(house.org, member).groups == (own,)


def test_members_are_for_who_manages_the_organization(house: House) -> None:
    developer = house.browser(house.key(house.project, *DEVELOPER))
    assert "/dashboard/members" not in developer.page("/")
    assert developer.get("/members").status_code == 403
    assert developer.post("/members", name="me", role="org_admin", node=house.org).status_code == 403
    id = house.tenancy.create_member(house.org, "mina").id
    for action in ("disable", "remove", "roles"):
        assert developer.post(f"/members/{id}/{action}", role="org_admin", node=house.org).status_code == 403
    assert house.tenancy.member(house.org, "mina").roles == ()


def test_an_approved_request_goes_through(house: House, admin: Browser) -> None:
    who = Identity(project=house.project)
    spend(house.quota, 1000, by=who)
    assert isinstance(ask(house.quota, a_call(500), who), ApiError)
    developer = asked(house)
    assert not waiting(developer.page("/requests"))
    page = admin.page("/requests")
    assert "ranker cost/month → $20.00 for good launch dev asked," in text_of(page)
    (id,) = waiting(page)
    assert led_to(admin.post(f"/requests/{id}/approve", note="go on")) == "/requests?told=told.approved"
    told = text_of(developer.page("/requests"))
    assert "go on" in told
    assert "Approved" in told
    let_go(ask(house.quota, a_call(500), who))
    late = admin.post(f"/requests/{id}/reject")
    assert late.status_code == 409
    assert "approved already" in late.text


def test_a_rejected_request_changes_nothing(house: House, admin: Browser) -> None:
    developer = asked(house, periods="1")
    (id,) = waiting(admin.page("/requests"))
    assert developer.post(f"/requests/{id}/approve").status_code == 403
    assert admin.post(f"/requests/{id}/reject", note="not now").status_code == 303
    assert "Rejected" in text_of(admin.page("/requests"))
    assert str(house.tenancy.get(house.org, house.project).limits[0]) == "$10/month"


@pytest.mark.parametrize("amount", ["", "lots", "5", "-1", "1e999", "nan"])
def test_a_request_that_asks_nothing_sensible_is_shown_again(
    house: House, admin: Browser, amount: str
) -> None:
    admin.page("/requests")
    limit = f"project:{house.project}:cost/month"
    wrong = admin.post("/requests", limit=limit, amount=amount, reason="because")
    assert wrong.status_code in (400, 422)
    if wrong.status_code == 422:
        assert 'value="because"' in wrong.text
    assert house.tenancy.requests(house.org) == ()


def test_who_may_raise_the_limit_needs_nobody(house: House, admin: Browser) -> None:
    admin.page("/requests")
    limit = f"project:{house.project}:cost/month"
    assert led_to(admin.post("/requests", limit=limit, amount="12.5")) == "/requests?told=told.granted"
    assert str(house.tenancy.get(house.org, house.project).limits[0]) == "$12.5/month"
    assert admin.post("/requests", limit="nothing", amount="1").status_code == 422


def test_requests_are_shown_the_newest_first_page_by_page(
    house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.management.dashboard.requests.PAGE", 3)
    developer = asked(house, reason="reason0")
    for number in range(1, 10):
        house.clock.advance(1000)
        fields = {"limit": f"project:{house.project}:cost/month", "amount": str(20 + number)}
        assert developer.post("/requests", **fields, reason=f"reason{number}").status_code == 303
    for request in house.tenancy.requests(house.org, limit=4):
        house.tenancy.decide(house.org, request.id, "rejected")

    def all_of(name: str) -> list[str]:
        seen: list[str] = []
        path = "/requests"
        while path:
            page = admin.page(path)
            part = page.partition('id="h-decided"')[0 if name == "waiting" else 2]
            seen += re.findall(r"<p>(reason[0-9])</p>", part)
            after = re.search(rf'dashboard(/requests\?{name}=[^"]*)"', page)
            path = after[1] if after else ""
        return seen

    assert all_of("waiting") == [f"reason{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert all_of("cursor") == [f"reason{n}" for n in (9, 8, 7, 6)]
    house.clock.advance(8 * 86_400_000)
    admin.sign_in(house.admin)
    assert all_of("waiting") == []
    assert all_of("cursor") == [f"reason{n}" for n in range(9, -1, -1)]


def test_a_viewer_has_no_requests(house: House) -> None:
    viewer = house.browser(house.key(house.project, *ROLES["viewer"]))
    assert viewer.get("/requests").status_code == 403


@pytest.mark.parametrize("name", ATTACKS)
def test_names_of_people_and_reasons_stay_text(house: House, admin: Browser, name: str) -> None:
    house.tenancy.update(house.org, house.project, name=name)
    member = house.tenancy.create_member(house.org, name, roles=[("viewer", house.project)]).id
    role = house.tenancy.create_role(house.org, name, ["quota:read"]).id
    group = house.tenancy.create_group(house.org, house.team, name).id
    house.tenancy.update_member(house.org, member, groups=[group])
    asked(house, reason=name)
    for path in ("/members", f"/members/{member}", f"/groups/{group}", f"/roles/{role}", "/requests"):
        page = admin.page(path)
        inside = [
            tag for tag in re.findall(r"<(?:script|img|svg|iframe)\b[^>]*>", page) if "/static/" not in tag
        ]
        assert inside == []
        assert not re.search(r"<[^>]*\s(?:on[a-z]+|style|srcdoc)\s*=", re.sub(r'"[^"]*"', '""', page))
