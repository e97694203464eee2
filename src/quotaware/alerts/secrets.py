"""Secrets of alert channels: said by reference to the environment, or kept encrypted with a key that the host gives.

    env:NAME      what the environment variable has at the moment of use
    sealed:TEXT   encrypted (Fernet: AES-128-CBC and HMAC-SHA256) with `Alerts(secret_key=…)`

What comes over the management API may name only variables that begin with `QUOTAWARE_ALERT_`, since whoever sets a
channel must not have this process hand out others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, QuotawareError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PREFIX = "QUOTAWARE_ALERT_"
_ENV = "env:"
_SEALED = "sealed:"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Unreadable(QuotawareError):
    """A secret that cannot be had: the variable is not set, or the key is another one."""


def from_environment(text: str, field: str) -> str:
    """What the host's own configuration says: itself, or for `env:NAME` the variable. Raises ConfigurationError."""
    if not isinstance(text, str) or not text:
        raise ConfigurationError(field, "is text, or env:NAME")
    if not text.startswith(_ENV):
        return text
    found = os.environ.get(text.removeprefix(_ENV))
    if not found:
        raise ConfigurationError(
            field, f"names the environment variable {text.removeprefix(_ENV)!r}, not set"
        )
    return found


class Vault:
    """Seals what is to be kept, and opens it again.

    keys  Fernet keys (`cryptography.fernet.Fernet.generate_key()`), the newest first: it seals, all of them open
    """

    def __init__(self, keys: str | Iterable[str] | None) -> None:
        self._fernet = None if keys is None else _fernet(keys)

    @property
    def seals(self) -> bool:
        """Whether there is a key."""
        return self._fernet is not None

    def seal(self, text: str, field: str, check: Callable[[str], object]) -> tuple[str, str]:
        """What to keep of a secret, and its last four characters ("" of a reference). `check` looks at the secret
        itself. Raises ConfigurationError naming the field and the way out.
        """
        if text.startswith(_ENV):
            name = text.removeprefix(_ENV)
            if not _NAME.fullmatch(name) or not name.startswith(PREFIX):
                raise ConfigurationError(field, f"names an environment variable that begins with {PREFIX}")
            if name in os.environ:
                check(os.environ[name])
            return text, ""
        check(text)
        if self._fernet is None:
            raise ConfigurationError(
                field,
                f"is a secret: name an environment variable (env:{PREFIX}…), or have it encrypted with "
                "Quota(alerts=Alerts(secret_key=…))",
            )
        return _SEALED + self._fernet.encrypt(text.encode()).decode(), text[-4:]

    def open(self, kept: str) -> str:
        """The secret; what is neither a reference nor sealed is itself. Raises Unreadable."""
        if not kept.startswith((_ENV, _SEALED)):
            return kept
        if kept.startswith(_ENV):
            name = kept.removeprefix(_ENV)
            found = os.environ.get(name) if name.startswith(PREFIX) else None
            if not found:
                raise Unreadable(f"the environment variable {name} is not set")
            return found
        if self._fernet is None:
            raise Unreadable("it is encrypted, and no secret_key was given")
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  # an extra

        try:
            return self._fernet.decrypt(kept.removeprefix(_SEALED).encode()).decode()
        except InvalidToken:
            raise Unreadable("it was encrypted with another secret_key") from None


def _fernet(keys: str | Iterable[str]) -> MultiFernet:
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigurationError(
            "secret_key", "takes the extra `alerts`: pip install 'quotaware[alerts]'"
        ) from None
    given = [keys] if isinstance(keys, str) else list(keys)
    try:
        return MultiFernet([Fernet(from_environment(key, "secret_key")) for key in given])
    except ConfigurationError:
        raise
    except (ValueError, TypeError):
        raise ConfigurationError(
            "secret_key",
            "is a key as cryptography.fernet.Fernet.generate_key() makes it, or several, the newest first",
        ) from None
