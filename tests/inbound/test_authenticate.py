"""Who acts under a mount of ours: every credential is judged there, as the store has it now."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette

from quotaware import ApiError, Identity, InvalidKeyFormat, Quota, QuotaMiddleware, StoreUnavailable
from quotaware.context import Caller
from quotaware.tenancy import keys
from quotaware.tenancy.access import Actor, Grant
from tests.apps.asgi import bearer, request
from tests.inbound.house import House
from tests.inbound.test_edge import JWT, MALFORMED, TWICE
from tests.support import NOON

pytestmark = pytest.mark.anyio

Header = tuple[bytes, bytes]
COOKIE = (b"cookie", b"session=ann")
HOST = (b"host", b"app.test")


@pytest.fixture
def house() -> Iterator[House]:
    house = House(identify=lambda scope: scope.get("identity"))
    yield house
    house.quota.close()


def scope(*headers: Header, **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "headers": headers, "client": ("127.0.0.1", 4000), **more}


async def actor(house: House, *headers: Header, **more: Any) -> Actor:
    return await house.quota.edge.authenticate(scope(*headers, **more))


async def refused(house: House, *headers: Header, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await actor(house, *headers, **more)
    return raised.value


# A key


async def test_a_key_is_its_actor_and_where_from(house: House) -> None:
    key = house.key(permissions=["quota:manage"], name="ci")
    for header in (bearer(key.secret), (b"X-API-Key", key.secret.encode())):
        found = await actor(house, header)
        assert (found.kind, found.id, found.name, found.org) == ("key", key.node.id, "ci", house.org)
        assert found.grants == (Grant(house.project, ("quota:manage",)),)
        assert found.address == "127.0.0.1"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_on_either_kind_of_loop(house: House, anyio_backend: str) -> None:
    key, identity = house.key(), ann(house)
    assert (await actor(house, bearer(key.secret))).id == key.node.id
    assert (await actor(house, identity=identity)).name == "ann"
    assert (await refused(house, bearer(keys.make("live")))).status == 401


async def test_the_same_key_in_both_headers_is_one_credential(house: House) -> None:
    secret = house.key().secret
    assert (await actor(house, bearer(secret), (b"x-api-key", secret.encode()))).kind == "key"


async def test_without_a_credential_nobody_acts(house: House) -> None:
    """It never runs open: not with limits only, not in shadow mode, not for a host that names an end user."""
    shadow, simple = House(shadow=True), Quota("memory://", limits=["$1/day"], identify=lambda scope: "u42")
    for edge in (house.quota.edge, shadow.quota.edge, simple.edge):
        with pytest.raises(InvalidKeyFormat) as raised:
            await edge.authenticate(scope())
        assert (raised.value.status, raised.value.code) == (401, "missing_api_key")
        assert raised.value.message == "Invalid API key format"
    shadow.quota.close()
    simple.close()


@pytest.mark.parametrize(
    "header",
    [
        *((b"authorization", f"Bearer {text}".encode("latin-1")) for text in MALFORMED.values()),
        *((b"x-api-key", text.encode("latin-1")) for text in MALFORMED.values()),
        (b"authorization", JWT),
        (b"authorization", b"Basic dXNlcjpwYXNz"),
        (b"authorization", b"Digest qw_live_x"),
        (b"authorization", b""),
        (b"authorization", b"Bearer"),
        (b"authorization", b"Bearer "),
        (b"authorization", TWICE),
        (b"authorization", b"\xff\xfe\x00"),
        (b"authorization", b" " * 100_000),
        (b"x-api-key", b""),
        (b"x-api-key", b"another-systems-key"),
    ],
)
async def test_what_is_no_key_is_told_so_without_the_store(house: House, header: Header) -> None:
    trips = house.store.trips
    error = await refused(house, header)
    assert (error.status, error.type, error.message) == (401, "invalid_request", "Invalid API key format")
    assert house.store.trips == trips


@pytest.mark.parametrize(
    "headers",
    [
        [bearer(keys.make("live")), (b"x-api-key", keys.make("live").encode())],
        [(b"authorization", b"Bearer " + TWICE), (b"authorization", b"Bearer " + TWICE)],
        [(b"authorization", b"Bearer " + TWICE), (b"Authorization", b"bearer " + TWICE)],
        [(b"x-api-key", TWICE), (b"x-api-key", TWICE)],
        [(b"authorization", JWT), (b"x-api-key", TWICE)],
        [(b"authorization", b"Basic eA=="), (b"x-api-key", TWICE)],
        [(b"authorization", JWT), (b"authorization", JWT)],
        [(b"authorization", b""), (b"authorization", b"Bearer " + TWICE)],
    ],
)
async def test_two_credentials_are_ambiguous_whosever_they_are(house: House, headers: list[Header]) -> None:
    trips = house.store.trips
    error = await refused(house, *headers)
    assert (error.status, error.type, error.message) == (400, "invalid_request", "Ambiguous credentials")
    assert house.store.trips == trips


async def test_unknown_expired_revoked_and_deleted_are_told_alike(house: House) -> None:
    expired = house.key(expires_at=NOON + 1000)
    revoked, deleted = house.key(), house.key()
    for key in (expired, revoked, deleted):
        assert (await actor(house, bearer(key.secret))).id == key.node.id
    house.clock.advance(1000)
    house.tenancy.revoke_key(house.org, revoked.node.id)
    house.tenancy.delete(house.org, deleted.node.id)
    for secret in (keys.make("live"), expired.secret, revoked.secret, deleted.secret):
        error = await refused(house, bearer(secret))
        assert error.body() == {
            "error": {"type": "authentication_error", "message": "Invalid API key", "code": "invalid_api_key"}
        }


async def test_a_change_by_another_process_bears_on_the_next_request(house: House) -> None:
    """There is no time for which a key is trusted: this process knows it, and the other one revokes it."""
    key = house.key(permissions=["quota:read"])
    assert (await actor(house, bearer(key.secret))).grants[0].permissions == ("quota:read",)
    other = Quota(house.store, clock=house.clock)
    other.blocking.tenancy.update_key(house.org, key.node.id, permissions=["quota:manage"])
    assert (await actor(house, bearer(key.secret))).grants[0].permissions == ("quota:manage",)
    other.blocking.tenancy.revoke_key(house.org, key.node.id)
    assert (await refused(house, bearer(key.secret))).status == 401
    other.close()


async def test_a_key_acts_from_its_addresses_only(house: House) -> None:
    key = house.key(addresses=["10.0.0.0/8"])
    assert (await refused(house, bearer(key.secret))).code == "address_not_allowed"
    assert (await refused(house, bearer(key.secret), client=None)).code == "address_not_allowed"
    assert (await actor(house, bearer(key.secret), client=("10.1.2.3", 1))).address == "10.1.2.3"


@pytest.mark.parametrize("what", ["key", "project", "organization"])
async def test_what_hangs_on_something_disabled_does_not_act(house: House, what: str) -> None:
    """Not even to enable it again: that is for those above it, or for the host."""
    key = house.key(permissions=["quota:manage"])
    id = {"key": key.node.id, "project": house.project, "organization": house.org}[what]
    house.tenancy.disable(house.org, id)
    error = await refused(house, bearer(key.secret))
    assert (error.status, error.code) == (403, "disabled")
    assert error.message.startswith(what.capitalize() if what != "key" else "Key")
    above = house.tenancy.create_key(house.org, permissions=["org:manage"]).secret
    if what != "organization":
        who = await actor(house, bearer(above))
        house.tenancy.by(who).enable(house.org, id)
    else:
        assert (await refused(house, bearer(above))).code == "disabled"
        house.tenancy.enable(house.org, id)
    assert (await actor(house, bearer(key.secret))).id == key.node.id


async def test_a_store_that_is_away_is_503(house: House) -> None:
    """Also for a key that was just seen: nothing is trusted from memory."""
    key = house.key()
    await actor(house, bearer(key.secret))
    house.store.away = True
    error = await refused(house, bearer(key.secret))
    assert isinstance(error, StoreUnavailable)
    assert error.retry_after == 1
    assert (await refused(house, bearer("qw_live_x"))).status == 401


# A member, by the host's login


def ann(house: House) -> Any:
    house.tenancy.create_member(house.org, "ann", id="ann", roles=[("viewer", house.org)])
    return {"member": "ann", "organization": house.org}


async def test_the_host_names_a_member(house: House) -> None:
    """With the host's own token, its cookie or nothing at all; the organization is known where there is one only."""
    ann(house)
    answers = (
        {"member": "ann"},
        Identity(member="ann", organization=house.org),
        Identity(house.project, member="ann"),
    )
    for identity, headers in itertools.product(answers, ([], [(b"authorization", JWT)], [COOKIE])):
        found = await actor(house, *headers, identity=identity)
        assert (found.kind, found.name, found.org, found.address) == ("member", "ann", house.org, "127.0.0.1")
        assert found.may("quota:read:summary", [house.org])
        assert not found.may("quota:manage", [house.org])


async def test_a_quotaware_key_goes_before_the_hosts_word(house: House) -> None:
    key = house.key()
    identity = ann(house)
    assert (await actor(house, bearer(key.secret), identity=identity)).kind == "key"
    assert (await refused(house, bearer("qw_live_x"), identity=identity)).code == "invalid_key_format"


async def test_a_member_who_is_not_there_or_disabled_does_not_act(house: House) -> None:
    nobody = await refused(house, identity={"member": "bob"})
    assert (nobody.status, nobody.code) == (403, "unattributed")
    assert "bob" in nobody.message
    nowhere = await refused(house, identity={"member": "bob", "organization": "Not An Id"})
    assert (nowhere.status, nowhere.code) == (403, "unattributed")
    identity = ann(house)
    house.tenancy.update_member(house.org, "ann", enabled=False)
    disabled = await refused(house, identity=identity)
    assert (disabled.status, disabled.code) == (403, "disabled")
    house.tenancy.update_member(house.org, "ann", enabled=True)
    house.tenancy.disable(house.org, house.org)
    assert (await refused(house, identity=identity)).code == "disabled"


async def test_of_several_organizations_identify_names_the_members(house: House) -> None:
    identity = ann(house)
    house.tenancy.create_organization("Other")
    error = await refused(house, identity={"member": "ann"})
    assert (error.status, error.code) == (403, "unattributed")
    assert "organization" in error.message
    assert (await actor(house, identity=identity)).org == house.org


async def test_who_is_no_member_needs_a_key(house: House) -> None:
    for identity in (None, "u42", {"project": house.project}, Identity(end_user="u42")):
        assert (await refused(house, identity=identity)).code == "missing_api_key"
        assert (await refused(house, (b"authorization", JWT), identity=identity)).code == "invalid_key_format"


async def test_the_hosts_word_is_read_at_each_request(house: House) -> None:
    identity = ann(house)
    await actor(house, identity=identity)
    other = Quota(house.store, clock=house.clock)
    other.blocking.tenancy.update_member(house.org, "ann", roles=[("admin", house.org)])
    assert (await actor(house, identity=identity)).may("quota:manage", [house.org])
    house.store.away = True
    assert (await refused(house, identity=identity)).status == 503
    other.close()


# Another site behind the member's browser


CROSS: list[list[Header]] = [
    [COOKIE, (b"sec-fetch-site", b"cross-site")],
    [COOKIE, (b"Sec-Fetch-Site", b"same-site")],
    [COOKIE, (b"sec-fetch-site", b"nonsense")],
    [COOKIE, (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")],
    [COOKIE, (b"origin", b"https://evil.test"), HOST],
    [COOKIE, (b"origin", b"https://app.test.evil.test"), HOST],
    [COOKIE, (b"origin", b"https://app.test:8443"), HOST],
    [COOKIE, (b"origin", b"null"), HOST],
    [COOKIE, (b"origin", b"https://app.test")],
    [COOKIE, (b"origin", b"https://app.test"), HOST, (b"host", b"evil.test")],
    [(b"authorization", b"Basic dXNlcjpwYXNz"), (b"sec-fetch-site", b"cross-site")],
    [(b"authorization", JWT), COOKIE, (b"sec-fetch-site", b"cross-site")],
    [(b"sec-fetch-site", b"cross-site")],
]


@pytest.mark.parametrize("headers", CROSS)
@pytest.mark.parametrize("request_", [{"method": "POST"}, {"method": "DELETE"}, {"type": "websocket"}])
async def test_another_site_does_not_act_with_the_hosts_login(
    house: House, headers: list[Header], request_: dict[str, Any]
) -> None:
    error = await refused(house, *headers, identity=ann(house), **request_)
    assert (error.status, error.code) == (403, "cross_site")


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ([COOKIE, (b"sec-fetch-site", b"same-origin")], "POST"),
        ([COOKIE, (b"sec-fetch-site", b"none")], "POST"),
        ([COOKIE, (b"origin", b"https://APP.test"), HOST], "POST"),
        ([COOKIE, (b"origin", b"http://app.test"), HOST], "POST"),
        ([COOKIE], "POST"),
        ([COOKIE, (b"sec-fetch-site", b"cross-site")], "GET"),
        ([COOKIE, (b"sec-fetch-site", b"cross-site")], "HEAD"),
        ([(b"authorization", JWT), (b"sec-fetch-site", b"cross-site")], "POST"),
        ([(b"x-api-key", b"of-the-host"), (b"origin", b"https://spa.test"), HOST], "POST"),
    ],
)
async def test_the_own_site_and_a_token_in_a_header_act(
    house: House, headers: list[Header], method: str
) -> None:
    """So does who only reads: the answer is not shown to another site."""
    assert (await actor(house, *headers, identity=ann(house), method=method)).name == "ann"


async def test_a_key_acts_from_any_site(house: House) -> None:
    """No browser adds it by itself."""
    key = house.key()
    for headers in CROSS[:3]:
        assert (await actor(house, bearer(key.secret), *headers)).kind == "key"


async def test_the_management_api_takes_a_member_by_the_hosts_cookie(house: House) -> None:
    """As the whole app answers it: the member's roles, the host's site, what the audit log says of it."""

    def identify(scope: Any) -> Any:
        return {"member": "ann"} if COOKIE in scope["headers"] else None

    quota = Quota(house.store, clock=house.clock, identify=identify)
    app = Starlette()
    app.add_middleware(QuotaMiddleware, quota=quota)
    app.mount("/v1", quota.management())
    ann(house)
    house.tenancy.create_key(house.org, permissions=["org:manage"])
    site, evil = (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")
    body = b'{"name": "more"}'
    sent = (b"content-type", b"application/json")
    team = house.tenancy.create_team(house.org, "t").id
    path = f"/v1/teams/{team}/projects"

    async def post(*headers: Header) -> tuple[int | None, Any]:
        answer = await request(app, path, method="POST", headers=[sent, *headers], body=body)
        return answer.status, answer.json()

    assert (await request(app, "/v1/me", headers=[COOKIE, site])).json()["member"]["name"] == "ann"
    status, told = await post(COOKIE, site)
    assert (status, told["error"]["message"]) == (403, "Member 'ann' does not have 'quota:manage' permission")
    house.tenancy.update_member(house.org, "ann", roles=[("admin", team)])
    assert (await post(COOKIE, evil))[1]["error"]["code"] == "cross_site"
    assert (await post(site))[0] == 401
    status, told = await post(COOKIE, site)
    assert (status, told["name"]) == (201, "more")
    row = house.tenancy.audit(house.org)[-1]
    assert (row["who"]["kind"], row["who"]["name"], row["from"]) == ("member", "ann", "127.0.0.1")
    quota.close()


async def test_on_host_routes_nothing_of_this_is_judged(house: House) -> None:
    assert await house.status(*CROSS[0]) == 204
    assert not isinstance(house.caller(), Caller)
