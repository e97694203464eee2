"""The first start: an organization with an admin key, or the small tree behind an app that only has limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..core.alerts import Alert
from ..core.limits import Limit
from ..errors import ConfigurationError, PermissionDenied
from . import keys
from .admins import has_admin
from .credentials import Credentials
from .documents import from_doc
from .keys import id_of
from .tree import organization_id
from .writes import Edit

SIMPLE_ORG = "org_app"
SIMPLE_PROJECT = "proj_app"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What the first start made. `key` is the admin key's secret, for the one caller that made it."""

    organization_id: str
    key: str | None = field(repr=False)


class Starts(Credentials):
    """What an app does when it starts."""

    def bootstrap(
        self, organization: str = "default", *, id: str | None = None, admin_key: str | None = None
    ) -> Bootstrap:
        """The organization of this name with an admin key on it, made by the first caller of all.

        id         of the organization; without it, it follows from the name
        admin_key  use this one (form of `keys.make("admin")`) in place of a random one: put in where it is
                   missing, also later, so that it lets back in who lost the other. It is never answered

        Raises ConfigurationError naming `admin_key` where it is malformed or opens another organization.
        """
        self._for_the_host()
        if admin_key is not None and not keys.well_formed(admin_key, "admin"):
            raise ConfigurationError("admin_key", "is not well formed; make one with keys.make('admin')")
        secret = admin_key or keys.make("admin")
        digest = keys.digest(secret)
        chosen = organization_id(organization) if id is None else id
        root = self._node("organization", chosen, "", organization)
        admin = self._node(
            "key", id_of("key", digest), root.id, None, permissions=("org:manage",), digest=digest
        )
        if place := self._store.find(digest):
            if place[0] != root.id:
                raise ConfigurationError("admin_key", "is the key of another organization already")
            admin = replace(admin, id=place[1])

        def draft() -> Edit:
            rev, (old_root, old_admin) = self._store.read(root.id, (root.id, admin.id))
            made = () if old_root else (root,)
            if old_admin is None and (made or admin_key):
                made = (*made, admin)
            return Edit("organization.bootstrap", rev, after=made)

        made = self._commit(root.id, "organization.bootstrap", root.id, draft).after
        if made or admin_key:
            self._link(digest, root.id, admin.id)
        return Bootstrap(root.id, secret if made and admin_key is None else None)

    def home_of(self, admin_key: str) -> str | None:
        """The organization that an admin key from outside is for: the one that it opens, else the one that was made
        first; None where there is none yet.
        """
        self._for_the_host()
        if place := self._store.find(keys.digest(admin_key)):
            return place[0]
        found = (self._store.read(org, (org,))[1][0] for org in self._organizations())
        roots = [(from_doc(doc).created_at, doc.id) for doc in found if doc is not None]
        return min(roots)[1] if roots else None

    def admit(self, admin_key: str) -> None:
        """Sees to it that an admin key from outside opens the organization that was made first, or one that is made
        for it. One that opens an organization already, or did until it was revoked, is left as it is.
        """
        if self._store.find(keys.digest(admin_key)) is None:
            self.bootstrap(id=self.home_of(admin_key), admin_key=admin_key)

    def has_admin(self) -> bool:
        """Whether there is anybody who may manage an organization: a key or a member with org:manage on it. Once it
        was so, the store is asked no more.
        """
        known = self._directory
        now = self._clock()
        known.administered = known.administered or any(
            has_admin(self._store, org, now) for org in self._organizations()
        )
        return known.administered

    def require_admin(self) -> None:
        """Raises PermissionDenied with code `no_admin_key`, and how to make one, where nobody may manage anything."""
        if not self.has_admin():
            raise PermissionDenied(
                "There is no admin key yet. Make one: quota.bootstrap(organization=...) answers its .key the first "
                "time, or set QUOTAWARE_ADMIN_KEY",
                code="no_admin_key",
            )

    def ensure_simple(
        self, limits: Iterable[Limit | str], zone: str = "UTC", alerts: Iterable[Alert | str] | None = None
    ) -> tuple[str, str]:
        """(organization id, project id) of the tree behind an app that only has limits: one project, on which they
        sit, and the alerts on them (None: as they are). Called again with others, they replace the old; nothing is
        written where nothing changed.
        """
        self._for_the_host()
        root = self._node("organization", SIMPLE_ORG, "", "app", zone=zone)
        project = self._node("project", SIMPLE_PROJECT, SIMPLE_ORG, "app", limits=limits, alerts=alerts or ())

        def draft() -> Edit:
            rev, docs = self._store.read(SIMPLE_ORG, (SIMPLE_ORG, SIMPLE_PROJECT))
            old_root, old_project = (from_doc(doc) if doc else None for doc in docs)
            new_project = project
            if old_project is not None:
                kept = old_project.alerts if alerts is None else project.alerts
                new_project = replace(old_project, limits=project.limits, alerts=kept)
            pairs = (
                (old_root, replace(old_root, zone=zone) if old_root else root),
                (old_project, new_project),
            )
            return Edit(
                "organization.simple",
                rev,
                before=tuple(old for old, new in pairs if old and old != new),
                after=tuple(new for old, new in pairs if old != new),
            )

        self._commit(SIMPLE_ORG, "organization.simple", SIMPLE_ORG, draft)
        return SIMPLE_ORG, SIMPLE_PROJECT

    def _for_the_host(self) -> None:
        """Raises PermissionDenied for anybody else: what makes an admin out of nothing is for the app alone."""
        if self._actor.kind != "host":
            raise self._actor.lacks("org:create")
