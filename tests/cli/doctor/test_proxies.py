"""Settings that let addresses be forged."""

from __future__ import annotations

from contextlib import closing

import pytest
from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from quotaware import Quota, QuotaMiddleware
from quotaware.cli.doctor.findings import Evidence, NotLooked
from quotaware.cli.doctor.proxies import trusted
from tests.cli.doctor.conftest import of_app, told


def app_that_trusts(*proxies: str) -> Starlette:
    with closing(Quota("memory://", trusted_proxies=proxies)) as quota:
        app = Starlette()
        app.add_middleware(QuotaMiddleware, quota=quota)
        return app


@pytest.mark.parametrize("block", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "64.0.0.0/4", "2000::/3"])
def test_everybody_is_no_proxy(block: str) -> None:
    ((level, what),) = told(trusted, of_app(app_that_trusts("10.0.0.0/8", block)))
    assert level == "error"
    assert what.startswith(f"trusted_proxies has {block}")


@pytest.mark.parametrize(
    "proxies",
    [
        (),
        ("unix",),
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.1", "::1"),
        ("104.16.0.0/13", "2606:4700::/32"),  # networks of a CDN
    ],
)
def test_networks_of_proxies_are_fine(proxies: tuple[str, ...]) -> None:
    assert told(trusted, of_app(app_that_trusts(*proxies))) == []


@pytest.mark.parametrize(
    ("hosts", "levels"),
    [("*", ["error"]), (["127.0.0.1", "*"], ["error"]), ("10.0.0.1", []), (["10.0.0.1"], [])],
)
def test_a_middleware_that_believes_everybody(hosts: str | list[str], levels: list[str]) -> None:
    app = app_that_trusts()
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=hosts)
    assert [level for level, _ in told(trusted, of_app(app))] == levels


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"FORWARDED_ALLOW_IPS": "*"}, "FORWARDED_ALLOW_IPS"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.1, *"}, "FORWARDED_ALLOW_IPS"),
        ({"UVICORN_FORWARDED_ALLOW_IPS": "*"}, "UVICORN_FORWARDED_ALLOW_IPS"),
        (
            {"GUNICORN_CMD_ARGS": "-w 2 --forwarded-allow-ips='*'"},
            "--forwarded-allow-ips in GUNICORN_CMD_ARGS",
        ),
        ({"GUNICORN_CMD_ARGS": "--forwarded-allow-ips * -w 2"}, "--forwarded-allow-ips in GUNICORN_CMD_ARGS"),
    ],
)
def test_a_server_that_believes_everybody(environ: dict[str, str], where: str) -> None:
    ((level, what),) = told(trusted, Evidence(environ=environ))
    assert level == "error"
    assert what.startswith(f"{where} is '*'")


def test_a_server_that_believes_its_proxies() -> None:
    environ = {
        "FORWARDED_ALLOW_IPS": "10.0.0.1",
        "GUNICORN_CMD_ARGS": "--forwarded-allow-ips 10.0.0.1 -k 'broken",
    }
    assert told(trusted, Evidence(environ=environ)) == []


def test_where_nothing_is_said_nothing_is_looked_at() -> None:
    with pytest.raises(NotLooked, match="no app was given"):
        list(trusted(Evidence()))
