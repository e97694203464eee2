"""The code in the README and the docs runs as it stands there, each page from top to bottom."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from quotaware.testing import FakeProvider

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FRAMEWORKS = ROOT / "docs" / "frameworks.md"
"""Whose code runs where they are installed: `tests/frameworks`."""
COMMANDS = ROOT / "docs" / "cli.md"
"""Whose commands are typed into a terminal: `tests/cli/test_docs.py`."""
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SOURCES = ROOT / "src" / "quotaware"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def run_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs its code, from top to bottom."""
    module = ModuleType(page.stem)
    monkeypatch.setitem(sys.modules, page.stem, module)  # where a framework looks a handler's types up
    names: dict[str, Any] = vars(module)
    blocks = CODE.findall(page.read_text())
    assert blocks
    monkeypatch.setattr(logging.getLogger("quotaware"), "handlers", [])

    async def run() -> None:
        for block in blocks:
            code = compile(block, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            awaited = eval(code, names)
            if inspect.iscoroutine(awaited):
                await awaited

    try:
        asyncio.run(run())
    finally:
        for value in list(names.values()):
            if type(value).__name__ == "Quota":
                value.close()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (FRAMEWORKS, COMMANDS)], ids=lambda page: page.name
)
def test_the_code_of_a_page_runs(
    page: Path, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # a page may name a file
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{fake_provider.url}/v1")
    run_page(page, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_first_screen_shows_the_two_lines() -> None:
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:30])
    assert "quota = Quota(" in first
    assert "app.add_middleware(QuotaMiddleware, quota=quota)" in first


def _logged() -> Iterator[tuple[str, str, ast.Call]]:
    """Where something is logged, by which method, and the call."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"logger", "logging", "log"}
                and node.func.attr in LEVELS
            ):
                yield f"{path.relative_to(SOURCES)}:{node.lineno}", node.func.attr, node


def _event(call: ast.Call) -> str:
    (extra,) = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    assert isinstance(extra, ast.Call)
    assert isinstance(extra.func, ast.Name)
    assert extra.func.id == "logged"
    (name,) = extra.args
    assert isinstance(name, ast.Constant)
    return str(name.value)


def test_whatever_is_logged_says_its_event_and_the_page_lists_it_with_its_level() -> None:
    found: dict[str, set[str]] = {}
    for where, method, call in _logged():
        assert any(keyword.arg == "extra" for keyword in call.keywords), where
        found.setdefault(_event(call), set()).add("ERROR" if method == "exception" else method.upper())
    page = {
        event: {level}
        for events, level in re.findall(
            r"^\| (`[a-z_`, ]+`) \| ([A-Z]+) \|",
            (ROOT / "docs" / "observability.md").read_text(),
            re.MULTILINE,
        )
        for event in re.findall("`([a-z_]+)`", events)
    }
    assert len(found) > 25
    assert page == found
