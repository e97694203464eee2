"""The dashboard in a real Chromium: what a person does there, and that nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import pytest

from quotaware import Usage
from quotaware.context import Identity
from quotaware.core.charges import Outcome
from quotaware.core.permissions import ROLES
from quotaware.errors import ApiError
from quotaware.testing.server import serve
from tests.calls import a_call, ask, let_go, spend
from tests.dashboard.chromium import Seen, a_browser, found, sign_in, watched
from tests.dashboard.conftest import BASE, House

pytestmark = pytest.mark.skipif(
    found() is None, reason="there is no Chromium here (CHROMIUM says where one is)"
)

SERIOUS = {"serious", "critical"}
PAYLOADS = [
    "<script>alert(1)</script>", "<ScRiPt>alert(1)</sCrIpT>", "<img src=x onerror=alert(1)>",
    "\"><img src=x onerror=alert(1)>", "'><img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "<svg/onload=alert(1)>", "\"><svg/onload=alert(1)>", "<body onload=alert(1)>", "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>", "<a href=javascript:alert(1)>x</a>", "javascript:alert(1)",
    "\" onmouseover=\"alert(1)", "' onmouseover='alert(1)", "\" autofocus onfocus=alert(1) x=\"",
    "</title><script>alert(1)</script>", "</textarea><script>alert(1)</script>", "</option><script>alert(1)</script>",
    "</script><script>alert(1)</script>", "<!--<script>alert(1)</script>-->", "--><script>alert(1)</script>",
    "<details open ontoggle=alert(1)>", "<video><source onerror=alert(1)>", "<audio src=x onerror=alert(1)>",
    "<input autofocus onfocus=alert(1)>", "<select autofocus onfocus=alert(1)>", "<marquee onstart=alert(1)>",
    "<object data=javascript:alert(1)>", "<embed src=javascript:alert(1)>", "<math><mi xlink:href=javascript:alert(1)>",
    "<form action=javascript:alert(1)><button>x</button>", "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>", "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<style>@import '//evil.example/x.css'</style>", "{{constructor.constructor('alert(1)')()}}", "${alert(1)}",
    "<div hx-get=//evil.example hx-trigger=load>", "<div data-hx-on:load=alert(1) hx-on::load=alert(1)>",
]  # fmt: skip


@pytest.fixture
def served(house: House) -> Iterator[str]:
    with serve(house.app) as url:
        yield url


@pytest.fixture
def page(served: str) -> Iterator[Any]:
    with a_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.seen = watched(page, served)
        yield page


def nothing_else(seen: Seen) -> None:
    assert seen.dialogs == []
    assert seen.elsewhere == []
    assert seen.errors == []


def violations(page: Any) -> list[str]:
    """What axe says is seriously wrong for those who do not see the page, or use no mouse."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    told = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in told["violations"]
        if each["impact"] in SERIOUS
    ]


@pytest.mark.slow
@pytest.mark.bounded
def test_a_day_at_the_dashboard(house: House, served: str, page: Any) -> None:
    """Sign in, see numbers move, make a key and use it, use up a budget and see it blocked, sign out."""
    from playwright.sync_api import expect

    who = Identity(project=house.project)
    spend(house.quota, 100, by=who)
    sign_in(page, served, house.admin)
    page.wait_for_selector(".pulse.on")
    assert page.inner_text("[data-figure=spent]") == "$1.00"
    spend(house.quota, 150, by=who)
    assert house.quota.flush()
    expect(page.locator("[data-figure=spent]")).to_have_text("$2.50", timeout=20_000)

    page.click("nav >> text=Keys")
    page.click("summary:has-text('New key')")
    page.fill("input[name=name]", "from the browser")
    page.select_option("select[name=place]", f"project:{house.project}")
    page.dblclick("text=Create key")  # makes one
    page.wait_for_selector("[data-secret]")
    assert len([key for key in house.tenancy.list(house.org, "key") if key.parent == house.project]) == 1
    secret = page.inner_text("[data-secret]")
    with house.quota.acting_as(key=secret) as by:
        spend(house.quota, 750, by=by)
        refused = ask(house.quota, a_call(1), by)
    assert isinstance(refused, ApiError)
    assert house.quota.flush()

    page.click("nav >> text=Overview")
    blocked = page.locator("section[aria-labelledby=h-blocked]")
    expect(blocked).to_contain_text("Used up ranker", timeout=20_000)  # one look serves all for a second
    page.click("th >> text=ranker")
    assert "Used up" in page.inner_text("section[aria-labelledby=h-limits]")
    page.click("text=Sign out")
    page.wait_for_selector("input[name=key]")
    page.goto(f"{served}{BASE}/keys")
    assert page.url.startswith(f"{served}{BASE}/sign-in")
    nothing_else(page.seen)


@pytest.mark.slow
@pytest.mark.bounded
def test_who_uses_the_keyboard_keeps_the_place_while_numbers_move(
    house: House, served: str, page: Any
) -> None:
    """In the order of the page, first past the menu; and how far a table was scrolled on a phone stays, too."""
    from playwright.sync_api import expect

    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    who = Identity(project=house.project)
    spend(house.quota, 100, by=who)
    assert house.quota.flush()
    sign_in(page, served, house.admin)
    page.wait_for_selector(".pulse.on")
    page.keyboard.press("Tab")
    assert focused() == "Skip to content"
    page.keyboard.press("Enter")
    assert focused() == "main"
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(focused())
    assert order == ["s-budgets", f"n-{house.project}", f"n-{house.other}", "s-recent"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.focus(f"#n-{house.project}")
    page.evaluate("document.getElementById('s-budgets').scrollLeft = 60")
    spend(house.quota, 150, by=who)
    assert house.quota.flush()
    expect(page.locator("[data-figure=spent]")).to_have_text("$2.50", timeout=20_000)
    assert focused() == f"n-{house.project}"
    assert page.evaluate("document.getElementById('s-budgets').scrollLeft") == 60
    nothing_else(page.seen)


@pytest.mark.slow
@pytest.mark.bounded
def test_a_request_is_approved_and_the_call_goes_through(house: House, served: str, page: Any) -> None:
    who = Identity(project=house.project)
    spend(house.quota, 1000, by=who)
    assert isinstance(ask(house.quota, a_call(100), who), ApiError)
    developer = house.key(house.project, *ROLES["developer"], name="dev")
    sign_in(page, served, developer)
    page.click("nav >> text=Why was this refused?")
    page.select_option("select[name=project]", label="ranker")
    page.fill("input[name=model]", "tenth")
    page.fill("input[name=max_output]", "100")
    page.click("button:has-text('Explain')")
    assert "This call is refused." in page.inner_text("main")
    page.click("nav >> text=Requests for more")
    page.click("summary:has-text('Ask for more')")
    page.fill("input[name=amount]", "20")
    page.fill("input[name=reason]", "the launch is on Friday")
    page.click("text=Send request")
    assert "The request was sent." in page.inner_text("main")
    assert page.locator("text=Approve").count() == 0
    page.click("text=Sign out")
    page.wait_for_selector("input[name=key]")

    sign_in(page, served, house.admin)
    page.click("nav >> text=Requests for more")
    assert "the launch is on Friday" in page.inner_text("section[aria-labelledby=h-waiting]")
    page.fill("input[name=note]", "good luck")
    page.click("button:has-text('Approve')")
    assert "holds now" in page.inner_text("main")
    assert "good luck" in page.inner_text("section[aria-labelledby=h-decided]")
    let_go(ask(house.quota, a_call(100), who))
    page.click("nav >> text=Audit log")
    assert "request.approved" in page.inner_text("main")
    nothing_else(page.seen)


@pytest.mark.slow
@pytest.mark.bounded
def test_who_is_revoked_is_led_out_while_looking(house: House, served: str, page: Any) -> None:
    key = house.tenancy.create_key(house.org, permissions=["org:manage"])
    sign_in(page, served, key.secret)
    page.wait_for_selector(".pulse.on")
    house.tenancy.revoke_key(house.org, key.node.id)
    page.wait_for_selector("input[name=key]")
    nothing_else(page.seen)


@pytest.mark.parametrize(
    ("width", "theme"),
    [(390, "dark"), (390, "light"), (1280, "dark"), (1280, "light")],
)
@pytest.mark.slow
@pytest.mark.bounded
def test_pages_can_be_used_without_eyes_or_mouse(
    house: House, served: str, page: Any, theme: str, width: int
) -> None:
    spend(house.quota, 900, by=Identity(project=house.project, end_user="u1"))
    key = house.tenancy.create_key(house.project, name="app").node.id
    assert house.quota.flush()
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)
    page.goto(f"{served}{BASE}/sign-in")
    assert violations(page) == []
    sign_in(page, served, house.admin)
    member = house.tenancy.create_member(house.org, "mina", roles=[("viewer", house.team)]).id
    group = house.tenancy.create_group(house.org, house.team, "on call", roles=["developer"]).id
    role = house.tenancy.create_role(house.org, "auditor", ["quota:read", "analytics:full"]).id
    asks = house.browser(house.key(house.project, *ROLES["developer"], name="dev"))
    asks.page("/requests")
    asks.post("/requests", limit=f"project:{house.project}:cost/month", amount="20", reason="launch")
    admin = house.browser(house.admin)
    admin.page("/settings")
    admin.post(f"/alerts/{house.org}/channels", type="email", target="ops@example.com")
    hook = "https://hooks.example.com/a/rather/long/path/of/a/webhook"
    house.quota.blocking.alerts.add_channel(house.org, house.org, "email", email="a@example.com")
    channel = house.tenancy.create_channel(house.org, house.org, "webhook", hook, secret="env:X", hint=hook)
    house.tenancy.update_channel(house.org, channel.id, enabled=False, why="answered 410")
    admin.post(f"/alerts/{house.org}/test")
    for path in (
        "/", "/projects", f"/projects/{house.project}", "/keys", f"/keys/{key}", "/members", f"/members/{member}",
        f"/groups/{group}", f"/roles/{role}", "/roles/developer", "/requests", "/alerts", "/audit", "/settings",
        "/explain",
        f"/explain?project={house.project}&model=tenth&max_output=200", "/nothing",
    ):  # fmt: skip
        page.goto(f"{served}{BASE}{path}")
        page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.seen.errors = [error for error in page.seen.errors if "404" not in error]
    nothing_else(page.seen)


@pytest.mark.slow
@pytest.mark.bounded
def test_whatever_a_name_says_stays_text(house: House, served: str, page: Any) -> None:
    assert len(PAYLOADS) == len(set(PAYLOADS)) == 40
    pages = ["/", "/projects", "/keys", "/members", "/requests", "/alerts", "/audit", "/explain", "/settings"]
    for number, name in enumerate(PAYLOADS):
        team = house.tenancy.create_team(house.org, name=name).id
        project = house.tenancy.create_project(team, name=name).id
        key = house.tenancy.create_key(project, name=name).node.id
        who = Identity(project=project, end_user=name, tags={"t": name, name[:20]: "v"})
        call = a_call(1, model=name, provider=name[:20])
        let_go(ask(house.quota, call, who)).settle(Outcome(200, usage=Usage(output=10)), name)
        member = house.tenancy.create_member(house.org, name, roles=[("viewer", project)]).id
        house.tenancy.create_role(house.org, name, ["quota:read"])
        group = house.tenancy.create_group(house.org, team, name).id
        house.tenancy.update_member(house.org, member, groups=[group])
        pages += [f"/projects/{project}", f"/groups/{group}"]
        if number % 8 == 0:
            pages += [f"/keys/{key}", f"/members/{member}", f"/alerts/{project}"]
            pages += [f"/explain?{urlencode({'model': name, 'end_user': name, 'project': project})}"]
            pages += [f"/audit?{urlencode({'who': name, 'what': name, 'node': name})}"]
            developer = house.browser(house.key(house.project, *ROLES["developer"], name=name))
            developer.page("/requests")
            limit = f"project:{house.project}:cost/month"
            assert developer.post("/requests", limit=limit, amount="20", reason=name).status_code == 303
    house.tenancy.update(house.org, house.org, name=PAYLOADS[0])
    assert house.quota.flush()
    sign_in(page, served, house.admin)
    models: set[str] = set()
    users: set[str] = set()
    for path in pages:
        page.goto(f"{served}{BASE}{path}")
        if path.startswith("/projects/"):
            models |= {
                each.strip()
                for each in page.locator("section[aria-labelledby=h-models] td").all_inner_texts()
            }
            users |= {
                each.strip() for each in page.locator("section[aria-labelledby=h-users] td").all_inner_texts()
            }
    assert set(PAYLOADS) <= models
    assert set(PAYLOADS) <= users
    page.goto(f"{served}{BASE}/members")
    assert set(PAYLOADS) <= {each.strip() for each in page.locator("tbody th").all_inner_texts()}
    page.goto(f"{served}{BASE}/projects")
    assert set(PAYLOADS) <= {each.strip() for each in page.locator("tbody th").all_inner_texts()}
    nothing_else(page.seen)
