"""What a Redis URL says, what is refused of it, and that no password is ever shown; TLS; msgpack as servers have it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.errors import ConfigurationError, StoreError
from quotaware.stores.memory import system_clock
from quotaware.stores.opening import open_store
from quotaware.stores.redis import RedisStore, msgpack, servers, setup
from quotaware.stores.redis.place import Place, parse
from quotaware.stores.redis.servers import Servers
from tests.servers import HOST, Server
from tests.support import FakeClock, run_module

HERE = (("localhost", 6379),)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://", Place("single", HERE)),
        ("redis://localhost", Place("single", HERE)),
        ("valkey://localhost", Place("single", HERE)),
        ("REDIS://db.internal:7000/3", Place("single", (("db.internal", 7000),), db=3)),
        ("redis://[::1]:7000/", Place("single", (("::1", 7000),))),
        ("redis://[fe80::1]", Place("single", (("fe80::1", 6379),))),
        ("redis://ana:s%40c:r%2Ft@h", Place("single", (("h", 6379),), user="ana", password="s@c:r/t")),
        ("redis://:pw@h", Place("single", (("h", 6379),), password="pw")),
        ("redis://h?db=2&prefix=app:qw", Place("single", (("h", 6379),), db=2, prefix="app:qw")),
        (
            "redis://h?records_days=30&evict=ok&wait=1&connections=4",
            Place("single", (("h", 6379),), records_days=30, evict=True, wait=1, connections=4),
        ),
        ("redis://h?records_days=none", Place("single", (("h", 6379),), records_days=None)),
        (
            "rediss://h/1?ca=/a.pem&cert=/c.pem&key=/k.pem",
            Place("single", (("h", 6379),), True, 1, ca="/a.pem", cert="/c.pem", key="/k.pem"),
        ),
        ("redis+cluster://a:1,b:2,c", Place("cluster", (("a", 1), ("b", 2), ("c", 6379)))),
        ("rediss+cluster://u:p@a", Place("cluster", (("a", 6379),), True, user="u", password="p")),
        ("valkey+cluster://a", Place("cluster", (("a", 6379),))),
        (
            "redis+sentinel://u:p@a,b:2/my%20app/4?sentinel_user=s&sentinel_password=t",
            Place(
                "sentinel",
                (("a", 26379), ("b", 2)),
                db=4,
                service="my app",
                user="u",
                password="p",
                sentinel_user="s",
                sentinel_password="t",
            ),
        ),
        ("unix:///run/redis%20s.sock?db=5", Place("socket", (("/run/redis s.sock", 0),), db=5)),
    ],
)
def test_a_url_says_where_and_how(url, place):
    assert parse(url) == place
    store = open_store(url, system_clock)
    assert isinstance(store, RedisStore)
    store.close()


@pytest.mark.parametrize(
    ("url", "field", "way_out"),
    [
        ("redis:h", "store", "redis://host:port/db"),
        ("redis+magic://h", "store", "redis+sentinel"),
        ("http://h", "store", "redis://"),
        ("redis://h:port", "store", "host:port"),
        ("redis://h:0", "store", "host:port"),
        ("redis://h:70000", "store", "host:port"),
        ("redis://u:p@ss@h@", "store", "%40"),
        ("redis://a b", "store", "host:port"),
        ("redis://h/x", "store", "database number"),
        ("redis://h?db=-1", "db", "whole number from 0"),
        ("redis://h?prefix={x}", "prefix", "letters, digits"),
        ("redis://h?prefix=", "prefix", "1 to 64"),
        ("redis://h?records_days=0", "records_days", "from 1"),
        ("redis://h?records_days=many", "records_days", "whole number"),
        ("redis://h?evict=yes", "evict", '"ok"'),
        ("redis://h?wait=x", "wait", "whole number"),
        ("redis://h?connections=0", "connections", "from 1"),
        ("redis://h?colour=red", "store", "options are ca, cert"),
        ("redis://h?ca=/a.pem", "ca", "rediss://"),
        ("rediss://h?ca=", "ca", "empty"),
        ("redis+cluster://h/1", "db", "prefix="),
        ("redis+sentinel://h", "store", "<service>"),
        ("redis://h?sentinel_password=x", "sentinel_password", "redis+sentinel://"),
        ("unix://here", "store", "unix:///path"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_a_way_out(url, field, way_out):
    with pytest.raises(ConfigurationError) as refused:
        parse(url)
    assert refused.value.field == field
    assert way_out in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@127.0.0.1:1",
        "rediss://:hunter2@127.0.0.1:1?key=hunter2.pem",
        "redis+cluster://u:hunter2@127.0.0.1:1",
        "redis+sentinel://u:hunter2@127.0.0.1:1/app?sentinel_password=hunter2",
    ],
)
def test_a_password_is_never_shown(url):
    store = RedisStore(url)
    with pytest.raises(StoreError) as away:
        store.hello()
    shown = [
        repr(store),
        str(store),
        repr(store._place),
        str(store._place),
        str(away.value),
        repr(away.value),
    ]
    assert not [text for text in shown if "hunter2" in text]
    for broken in (url + "&x=1" if "?" in url else url + "?x=1", url.replace(":1", ":x")):
        with pytest.raises(ConfigurationError) as refused:
            RedisStore(broken)
        assert "hunter2" not in str(refused.value)
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:1/hunter2@h",
        "redis://u:1?hunter2@h",
        "redis://u:1@hunter2@h",
        "redis+sentinel://u:1/hunter2@h/x",
    ],
)
def test_a_password_that_is_not_escaped_is_not_shown_either(url):
    with pytest.raises(ConfigurationError) as refused:
        RedisStore(url)
    assert "hunter2" not in str(refused.value)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'quotaware\[redis\]'"):
        open_store("redis://localhost", FakeClock())


def test_the_library_is_loaded_only_where_it_is_used():
    assert run_module("tests.stores.redis_workers", "imports") == "False False True\n"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"redis_version": "6.0.16"}, "Redis 6.0.16; 6.2 or newer"),
        ({"redis_version": "5.0"}, "6.2 or newer"),
        ({}, "6.2 or newer"),
        ({"redis_version": "7.4", "role": "slave"}, "replica"),
        ({"redis_version": "8.0", "cluster_enabled": "1"}, r"redis\+cluster://"),
        (
            {"redis_version": "7.2.4", "maxmemory": "1", "maxmemory_policy": "volatile-ttl"},
            "volatile-ttl",
        ),
    ],
)
def test_a_server_that_will_not_do_is_refused(facts, message):
    with pytest.raises(ConfigurationError, match=message):
        setup.judge(Servers(parse("redis://h")), ("h", 1), facts)


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("redis://h", {"redis_version": "6.2.0", "role": "master"}),
        (
            "redis://h",
            {"redis_version": "7.2.4", "valkey_version": "9.1.2", "maxmemory_policy": "allkeys-lru"},
        ),
        ("redis://h?evict=ok", {"redis_version": "8.0", "maxmemory": "1", "maxmemory_policy": "allkeys-lru"}),
        ("redis+cluster://h", {"redis_version": "8.0", "cluster_enabled": "1"}),
    ],
)
def test_a_server_that_will_do_is_taken(url, facts):
    setup.judge(Servers(parse(url)), ("h", 1), facts)


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("MOVED 3999 10.0.0.7:6381", ("10.0.0.7", 6381)),
        ("ASK 3999 node-3.internal:6381", ("node-3.internal", 6381)),
        ("MOVED 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("asked", 6381)),
    ],
)
def test_a_cluster_says_where_a_slot_is(told, address):
    assert servers._address(told, ("asked", 1)) == address


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def tls_port(certificate: Path, valkey_server: Server) -> Iterator[int]:
    """TLS in front of the shared server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server((HOST, 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                inner = context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            outer = socket.create_connection((HOST, valkey_server.port))
            back = threading.Thread(target=pump, args=(outer, inner), daemon=True)
            back.start()
            pump(inner, outer)
            back.join()
            inner.close()
            outer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_tls_is_spoken_with_a_server_whose_certificate_is_known(tls_port, certificate):
    store = RedisStore(f"rediss://{HOST}:{tls_port}?ca={certificate}.crt")
    store.deadline = 5.0
    assert abs(store.hello() - system_clock()) < 60_000
    assert store.find("nobody") is None
    store.close()


def test_a_server_whose_certificate_nobody_knows_is_not_spoken_to(tls_port):
    store = RedisStore(f"rediss://u:hunter2@{HOST}:{tls_port}")
    with pytest.raises(StoreError, match="certificate") as refused:
        store.hello()
    assert "hunter2" not in str(refused.value)
    store.close()


# msgpack

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=20) | st.dictionaries(st.text(min_size=1), inner, min_size=1)
    ),
    max_leaves=30,
)


@pytest.fixture(scope="module")
def server(valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_packed_here_is_read_there_and_back(server, value):
    """The server's own msgpack, on real values: whole numbers up to 2**53 are exact."""
    echo = "local v = cmsgpack.unpack(ARGV[1]) return cmsgpack.pack(v)"
    assert msgpack.unpack(server.eval(echo, 0, msgpack.pack(value))) == value
    assert msgpack.unpack(msgpack.pack(value)) == value


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        (b"\xc0", None),
        (b"\xff", -1),
        (b"\xca\x3f\x80\x00\x00", 1),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", 2**53 - 1),
        (b"\xd3\xff\xff\xff\xff\xff\xff\xff\x00", -256),
        (b"\xda\x00\x02ab", "ab"),
        (b"\xc4\x02ab", "ab"),
        (b"\xdc\x00\x01\x05", [5]),
        (b"\xde\x00\x01\xa1a\x05", {"a": 5}),
    ],
)
def test_every_form_is_read(packed, value):
    assert msgpack.unpack(packed) == value
