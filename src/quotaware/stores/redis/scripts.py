"""The scripts that run in the server, by the digest that it knows them by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from .client import Command


class Script:
    """A script's text and digest."""

    def __init__(self, *names: str) -> None:
        here = files(__package__)
        self.text = "\n".join(here.joinpath(f"{name}.lua").read_text("utf-8") for name in names).encode()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()

    def command(self, keys: Sequence[bytes], arguments: Sequence[bytes], *, whole: bool = False) -> Command:
        """A call of it; `whole` for a server that does not know it yet."""
        head = (b"EVAL", self.text) if whole else (b"EVALSHA", self.digest)
        return Command((*head, b"%d" % len(keys), *keys, *arguments), keys[0])


@cache
def batch_script() -> Script:
    """Decides a batch (`batch.py`)."""
    return Script("cells", "load", "decide", "write")


@cache
def step_script() -> Script:
    """Reads or writes an organization in one step (`steps.py`)."""
    return Script("step")
