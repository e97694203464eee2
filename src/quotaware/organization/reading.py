"""Reading the file: YAML, TOML or JSON, and all that is wrong with it at once, each with its line.

YAML is read as version 1.2 has it (`yes` is a word, a name may be `on`), by PyYAML's parser, which knows the lines. The
parsers of JSON and TOML in the standard library keep none, so that they are looked for in the text (`finding.py`): of
JSON exactly, of TOML among its headers and keys, so that what stands in an array or an inline table has the line of
its key.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path as FilePath
from typing import Any, Literal, get_args

from pydantic import ValidationError

from ..errors import ConfigurationError, FileError, Problem
from . import yamltext
from .entries import Path, dotted, problems
from .finding import json_depths, json_lines, toml_lines
from .model import OrganizationFile

Format = Literal["yaml", "toml", "json"]
MOST = 64 << 20
"""Characters of a file."""
DEEPEST = 64
LONGEST = 1000
"""Characters of a path that is told whole."""
_SUFFIXES: Mapping[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
_TOML_LINE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class Text:
    """A file as it was written: its name, the values in it, and the lines in which they stand, by path."""

    name: str
    data: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line(self, path: Path) -> int | None:
        """The line of what stands there, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def at(self, problem: Problem) -> Problem:
        """The problem with its line, by its field."""
        if problem.line is not None or not problem.field:
            return problem
        return problem._replace(line=self.line(self.path_of(problem.field)))

    def path_of(self, dotted_path: str) -> Path:
        """The path that a text means, as far as this file has it: names may have dots in them."""
        found: list[str | int] = []
        value, rest = self.data, dotted_path
        while rest:
            if (index := re.match(r"\[(\d+)\]\.?", rest)) is not None:
                found.append(int(index[1]))
                rest = rest[index.end() :]
                inside = isinstance(value, list) and int(index[1]) < len(value)
                value = value[int(index[1])] if inside else None
                continue
            names = [name for name in value if _leads(name, rest)] if isinstance(value, dict) else []
            name = max(names, key=len, default=re.split(r"[.\[]", rest, maxsplit=1)[0] or rest)
            found.append(name)
            value = value.get(name) if isinstance(value, dict) else None
            rest = rest[len(name) :].removeprefix(".")
        return tuple(found)


def _leads(name: str, rest: str) -> bool:
    return rest.startswith(name) and (len(rest) == len(name) or rest[len(name)] in ".[") and bool(name)


Source = str | FilePath | Mapping[str, Any] | Text
"""What is taken for a file: its path, its values, or what it was read as."""


def text_of(source: Source, format: Format | None = None) -> Text:
    """The file at a path, or values that were read already. Raises FileError where it cannot be read at all."""
    match source:
        case Text():
            return source
        case Mapping():
            return Text("organization", copy.deepcopy(dict(source)))
    path = FilePath(source)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        named = str(path) if len(str(path)) <= LONGEST else f"{str(path)[:40]!r}…"  # a text, most likely
        raise FileError(named, [Problem("", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        line = raw[: _bad_byte(raw)].count(b"\n") + 1
        raise FileError(str(path), [Problem("", "is no text in UTF-8", line)]) from None
    return parse(text, format or _format_of(path), str(path))


def parse(text: str, format: Format, name: str = "organization") -> Text:
    """The values in a text, with their lines. Raises FileError where it is no text of this format."""
    if format not in get_args(Format):
        raise ConfigurationError("format", f"is one of {', '.join(get_args(Format))}")
    if len(text) > MOST:
        raise FileError(name, [Problem("", f"has more than {MOST} characters")])
    try:
        data, lines, found = _READERS[format](text)
    except _Unreadable as error:
        raise FileError(name, [error.problem]) from None
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is no mapping"
        raise FileError(name, [Problem("", f"{what}; begin with `organization`", 1)])
    return Text(name, data, lines, tuple(found))


def read(source: Source, format: Format | None = None) -> OrganizationFile:
    """The file, checked by itself. Raises FileError with all that is wrong."""
    looked = look(text_of(source, format))
    if looked.problems:
        raise looked.error()
    return looked.said


@dataclass(frozen=True, slots=True)
class Looked:
    """A file as it was read: what can be used of it, and what is wrong with it by itself."""

    text: Text
    said: OrganizationFile
    problems: tuple[Problem, ...]
    rest: _Rest

    def original(self, problem: Problem) -> Problem:
        """What is wrong with what can be used, by where that stands in the file."""
        path = self.rest.original(Text("", self.rest.data).path_of(problem.field))
        return problem._replace(field=dotted(path))

    def error(self, more: Iterable[Problem] = ()) -> FileError:
        """The error for all of it, and more that is wrong with what can be used."""
        found = [*self.problems, *map(self.original, more)]
        return FileError(self.text.name, dict.fromkeys(map(self.text.at, found)))


def look(text: Text) -> Looked:
    """What can be used of a file, and all that is wrong with it by itself."""
    found = list(text.problems)
    rest = _Rest(text.data)
    while True:
        try:
            file = OrganizationFile.model_validate(rest.data)
            break
        except ValidationError as error:
            told = list(_told(error))
            seen = {each.field for each in found}  # what was taken away is missing then
            new = (Problem(dotted(rest.original(path)), what) for path, what in told)
            found += [each for each in new if each.field not in seen]
            if not rest.without([path for path, _ in told]):
                file = OrganizationFile.model_validate({"organization": {"name": "organization"}})
                break
    around = {
        path[:end] for each in found for path in [text.path_of(each.field)] for end in range(len(path) + 1)
    }
    for each in problems(file):
        path = rest.original(Text("", rest.data).path_of(each.field))
        if path not in around:  # else it may be so only for what is left out
            found.append(Problem(dotted(path), each.message))
    return Looked(text, file, tuple(text.at(each) for each in dict.fromkeys(found)), rest)


class _Rest:
    """Values without those that are wrong, and where what is left stood before."""

    def __init__(self, data: Any) -> None:
        self.data = copy.deepcopy(data)
        self._left: dict[Path, list[int]] = {}

    def without(self, paths: list[Path]) -> bool:
        """Takes away what stands at these paths, or around them; whether anything was taken."""
        taken = False
        ordered = sorted(
            set(paths), key=lambda path: [(str(type(part)), part) for part in path], reverse=True
        )
        for path in ordered:
            taken = self._take(path) or taken
        if isinstance(self.data, dict):
            first = self.data.setdefault("organization", {})
            if isinstance(first, dict):
                first.setdefault("name", "organization")
        return taken

    def original(self, path: Path) -> Path:
        """The path that it had."""
        found: list[str | int] = []
        for part in path:
            left = self._left.get(tuple(found))
            found.append(left[part] if isinstance(part, int) and left and part < len(left) else part)
        return tuple(found)

    def _take(self, path: Path) -> bool:
        value, found = self.data, []
        for part in path:
            inside = isinstance(value, dict) and part in value
            inside = inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))
            if not inside:
                break
            found.append(value)
            value = value[part]
        if not found:
            return False
        around, at = found[-1], path[len(found) - 1]
        if isinstance(around, list):
            place = self.original(path[: len(found) - 1])
            del self._left.setdefault(place, [*range(len(around))])[int(at)]
        del around[at]
        return True


def _told(error: ValidationError) -> Iterator[tuple[Path, str]]:
    for each in error.errors(include_url=False, include_input=False):
        path: Path = tuple(part for part in each["loc"] if part != "[key]")
        message = each["msg"].removeprefix("Value error, ")
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, ConfigurationError):
            path = (*path, int(cause.field)) if cause.field.isdecimal() else (*path, cause.field)
            message = str(cause).partition(": ")[2]
        if each["type"] == "extra_forbidden":
            message = "is not known here"
        if each["type"] == "missing":
            message = "is missing"
        yield path, message


class _Unreadable(Exception):
    """A text that is none of its format."""

    def __init__(self, message: str, line: int | None) -> None:
        self.problem = Problem("", message, line)


Read = tuple[Any, Mapping[Path, int], list[Problem]]


def _yaml(text: str) -> Read:
    try:
        return yamltext.load(text)
    except yamltext.NotYaml as error:
        raise _Unreadable(error.message, error.line) from None


def _json(text: str) -> Read:
    if max(json_depths(text), default=0) > DEEPEST:
        raise _Unreadable(f"is nested deeper than {DEEPEST} levels", None)
    try:
        data = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise _Unreadable(f"is no JSON: {error.msg}", error.lineno) from None
    except ValueError as error:
        raise _Unreadable(f"is no JSON: {str(error)[:200]}", None) from None
    lines: dict[Path, int] = {}
    found: list[Problem] = []
    for path, line in json_lines(text):
        if path in lines:
            found.append(Problem(dotted(path), "stands here twice", line))
        lines[path] = line
    return data, lines, found


def _toml(text: str) -> Read:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        line = (int(found[1]) if found[1] else text.count("\n") + 1) if found else None
        raise _Unreadable(f"is no TOML: {_TOML_LINE.sub('', str(error)).strip()}", line) from None
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"is no TOML: {str(error)[:200]}", None) from None
    return _plain(data), dict(toml_lines(text)), []


def _plain(value: Any) -> Any:
    """Times as texts, as the other formats have them."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


_READERS: Mapping[Format, Callable[[str], Read]] = {"yaml": _yaml, "json": _json, "toml": _toml}


def _format_of(path: FilePath) -> Format:
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise ConfigurationError(
            "format", f"cannot be told from {path.name!r}; call it .yaml, .toml or .json"
        )
    return found


def _bad_byte(raw: bytes) -> int:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0
