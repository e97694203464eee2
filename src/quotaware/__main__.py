"""`python -m quotaware`, and the script `quotaware`: the command line, where its extra is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "yaml")


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.exit(f"quotaware: its command line needs {', '.join(missing)}: pip install 'quotaware[cli]'")
    try:
        from .cli.main import run  # noqa: PLC0415  # an extra

        code = run()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
