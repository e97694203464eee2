"""As much of msgpack as goes between this process and the scripts (`cmsgpack` in the server): written flat and fast,
read where a stored list is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, unpack_from
from struct import pack as pack_struct
from typing import Any

from .keys import decode, encode

_SIZED = {
    0xD9: (">B", "str"), 0xDA: (">H", "str"), 0xDB: (">I", "str"),
    0xC4: (">B", "str"), 0xC5: (">H", "str"), 0xC6: (">I", "str"),
    0xDC: (">H", "list"), 0xDD: (">I", "list"), 0xDE: (">H", "map"), 0xDF: (">I", "map"),
}  # fmt: skip
_NUMBERS = {
    0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
    0xCA: ">f", 0xCB: ">d",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_DOUBLE = Struct(">Bd")
_STRING = Struct(">BI")


def text(value: bytes) -> bytes:
    """A string."""
    size = len(value)
    return (bytes((0xA0 | size,)) if size < 32 else _STRING.pack(0xDB, size)) + value


def number(value: float) -> bytes:
    """A number as a double, since Lua knows no other."""
    return _DOUBLE.pack(0xCB, value)


def array_head(size: int) -> bytes:
    """What an array of so many values begins with."""
    return _STRING.pack(0xDD, size)


def pack(value: Any) -> bytes:
    """Text, numbers, booleans, and lists and dictionaries of them."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return text(encode(value))
    if isinstance(value, dict):
        pairs = b"".join(pack(key) + pack(each) for key, each in value.items())
        return pack_struct(">BI", 0xDF, len(value)) + pairs
    return array_head(len(value)) + b"".join(map(pack, value))


def unpack(value: bytes) -> Any:
    """The one value that was packed."""
    return _read(value, 0)[0]


def _read(value: bytes, at: int) -> tuple[Any, int]:
    code, at = value[at], at + 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 256, at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if form := _NUMBERS.get(code):
        size = Struct(form).size
        (found,) = unpack_from(form, value, at)
        return int(found), at + size
    size, kind, at = _size(value, code, at)
    if kind == "str":
        return decode(value[at : at + size]), at + size
    found_all: list[Any] = []
    for _ in range(size if kind == "list" else 2 * size):
        found, at = _read(value, at)
        found_all.append(found)
    return (found_all if kind == "list" else _pairs(found_all)), at


def _size(value: bytes, code: int, at: int) -> tuple[int, str, int]:
    if code < 0x90:
        return code & 0x0F, "map", at
    if code < 0xA0:
        return code & 0x0F, "list", at
    if code < 0xC0:
        return code & 0x1F, "str", at
    form, kind = _SIZED[code]
    (size,) = unpack_from(form, value, at)
    return size, kind, at + Struct(form).size


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
