"""S11: nothing is sent where a stranger must not make this process send."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from quotaware.alerts.addresses import Allowed, Refused, is_public, resolve, target_of
from quotaware.errors import ConfigurationError

NOTHING = Allowed()


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names are looked up as these addresses; what is looked up is noted."""
    asked: list[str] = []

    def look_up(host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://127.1/", "https://0.0.0.0/", "https://0/", "https://[::1]/", "https://[::]/",
        "https://169.254.169.254/latest/meta-data/", "https://metadata.google.internal/", "https://localhost/",
        "https://app.localhost/", "https://printer.local/", "https://intranet/", "https://db.corp/",
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.0.0.1./",
        "https://1.2.3.4.5/", "https://host.0x7f/", "https://10.0.0.1/", "https://172.16.9.9/", "https://192.168.1.1/",
        "https://100.64.0.1/", "https://198.18.0.1/", "https://224.0.0.1/", "https://255.255.255.255/",
        "https://240.0.0.1/", "https://192.0.0.8/", "https://192.88.99.1/", "https://168.63.129.16/",
        "https://[3fff::1]/", "https://[5f00::1]/", "https://[::ffff:168.63.129.16]/", "https://[fd00:ec2::254]/",
        "https://192.0.2.1/", "https://[fe80::1]/", "https://[fc00::1]/", "https://[fec0::1]/",
        "https://[ff02::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/", "https://[2001:db8::1]/",
        "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", "https://[fe80::1%25eth0]/",
        "https://wiki/", "http://hooks.example.com/", "http://hooks.example.com:443/",
        "file:///etc/passwd", "gopher://hooks.example.com/", "ftp://hooks.example.com/",
        "gopher://hooks.example.com:443/", "ftp://hooks.example.com:8443/", "wss://hooks.example.com:443/",
        "https://hooks.example.com:22/", "https://hooks.example.com:80/", "https://hooks.example.com:6379/",
        "https://hooks.example.com:99999/", "https://hooks.example.com:x/", "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/", "https://hooks.example.com@127.0.0.1/", "https://@127.0.0.1/",
        "https:///path", "https://", "//hooks.example.com/", "hooks.example.com", "",
        "https://hooks.example.com/\r\nX: 1",
        "https://hooks.exa\tmple.com/", " https://hooks.example.com/", "https://hooks.example.com\\@127.0.0.1/",
        "https://ⓛocalhost/", "https://127。0。0。1/", "https://-a.example.com/", "https://a..b/",
        "https://" + "a" * 2000 + ".example.com/",
    ],
)  # fmt: skip
def test_a_url_that_could_lead_inside_is_refused_as_it_stands(url: str) -> None:
    with pytest.raises(Refused) as caught:
        target_of(url, NOTHING)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://hooks.example.com/a/b?c=d", "hooks.example.com", "/a/b?c=d"),
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://HOOKS.example.com:8443/x#part", "hooks.example.com:8443", "/x"),
        ("https://93.184.215.14/", "93.184.215.14", "/"),
        (
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]",
            "/",
        ),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
    ],
)
def test_a_public_target_is_taken_apart(url: str, authority: str, path: str) -> None:
    target = target_of(url, NOTHING)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        (["hooks.internal"], "http://hooks.internal:8080/x"),
        (["localhost"], "http://localhost:9/"),
        (["10.0.0.0/8"], "https://10.1.2.3:22/"),
        (["127.0.0.1"], "http://127.0.0.1:5000/"),
        (["::1"], "http://[::1]:5000/"),
    ],
)
def test_the_host_allows_what_is_private(allow: list[str], url: str) -> None:
    assert target_of(url, Allowed(allow))
    with pytest.raises(Refused):
        target_of(url, NOTHING)
    others = [
        "https://127.0.0.2/",
        "http://x.hooks.internal/",
        "http://xhooks.internal/",
        "https://[::ffff:10.1.2.3]/",
    ]
    for other in others:
        with pytest.raises(Refused):
            target_of(other, Allowed(allow))


@pytest.mark.parametrize("allow", ["hooks.internal", [""], [5], ["not a host"], None])
def test_what_is_allowed_is_named_well(allow: Any) -> None:
    with pytest.raises(ConfigurationError, match="allow"):
        Allowed(allow)


def test_all_addresses_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of("https://hooks.example.com/", NOTHING)
    answers(monkeypatch, "93.184.215.14", "8.8.8.8")
    assert resolve(target, NOTHING) == ["93.184.215.14", "8.8.8.8"]
    for private in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"):
        answers(monkeypatch, "93.184.215.14", private)
        with pytest.raises(Refused):
            resolve(target, NOTHING)
    assert resolve(target, Allowed(["hooks.example.com"]))
    answers(monkeypatch, "10.0.0.1")
    assert resolve(target, Allowed(["10.0.0.0/8"])) == ["10.0.0.1"]
    answers(monkeypatch)
    with pytest.raises(OSError, match="no address"):
        resolve(target, NOTHING)


def test_an_address_within_another_is_judged_too() -> None:
    assert is_public(ipaddress.ip_address("64:ff9b::808:808"))
    assert not is_public(ipaddress.ip_address("64:ff9b::a00:1"))
    assert not is_public(ipaddress.ip_address("2002:a00:1::"))
    assert is_public(ipaddress.ip_address("2606:4700::1111"))
