"""Where a new secret goes that is not to stand in a terminal: a file of the user's own, made for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from .failures import USAGE, Failure
from .printing import Printer

SecretTo = Annotated[
    Path | None,
    typer.Option(
        "--secret-to", help="A new file for the secret, which only you may read; else it is printed once."
    ),
]


@contextmanager
def kept(path: Path | None) -> Iterator[Callable[[str], bool]]:
    """What keeps a secret: writes it into a new file that nobody else can read, and answers whether it stands there
    (without a path it does not). The file is made before there is a secret, and taken away where none came.
    """
    if path is None:
        yield lambda text: False
        return
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        raise Failure(f"{path} is there already; name a new file", USAGE) from None
    stands = False

    def keep(text: str) -> bool:
        nonlocal stands
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # a full disk: it is shown instead
            return False
        stands = True
        return True

    try:
        yield keep
    finally:
        with suppress(OSError):
            file.close()
        if not stands:
            path.unlink(missing_ok=True)


def hand_over(
    out: Printer, answer: dict[str, Any], field: str, id: str, keep: Callable[[str], bool], path: Path | None
) -> None:
    """Gives away the secret that an answer has in a field: into the file, or else to stdout."""
    stands = keep(f"{answer[field]}\n")
    if out.json:
        out.data({**answer, field: None, "secret_in": str(path)} if stands else answer)
    elif stands:
        out.aside(f"{id}: its secret is in {path}.")
    else:
        out.aside(f"{id}: this is its secret, shown this once.")
        out.secret(answer[field])
