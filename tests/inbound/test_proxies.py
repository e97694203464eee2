"""Who a client is behind the host's proxies, and that no client can write it himself (S4)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware import ConfigurationError, Quota
from quotaware.inbound.proxies import Proxies
from tests.apps.asgi import bearer
from tests.inbound.house import House

EDGE, INNER, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.9"
TRUSTED = ["10.0.0.0/8", "2001:db8:ffff::/48"]

Lines = list[tuple[bytes, bytes]]


def client(*headers: tuple[str, str], peer: Any = (EDGE, 1), trusted: Any = TRUSTED) -> str | None:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    found = Proxies(trusted).client({"type": "http", "headers": lines, "client": peer})
    return None if found is None else str(found)


def xff(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


def fwd(*values: str) -> list[tuple[str, str]]:
    return [("forwarded", value) for value in values]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], EDGE),
        (xff(CLIENT), CLIENT),
        (xff(f"1.1.1.1, {CLIENT}"), CLIENT),
        (xff(f"1.1.1.1, {CLIENT}, {INNER}"), CLIENT),
        (xff(f"1.1.1.1,{CLIENT} ,\t{INNER}, 10.9.9.9"), CLIENT),
        (xff("1.1.1.1", CLIENT), CLIENT),
        (xff(f"1.1.1.1, {CLIENT}", INNER), CLIENT),
        ([("X-Forwarded-For", CLIENT)], CLIENT),
        (xff(f"10.3.3.3, {INNER}"), "10.3.3.3"),
        (xff(f"{CLIENT}:4711"), CLIENT),
        (xff("[2001:db8::7]:4711"), "2001:db8::7"),
        (xff("[2001:db8::7]"), "2001:db8::7"),
        (xff("2001:db8::7"), "2001:db8::7"),
        (xff(f"::ffff:{CLIENT}"), CLIENT),
        (xff("fe80::1%eth0"), "fe80::1"),
        (xff(f"{CLIENT}, 2001:db8:ffff::1"), CLIENT),
        (xff(f"{CLIENT}, , "), CLIENT),
        (xff(f"{'10.0.0.9, ' * 1000}{CLIENT}"), None),
        (xff("1.1.1.1, " * 1000, CLIENT), CLIENT),
        (fwd(f"{'for=10.0.0.9, ' * 1000}for={CLIENT}"), None),
        (xff(""), None),
        (xff("unknown"), None),
        (xff(f"{CLIENT}, unknown"), None),
        (xff(f"unknown, {CLIENT}"), CLIENT),
        (xff(f"{CLIENT}, 010.0.0.2"), None),
        (xff(f"{CLIENT};{INNER}"), None),
        (xff(f"{CLIENT}:"), None),
        (xff(f"{CLIENT}:1:2"), None),
        (xff(f"{CLIENT}:port!"), None),
        (xff(f"[{CLIENT}]"), None),
        (xff("[2001:db8::7"), None),
        (xff("[2001:db8::7]x"), None),
        (xff('"203.0.113.9"'), None),
        (xff("\xff\x00"), None),
        (fwd(f"for={CLIENT}"), CLIENT),
        (fwd(f"For={CLIENT};proto=https;by={EDGE}"), CLIENT),
        (fwd(f"proto=https;for={CLIENT};"), CLIENT),
        (fwd(f'for="{CLIENT}:4711"'), CLIENT),
        (fwd('for="[2001:db8::7]:4711"'), "2001:db8::7"),
        (fwd('for="[2001:db8::7]:_port"'), "2001:db8::7"),
        (fwd('for="\\2\\03.0.113.9"'), CLIENT),
        (fwd(f"for=1.1.1.1, for={CLIENT}, for={INNER}"), CLIENT),
        (fwd("for=1.1.1.1", f"for={CLIENT}"), CLIENT),
        (fwd(f'for=1.1.1.1;x="a,b;c=d", for={CLIENT}'), CLIENT),
        (fwd(f"for={CLIENT}, ,"), CLIENT),
        (fwd("for=unknown"), None),
        (fwd("for=_hidden"), None),
        (fwd("proto=https"), None),
        (fwd(f"for={CLIENT};for=1.1.1.1"), None),
        (fwd(f'for="{CLIENT}'), None),
        (fwd(f"for={CLIENT} x"), None),
        (fwd("="), None),
        (fwd("for"), None),
        (fwd(""), None),
        (fwd('for="'), None),
        ([*xff(CLIENT), *fwd(f"for={CLIENT}")], CLIENT),
        ([*xff(CLIENT), *fwd("for=1.1.1.1")], None),
        ([*xff(CLIENT), *fwd("for=unknown")], None),
        ([("x-real-ip", CLIENT), ("client-ip", CLIENT), ("x-forwarded", CLIENT)], EDGE),
    ],
)
def test_from_the_right_past_trusted_hops(headers: list[tuple[str, str]], expected: str | None) -> None:
    assert client(*headers) == expected


@pytest.mark.parametrize("trusted", [(), ["192.0.2.1"], ["unix"]])
def test_a_peer_that_is_not_trusted_is_the_client(trusted: Any) -> None:
    """Trusted is nobody unless the host says so."""
    assert client(*xff(CLIENT), *fwd(f"for={CLIENT}"), trusted=trusted) == EDGE
    assert client(*xff(CLIENT), peer=("198.51.100.1", 1)) == "198.51.100.1"


def test_a_peer_over_a_unix_socket() -> None:
    for peer in (None, ("", 0), ["", 0]):
        assert client(*xff(CLIENT), peer=peer) is None
        assert client(*xff(CLIENT), peer=peer, trusted=["unix"]) == CLIENT
        assert client(*xff(f"{CLIENT}, {INNER}"), peer=peer, trusted=["unix", *TRUSTED]) == CLIENT
        assert client(peer=peer, trusted=["unix"]) is None


@pytest.mark.parametrize(
    "wrong", ["10.0.0.0/8", 5, None, ["10.0.0.1/8"], ["proxy.internal"], ["*"], [10], ["010.0.0.1"], [None]]
)
def test_what_is_no_list_of_proxies_is_named(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies: "):
        Quota("memory://", trusted_proxies=wrong)


# Whatever a client writes, the address that his peer saw is found, or none

written = st.text(st.characters(max_codepoint=255), max_size=60) | st.text('for="[]:;,=\\ 1.', max_size=40)


@given(st.lists(written, max_size=3), st.lists(written, max_size=3), st.booleans())
def test_no_client_writes_his_own_address(xffs: list[str], fwds: list[str], same_line: bool) -> None:
    """Three kinds of proxies: one adds to the last line, or adds a line; to the one header, or the other."""
    for add, mine, kind in (
        (CLIENT, xffs, xff),
        (f"for={CLIENT}", fwds, fwd),
        ('for="[2001:db8::7]:4711"', fwds, fwd),
    ):
        lines = [*mine[:-1], f"{mine[-1]}, {add}"] if same_line and mine else [*mine, add]
        other = fwd(*fwds) if kind is xff else xff(*xffs)
        assert client(*kind(*lines)) in {CLIENT, "2001:db8::7", None}
        assert client(*kind(*lines), *other) in {CLIENT, "2001:db8::7", None}


@given(
    st.lists(st.sampled_from([EDGE, INNER, "2001:db8:ffff::5"]), max_size=5),
    st.lists(st.sampled_from([CLIENT, "1.1.1.1", INNER])),
)
def test_any_number_of_trusted_hops_is_passed(hops: list[str], before: list[str]) -> None:
    line = ", ".join([*before, "198.51.100.7", *hops])
    assert client(*xff(line)) == "198.51.100.7"
    elements = ", ".join(
        f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in [*before, "198.51.100.7", *hops]
    )
    assert client(*fwd(elements)) == "198.51.100.7"


@pytest.mark.anyio
async def test_a_key_is_judged_by_the_client_behind_the_proxy() -> None:
    house = House(trusted_proxies=["127.0.0.1"])
    key = house.key(addresses=["203.0.113.0/24"])
    good, bad = (b"x-forwarded-for", CLIENT.encode()), (b"x-forwarded-for", b"198.51.100.1")
    assert await house.status(bearer(key.secret), good) == 204
    assert await house.status(bearer(key.secret), bad) == 403
    assert await house.status(bearer(key.secret), good, client=("127.0.0.2", 1)) == 403
    edge = house.quota.edge
    actor = await edge.authenticate({"headers": [bearer(key.secret), good], "client": ("127.0.0.1", 1)})
    assert actor.address == CLIENT
    assert edge.address({"headers": [good], "client": ("127.0.0.1", 1)}) == CLIENT
    assert edge.address({"headers": [good], "client": None}) is None
    house.quota.close()
