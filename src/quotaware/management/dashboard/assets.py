"""The files that pages are made with: all of them of this package, served compressed, and named by what they hold.

htmx 2.0.11 and uPlot 1.6.32, unchanged; their licences stand beside them.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_MEDIA = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
NAMES = ("htmx.min.js", "uplot.min.js", "uplot.min.css", "app.js", "app.css", "icon.svg")


class Asset(NamedTuple):
    """A file: as it is, compressed, and the tag that changes with it."""

    media: str
    plain: bytes
    packed: bytes
    tag: str


@cache
def asset(name: str) -> Asset | None:
    """The file of this name, None where there is none."""
    if name not in NAMES:
        return None
    plain = (files(__package__) / "static" / name).read_bytes()
    tag = hashlib.sha256(plain).hexdigest()[:12]
    return Asset(_MEDIA[name.rpartition(".")[2]], plain, gzip.compress(plain, mtime=0), tag)
