"""Who is told where, as the host's own code says it: `Quota(alerts=Alerts(…))`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..core.alerts import Alert
from ..errors import ConfigurationError
from .secrets import from_environment

Security = Literal["starttls", "tls", "none"]
_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class Smtp:
    """The server that sends e-mail, and as whom.

    host      of the server
    sender    the address that alerts come from
    port      None: 587 with STARTTLS, 465 with TLS, 25 with none
    user, password   to log in with; the password as itself or `env:NAME`, and never without encryption
    security  "starttls" (default), "tls" from the first byte, or "none"
    ca_file   certificates to trust beside the system's

    Raises `ConfigurationError` naming what is wrong.
    """

    host: str
    sender: str
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    security: Security = "starttls"
    ca_file: str | None = None

    def __post_init__(self) -> None:
        for name in ("host", "sender"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value or not value.isprintable():
                raise ConfigurationError(f"smtp.{name}", "is text of one line")
        if "@" not in self.sender:
            raise ConfigurationError("smtp.sender", "is an e-mail address, such as quota@example.com")
        if self.security not in get_args(Security):
            raise ConfigurationError("smtp.security", f"is one of {', '.join(get_args(Security))}")
        if self.port is not None and not (type(self.port) is int and 0 < self.port < 65536):
            raise ConfigurationError("smtp.port", "is a number from 1 to 65535")
        if (self.user is None) != (self.password is None):
            raise ConfigurationError("smtp.password", "goes with a user, and a user with a password")
        if self.password is not None:
            if self.security == "none":
                raise ConfigurationError("smtp.security", "is starttls or tls where there is a password")
            from_environment(self.password, "smtp.password")

    @property
    def where(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or _PORTS[self.security]

    def secret(self) -> str | None:
        """The password. Raises ConfigurationError where its variable is gone."""
        return None if self.password is None else from_environment(self.password, "smtp.password")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts are posted to, signed as Standard Webhooks has it.

    url     https, public unless `Alerts(allow=…)` has its host; itself or `env:NAME`
    secret  `whsec_` and 24 to 64 bytes in base64, as `quotaware.alerts.channels.webhook.new_secret()` makes one; itself
            or `env:NAME`
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)


Callback = Callable[[Any], Any | Awaitable[Any]]
"""Is given a `Notice`; what it raises has it called again later."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Who is told where, beside the members of a node and the channels that were set over the management API.

    rules       alerts on the limits of `Quota(limits=…)`: `["80% email", "95% slack"]`
    smtp        the server that sends e-mail; without it none is sent
    to          addresses that every e-mail alert goes to
    slack       incoming webhooks of Slack: URLs, or `env:NAME`
    webhooks    signed webhooks
    callback    Python code that is called with every alert, sync or async, on a thread of its own
    allow       hosts, addresses and CIDR blocks that webhooks may go to though they are private; also in plain http
    secret_key  Fernet keys that secrets of channels are encrypted with which were set over the API, the newest first;
                themselves or `env:NAME`

    Raises `ConfigurationError` naming what is wrong.
    """

    rules: Iterable[Alert | str] = ()
    smtp: Smtp | None = None
    to: Iterable[str] = ()
    slack: str | Iterable[str] = field(default=(), repr=False)
    webhooks: Iterable[Webhook] = ()
    callback: Callback | None = None
    allow: Iterable[str] = ()
    secret_key: str | Iterable[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.smtp is not None and not isinstance(self.smtp, Smtp):
            raise ConfigurationError("alerts.smtp", "is an Smtp(host=…, sender=…)")
        if self.callback is not None and not callable(self.callback):
            raise ConfigurationError("alerts.callback", "is a function that takes a notice")
        for name in ("rules", "to", "webhooks"):
            several = getattr(self, name)
            if isinstance(several, str) or not isinstance(several, Iterable):
                raise ConfigurationError(f"alerts.{name}", "takes several: give a list")
            object.__setattr__(self, name, tuple(several))
        if not all(isinstance(each, Webhook) for each in self.webhooks):
            raise ConfigurationError("alerts.webhooks", "takes several Webhook(url=…, secret=…)")
        if not isinstance(self.slack, Iterable):
            raise ConfigurationError("alerts.slack", "is a URL, or a list of them")
