"""The pages that tell of the API: its OpenAPI document, and a page to read it and try it in.

The page is plain files of this package and needs nothing from elsewhere. It works below any mount, since all that it
asks for is relative to itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from .app import Page, Told

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_POLICY = (
    ("content-security-policy", _CSP),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
)
_FILES = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}


def pages(described: Mapping[str, Any]) -> Mapping[str, Page]:
    """`/openapi.json` with this document, and `/docs`, which shows it."""
    return {"/openapi.json": _described(described), **{path: _file(*of) for path, of in _FILES.items()}}


def _described(described: Mapping[str, Any]) -> Page:
    rest = json.dumps(described, separators=(",", ":"))

    def page(root: str) -> Told:
        servers = json.dumps([{"url": root or "/"}])
        return Told(200, f'{{"servers":{servers},{rest[1:]}'.encode(), _POLICY)

    return page


def _file(name: str, media: str) -> Page:
    told = Told(200, (files(__package__) / "site" / name).read_bytes(), _POLICY, media)
    return lambda root: told


async def absent(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI app in the dashboard's place where its extra is not installed."""
    body = b"The dashboard needs its extra: pip install 'quotaware[dashboard]'\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
