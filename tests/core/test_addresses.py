"""Addresses have one form, however they are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quotaware.core.addresses import address_of, block_of, canonical, contains, within

NOT_ADDRESSES = [
    "",
    " ",
    "localhost",
    "unknown",
    "010.0.0.1",
    "10.1",
    "10.0.0",
    "0x0a000001",
    "0x0a.0.0.1",
    "167772161",
    "10.0.0.256",
    "10.0.0.1.",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.١",
    "10.0.0.1:80",
    "[::1]",
    "::1::",
    "/run/app.sock",
    "1" * 10_000,
    "\0",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:0a00:0001", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:10.0.0.1%lo", "10.0.0.1"),
        ("2002:a00:1::", "2002:a00:1::"),  # 6to4 and NAT64 of 10.0.0.1 stay what they are
        ("64:ff9b::a00:1", "64:ff9b::a00:1"),
        ("::10.0.0.1", "::a00:1"),
    ],
)
def test_an_address_in_its_one_form(text: str, expected: str) -> None:
    assert str(address_of(text)) == expected


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_what_is_no_address(text: str) -> None:
    assert address_of(text) is None
    assert not contains(["0.0.0.0/0", "::/0"], text)
    with pytest.raises(ValueError):
        block_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::1/128", "::1"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::%eth0/10", "fe80::/10"),
    ],
)
def test_an_entry_in_its_one_form(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.0.0.255",
        "10.0.0.0/",
        "/8",
        "10.0.0.0/8/8",
    ],
)
def test_a_block_that_could_mean_two_things_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        canonical(text)


@pytest.mark.parametrize(
    ("entries", "text", "found"),
    [
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", True),
        (["::/0"], "10.0.0.1", False),
        (["::/0"], "::ffff:10.0.0.1", False),
        (["0.0.0.0/0"], "::1", False),
        (["10.0.0.0/8"], "2002:a00:1::", False),
        (["10.0.0.0/8"], "64:ff9b::a00:1", False),
        (["fe80::1%eth0"], "fe80::1%eth1", True),
        (["10.0.0.0/8"], None, False),
        ([], "10.0.0.1", False),
    ],
)
def test_who_is_in_a_list(entries: list[str], text: str | None, found: bool) -> None:
    assert contains(entries, text) is found


@given(st.ip_addresses(v=4).map(str), st.integers(0, 32))
@example("0.0.0.0", 0)
def test_a_block_contains_what_is_in_it_however_either_is_written(text: str, prefix: int) -> None:
    block = ipaddress.ip_network((text, prefix), strict=False)
    mapped = f"::ffff:{text}"
    for entry in (str(block), f"::ffff:{block.network_address}/{96 + prefix}"):
        assert contains([entry], text)
        assert contains([entry], mapped)
        assert within(text, [entry])
        assert within(mapped, [entry])
        assert canonical(entry) == canonical(str(block))


@given(st.ip_addresses(v=6), st.integers(0, 128))
@example(ipaddress.IPv6Address("::ffff:0:0"), 0)
@example(ipaddress.IPv6Address("::ffff:10.0.0.1"), 104)
def test_an_ipv6_address_is_in_its_blocks_unless_it_is_ipv4(
    address: ipaddress.IPv6Address, prefix: int
) -> None:
    block = ipaddress.ip_network((address, prefix), strict=False)
    assert contains([str(block)], str(address)) == (address.ipv4_mapped is None or prefix >= 96)
    assert canonical(str(block)) == canonical(canonical(str(block)))


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_is_not(text: str) -> None:
    address_of(text)
    contains(["10.0.0.0/8"], text)
