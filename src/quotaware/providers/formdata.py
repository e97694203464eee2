"""Request bodies in multipart/form-data, as the calls that upload sound or images send them (RFC 7578).

What a file holds is not read: only how long it is, and its name.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from . import jsontext
from .base import Unreadable

_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\b(.*)$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*name="((?:[^"\\]|\\.)*)"')
_FILENAME = re.compile(rb";\s*filename\*?=")
MAX_PARTS = 64
FIELD_MAX = 131_072
"""Bytes of a field that is no file."""


class Upload(NamedTuple):
    """A file in a form: its size in bytes, and how it begins."""

    size: int
    head: bytes


def is_form(body: bytes) -> bool:
    """Whether a body can only be a form: no JSON begins so."""
    return body.startswith(b"--")


def parse(body: bytes) -> dict[str, Any]:
    """The fields of a form: texts, and an `Upload` for each file; what stands several times (`image[]`) is a list.

    Raises `Unreadable` where it is no form, and where a field that a format decides by stands twice or in letters
    that not every reader takes for it.
    """
    first, _, _ = body.partition(b"\r\n")
    if not 2 < len(first) <= 2 + 70:
        raise Unreadable("the body is no multipart/form-data", "model_ambiguous")
    parts = (b"\r\n" + body).split(b"\r\n" + first)
    if parts[0] or parts[-1].rstrip() != b"--" or len(parts) > MAX_PARTS + 2:
        raise Unreadable("the body is no multipart/form-data that can be read", "model_ambiguous")
    fields: dict[str, Any] = {}
    for part in parts[1:-1]:
        name, value = _field(part)
        _keep(fields, name, value)
    return fields


def _field(part: bytes) -> tuple[str, str | Upload]:
    head, blank, content = part.partition(b"\r\n\r\n")
    said = _DISPOSITION.search(head)
    name = _NAME.search(said[1]) if said else None
    if not head.startswith(b"\r\n") or not blank or said is None or name is None:
        raise Unreadable("a part of the form has no name", "model_ambiguous")
    if _FILENAME.search(said[1]):
        return _text(name[1]), Upload(len(content), content[:64])
    if len(content) > FIELD_MAX:
        raise Unreadable("a field of the form is too long")
    return _text(name[1]), _text(content)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unreadable("a field of the form is not in UTF-8", "model_ambiguous") from None


def _keep(fields: dict[str, Any], name: str, value: str | Upload) -> None:
    plain = jsontext.folded(name.removesuffix("[]"))
    bears = plain in jsontext.BEARING
    if bears and (name != plain or plain in fields):
        raise Unreadable(
            f"{plain}: stands twice in the body, or in letters that not every reader takes for it",
            "model_ambiguous",
        )
    key = name.removesuffix("[]")
    if key in fields:
        held = fields[key]
        fields[key] = [*(held if isinstance(held, list) else [held]), value]
    else:
        fields[key] = value
