"""The commands together, and what becomes of an error: a line for a person or a JSON object, and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer

from ..version import __version__
from . import alerts, keys, limits, members, requests, roles, stores
from .demo.command import demo
from .doctor.command import doctor
from .explain import explain
from .failures import FAULT, STOPPED, USAGE, Failure, as_failure
from .init import init
from .organization import apply, export, plan
from .printing import Printer, as_json
from .session import command, remembered
from .simulate import simulate
from .top import top
from .usage import usage

NAME = "quotaware"
"""What it is called, also where `python -m` runs it: a shell completes no other name."""

app = typer.Typer(
    name=NAME,
    help="Quotas for LLM calls: look at them and set them, over a running app's API or in its store.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for each in (
    keys.app,
    members.app,
    members.groups,
    roles.app,
    limits.app,
    requests.app,
    alerts.app,
    stores.app,
):
    app.add_typer(each)
for run_ in (init, demo, plan, apply, export, usage, top, explain, simulate, doctor):
    command(app)(run_)

MISUSED: Any = typer.BadParameter.__mro__[1]
"""What a command line that is no command's raises: typer has its own for it, or click's, and names neither."""


def _version(asked: bool) -> None:
    if asked:
        print(f"quotaware {__version__}")
        raise typer.Exit


@app.callback()
@remembered
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """What is said before a command's name holds for it."""


def run() -> int:
    """Runs what the command line says; the exit code. What is no fault of the program is one line, not a traceback."""
    if not os.environ.get("QUOTAWARE_TRACEBACK"):
        logging.getLogger("quotaware").addHandler(logging.NullHandler())  # what is to be said is said here
    json_wanted = "--json" in sys.argv
    try:
        return app(prog_name=NAME, standalone_mode=not json_wanted) or 0  # which tells wrong usage as a text
    except SystemExit as end:
        code = end.code
        return code if isinstance(code, int) else 0 if code is None else 1
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:
        failure = as_failure(error)
        if isinstance(error, MISUSED):
            failure = Failure(error.format_message(), USAGE)
        if failure is None:
            if os.environ.get("QUOTAWARE_TRACEBACK"):
                raise
            told = f"{type(error).__name__}: {error}. This is a fault of quotaware; QUOTAWARE_TRACEBACK=1 shows where"
            failure = Failure(told, FAULT)
        if json_wanted:
            print(as_json({"error": failure.error}), file=sys.stderr)
        else:
            Printer().wrong(str(failure))
        return failure.code
