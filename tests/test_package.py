"""The package as others meet it: light to import, documented, typed."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import quotaware

HEAVY = [
    "anthropic",
    "boto3",
    "botocore",
    "cryptography",
    "aiohttp",
    "fastapi",
    "genai_prices",
    "httpx",
    "httpx2",
    "hypothesis",
    "jinja2",
    "litestar",
    "multiprocessing",
    "openai",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "pytest",
    "redis",
    "requests",
    "rich",
    "sqlite3",
    "starlette",
    "trio",
    "typer",
    "uvicorn",
    "yaml",
]


def test_importing_it_loads_nothing_heavy() -> None:
    """Frameworks, HTTP libraries, databases and the price list are loaded by whoever uses them, when they do."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import json, sys, quotaware; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(loaded.stdout)
    assert "quotaware.quota" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_importing_it_touches_no_client_and_starts_no_thread() -> None:
    script = (
        "import threading, httpx; before = httpx.AsyncClient._transport_for_url, httpx.Client._transport_for_url; "
        "import quotaware; "
        "assert before == (httpx.AsyncClient._transport_for_url, httpx.Client._transport_for_url); "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_public_is_named_once_and_in_order() -> None:
    assert quotaware.__all__ == sorted(set(quotaware.__all__))
    assert all(hasattr(quotaware, name) for name in quotaware.__all__)
    public = {
        name for name, value in vars(quotaware).items() if name[0] != "_" and not inspect.ismodule(value)
    }
    assert public == set(quotaware.__all__)


def _public() -> Iterator[tuple[str, Any]]:
    for name in quotaware.__all__:
        value = getattr(quotaware, name)
        yield name, value
        if inspect.isclass(value):
            for member, found in vars(value).items():
                plain = getattr(found, "__func__", found)
                if member[0] != "_" and (inspect.isfunction(plain) or isinstance(plain, property)):
                    yield f"{name}.{member}", plain


@pytest.mark.parametrize(("name", "value"), list(_public()), ids=[name for name, _ in _public()])
def test_a_public_name_says_what_it_is(name: str, value: Any) -> None:
    documented = value.__doc__ or ""
    assert documented.strip()
    assert not documented.startswith(f"{name}(")  # what a dataclass writes by itself


def test_public_functions_are_typed() -> None:
    for name, value in _public():
        if inspect.isfunction(value):
            hints = typing.get_type_hints(value, vars(sys.modules[value.__module__]))
            assert "return" in hints, name


def test_it_says_that_it_is_typed() -> None:
    spec = importlib.util.find_spec("quotaware")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).with_name("py.typed").is_file()


def test_its_version_is_that_of_its_distribution() -> None:
    try:
        installed = metadata.version("quotaware")
    except metadata.PackageNotFoundError:
        pytest.skip("it is imported from its sources, not installed")
    assert quotaware.__version__ == installed
