"""Setting the channels of nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .channels import MAX_CHANNELS, Channel, ChannelType, full
from .documents import as_a
from .keys import new_id
from .tree import Tree
from .writes import Edit


class Channeling(Tree):
    """Channels: made, changed, looked at, taken away. All of it takes quota:manage at the node."""

    def create_channel(
        self, org: str, node: str, kind: ChannelType, target: str, *, secret: str = "", hint: str = ""
    ) -> Channel:
        """Where alerts of the node and of what stands below it go too. AlreadyExists with code `too_many` where there
        are as many as there may be.
        """
        channel = Channel(new_id("channel"), node, None, kind, target, secret, hint, self._clock())

        def draft() -> Edit:
            path = self._parent(org, node)
            self._require("quota:manage", path)
            if sum(1 for _ in self._all(org, "channel", node)) >= MAX_CHANNELS:
                raise full(path.nodes[0].kind, path.nodes[0].name)
            return Edit("channel.create", path.rev, after=(channel,))

        (made,) = self._commit(org, "channel.create", node, draft).after
        assert isinstance(made, Channel)  # noqa: S101  # it is what was put in
        return made

    def update_channel(self, org: str, id: str, *, expect: int | None = None, **changes: Any) -> Channel:
        """Replaces what is given of target, secret, hint, enabled; the host also says why it disabled one."""
        if "enabled" in changes:
            changes.setdefault("why", "")

        def draft() -> Edit:
            rev, old = self._read(Channel, "channel", org, id)
            self._require("quota:manage", self._path(org, old.parent))
            return Edit("channel.update", rev, (old,), (replace(old, **changes),))

        (made,) = self._commit(org, "channel.update", id, draft, expect).after
        assert isinstance(made, Channel)  # noqa: S101  # it is what was put in
        return made

    def channels(self, org: str, node: str) -> tuple[Channel, ...]:
        """Those of the node itself, by id."""
        self._require("quota:manage", self._path(org, node))
        return tuple(as_a(Channel, doc) for doc in self._all(org, "channel", node))

    def channel(self, org: str, id: str) -> Channel:
        """One. Raises NotFound."""
        _, found = self._read(Channel, "channel", org, id)
        self._require("quota:manage", self._path(org, found.parent))
        return found

    def delete_channel(self, org: str, id: str, *, expect: int | None = None) -> None:
        """What waits to be sent there is sent no more."""

        def draft() -> Edit:
            rev, old = self._read(Channel, "channel", org, id)
            self._require("quota:manage", self._path(org, old.parent))
            return Edit("channel.delete", rev, (old,))

        self._commit(org, "channel.delete", id, draft, expect)
