"""The command."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from ..failures import CONFLICT, USAGE, Failure
from ..session import Session

PORT = 8000
NEEDED = ("uvicorn", "jinja2")

Port = Annotated[
    int | None,
    typer.Option(help=f"To serve on; without it {PORT}, or any other where that is taken.", min=0, max=65535),
]
Browse = Annotated[bool, typer.Option("--open", help="Open the dashboard in a browser.")]


def demo(to: Session, port: Port = None, browse: Browse = False) -> None:
    """Serve a made-up company with customers at work, and its dashboard to look at, until ctrl-c."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise Failure(f"The demo needs {' and '.join(missing)}: pip install 'quotaware[demo]'", USAGE)
    from .serving import Demo  # noqa: PLC0415  # an extra

    try:
        served = Demo(PORT if port is None else port, fixed=port is not None)
    except OSError as error:
        raise Failure(
            f"Port {port} cannot be had: {error.strerror}; take another, or --port 0", CONFLICT
        ) from None
    with served:
        if to.out.json:
            served.run(lambda: to.out.data(served.told()), lambda said: None, browse)
        else:
            served.run(lambda: served.introduce(to.out.line), to.out.line, browse)
            to.out.aside(
                f"\nEnded: {served.tally.answered} calls were answered, {served.tally.refused} refused."
            )
    sys.stdout.flush()
