"""The JSON Schema that editors use: made of the models, published beside the docs, and of one mind with the reader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest

from quotaware.errors import FileError
from quotaware.organization.reading import parse, read
from tests.organization.test_applying import EXAMPLE, FULL
from tests.organization.test_reading import STARTUP

DOCS = EXAMPLE.parent.parent / "docs"
PUBLISHED = DOCS / "organization.schema.json"
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def schema() -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(PUBLISHED.read_text()))


def test_what_is_published_is_what_the_models_say() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "quotaware.organization"], capture_output=True, text=True, check=True
    )
    assert PUBLISHED.read_text() == told.stdout, (
        "write it anew: python -m quotaware.organization > docs/organization.schema.json"
    )


def test_the_files_that_are_shown_are_good(schema: Any) -> None:
    shown = [parse(text, "yaml").data for text in YAML.findall((DOCS / "organization-file.md").read_text())]
    assert len(shown) == 2
    assert shown[0] == STARTUP == parse(EXAMPLE.read_text(), "yaml").data
    for data in (*shown, FULL):
        schema.validate(data)
        read(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"organization": {}},
        {"organization": {"name": "x"}, "surprise": 1},
        {"organization": {"name": "x", "total_monthly_budget": -1}},
        {"organization": {"name": "x", "total_monthly_budget": "lots"}},
        {"organization": {"name": "x"}, "teams": []},
        {"organization": {"name": "x"}, "teams": {"a": {"projects": [1]}}},
        {"organization": {"name": "x"}, "teams": {"a": {"roles": {"lead": "admin"}}}},
        {"organization": {"name": "x", "channels": [{"type": "slack", "url": "https://example.com"}]}},
        {"organization": {"name": "x"}, "members": {"ada": {"roles": ["admin"]}}},
        {"organization": {"name": "x"}, "prices": [{"model": "m"}]},
        {"organization": {"name": "x", "keys": {"k": {"secret": "qw_live_x"}}}},
    ],
)
def test_what_the_schema_refuses_the_reader_does_too(schema: Any, wrong: dict[str, Any]) -> None:
    assert not schema.is_valid(wrong)
    with pytest.raises(FileError):
        read(wrong)
