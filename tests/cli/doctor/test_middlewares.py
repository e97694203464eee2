"""The order of middlewares, in apps of each framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar.middleware import AbstractAuthenticationMiddleware, DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from quotaware import Quota, QuotaMiddleware
from quotaware.cli.doctor.apps import layers_of, load, quota_of
from quotaware.cli.doctor.findings import Evidence, NotLooked
from quotaware.cli.doctor.middlewares import order
from quotaware.cli.failures import Failure
from quotaware.integrations.litestar import QuotaPlugin
from tests.cli.doctor.conftest import of_app, told


def who(scope: Any) -> str | None:
    return None


@pytest.fixture
def plain() -> Iterator[Quota]:
    quota = Quota("memory://", limits=["$1/day"])
    yield quota
    quota.close()


@pytest.fixture
def asking() -> Iterator[Quota]:
    quota = Quota("memory://", limits=["$1/day"], identify=who)
    yield quota
    quota.close()


class SessionMiddleware:
    """As Starlette's, which takes a library more."""

    def __init__(self, app: Any, secret_key: str) -> None:
        self.app = app


class LitestarLogin(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection: Any) -> Any: ...


@pytest.mark.parametrize("app", [FastAPI(), Starlette(), Litestar()], ids=lambda app: type(app).__name__)
def test_an_app_without_it(app: Any) -> None:
    ((level, what),) = told(order, of_app(app))
    assert level == "error"
    assert "no QuotaMiddleware" in what


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_a_login_that_runs_after_identify(kind: type, asking: Quota) -> None:
    app = kind()
    app.add_middleware(AuthenticationMiddleware, backend=None)
    app.add_middleware(SessionMiddleware, secret_key="s")
    app.add_middleware(QuotaMiddleware, quota=asking)
    ((level, what),) = told(order, of_app(app))
    assert level == "error"
    assert what.startswith("identify is asked before SessionMiddleware, AuthenticationMiddleware has run")


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_a_login_that_runs_before_it(kind: type, asking: Quota) -> None:
    app = kind()
    app.add_middleware(QuotaMiddleware, quota=asking)
    app.add_middleware(AuthenticationMiddleware, backend=None)
    app.add_middleware(SessionMiddleware, secret_key="s")
    app.add_middleware(CORSMiddleware)
    assert told(order, of_app(app)) == []
    assert quota_of(layers_of(app)) is asking


def test_a_login_matters_to_nobody_who_does_not_ask(plain: Quota) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, secret_key="s")
    app.add_middleware(GZipMiddleware)
    app.add_middleware(QuotaMiddleware, quota=plain)
    assert told(order, of_app(app)) == []


def test_who_wrote_something_is_no_login(asking: Quota) -> None:
    class AuthorMiddleware: ...

    app = Starlette(middleware=[Middleware(QuotaMiddleware, asking), Middleware(AuthorMiddleware)])
    assert told(order, of_app(app)) == []


def test_the_middlewares_own_identify_is_asked_too(plain: Quota) -> None:
    app = Starlette(
        middleware=[
            Middleware(QuotaMiddleware, plain, identify=who),
            Middleware(SessionMiddleware, secret_key="s"),
        ]
    )
    assert [level for level, _ in told(order, of_app(app))] == ["error"]


def test_a_login_of_litestar(asking: Quota, plain: Quota) -> None:
    """The plugin stands outermost, so its identify asks before any login of Litestar's."""
    late = Litestar(plugins=[QuotaPlugin(asking)], middleware=[DefineMiddleware(LitestarLogin)])
    ((level, what),) = told(order, of_app(late))
    assert level == "error"
    assert "LitestarLogin" in what
    assert told(order, of_app(Litestar(plugins=[QuotaPlugin(plain)], middleware=[LitestarLogin]))) == []


def test_cors_inside_is_told_of(plain: Quota) -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware)
    app.add_middleware(QuotaMiddleware, quota=plain)
    ((level, what),) = told(order, of_app(app))
    assert level == "warning"
    assert what.startswith("CORSMiddleware stands inside QuotaMiddleware")


def test_twice_is_told_of(plain: Quota) -> None:
    app = FastAPI()
    app.add_middleware(QuotaMiddleware, quota=plain)
    app.add_middleware(QuotaMiddleware, quota=plain)
    assert told(order, of_app(app)) == [
        ("warning", "QuotaMiddleware stands 2 times in the app: the inner one alone says who makes a call")
    ]


def test_without_the_hook_is_told_of(plain: Quota) -> None:
    app = FastAPI()
    app.add_middleware(QuotaMiddleware, quota=plain, instrument=False)
    ((level, what),) = told(order, of_app(app))
    assert level == "warning"
    assert what.startswith("QuotaMiddleware(instrument=False)")


def test_an_app_that_is_wrapped_by_hand(asking: Quota, plain: Quota) -> None:
    inner = FastAPI()
    inner.add_middleware(SessionMiddleware, secret_key="s")
    bad = CORSMiddleware(QuotaMiddleware(inner, asking, instrument=False), allow_origins=["*"])
    assert [layer.name for layer in layers_of(bad)] == [
        "CORSMiddleware",
        "QuotaMiddleware",
        "SessionMiddleware",
    ]
    assert [level for level, _ in told(order, of_app(bad))] == ["error"]
    assert quota_of(layers_of(bad)) is asking
    good = SessionMiddleware(QuotaMiddleware(FastAPI(), asking, instrument=False), secret_key="s")
    assert told(order, of_app(good)) == []


def test_an_app_that_is_mounted(plain: Quota) -> None:
    below = FastAPI()
    below.add_middleware(CORSMiddleware)
    below.add_middleware(QuotaMiddleware, quota=plain)
    app = Starlette(routes=[Mount("/other", Starlette()), Mount("/api", below)])
    app.add_middleware(GZipMiddleware)
    assert [layer.name for layer in layers_of(app)] == ["GZipMiddleware", "QuotaMiddleware", "CORSMiddleware"]
    assert [level for level, _ in told(order, of_app(app))] == ["warning"]


def test_without_an_app_nothing_is_looked_at() -> None:
    with pytest.raises(NotLooked, match="no app was given"):
        list(order(Evidence()))


def test_an_app_is_loaded_as_uvicorn_does(tmp_path: Any) -> None:
    (tmp_path / "an_app_of_a_test.py").write_text(
        "from types import SimpleNamespace\n"
        "from starlette.applications import Starlette\n"
        "app = Starlette()\n"
        "place = SimpleNamespace(app=app)\n"
        "def make(): return app\n"
    )
    found = load("an_app_of_a_test:app", str(tmp_path))
    assert isinstance(found, Starlette)
    assert load("an_app_of_a_test:make", str(tmp_path)) is found
    assert load("an_app_of_a_test:place.app", str(tmp_path)) is found


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("app", "names no app: write it as module:app"),
        (":app", "names no app"),
        ("gone_module:app", "The app gone_module:app cannot be loaded: ModuleNotFoundError"),
        ("json:gone", "The app json:gone cannot be loaded: AttributeError"),
    ],
)
def test_what_cannot_be_loaded_is_said(target: str, what: str) -> None:
    with pytest.raises(Failure, match=what) as failed:
        load(target)
    assert failed.value.code == 2
