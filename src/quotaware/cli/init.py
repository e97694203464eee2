"""`quotaware init`: files to begin with (where to look, and an organization), and the lines that an app needs."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from ..organization.model import SCHEMA_ID
from .client import patient
from .failures import CONFLICT, Failure
from .session import Session
from .settings import LOCAL

STORE = "sqlite:///quota.db"
ORGANIZATION = "organization.yaml"

_SETTINGS = Template("""\
# Where the command line looks: a store, which it opens itself, or the API of a running app. What stands in
# QUOTAWARE_STORE, QUOTAWARE_URL and QUOTAWARE_KEY goes before this, and options go before both.
$line
""")
_ORGANIZATION = Template("""\
# yaml-language-server: $$schema=$schema
# `quotaware plan $file` shows what this would change, `quotaware apply $file` makes it so.
# What is not said here is left as it is.
organization:
  name: $name
  total_monthly_budget: 100 # US dollars
  time_zone: UTC # whose midnight begins a day and a month

global_settings:
  alert_threshold: 0.8 # an alert at this share of every budget that has none of its own

teams:
  engineering:
    budget_usd: 80 # a month
    projects:
      app:
        budget_usd: 50
        rate_limit: { requests_per_minute: 600 }
        keys:
          app-production: {} # its secret is shown once, where it is made
""")
_APP = Template("""\
quota = Quota($store)
app.add_middleware(QuotaMiddleware, quota=quota)  # from quotaware import Quota, QuotaMiddleware""")


def init(
    to: Session,
    directory: Annotated[Path, typer.Argument(help="Where to write.", show_default=False)] = Path(),
    name: Annotated[str, typer.Option(help="The organization's name.")] = "My organization",
    force: Annotated[bool, typer.Option("--force", help="Write over what is there, without asking.")] = False,
) -> None:
    """Write files to begin with: quotaware.toml, which says where to look, and organization.yaml."""
    url, store = to.settings.url, to.settings.store or STORE
    if url is None:
        patient(store).close()  # says so where that is no store; connects to nothing
    secret = url is None and "@" in store
    if secret:
        line = "# store: in QUOTAWARE_STORE, since its URL may hold a password"
    else:
        line = f"store = {_quoted(store)}" if url is None else f"url = {_quoted(url)}"
    texts = {
        LOCAL: _SETTINGS.substitute(line=line),
        ORGANIZATION: _ORGANIZATION.substitute(schema=SCHEMA_ID, file=ORGANIZATION, name=_quoted(name)),
    }
    files = {directory / file: text for file, text in texts.items()}
    if there := [str(path) for path in files if path.exists() or path.is_symlink()]:
        _may_write_over(to, there, force)
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    app = _APP.substitute(store='os.environ["QUOTAWARE_STORE"]' if secret else _quoted(store))
    if to.out.json:
        to.out.data({"written": [str(path) for path in files], "app": app.splitlines()})
        return
    to.out.line(f"Written: {', '.join(map(str, files))}")
    to.out.line("\nThe app takes two lines:\n")
    to.out.line(app)
    to.out.aside(f"\nNext: quotaware plan {directory / ORGANIZATION}, then quotaware doctor MODULE:APP")


def _quoted(text: str) -> str:
    """As TOML, YAML and Python read it."""
    return json.dumps(text, ensure_ascii=False)


def _may_write_over(to: Session, there: list[str], force: bool) -> None:
    """Raises Failure where nobody agrees."""
    told = " and ".join(there)
    if not force and not to.out.interactive:
        raise Failure(f"There is {told} already; --force writes over it", CONFLICT)
    to.confirm(f"There is {told} already. Write over it?", force)
