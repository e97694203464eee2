"""Where a command looks: what is said on the command line, in the environment, and in a configuration file.

What is nearer wins: an option, then the environment, then the file. One file is read: `--config` or
`QUOTAWARE_CONFIG`, else `quotaware.toml` in the directory, else `config.toml` in the user's own
(`~/.config/quotaware`). Files are not mixed: a key from the user's own never goes to an address that a directory names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from .failures import USAGE, Failure

LOCAL = "quotaware.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to look, and as whom; None where nothing is said.

    url, key       the API of a running app, as far as its mount (`https://host/v1`), and a key for it
    store          the URL of a store, which is opened here and worked on as the app's operator
    records        the store of usage records, where the app has a second one
    organization   by id or name, where a store has several
    timeout        seconds that an answer may take
    """

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    store: str | None = field(default=None, repr=False)  # it may hold a password
    records: str | None = field(default=None, repr=False)
    organization: str | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.url is not None and self.store is not None:
            raise Failure("Give a URL or a store, not both", USAGE)

    def over(self, other: Self) -> Self:
        """These, and where they say nothing the other's. Who names a store or a URL names no other's of the two."""
        placed = self.url is not None or self.store is not None
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in mine.items():
            if value is None and not (placed and name in {"url", "store"}):
                mine[name] = getattr(other, name)
        return type(self)(**mine)


def of_environment(environ: Mapping[str, str]) -> Settings:
    """`QUOTAWARE_URL`, `QUOTAWARE_KEY`, `QUOTAWARE_STORE`, …"""
    found = {
        each.name: environ[name]
        for each in fields(Settings)
        if environ.get(name := f"QUOTAWARE_{each.name.upper()}")
    }
    return _read(found, lambda name: f"QUOTAWARE_{name.upper()}")


def of_file(path: Path) -> Settings:
    """What a configuration file says. Raises Failure."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"There is no configuration file {path}", USAGE) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}", USAGE) from None
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"{path} is no TOML: {error}", USAGE) from None
    return _read(found, lambda name: f"{path}: {name}")


def settings(given: Settings, config: str | None, environ: Mapping[str, str]) -> Settings:
    """All that is said, the nearest first."""
    near = given.over(of_environment(environ))
    path = file_of(config or environ.get("QUOTAWARE_CONFIG"), environ)
    return near.over(of_file(path)) if path is not None else near.over(Settings())


def file_of(named: str | None, environ: Mapping[str, str]) -> Path | None:
    """The one configuration file that is read."""
    if named is not None:
        return Path(named).expanduser()
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((path for path in (Path(LOCAL), home / "quotaware" / "config.toml") if path.is_file()), None)


def _read(found: Mapping[str, Any], called: Callable[[str], str]) -> Settings:
    known = {each.name for each in fields(Settings)}
    read: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            names = ", ".join(sorted(known))
            raise Failure(f"{called(name)} is nothing that is known; known are {names}", USAGE)
        if name != "timeout" and not isinstance(value, str):
            raise Failure(f"{called(name)} is text", USAGE)
        read[name] = _seconds(value, called(name)) if name == "timeout" else value
    return Settings(**read)


def _seconds(value: Any, called: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds < float("inf"):
        raise Failure(f"{called} is a number of seconds above 0", USAGE)
    return seconds
