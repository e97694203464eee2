"""Sessions: who gets in, what ends it, and that no other site can act as the viewer (S12, S23)."""

from __future__ import annotations

import hmac
import re
from typing import Any

import pytest
from starlette.applications import Starlette

from quotaware.context import Identity
from quotaware.management.dashboard.app import COOKIE, TOKEN
from quotaware.management.dashboard.sessions import LIFE_MS
from quotaware.testing.clocks import FakeClock
from tests.calls import a_quota
from tests.dashboard.conftest import BASE, Browser, House, led_to, text_of


def test_who_is_not_signed_in_is_led_to_the_door_and_then_where_they_wanted(house: House) -> None:
    browser = house.browser()
    assert led_to(browser.get("/keys")) == "/sign-in?next=%2Fkeys"
    browser.page("/sign-in?next=%2Fkeys")
    assert led_to(browser.post("/sign-in", key=house.admin, next="/keys")) == "/keys"
    assert "Keys that you may see" in text_of(browser.page("/keys"))


def test_the_session_cookie_is_for_this_site_and_no_script(house: House) -> None:
    response = house.browser().sign_in(house.admin)
    browser = house.browser()
    response = browser.sign_in(house.admin)
    (cookie,) = [each for each in response.headers.get_list("set-cookie") if each.startswith(f"{COOKIE}=")]
    assert {"HttpOnly", "SameSite=Strict", f"Path={BASE}"} <= set(cookie.split("; "))
    assert house.admin not in cookie
    browser.client.base_url = "https://testserver"
    secure = browser.sign_in(house.admin)
    assert all("Secure" in each for each in secure.headers.get_list("set-cookie"))


def test_each_sign_in_is_a_new_session_and_ends_the_one_before(house: House) -> None:
    browser = house.browser()
    browser.client.cookies.set(COOKIE, "startup." + "A" * 43, path=BASE, domain="testserver.local")
    assert led_to(browser.sign_in(house.admin)) == "/"
    first = browser.client.cookies.get(COOKIE, path=BASE)
    assert "A" * 43 not in str(first)
    browser.sign_in(house.admin)
    other = house.browser()
    other.client.cookies.set(COOKIE, str(first), path=BASE, domain="testserver.local")
    assert led_to(other.get("/")).startswith("/sign-in")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", "This is no quotaware key"),
        ("secret", "This is no quotaware key"),
        ("qw_admin_" + "x" * 36, "This is no quotaware key"),
        ("ключ", "This is no quotaware key"),
    ],
)
def test_what_is_no_key_is_said_so(house: House, key: str, told: str) -> None:
    response = house.browser().sign_in(key)
    assert response.status_code == 401
    assert told in text_of(response.text)


def test_a_key_that_does_not_work_is_not_let_in(house: House) -> None:
    key = house.tenancy.create_key(house.org, permissions=["org:manage"])
    house.tenancy.revoke_key(house.org, key.node.id)
    response = house.browser().sign_in(key.secret)
    assert response.status_code == 401
    assert "This key does not work" in text_of(response.text)
    assert key.secret not in response.text


def test_a_revoked_key_is_out_at_once(house: House) -> None:
    key = house.tenancy.create_key(house.org, permissions=["org:manage"])
    browser = house.browser(key.secret)
    browser.page("/")
    house.tenancy.revoke_key(house.org, key.node.id)
    assert led_to(browser.get("/")) == "/sign-in"
    assert browser.get("/live/overview", headers={"hx-request": "true"}).status_code == 401


def test_a_session_ends_after_its_time(house: House, clock: FakeClock) -> None:
    browser = house.browser(house.admin)
    clock.advance(LIFE_MS - 1000)
    browser.page("/")
    clock.advance(2000)
    assert led_to(browser.get("/")) == "/sign-in"


def test_the_store_knows_neither_the_sessions_token_nor_the_key(house: House) -> None:
    """S21: who reads it can act as nobody."""
    browser = house.browser(house.admin)
    browser.page("/")
    _, _, token = str(browser.client.cookies.get(COOKIE, path=BASE)).rpartition(".")
    everything = "\n".join(f"{item.key} {item.value}" for item in house.quota.store.dump(house.org))
    assert "dashboard/" in everything
    assert token
    assert token not in everything
    assert house.admin not in everything


def test_signing_out_ends_it_in_the_store(house: House) -> None:
    browser = house.browser(house.admin)
    browser.page("/")
    kept = str(browser.client.cookies.get(COOKIE, path=BASE))
    assert led_to(browser.post("/sign-out")) == "/sign-in"
    browser.client.cookies.set(COOKIE, kept, path=BASE, domain="testserver.local")
    assert led_to(browser.get("/")) == "/sign-in"


POSTS = ["/keys", "/sign-out", "/look", "/projects/{project}/disable", "/projects/{project}/limits"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", ["", "x", "another"])
def test_no_form_goes_without_its_sessions_token(house: House, path: str, token: str) -> None:
    browser, another = house.browser(house.admin), house.browser(house.admin)
    browser.page("/")
    another.page("/")
    given = another.token if token == "another" else token
    response = browser.post(path.format(project=house.project), csrf=given, limit="$1/day", theme="dark")
    assert response.status_code == 403
    assert house.tenancy.get(house.org, house.project).enabled
    browser.page("/")


def test_signing_in_takes_a_token_too(house: House) -> None:
    browser = house.browser()
    assert browser.post("/sign-in", csrf="", key=house.admin).status_code == 403
    browser.page("/sign-in")
    assert browser.post("/sign-in", csrf="x", key=house.admin).status_code == 403
    assert led_to(browser.get("/")) == "/sign-in"


def test_how_long_it_takes_to_compare_tells_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """S23: the tokens of all forms, before and after signing in."""
    compared: list[bytes] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *two: compared.extend(two) or compare(*two))
    browser = house.browser()
    forms: list[tuple[str, str, dict[str, str]]] = [
        ("/sign-in", "/sign-in", {"key": house.admin}),
        ("/", "/look", {"theme": "dark"}),
        ("/", f"/projects/{house.project}/disable", {}),
    ]
    for page, path, fields in forms:
        browser.page(page)
        compared.clear()
        browser.post(path, **fields)
        assert browser.token.encode() in compared, path


@pytest.mark.parametrize(
    "made_up", ["", "x", '"a\\015\\012x-other: 1"', "a\\073 Domain=example.com", '"' + "a" * 32 + '\\012"']
)
def test_a_token_that_is_none_of_ours_is_not_said_again(house: House, made_up: str) -> None:
    """A neighbour of the site can set cookies for it; none of them becomes a header or the token of a form."""
    browser = house.browser()
    headers = {"cookie": f"{TOKEN}={made_up}"}
    (cookie,) = browser.client.get(f"{BASE}/sign-in", headers=headers).headers.get_list("set-cookie")
    assert re.fullmatch(rf"{TOKEN}=[0-9A-Za-z_-]{{32}}; Path={BASE}; .*", cookie)
    assert "a" * 32 not in cookie
    signed = browser.client.post(
        f"{BASE}/sign-in", data={"csrf": made_up, "key": house.admin}, headers=headers
    )
    assert signed.status_code == 403


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
     "/%0d%0aset-cookie:a=b\r\nset-cookie: a=b", "/x//evil.example", "evil.example", "/sign-out"],
)  # fmt: skip
def test_it_leads_nowhere_else(house: House, target: str) -> None:
    browser = house.browser()
    browser.page("/sign-in")
    assert led_to(browser.post("/sign-in", key=house.admin, next=target)) == "/"
    browser.page("/")
    assert led_to(browser.post("/look", theme="dark", next=target)) == "/"


@pytest.mark.parametrize(
    "cookie", ["", "x", "startup.", "startup.short", "nobody." + "A" * 43, "../x." + "A" * 43]
)
def test_a_cookie_that_was_made_up_is_nobodys(house: House, cookie: str) -> None:
    response = house.browser().client.get(f"{BASE}/", headers={"cookie": f"{COOKIE}={cookie}"})
    assert led_to(response).startswith("/sign-in")


def test_a_session_is_of_its_own_organization_only(house: House) -> None:
    rival = house.tenancy.create_organization("Rival", id="rival")
    key = house.key(rival.id, "org:manage")
    browser = house.browser(key)
    assert "ranker" not in browser.page("/")
    assert browser.get(f"/projects/{house.project}").status_code == 404


def test_headers_keep_a_page_to_itself(admin: Browser) -> None:
    for path in ("/", "/sign-in", "/keys", "/nothing", "/static/app.css"):
        headers = admin.get(path).headers
        assert set(headers["content-security-policy"].split("; ")) == {
            "default-src 'self'",
            "base-uri 'none'",
            "object-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        }
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_a_bearer_alone_opens_no_page(house: House) -> None:
    """A key signs in by the form; what a page does always has a session, and so a token."""
    response = house.browser().get("/", headers={"authorization": f"Bearer {house.admin}"})
    assert led_to(response) == "/sign-in"


class TestTheHostsOwnLogin:
    @pytest.fixture
    def host(self, clock: FakeClock) -> Any:
        def identify(scope: Any) -> Identity | None:
            name = dict(scope["headers"]).get(b"x-user", b"").decode()
            return Identity(member=name, organization="startup") if name else None

        quota = a_quota(clock=clock, identify=identify)
        house = House(quota, clock)
        house.tenancy.create_member("startup", "ann", roles=[("org_admin", "startup")])
        house.tenancy.create_member("startup", "vic", roles=[("viewer", house.project)])
        yield house
        quota.close()

    def test_its_member_is_signed_in_and_forms_take_the_token(self, host: House) -> None:
        browser = Browser(host.app)
        as_ann = {"x-user": "ann"}
        assert browser.get("/", headers=as_ann).status_code == 200
        path = f"/projects/{host.project}/disable"
        assert browser.post(path, csrf="", headers=as_ann).status_code == 403
        assert browser.post(path, headers=as_ann).status_code == 303
        assert not host.tenancy.get("startup", host.project).enabled

    def test_the_session_is_worth_nothing_without_the_login(self, host: House) -> None:
        browser = Browser(host.app)
        browser.get("/", headers={"x-user": "ann"})
        assert led_to(browser.get("/")) == "/sign-in"

    def test_another_member_gets_another_session(self, host: House) -> None:
        browser = Browser(host.app)
        browser.get("/", headers={"x-user": "ann"})
        token = browser.token
        path = f"/projects/{host.project}/disable"
        assert browser.post(path, csrf=token, headers={"x-user": "vic"}).status_code == 403
        browser.get("/", headers={"x-user": "vic"})
        assert browser.token != token

    def test_from_another_site_nothing_is_done(self, host: House) -> None:
        browser = Browser(host.app)
        browser.get("/", headers={"x-user": "ann"})
        headers = {"x-user": "ann", "sec-fetch-site": "cross-site"}
        assert browser.post(f"/projects/{host.project}/disable", headers=headers).status_code == 403
        assert host.tenancy.get("startup", host.project).enabled


def test_without_its_extra_the_path_says_what_to_install(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.management.api.find_spec", lambda name: None)
    app = Starlette()
    app.mount("/v1", house.quota.management())
    response = Browser(app).get("/")
    assert response.status_code == 404
    assert "quotaware[dashboard]" in response.text
