"""What pages show and do, with the viewer's rights."""

from __future__ import annotations

import gzip
import re
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest

from quotaware.context import Identity
from quotaware.core.permissions import ROLES
from quotaware.management.dashboard import assets
from quotaware.management.dashboard.render import count, money, when
from quotaware.management.dashboard.standings import hundredths
from quotaware.management.dashboard.table import PAGES
from quotaware.management.dashboard.texts import TEXTS, language_of
from quotaware.management.dashboard.texts_errors import KOREAN
from quotaware.testing.clocks import FakeClock
from tests.calls import CENT, a_call, ask, let_go, spend, used
from tests.dashboard.conftest import BASE, Browser, House, led_to, text_of

HOUR = 3_600_000


def spent(house: House, cents: int, **who: str) -> None:
    spend(house.quota, cents, by=Identity(project=house.project, **who))
    assert house.quota.flush()


def test_the_overview_says_who_spends_what(house: House, admin: Browser, clock: FakeClock) -> None:
    spent(house, 500, end_user="u1")
    page = text_of(admin.page("/"))
    assert "ranker" in page
    assert "$5.00" in page
    assert "$100/month" in page
    clock.advance(24 * HOUR)
    admin.sign_in(house.admin)
    assert "Spent the most yesterday ranker $5.00 · most on tenth ($5.00)" in text_of(admin.page("/"))


def test_held_money_is_seen_while_a_call_is_under_way(house: House, admin: Browser) -> None:
    admission = let_go(ask(house.quota, a_call(300), Identity(project=house.project)))
    page = text_of(admin.page(f"/projects/{house.project}"))
    assert "Held $3.00" in page
    assert "Left $7.00" in page
    del admission


def test_the_newest_calls_are_shown_however_many_there_were(house: House, admin: Browser) -> None:
    admissions = [
        let_go(ask(house.quota, a_call(0), Identity(project=house.project, end_user=f"u{number}")))
        for number in range(1_100)
    ]
    assert "Under way right now: 1,000 or more" in text_of(admin.page(f"/projects/{house.project}"))
    for admission in admissions[:-2]:
        admission.settle(used(0))
    assert house.quota.flush()
    for path in ("/", f"/projects/{house.project}"):
        page = admin.page(path)
        assert "Under way right now: 2" in text_of(page)
        assert re.findall(r"<td>(u[0-9]+)</td>", page)[:12] == [f"u{n}" for n in range(1097, 1085, -1)]
    other = house.browser(house.key(house.other, *ROLES["developer"]))
    assert "Under way right now: 0" in text_of(other.page("/"))


def test_more_nodes_than_a_page_shows_are_told_of(
    house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pulse", "standings", "projects", "forms", "overview"):
        monkeypatch.setattr(f"quotaware.management.dashboard.{module}.MOST", 2)
    for name in ("third", "fourth", "fifth"):
        house.tenancy.create_project(house.team, name=name)
    assert "only the first 2 are shown here" in text_of(admin.page("/"))
    assert "Only the first 2 are shown." in text_of(admin.page("/keys"))
    seen, path = [], "/projects"
    while path:
        page = admin.page(path)
        seen += re.findall(r'<th scope="row"><a [^>]*>([^<]*)</a>', page)
        after = re.search(r'dashboard(/projects\?cursor=[^"]*)"', page)
        path = after[1] if after else ""
    assert sorted(seen) == ["chatbot", "fifth", "fourth", "ranker", "third"]
    monkeypatch.setattr("quotaware.management.dashboard.forms.MOST", 5)
    assert "Only the first" not in text_of(admin.page("/keys"))


def test_lists_that_are_cut_say_so(house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("project.MOST_KEYS", "project.MOST_USERS", "members.MOST", "alerts.MOST_DELIVERIES"):
        monkeypatch.setattr(f"quotaware.management.dashboard.{name}", 2)
    paths = (f"/projects/{house.project}", f"/alerts/{house.project}")
    for path in paths:
        assert "Only the first" not in text_of(admin.page(path))
    for number in range(3):
        house.tenancy.create_key(house.project, name=f"key{number}")
        spent(house, 1, end_user=f"u{number}")
        house.quota.blocking.alerts.test(house.org, house.project)
    assert text_of(admin.page(paths[0])).count("Only the first 2 are shown.") == 2
    until = time.monotonic() + 20
    while "Only the first 2 are shown." not in text_of(admin.page(paths[1])):
        assert time.monotonic() < until
        house.clock.advance(1)
        time.sleep(0.01)
    assert "Only the first 2 are shown." in text_of(admin.page("/members"))


def test_what_is_used_up_is_blocked_and_why(house: House, admin: Browser) -> None:
    spent(house, 1000)
    ask(house.quota, a_call(1), Identity(project=house.project))
    assert house.quota.flush()
    page = text_of(admin.page("/"))
    assert "Used up ranker $10/month" in page
    assert "Calls refused in the last 24 hours: 1 ranker budget exceeded 1" in page


def test_a_disabled_project_is_told_and_enabled_again(house: House, admin: Browser) -> None:
    admin.page(f"/projects/{house.project}")
    assert led_to(admin.post(f"/projects/{house.project}/disable")).endswith("?told=told.disabled")
    assert "was disabled and takes no calls" in text_of(admin.page("/"))
    assert led_to(admin.post(f"/projects/{house.project}/enable")).endswith("?told=told.enabled")
    assert house.tenancy.get(house.org, house.project).enabled


def test_a_key_that_may_not_call_is_told_at_its_project(house: House, admin: Browser) -> None:
    key = house.tenancy.create_key(
        house.project, name="nightly", permissions=["chat:create"], limits=["$1/day"], alerts=["90% disable"]
    )
    path = f"/projects/{house.project}"
    assert "nightly Last used" in text_of(admin.page(path))
    with house.quota.acting_as(key=key.secret) as by:
        spend(house.quota, 95, by=by)
    assert house.quota.flush()
    assert "nightly Stopped Last used" in text_of(admin.page(path))
    house.tenancy.update(house.org, key.node.id, enabled=False)
    assert re.search("nightly (Disabled|Stopped) Last used", text_of(admin.page(path)))


def test_limits_are_added_and_taken_away(house: House, admin: Browser) -> None:
    path = f"/projects/{house.project}"
    admin.page(path)
    assert admin.post(f"{path}/limits", limit="60 requests/minute").status_code == 303
    assert "60 requests/minute" in admin.page(path)
    wrong = admin.post(f"{path}/limits", limit="<b>many</b>")
    assert wrong.status_code == 422
    assert "<b>many" not in wrong.text
    admin.page(path)
    assert admin.post(f"{path}/limits/remove", shape="requests/minute", mode="hard").status_code == 303
    assert "60 requests/minute" not in admin.page(path)


def test_a_key_is_made_shown_once_and_works(house: House, admin: Browser) -> None:
    admin.page("/keys")
    made = admin.post(
        "/keys", place=f"project:{house.project}", use="calls", days="30", name="nightly", limits="$1/day\n"
    )
    assert made.status_code == 200, text_of(made.text)
    secret = re.search(r"qw_live_[0-9A-Za-z]{36}", made.text)
    assert secret is not None
    listed = admin.page("/keys")
    assert "nightly" in listed
    assert secret[0] not in listed
    with house.quota.acting_as(key=secret[0]) as by:
        let_go(ask(house.quota, a_call(1), by))
    again = admin.post("/keys", place=f"project:{house.project}", use="calls", days="30", name="nightly")
    assert again.status_code == 409


def test_a_second_click_makes_no_second_key(house: House, admin: Browser) -> None:
    fields = {"place": f"project:{house.project}", "use": "calls", "days": "0"}
    admin.page("/keys")
    first = admin.post("/keys", **fields)
    assert "qw_live_" in first.text
    second = admin.again("/keys", **fields)
    assert second.status_code == 409
    assert "qw_" not in re.sub(r"qw_…", "", second.text)
    (key,) = [key for key in house.tenancy.list(house.org, "key") if key.parent == house.project]
    assert f'href="/v1/dashboard/keys/{key.id}"' in second.text
    assert "qw_live_" in admin.again("/keys", **fields, name="another").text
    admin.page("/keys")
    assert "qw_live_" in admin.post("/keys", **fields).text
    admin.page(f"/keys/{key.id}")
    assert "qw_live_" in admin.post(f"/keys/{key.id}/rotate", grace="0").text
    assert admin.again(f"/keys/{key.id}/rotate", grace="0").status_code == 409
    assert len([each for each in house.tenancy.list(house.org, "key") if not each.revoked]) == 4


def test_a_form_that_is_sent_by_two_clicks_at_once_is_done_once(house: House, admin: Browser) -> None:
    fields = {"place": f"project:{house.project}", "use": "calls", "days": "0", "csrf": "", "once": ""}
    admin.page("/keys")
    fields |= {"csrf": admin.token, "once": admin.once}
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: admin.client.post(f"{BASE}/keys", data=fields).status_code, range(4))
        )
    assert sorted(answers) == [200, 409, 409, 409]
    assert len([key for key in house.tenancy.list(house.org, "key") if key.parent == house.project]) == 1


def test_what_a_form_did_is_not_done_again_and_what_was_refused_may_be(house: House, admin: Browser) -> None:
    admin.page("/members")
    assert admin.post("/members", name="mina", email="no address").status_code == 422
    assert admin.again("/members", name="mina", email="no address").status_code == 422
    first = admin.post("/members", name="mina")
    assert led_to(admin.again("/members", name="mina")) == led_to(first)
    assert [member.name for member in house.tenancy.members(house.org)] == ["mina"]
    path = f"/projects/{house.project}"
    admin.page(path)
    assert admin.post(f"{path}/disable").status_code == 303
    house.tenancy.update(house.org, house.project, enabled=True)
    assert admin.again(f"{path}/disable").status_code == 303
    assert house.tenancy.get(house.org, house.project).enabled


def test_a_bad_form_is_shown_again_with_what_is_wrong(house: House, admin: Browser) -> None:
    admin.page("/keys")
    wrong = admin.post(
        "/keys", place=f"project:{house.project}", use="calls", days="0", limits="lots", name="n1"
    )
    assert wrong.status_code == 422
    assert 'value="n1"' in wrong.text
    assert admin.post("/keys", place="x:y", use="calls", days="0").status_code == 422
    assert admin.post("/keys", place="project:nothing", use="calls", days="0").status_code == 404


def test_a_key_is_rotated_and_revoked(house: House, admin: Browser) -> None:
    key = house.tenancy.create_key(house.project, name="app")
    path = f"/keys/{key.node.id}"
    admin.page(path)
    rotated = admin.post(f"{path}/rotate", grace="3600")
    assert "qw_live_" in rotated.text
    assert house.tenancy.get(house.org, key.node.id).expires_at is not None
    admin.page(path)
    assert led_to(admin.post(f"{path}/revoke")) == "/keys?told=told.revoked"
    assert house.tenancy.get(house.org, key.node.id).revoked


def test_each_role_sees_what_it_may(house: House) -> None:
    viewer = house.browser(house.key(house.project, *ROLES["viewer"]))
    page = viewer.page("/")
    assert "ranker" in page
    assert "chatbot" not in page
    assert "Search" not in page
    assert "/dashboard/keys" not in page
    assert viewer.get("/keys").status_code == 403
    assert viewer.get(f"/projects/{house.other}").status_code == 403
    assert viewer.post(f"/projects/{house.project}/disable").status_code == 403
    assert "Disable" not in viewer.page(f"/projects/{house.project}")
    caller = house.browser(house.key(house.project, "chat:create"))
    assert "ranker" not in caller.page("/")


def test_single_calls_are_seen_by_who_may_see_everything(house: House, admin: Browser) -> None:
    spent(house, 1, end_user="user-17")
    assert "user-17" in admin.page("/")
    assert "user-17" in admin.page(f"/projects/{house.project}")
    viewer = house.browser(house.key(house.org, *ROLES["viewer"]))
    for path in ("/", f"/projects/{house.project}"):
        assert "user-17" not in viewer.page(path)


ATTACKS = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'><svg onload=alert(1)>", "{{7*7}}",
    "javascript:alert(1)", "</title><script>alert(1)</script>", "<iframe srcdoc='<script>alert(1)</script>'>",
    "${alert(1)}", '" autofocus onfocus="alert(1)', "&lt;script&gt;alert(1)&lt;/script&gt;",
]  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_stays_text(house: House, admin: Browser, name: str) -> None:
    house.tenancy.update(house.org, house.project, name=name)
    house.tenancy.update(house.org, house.team, name=name)
    key = house.tenancy.create_key(house.project, name=name).node.id
    spent(house, 1, end_user=name)
    for path in ("/", "/projects", f"/projects/{house.project}", "/keys", f"/keys/{key}", "/live/overview"):
        page = admin.page(path)
        assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)
        assert len(re.findall(r"<script\b", page)) == len(
            re.findall(r'<script src="/v1/dashboard/static/', page)
        )
        tags = re.findall(r"<[a-z][^>]*>", page)
        assert not [
            tag for tag in tags if re.search(r"\s(on[a-z]+|style|srcdoc)\s*=", re.sub(r'"[^"]*"', '""', tag))
        ]


def test_pages_need_no_inline_script_style_or_other_host(house: House, admin: Browser) -> None:
    for path in ("/", "/keys", f"/projects/{house.project}", "/sign-in"):
        page = admin.page(path)
        assert not re.search(r"<style|\sstyle=|<script(?! src)|\son[a-z]+=", page)
        assert set(re.findall(r'(?:src|href|action)="([^"]*)"', page)) <= set(
            re.findall(r'="(/v1/dashboard[^"]*|#main)"', page)
        )


def test_the_first_page_is_small_over_the_wire(house: House, admin: Browser) -> None:
    spent(house, 1)
    headers = {"accept-encoding": "gzip"}
    page = admin.client.get(f"{BASE}/", headers=headers)
    assert page.headers["content-encoding"] == "gzip"
    sizes = [int(page.headers["content-length"])]
    for url in set(re.findall(r'(?:src|href)="(/v1/dashboard/static/[^"]*)"', page.text)):
        found = admin.client.get(url, headers=headers)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
        sizes.append(int(found.headers["content-length"]))
    assert len(sizes) == 7
    assert sum(sizes) < 100_000


def test_files_are_served_as_they_are(admin: Browser) -> None:
    for name in assets.NAMES:
        found = admin.client.get(f"{BASE}/static/{name}", headers={"accept-encoding": "identity"})
        asset = assets.asset(name)
        assert asset is not None
        assert found.content == asset.plain == gzip.decompress(asset.packed)
        same = admin.client.get(f"{BASE}/static/{name}", headers={"if-none-match": found.headers["etag"]})
        assert same.status_code == 304
    for name in ("nothing.js", "../app.py", "%2e%2e/app.py", "htmx.LICENSE"):
        assert admin.get(f"/static/{name}").status_code == 404


def test_what_is_not_there_is_a_page_too(admin: Browser) -> None:
    assert admin.get("/nothing").status_code == 404
    assert admin.get("/projects/nothing").status_code == 404
    assert admin.get("/keys/nothing/rotate").status_code == 405


def test_a_fault_of_ours_says_nothing_of_itself(
    admin: Browser, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr("quotaware.management.dashboard.spending.homes", fail)
    response = admin.get("/")
    assert response.status_code == 500
    assert "inside" not in response.text


def test_a_body_that_is_too_large_is_not_read(admin: Browser) -> None:
    response = admin.client.post(f"{BASE}/keys", content=b"a=" + b"x" * (1 << 20))
    assert response.status_code == 413


def test_the_language_and_theme_are_the_viewers(house: House, admin: Browser) -> None:
    assert '<html lang="en">' in admin.page("/")
    korean = admin.get("/", headers={"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"}).text
    assert '<html lang="ko">' in korean
    assert "예산 대비 사용" in korean
    assert led_to(admin.post("/look", language="ko", theme="dark", next="/keys")) == "/keys"
    chosen = admin.page("/keys")
    assert '<html lang="ko" data-theme="dark">' in chosen
    assert led_to(admin.post("/look", language="xx", theme="pink")) == "/"
    assert '<html lang="en">' in admin.page("/")


def test_errors_are_told_in_korean_too(house: House, admin: Browser) -> None:
    ko = {"accept-language": "ko"}
    viewer = house.browser(house.key(house.project, *ROLES["viewer"]))
    english = "API key does not have 'api_key:read' permission"
    told = text_of(viewer.get("/keys", headers=ko).text)
    assert f"필요한 권한이 없습니다. {english}" in told
    plain = text_of(viewer.get("/keys").text)
    assert english in plain
    assert "권한" not in plain
    assert "찾을 수 없습니다. There is no such page" in text_of(admin.get("/nothing", headers=ko).text)
    admin.page("/keys")
    wrong = admin.post("/keys", place="x:y", use="calls", days="0", headers=ko)
    assert "입력한 내용이 올바르지 않습니다." in text_of(wrong.text)
    assert 'lang="en">' in wrong.text
    spent(house, 1000)
    asked = f"/explain?project={house.project}&model=tenth&max_output=10"
    assert "예산을 초과했습니다. Monthly budget of $10 exceeded" in text_of(admin.get(asked, headers=ko).text)
    viewer.page("/")
    viewer.post(f"/projects/{house.project}/disable")
    audit = text_of(admin.get("/audit", headers=ko).text)
    assert "필요한 권한이 없습니다. API key does not have 'quota:manage' permission" in audit


def test_every_error_that_a_page_can_meet_has_a_korean_text() -> None:
    home = Path(str(files("quotaware")))
    rooms = [path for path in home.rglob("*.py") if not {"organization", "cli"} & {*path.parts}]
    source = "\n".join(path.read_text() for path in rooms)
    codes = set(re.findall(r"""(?:\bcode|default_code) ?= ?["']([a-z_]+)["']""", source))
    assert len(codes) > 40
    assert codes == KOREAN.keys()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ko", "ko"),
        ("de, ko;q=0.5, en;q=0.4", "ko"),
        ("fr", "en"),
        ("ko;q=0.1, en", "en"),
        ("ko;q=x", "ko"),
    ],
)
def test_the_browsers_language_is_taken(accepted: str, language: str) -> None:
    assert language_of("", accepted) == language


def test_every_text_is_there_in_both_languages_with_the_same_values() -> None:
    for key, (english, korean) in TEXTS.items():
        assert english.strip(), key
        assert korean.strip(), key
        assert sorted(re.findall(r"\{\w*\}", english)) == sorted(re.findall(r"\{\w*\}", korean)), key


def test_every_text_is_used_and_every_one_that_is_used_is_there() -> None:
    home = files("quotaware.management.dashboard")
    sources = [
        each for each in home.iterdir() if each.name.endswith(".py") and not each.name.startswith("texts")
    ]
    sources += [each for each in home.joinpath("templates").iterdir() if each.name.endswith(".html")]
    told = "\n".join(each.read_text() for each in sources)
    logged = (
        "why.",
        "did.",
        "said.",
        "limit.of_",
        "metric.",
        "every.",
        "unit.",
    )  # test_told.py looks at these
    made = (*logged, *re.findall(r"""["']([a-z_.]+\.)["'] ~""", told))
    names = set(re.findall(r"""["']([a-z_]+(?:\.[a-z0-9_]+)+)["']""", told))
    assert [key for key in TEXTS if key not in names and not key.startswith(made)] == []
    called = set(re.findall(r"""\bt\(["']([a-z0-9_.]+)["'][,)]""", told))
    assert called - TEXTS.keys() == set()
    assert {page.nav for page in PAGES if page.nav} <= TEXTS.keys()


WRITES = sorted({page.path for page in PAGES if page.method == "POST"})


@pytest.mark.parametrize("path", WRITES)
def test_no_form_goes_without_its_token_or_by_a_viewer(house: House, path: str) -> None:
    member = house.tenancy.create_member(house.org, "mina").id
    key = house.tenancy.create_key(house.project, name="app").node.id
    role = house.tenancy.create_role(house.org, "auditor", ["quota:read"]).id
    group = house.tenancy.create_group(house.org, house.team, "ops").id
    channel, _ = house.quota.blocking.alerts.add_channel(house.org, house.org, "email", email="a@example.com")
    more = f"project:{house.project}:cost/month"
    developer = house.browser(house.key(house.project, *ROLES["developer"]))
    developer.page("/requests")
    developer.post("/requests", limit=more, amount="50")
    (request,) = house.tenancy.requests(house.org)
    ids = {
        "members": member, "keys": key, "roles": role, "projects": house.project, "alerts": house.project,
        "requests": request.id, "channels": channel.id, "groups": group,
    }  # fmt: skip
    kind = path.split("/")[1]
    url = path.replace("{id}", ids.get(kind, ""))
    revision = house.quota.blocking.tenancy.audit(house.org)[-1]["revision"]
    fields = {
        "name": "n1", "role": "org_admin", "node": house.org, "role_name": "r1", "permissions": "org:manage",
        "group": group, "group_name": "g1", "roles": "org_admin",
        "place": f"organization:{house.org}", "use": "admin", "days": "0",
        "limit": more if kind == "requests" else "$1/day",
        "amount": "50", "rule": "80% email", "type": "email", "target": "a@example.com", "time_zone": "UTC",
        "shape": "cost/month", "mode": "hard",
    }  # fmt: skip
    admin = house.browser(house.admin)
    assert admin.post(url, csrf="another", **fields).status_code == 403
    viewer = house.browser(house.key(house.org, *ROLES["viewer"]))
    viewer.page("/")
    assert viewer.post(url, **fields).status_code == 403
    rows = house.quota.blocking.tenancy.audit(house.org, revision)
    assert {row["what"] for row in rows if not row["what"].endswith(".refused")} <= {"key.create"}


def test_every_form_and_page_has_a_path_of_its_own() -> None:
    paths = [(page.method, page.path) for page in PAGES]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "$0.00"), (CENT, "$0.01"), (1_234_567_890_000_000, "$1,234,567.89"), (1_500_000, "$0.0015"),
     (1, "< $0.000001"), (None, "–")],
)  # fmt: skip
def test_money_is_written_so_that_it_can_be_seen(nano: int | None, text: str) -> None:
    assert money(nano) == text


def test_figures_are_written_plainly() -> None:
    assert count(1234567) == "1,234,567"
    assert when(0, "Asia/Seoul") == "1970-01-01 09:00"
    assert when(None) == count(None) == "–"
    assert [hundredths(*of) for of in ((0, 10), (5, 10), (20, 10), (0, 0), (-1, 10))] == [0, 50, 100, 100, 0]
