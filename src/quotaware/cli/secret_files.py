"""Where a new key goes that is not to stand in a terminal: a file of the user's own, made for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .failures import USAGE, Failure

SecretTo = Annotated[
    Path | None,
    typer.Option(
        "--secret-to", help="A new file for the secret, which only you may read; else it is printed once."
    ),
]


@contextmanager
def kept(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """What writes into a new file that nobody else can read; None without a path. It is made before there is a secret,
    so that none is lost, and taken away where nothing was written.
    """
    if path is None:
        yield None
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"{path} is there already; name a new file", USAGE) from None
    written = False

    def write(text: str) -> None:
        nonlocal written
        written = True
        os.write(file, text.encode())
        os.fsync(file)

    try:
        yield write
    finally:
        os.close(file)
        if not written:
            path.unlink()
