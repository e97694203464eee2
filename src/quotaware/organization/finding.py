"""In which lines the values of a JSON or TOML text stand: looked for in the text, since their parsers keep none. It
was parsed already, and so is well formed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping

from .entries import Path

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def json_depths(text: str) -> Iterator[int]:
    """How deep it is nested after each of its tokens; also of a text that is not well formed."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "{[") - (token[0] in "}]")
        yield depth


def json_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Where each member and each element of a JSON text begins, in its order."""
    line = 1
    path: list[str | int] = []
    key: str | None = None
    fresh = False  # an element of an array begins next
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word == "\n":
            line += 1
            continue
        if fresh and word != "]":
            yield tuple(path), line
        fresh = False
        if word in "{[":
            path.append(0 if word == "[" else "")
            key, fresh = None, word == "["
        elif word in "}]":
            path.pop()
            key = None
        elif word == ",":
            key = None
            if isinstance(last := path[-1], int):
                path[-1], fresh = last + 1, True
        elif word != ":" and path and isinstance(path[-1], str) and key is None:
            path[-1] = key = str(json.loads(word))
            yield tuple(path), line


_WORD = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_NAME = re.compile(_WORD)
_KEY = re.compile(rf"\s*({_WORD}(?:\s*\.\s*{_WORD})*)")
_SPAN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n', re.DOTALL
)


def toml_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Where each header and each key of a TOML text begins; not what stands inside of an array or an inline table."""
    table: Path = ()
    counts: dict[Path, int] = {}
    for line, words in _statements(text):
        if words.startswith("["):
            several = words.startswith("[[")
            found = _KEY.match(words, 2 if several else 1)
            table = _path(found[1], counts) if found else ()
            if several:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, line
        elif (key := _KEY.match(words)) is not None:
            yield (*table, *_names(key[1])), line


def _path(words: str, counts: Mapping[Path, int]) -> Path:
    """The path of a header: inside of an array of tables it is of the last one."""
    path: Path = ()
    names = _names(words)
    for number, name in enumerate(names, 1):
        path = (*path, name)
        if path in counts and number < len(names):
            path = (*path, counts[path])
    return path


def _names(words: str) -> Path:
    return tuple(
        tomllib.loads(f"name = {word}")["name"] if word[0] in "\"'" else word for word in _NAME.findall(words)
    )


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The line on which each statement begins, and its text."""
    depth, begin, first, line = 0, 0, 1, 1
    for token in _SPAN.finditer(text):
        word = token[0]
        if word == "\n" and depth == 0:
            yield first, text[begin : token.start()].strip()
            begin, first = token.end(), line + 1
        depth += (word in "[{") - (word in "]}")
        line += word.count("\n")
    yield first, text[begin:].strip()
