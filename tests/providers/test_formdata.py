"""Forms: what stands in them, and that nothing in them is read in two ways."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware.providers.base import Unreadable
from quotaware.providers.formdata import FIELD_MAX, MAX_PARTS, Upload, is_form, parse


def form(*parts: tuple[str, str | bytes, bool]) -> bytes:
    """A form of (name, content, whether it is a file)."""
    made = []
    for name, content, is_file in parts:
        filename = '; filename="a.mp3"' if is_file else ""
        body = content if isinstance(content, bytes) else content.encode()
        made.append(f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + body)
    return b"\r\n".join([*made, b"--b--\r\n"])


def test_fields_and_files_are_told_apart() -> None:
    assert parse(form(("model", "whisper-1", False), ("file", b"\x00\xff\r\n--x", True))) == {
        "model": "whisper-1",
        "file": Upload(7, b"\x00\xff\r\n--x"),
    }


@given(st.binary(max_size=200), st.text(max_size=20), st.lists(st.binary(max_size=9), max_size=3))
def test_what_a_client_writes_is_read(content: bytes, text: str, images: list[bytes]) -> None:
    files = [("file", ("é.bin", content)), *(("image[]", ("i.png", image)) for image in images)]
    request = httpx.Request("POST", "http://a", data={"prompt": text}, files=files)
    body = request.read()
    assert is_form(body)
    read = parse(body)
    assert read["file"].size == len(content)
    assert read["prompt"] == text
    given_images = read.get("image", [])
    assert [one.size for one in (given_images if isinstance(given_images, list) else [given_images])] == [
        len(image) for image in images
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(("model", "a", False), ("model", "b", False)), "model_ambiguous"),
        (form(("Model", "a", False)), "model_ambiguous"),
        (form(("model[]", "a", False)), "model_ambiguous"),
        (form(("model", b"\xff", False)), "model_ambiguous"),
        (form(("model", "a", False))[:-6], "model_ambiguous"),
        (form(("model", "a", False)).replace(b"name=", b"nome="), "model_ambiguous"),
        (form(*[("a", "", False)] * (MAX_PARTS + 2)), "model_ambiguous"),
        (form(("a", "x" * (FIELD_MAX + 1), False)), "body_unreadable"),
        (b"--", "model_ambiguous"),
        (b"--" + b"b" * 99 + b"\r\n", "model_ambiguous"),
        (b"", "model_ambiguous"),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_unreadable(body: bytes, code: str) -> None:
    """S8."""
    with pytest.raises(Unreadable) as caught:
        parse(body)
    assert caught.value.code == code


PIECES = [
    b"--b",
    b"\r\n",
    b"\r\n\r\n",
    b'Content-Disposition: form-data; name="model"',
    b"; filename=x",
    b"--",
    b"a",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=24))
def test_any_bytes_are_a_form_or_unreadable(pieces: list[bytes]) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(parse(b"--b\r\n" + b"".join(pieces)), dict)
