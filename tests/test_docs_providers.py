"""The page of providers says what the tables have, all of it and no more."""

from __future__ import annotations

import re
from pathlib import Path

from quotaware.providers.endpoints import ANYWHERE, PROVIDERS

PAGE = (Path(__file__).parent.parent / "docs" / "providers.md").read_text()
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| (.+?) \|", re.MULTILINE)
ROWS = {row for rows in (ANYWHERE, *PROVIDERS.values()) for row in rows if row.format is not None}


def test_every_format_stands_there_once() -> None:
    named = [name for name, _ in ROW.findall(PAGE)]
    assert len(named) == len(set(named))
    assert set(named) == {row.format.name for row in ROWS if row.format}


def test_the_paths_are_those_that_are_read() -> None:
    ends: dict[str, set[str]] = {}
    for row in ROWS:
        if row.format:
            ends.setdefault(row.format.name, set()).add(row.suffix)
    for name, told in ROW.findall(PAGE):
        for path in re.findall(r"`(?!…)([^`]+)`", told):
            asked = re.sub(r"\{.*\}.*", "", path).lower()
            assert any(end.endswith(asked) or asked.endswith(end) for end in ends[name]), (name, path)
