"""YAML with the lines of its values, read as version 1.2 has it (core schema, https://yaml.org/spec/1.2.2/#103-core-schema),
and written so that either version reads the same. Needs PyYAML (extra `cli`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError, Problem

Path = tuple[str | int, ...]
DEEPEST, MOST_VALUES = 64, 500_000
_TAGS = frozenset({"str", "map", "seq", "null", "bool", "int", "float"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class NotYaml(Exception):
    """A text that is none, and where."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415  # of an extra
    except ImportError:
        raise ConfigurationError(
            "format", 'YAML needs PyYAML: pip install "quotaware[cli]"; TOML and JSON need nothing'
        ) from None
    return yaml


def load(text: str) -> tuple[Any, Mapping[Path, int], list[Problem]]:
    """The value of the only document, the lines of all that is in it, and what stands there twice. Raises NotYaml."""
    yaml = _yaml()
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(f"is no YAML: {error.problem or error.context}", mark and mark.line + 1) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise NotYaml(f"is no YAML: {str(error)[:200]}", None) from None
    builder = _Builder()
    return (None if node is None else builder.value(node, ())), builder.lines, builder.problems


class _Builder:
    """The values of nodes. What stands in several places by an alias counts in each."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._left = MOST_VALUES

    def value(self, node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._left -= 1
        if self._left < 0:
            raise NotYaml(f"has more than {MOST_VALUES} values", line)
        if len(path) > DEEPEST:
            raise NotYaml(f"is nested deeper than {DEEPEST} levels, or holds itself", line)
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            raise NotYaml(f"has the tag {node.tag[:100]!r}; leave it out", line)
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(each, (*path, number)) for number, each in enumerate(node.value)]
        return node.value if node.style else scalar(node.value)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, each in node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar":
                raise NotYaml("has a name that is no text", line)
            at = (*path, key.value)
            if key.value in found:
                self.problems.append(Problem(_dotted(at), "stands here twice", line))
            self.lines[at] = line
            found[key.value] = self.value(each, at)
        return found


def _dotted(path: Path) -> str:
    from .entries import dotted  # noqa: PLC0415

    return dotted(path)


def scalar(text: str) -> Any:
    """The value of a scalar without quotes."""
    if text in _NULL:
        return None
    if text in _FLAGS:
        return _FLAGS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if len(text) < 64 and _FLOAT.fullmatch(text) else text


def dump(value: Any) -> str:
    """A value as YAML, in the order in which it is; what another version would read as something else is quoted."""
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> Any:
            plain = self.resolve(yaml.ScalarNode, data, (True, False)) == "tag:yaml.org,2002:str"
            style = None if plain and isinstance(scalar(data), str) else "'"
            style = style if data.isprintable() else '"'
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    return str(
        yaml.dump(
            value, Dumper=Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110
        )
    )
