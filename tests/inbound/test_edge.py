"""Who calls: quotaware keys among the host's own credentials, and the host's own word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from quotaware import ConfigurationError, Identity, Quota, QuotaMiddleware
from quotaware.context import Caller
from quotaware.tenancy import keys
from tests.apps.asgi import bearer, request, websocket
from tests.apps.hosts import Provider, answers, with_starlette
from tests.inbound.house import House
from tests.support import NOON

pytestmark = pytest.mark.anyio

JWT = b"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1NDIifQ.c2lnbmF0dXJl"
MALFORMED = {
    "no key at all": "qw_",
    "checksum": "qw_live_" + "a" * 36,
    "unknown kind": "qw_root_" + "a" * 36,
    "too short": "qw_live_abc",
    "non-ASCII": "qw_live_é" + "a" * 35,
    "NUL": "qw_live_\0" + "a" * 35,
    "comma-joined": f"{keys.make('live')},{keys.make('live')}",
    "comma-joined with its scheme": f"{keys.make('live')}, Bearer {keys.make('live')}",
    "something behind it": f"{keys.make('live')} x",
    "100 KB": "qw_live_" + "a" * 100_000,
}


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.quota.close()


# A quotaware key


@pytest.mark.parametrize(
    "carry",
    [
        lambda key: (b"authorization", b"Bearer " + key),
        lambda key: (b"Authorization", b"bearer " + key),
        lambda key: (b"AUTHORIZATION", b"BEARER   " + key),
        lambda key: (b"authorization", b"\t Bearer \t" + key + b" \t"),
        lambda key: (b"authorization", b"bEaReR\t" + key),
        lambda key: (b"x-api-key", key),
        lambda key: (b"X-API-Key", b" \t" + key + b"\t "),
    ],
)
async def test_a_key_is_read_from_either_header(
    house: House, carry: Callable[[bytes], tuple[bytes, bytes]]
) -> None:
    """The scheme in any case; spaces and tabs around are no part of the key."""
    key = house.key()
    assert await house.status(carry(key.secret.encode())) == 204
    assert house.caller() == Caller(
        house.org, key.node.id, digest=keys.digest(key.secret), address="127.0.0.1"
    )


async def test_the_same_key_in_both_headers_is_one_credential(house: House) -> None:
    key = house.key().secret
    assert await house.status(bearer(key), (b"x-api-key", key.encode())) == 204


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("carry", [lambda v: (b"authorization", b"Bearer " + v), lambda v: (b"x-api-key", v)])
async def test_a_malformed_key_is_refused_without_the_store(
    house: House, text: str, carry: Callable[[bytes], tuple[bytes, bytes]]
) -> None:
    trips = house.store.trips
    status, error = await house.denied(carry(text.encode("latin-1")))
    assert (status, error) == (
        401,
        {"type": "invalid_request", "message": "Invalid API key format", "code": "invalid_key_format"},
    )
    assert house.store.trips == trips
    assert house.bindings == []


async def test_a_401_names_its_scheme(house: House) -> None:
    """RFC 9110, 11.6.1."""
    answer = await request(house.app, "/", headers=[bearer("qw_live_x")])
    assert answer.header("www-authenticate") == "Bearer"


async def test_unknown_expired_revoked_and_deleted_are_told_alike(house: House) -> None:
    expired = house.key(expires_at=NOON + 1000)
    revoked, deleted = house.key(), house.key()
    for key in (expired, revoked, deleted):
        assert await house.status(bearer(key.secret)) == 204
    house.clock.advance(1000)
    house.tenancy.revoke_key(house.org, revoked.node.id)
    house.tenancy.delete(house.org, deleted.node.id)
    expected = {"type": "authentication_error", "message": "Invalid API key", "code": "invalid_api_key"}
    for secret in (keys.make("live"), expired.secret, revoked.secret, deleted.secret):
        assert await house.denied(bearer(secret)) == (401, expected)


async def test_an_unknown_key_is_looked_up_once(house: House) -> None:
    """Whoever tries one key again and again does not reach the store with it."""
    unknown = bearer(keys.make("live"))
    assert await house.status(unknown) == 401
    trips = house.store.trips
    assert await house.status(unknown) == 401
    assert house.store.trips == trips


async def test_a_known_key_costs_no_trip_until_its_time_is_over(house: House) -> None:
    """A host route that makes no LLM call trusts what it knows for `key_ttl` (5 s), then looks again."""
    key = bearer(house.key().secret)
    assert await house.status(key) == 204
    trips = house.store.trips
    house.clock.advance(5000)
    assert await house.status(key) == 204
    assert house.store.trips == trips
    house.clock.advance(1)
    assert await house.status(key) == 204
    assert house.store.trips > trips


@pytest.mark.parametrize("disable", ["project", "organization"])
async def test_a_key_of_something_disabled_still_reaches_the_host(house: House, disable: str) -> None:
    """What is disabled bears on LLM calls; the host's other routes are the host's."""
    key = house.key()
    house.tenancy.disable(house.org, {"project": house.project, "organization": house.org}[disable])
    assert await house.status(bearer(key.secret)) == 204


# Two credentials


def one() -> bytes:
    return keys.make("live").encode()


TWICE = keys.make("live").encode()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer " + one()), (b"x-api-key", one())],
        [(b"authorization", b"Bearer " + one()), (b"authorization", b"Bearer " + one())],
        [(b"authorization", b"Bearer " + TWICE), (b"Authorization", b"bearer " + TWICE)],
        [(b"x-api-key", TWICE), (b"X-Api-Key", TWICE)],
        [(b"authorization", b"Bearer " + TWICE), (b"x-api-key", TWICE), (b"x-api-key", TWICE)],
        [(b"authorization", b"Bearer qw_nonsense"), (b"x-api-key", TWICE)],
    ],
    ids=[
        "two keys",
        "two values",
        "one value twice",
        "one X-API-Key twice",
        "three",
        "one of them malformed",
    ],
)
async def test_two_credentials_are_ambiguous(house: House, headers: list[tuple[bytes, bytes]]) -> None:
    """S2: two different keys, or one header twice."""
    trips = house.store.trips
    status, error = await house.denied(*headers)
    assert (status, error["type"], error["message"], error["code"]) == (
        400,
        "invalid_request",
        "Ambiguous credentials",
        "ambiguous_credentials",
    )
    assert house.store.trips == trips


@pytest.mark.parametrize(
    "foreign",
    [
        (b"authorization", JWT),
        (b"authorization", b"Basic dXNlcjpwYXNz"),
        (b"x-api-key", b"another-systems-key"),
        (b"authorization", b"Digest qw_live_x"),
        (b"x-api-key", b"prefix qw_live_x"),
    ],
)
async def test_a_foreign_credential_is_no_second_one(house: House, foreign: tuple[bytes, bytes]) -> None:
    """Not even in the same header."""
    key = house.key().secret
    for ours in (bearer(key), (b"x-api-key", key.encode())):
        assert await house.status(foreign, ours) == 204
        assert await house.status(ours, foreign) == 204
        assert isinstance(house.caller(), Caller)


# The host's own logins


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", JWT)],
        [(b"authorization", b"Basic dXNlcjpwYXNz")],
        [(b"authorization", b"Basic qw_live_nonsense")],
        [(b"authorization", b"qw_live_without_a_scheme")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer QW_live_x")],
        [(b"authorization", b"Bearer \0qw_live_x")],
        [(b"authorization", b"Bearer " + b"j" * 100_000)],
        [(b"authorization", b"\xff\xfe\x00")],
        [(b"authorization", JWT), (b"authorization", JWT)],
        [(b"x-api-key", b"another-systems-key"), (b"x-api-key", b"and one more")],
        [(b"x-api-key", "schlüssel".encode())],
        [(b"cookie", b"session=qw_live_x"), (b"x-auth", b"qw_live_x")],
    ],
)
async def test_the_hosts_own_credentials_pass_untouched(
    house: House, headers: list[tuple[bytes, bytes]]
) -> None:
    trips = house.store.trips
    assert await house.status(*headers) == 204
    assert house.caller() is None
    assert house.store.trips == trips


@pytest.mark.parametrize(
    "header", [(b"authorization", JWT), (b"x-api-key", b"k"), (b"authorization", b"Basic eA==")]
)
async def test_a_call_under_the_hosts_own_login_that_nobody_identified(
    house: House, header: tuple[bytes, bytes]
) -> None:
    """Is denied with 401 `Invalid API key format`; the request itself was let in."""
    seen: list[Any] = []
    provider = Provider(answers)
    provider.client.event_hooks["response"] = [lambda response: _note(seen, response)]
    answer = await request(with_starlette(house.quota, provider), "/async", query="model=m", headers=[header])
    assert (answer.status, answer.body) == (200, b"401")
    assert seen[0]["message"] == "Invalid API key format"
    assert seen[0]["code"] == "invalid_key_format"


async def _note(seen: list[Any], response: httpx.Response) -> None:
    await response.aread()
    seen.append(response.json().get("error"))


# Addresses


@pytest.mark.parametrize(
    ("allowed", "client", "status"),
    [
        (["10.1.2.3"], ("10.1.2.3", 1), 204),
        (["10.1.2.3"], ("10.1.2.4", 1), 403),
        (["10.0.0.0/8"], ("10.255.0.1", 1), 204),
        (["10.0.0.0/8"], ("11.0.0.1", 1), 403),
        (["192.0.2.1", "10.0.0.0/8"], ("10.0.0.1", 1), 204),
        (["10.0.0.0/8"], ("::ffff:10.0.0.1", 1), 204),
        (["10.0.0.0/8"], ("::ffff:11.0.0.1", 1), 403),
        (["2001:db8::1"], ("2001:db8::1", 1), 204),
        (["2001:db8::/32"], ("2001:db8:ffff::2", 1), 204),
        (["2001:db8::/32"], ("2001:db9::1", 1), 403),
        (["fe80::/10"], ("fe80::1%eth0", 1), 204),
        (["10.0.0.0/8"], ("2001:db8::1", 1), 403),
        (["0.0.0.0/0"], ("203.0.113.9", 1), 204),
        (["0.0.0.0/0"], None, 403),
        (["0.0.0.0/0", "::/0"], ("/run/app.sock", 0), 403),
        (["0.0.0.0/0", "::/0"], ("testclient", 1), 403),
        (["0.0.0.0/0", "::/0"], ("", 0), 403),
        ([], None, 204),
        ([], ("anything", 1), 204),
    ],
)
async def test_a_key_may_be_used_from_its_addresses_only(
    house: House, allowed: list[str], client: tuple[str, int] | None, status: int
) -> None:
    """IPv4, IPv6, IPv4 as a dual-stack socket names it, blocks; who has no address is not among them."""
    key = house.key(addresses=allowed)
    assert await house.status(bearer(key.secret), client=client) == status


async def test_a_wrong_address_is_told_as_403(house: House) -> None:
    key = house.key(addresses=["10.0.0.1"])
    status, error = await house.denied(bearer(key.secret))
    assert (status, error["type"], error["code"]) == (403, "permission_denied", "address_not_allowed")
    house.tenancy.update(house.org, key.node.id, addresses=["127.0.0.1"])
    assert await house.status(bearer(key.secret)) == 204


@pytest.mark.parametrize("client", [("127.0.0.1", 1), None])
async def test_a_list_that_another_process_narrows_bears_on_the_next_call(
    house: House, client: tuple[str, int] | None
) -> None:
    """Also of a request that was let in by the old one; what the app does with the key by itself is from nowhere."""
    key = house.key()
    provider = Provider(answers)
    app = with_starlette(house.quota, provider)
    ask = {"query": "model=m", "headers": [bearer(key.secret)], "client": client}
    assert (await request(app, "/async", **ask)).body == b"200"
    other = Quota(house.store, clock=house.clock)
    other.blocking.tenancy.update_key(house.org, key.node.id, addresses=["10.0.0.0/8"])
    assert (await request(app, "/async", **ask)).body == b"403"
    with house.quota.acting_as(key=key.secret):
        assert await provider.ask("m") == "200"
    assert (await request(app, "/async", **{**ask, "client": ("10.1.1.1", 1)})).body == b"200"
    other.close()


async def test_a_member_makes_calls_in_a_project(house: House) -> None:
    house.tenancy.create_member(house.org, "ann", roles=[("developer", house.project)])
    seen: list[Any] = []
    provider = Provider(answers)
    provider.client.event_hooks["response"] = [lambda response: _note(seen, response)]
    app = with_starlette(house.quota, provider, identify=lambda scope: scope["identity"])
    who = {"member": "ann", "project": house.project}
    assert (await request(app, "/async", query="model=m", identity=who)).body == b"200"
    assert (await request(app, "/async", query="model=m", identity={"member": "ann"})).body == b"403"
    assert seen[-1]["code"] == "project_required"
    assert "identify names it as `project`" in seen[-1]["message"]


async def test_x_forwarded_for_is_not_believed(house: House) -> None:
    key = house.key(addresses=["10.0.0.1"])
    assert await house.status(bearer(key.secret), (b"x-forwarded-for", b"10.0.0.1")) == 403


# identify


def _asked_with(answer: Any) -> Any:
    async def later(scope: Any) -> Any:
        return answer

    return [lambda scope: answer, later]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("u42", Identity(end_user="u42")),
        (Identity("proj_x", "u42", {"plan": "pro"}), Identity("proj_x", "u42", {"plan": "pro"})),
        ({"end_user": "u42"}, Identity(end_user="u42")),
        ({"project": "proj_x", "tags": {"a": "b"}}, Identity("proj_x", tags={"a": "b"})),
        ({}, Identity()),
        (None, None),
    ],
)
async def test_the_hosts_own_word(house: House, answer: Any, expected: Identity | None) -> None:
    """identify() answers a text, an Identity, a mapping or None, at once or awaited; of the Quota or the middleware."""
    for identify in _asked_with(answer):
        app = QuotaMiddleware(house.inner, house.quota, identify=identify)
        assert (await request(app, "/", headers=[(b"authorization", JWT)])).status == 204
        assert house.caller() == expected
    other = House(identify=_asked_with(answer)[1])
    await request(other.app, "/")
    other.quota.close()
    assert other.caller() == expected


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (42, "identify: answered 42"),
        (b"u42", "identify: answered b'u42'"),
        (True, "identify: answered True"),
        (["u42"], "identify: answered ['u42']"),
        ({"user": "u42"}, "identify: answered {'user': 'u42'}"),
        ({"key": "0" * 64}, "identify: answered"),
        ({"end_user": 42}, "end_user: is text or None, not int"),
        ({"project": ["p"]}, "project: is text or None, not list"),
        ({"tags": ["a"]}, "tags: are pairs of texts"),
        ({"tags": {"a": 1}}, "tags: are pairs of texts"),
        ("u" * 10_000, None),
    ],
)
async def test_nonsense_from_identify_is_named(house: House, answer: Any, named: str | None) -> None:
    for identify in _asked_with(answer):
        result = await request(QuotaMiddleware(house.inner, house.quota, identify=identify), "/")
        if named is None:
            assert result.status == 204
        else:
            assert isinstance(result.error, ConfigurationError)
            assert str(result.error).startswith(named)
            assert len(str(result.error)) < 300


async def test_what_identify_raises_is_the_hosts(house: House) -> None:
    def identify(scope: Any) -> str:
        return str(scope["nothing"])

    result = await request(QuotaMiddleware(house.inner, house.quota, identify=identify), "/")
    assert isinstance(result.error, KeyError)


async def test_identify_sees_the_scope_and_names_whose_call_it_is(house: House) -> None:
    def identify(scope: Any) -> Identity:
        user = dict(scope["headers"])[b"x-user"].decode()
        return Identity(house.project, user, {"path": scope["path"]})

    app = with_starlette(house.quota, Provider(answers), identify=identify)
    answer = await request(
        app, "/async", query="model=m", headers=[(b"x-user", b"u42"), (b"authorization", JWT)]
    )
    assert answer.body == b"200"
    (record,) = [record async for record in house.quota.usage.records()]
    assert (record.project, record.end_user, record.tags) == (house.project, "u42", {"path": "/async"})


async def test_a_key_says_the_project_and_identify_the_end_user(house: House) -> None:
    """Where a request carries a key and the host knows its user."""
    key = house.key()
    app = QuotaMiddleware(
        house.inner, house.quota, identify=lambda scope: Identity("proj_other", "u42", {"a": "b"})
    )
    await request(app, "/", headers=[bearer(key.secret)])
    assert house.caller() == Caller(
        house.org, key.node.id, "u42", {"a": "b"}, keys.digest(key.secret), address="127.0.0.1"
    )


async def test_a_project_that_is_not_there_is_named(house: House) -> None:
    seen: list[Any] = []
    provider = Provider(answers)
    provider.client.event_hooks["response"] = [lambda response: _note(seen, response)]
    app = with_starlette(house.quota, provider, identify=lambda scope: Identity("proj_nowhere"))
    assert (await request(app, "/async", query="model=m")).body == b"403"
    assert "proj_nowhere" in seen[0]["message"]


# WebSockets, a store that is away, shadow


async def test_a_websocket_with_a_bad_key_is_closed_before_it_opens(house: House) -> None:
    """With the whole answer where the server can send one, else with the reason."""
    bad = [bearer("qw_live_nonsense")]
    (closed,) = await websocket(house.app, "/", headers=bad)
    assert closed == {"type": "websocket.close", "code": 1008, "reason": "Invalid API key format"}
    start, body = await websocket(house.app, "/", headers=bad, extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert body["type"] == "websocket.http.response.body"
    assert b"Invalid API key format" in body["body"]
    assert house.bindings == []


async def test_a_store_that_is_away_is_503_where_a_key_has_to_be_looked_up(house: House) -> None:
    key = house.key()
    house.quota.engine.directory.forget_key(key.node.digest)
    house.store.away = True
    answer = await request(house.app, "/", headers=[bearer(key.secret)])
    assert (answer.status, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.header("retry-after") == "1"
    assert await house.status((b"authorization", JWT)) == 204
    assert await house.status(bearer("qw_live_nonsense")) == 401
    house.store.away = False
    assert await house.status(bearer(key.secret)) == 204


async def test_shadow_refuses_no_request(house: House) -> None:
    """What would have been refused is counted, and its calls are recorded as nobody's."""
    shadow = House(shadow=True)
    key = shadow.key(addresses=["10.0.0.1"])
    app = with_starlette(shadow.quota, Provider(answers))
    for count, headers in enumerate(
        (
            [bearer("qw_live_nonsense")],
            [bearer(keys.make("live"))],
            [bearer(key.secret)],
            [bearer(key.secret), (b"x-api-key", one())],
        ),
        1,
    ):
        assert (await request(app, "/async", query="model=m", headers=headers)).body == b"200"
        assert shadow.quota.stats["would_deny"] >= count
    assert [record.project async for record in shadow.quota.usage.records()] == [None] * 4
    shadow.quota.close()


async def test_a_scope_without_headers_is_nobodys(house: House) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await house.app({"type": "http", "path": "/"}, None, send)
    assert sent[0]["status"] == 204
    assert house.caller() is None
