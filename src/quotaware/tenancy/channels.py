"""Channels: where alerts of a node and of what stands below it go, beside its members.

Secrets are kept as they are given, which is never in the clear: sealing them is the alerts' own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from ..errors import AlreadyExists, ConfigurationError
from . import checks
from .keys import check_id

ChannelType = Literal["email", "slack", "webhook"]
MAX_CHANNELS: Final = 20
"""Channels of one node."""
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a node (`parent`). Raises ConfigurationError naming the field that is wrong.

    target   of e-mail the address, of others the URL: itself, `env:NAME`, or sealed
    secret   of a webhook what signs: `env:NAME`, or sealed
    hint     what may be shown of the target
    enabled  whether alerts go there; why: what it said when it was disabled by itself
    """

    id: str
    parent: str
    name: None
    type: ChannelType
    target: str
    secret: str = ""
    hint: str = ""
    created_at: int = 0
    enabled: bool = True
    why: str = ""
    rev: int = 0

    def __post_init__(self) -> None:
        check_id(self.id, "id")
        check_id(self.parent, "parent")
        if self.type not in get_args(ChannelType):
            raise ConfigurationError("type", f"is one of {', '.join(get_args(ChannelType))}")
        if self.type == "email":
            checks.email(self.target, "email")
        else:
            checks.text(_KEPT)(self.target, "target")
        if self.secret:
            checks.text(_KEPT)(self.secret, "secret")
        checks.number(self.created_at, "created_at")

    def without_secrets(self) -> Channel:
        """It as the audit log may have it."""
        return self if self.type == "email" else replace(self, target=self.hint or "-", secret="")


def full(kind: str, name: str | None) -> AlreadyExists:
    """The error where a node has as many as it may."""
    return AlreadyExists(f"{kind.capitalize()} '{name}' has {MAX_CHANNELS} channels already", code="too_many")
