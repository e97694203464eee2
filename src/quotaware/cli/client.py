"""The management API as commands use it: of a running app (`remote`), or of a store that is opened here (`local`).

Both speak HTTP and JSON, so a command does not know which of the two it has.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from ..errors import NotFound, StoreError
from ..quota import Quota
from ..stores.memory import system_clock
from ..stores.opening import open_store
from ..stores.protocol import Store
from ..tenancy import keys
from ..tenancy.access import Actor
from ..tenancy.keys import is_id
from .failures import CONFLICT, REFUSED, USAGE, Failure, refused
from .inprocess import InProcess
from .settings import Settings

PATIENCE_S = 5.0
"""How long a store may take over one step: a person would rather wait than read that it is away, as a call may not."""
TIMEOUT_S = 30.0
"""How long an answer may take, where nothing else is said; what works through much may take longer."""
PAGE = 1000
"""Entries of a list that are asked for at once."""
SHOWN = 10
"""How many organizations of a store are named where it is not clear which is meant."""
KINDS = {"project": "projects", "team": "teams", "organization": "organizations", "key": "api-keys"}
"""The kinds of nodes and where the API has them, in the order in which a bare name is looked up."""
NOWHERE = (
    "Say where to look: --store URL for a store, or --url URL and --key KEY for a running app; also as "
    "QUOTAWARE_STORE, QUOTAWARE_URL and QUOTAWARE_KEY, or in quotaware.toml"
)
Home = Callable[[Quota], str]
"""Answers the id of the organization that is meant."""
Heard = Callable[[int, int | None], None]
_PLACED = re.compile(r"(project|team|organization|key)[:/](.+)", re.DOTALL)


def path_of(*parts: str) -> str:
    """Where the API has something: the parts of a path, names and ids among them."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


@dataclass(frozen=True, slots=True)
class Place:
    """A node of the tree, as the API answered it."""

    kind: str
    id: str
    node: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where the API has it."""
        return path_of(KINDS[self.kind], self.id)

    @property
    def name(self) -> str:
        """As people call it."""
        return str(self.node.get("name") or self.id)


class Client:
    """One API. What it refuses is raised as `Failure`.

    patience  seconds for what works through much (`simulate`, `apply`); None: as long as it takes
    home      the id of the organization, where that is known already
    heard     is told how far that is, as far as it is known here: how much is done, of how much
    """

    def __init__(
        self, http: httpx.Client, life: ExitStack, patience: float | None, home: str | None = None
    ) -> None:
        self._http = http
        self._life = life
        self._patience = patience
        self._home = home
        self.heard: Heard = lambda done, total: None

    def get(self, path: str, **query: Any) -> Any:
        """A parameter that is None is not sent."""
        return self._ask("GET", path, query)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, long: bool = False, **query: Any
    ) -> Any:
        """`long`: it works through much, and may take its time."""
        return self._ask("POST", path, query, body, long)

    def patch(self, path: str, body: Mapping[str, Any], **query: Any) -> Any:
        """What is sent replaces."""
        return self._ask("PATCH", path, query, body)

    def delete(self, path: str, **query: Any) -> Any:
        """Answers what there is to say of it, mostly None."""
        return self._ask("DELETE", path, query)

    def pages(self, path: str, *, most: int | None = None, **query: Any) -> Iterator[Any]:
        """All entries of a list, or the first `most`, page by page."""
        cursor, left = None, most
        while left is None or left > 0:
            limit = PAGE if left is None else min(PAGE, left)
            answer = self.get(path, limit=limit, cursor=cursor, **query)
            yield from answer["data"]
            cursor = answer.get("next_cursor")
            left = None if left is None else left - len(answer["data"])
            if cursor is None:
                return

    def text(self, path: str, **query: Any) -> Iterator[str]:
        """An answer that is a file, as it comes."""
        with self._http.stream("GET", _under(path), params=_said(query), timeout=self._patience) as answer:
            if answer.status_code >= 300:
                answer.read()
                raise _refusal(answer)
            yield from answer.iter_text()

    def place(self, name: str | None) -> Place:
        """The node of this name or id: a project's, or else a team's, the organization's, a key's; `team/NAME` says
        which. None: the organization.
        """
        if name is None:
            return self.organization()
        placed = _PLACED.fullmatch(name)
        kinds, bare = ((placed[1],), placed[2]) if placed else (tuple(KINDS), name)
        for kind in kinds:
            try:
                node = self.get(path_of(KINDS[kind], bare))
            except Failure as failure:
                if failure.error.get("type") != "not_found":
                    raise
            else:
                return Place(kind, node["id"], node)
        what = kinds[0] if placed else "project, team, organization or key"
        raise Failure(f"There is no {what} '{bare}'", CONFLICT)

    @property
    def organization_path(self) -> str:
        """Where the API has the organization that is meant, which need not be there yet."""
        return path_of("organizations", self._home) if self._home else self.organization().path

    @cached_property
    def _names(self) -> Mapping[str, str]:
        kinds = ("organizations", "teams", "projects")
        return {node["id"]: node["name"] for kind in kinds for node in self.pages(f"/{kind}")}

    def called(self, id: str) -> str:
        """The name of an organization, team or project; its id where the caller does not see it."""
        return self._names.get(id, id)

    @cached_property
    def _people(self) -> Mapping[str, str]:
        try:
            return {member["id"]: member["name"] for member in self.pages("/members")}
        except Failure as failure:
            if failure.code != REFUSED:
                raise
            return {}

    def person(self, id: str) -> str:
        """The name of a member; the id of a key, or where the caller does not see members."""
        return self._people.get(id, id)

    def organization(self) -> Place:
        """The caller's."""
        me = self.get("/me")["organization"]
        return Place("organization", me["id"], me)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None = None,
        long: bool = False,
    ) -> Any:
        timeout = self._patience if long else httpx.USE_CLIENT_DEFAULT
        answer = self._http.request(method, _under(path), params=_said(query), json=body, timeout=timeout)
        if answer.status_code >= 300:
            raise _refusal(answer)
        return _parsed(answer) if answer.content else None

    def close(self) -> None:
        """Closes what was opened for it. Work that tells how far it is ends at its next word."""
        self.heard = _stop
        self._life.close()


def _stop(done: int, total: int | None) -> None:
    raise StoreError("the command was stopped")


def remote(url: str, key: str | None, timeout: float | None, organization: str | None = None) -> Client:
    """The API of a running app, at its mount. `organization`: the one whose key this is meant to be."""
    if key is None:
        raise Failure(
            "A key is missing: give --key, QUOTAWARE_KEY or `key` in the configuration file", REFUSED
        )
    if not keys.well_formed(key):
        raise Failure("The key is none of quotaware's: they begin with qw_", REFUSED)
    given = timeout or TIMEOUT_S
    life = ExitStack()
    http = httpx.Client(base_url=url.rstrip("/"), headers={"authorization": f"Bearer {key}"}, timeout=given)
    life.enter_context(http)
    found = Client(http, life, timeout or 10 * TIMEOUT_S)
    if organization is not None and organization not in ((own := found.organization()).id, own.name):
        found.close()
        raise Failure(f"The key is one of organization '{own.name}', and not of '{organization}'", CONFLICT)
    return found


def client(settings: Settings, home: Home | None = None, *, dry: bool = False) -> Client:
    """What the settings name; see `local` for `home` and `dry`."""
    if settings.url is not None:
        return remote(settings.url, settings.key, settings.timeout, settings.organization)
    return local(settings, home, dry=dry)


def in_the_clear(url: str | None) -> bool:
    """Whether a key would cross a network unencrypted."""
    found = urlsplit(url or "")
    return found.scheme == "http" and found.hostname not in {"localhost", "127.0.0.1", "::1"}


def local(settings: Settings, home: Home | None = None, *, dry: bool = False) -> Client:
    """The API of a store that is opened here, which acts for the host: it may do everything, and sends no alerts.

    home   says which organization is meant, which may be one that is to be made; None: the one that is there
    dry    a file that is not there is not made, but looked at as an empty store
    """
    life = ExitStack()
    try:
        quota = life.enter_context(opened(settings, make=home is not None, dry=dry))
        org = organization_of(quota, settings.organization) if home is None else home(quota)
        return over(quota, Actor("host", name=_user(), org=org), life)
    except BaseException:
        life.close()
        raise


def over(quota: Quota, actor: Actor, life: ExitStack) -> Client:
    """The API of a Quota, as this actor."""
    from ..management.app import Management  # noqa: PLC0415  # a remote one needs none of it
    from ..management.table import ROUTES  # noqa: PLC0415
    from .telling import Telling  # noqa: PLC0415

    def simulate(*asked: Any, most: int | None = None, **more: Any) -> Any:
        """As many calls as there are: nobody else waits for this process."""
        return quota.blocking.simulate(*asked, **more, progress=lambda read, done: found.heard(done, read))

    def hear(done: int, of: int) -> None:
        found.heard(done, of)

    files = Telling(quota.blocking.tenancy, quota.blocking.alerts, quota.engine.now, hear)
    parts = replace(quota.parts, simulate=simulate, organization=files)
    app = Management(parts, _Always(actor), ROUTES, needs_admin=False)
    http = httpx.Client(base_url="http://local", transport=InProcess(app))  # which knows no timeout
    life.enter_context(http)
    found = Client(http, life, None, actor.org)
    return found


@contextmanager
def opened(settings: Settings, *, make: bool = False, dry: bool = False) -> Iterator[Quota]:
    """A Quota on the store, which sends no alerts: that is left to the app, which knows how.

    make  a file that is not there is made; `dry`: or would be, and an empty store stands in for it
    """
    if settings.store is None:
        raise Failure(NOWHERE, USAGE)
    store = settings.store
    if missing := missing_file(store):
        if not make:
            raise Failure(f"There is no file {missing}; the app makes it, or `quotaware apply`", CONFLICT)
        store = "memory://" if dry else store
    held = patient(store)
    records = held if settings.records == store else settings.records and patient(settings.records)
    quota = Quota(held, records=records)
    try:
        quota.alerting.stop(0)
        quota.engine.prepare_with(lambda: None)  # what else an app begins with is the app's to do
        quota.store.hello()
        yield quota
    finally:
        quota.close()


def patient(url: str) -> Store:
    """The store that a URL names, not connected yet, which may take its time. Raises ConfigurationError."""
    store = open_store(url, system_clock)
    store.deadline = max(store.deadline, PATIENCE_S)
    return store


def missing_file(url: str) -> str | None:
    """The file of a store that is not there, and would be made. Raises Failure for a memory store."""
    if url.partition(":")[0].lower() == "memory":
        raise Failure("A memory store lives in its app only: give the app's --url and a --key", USAGE)
    store = patient(url)
    path: str | None = getattr(store, "path", None)
    store.close()
    return path if path is not None and not Path(path).exists() else None


def organization_of(quota: Quota, named: str | None) -> str:
    """The id of the organization of this id or name, or of the only one that there is."""
    tenancy = quota.blocking.tenancy
    if named is not None and is_id(named):
        with suppress(NotFound):
            return str(tenancy.get(named, named).id)
    found = list(islice(tenancy.organizations(), SHOWN if named is None else None))
    fitting = [node.id for node in found if named in {None, node.name}]
    if len(fitting) == 1:
        return str(fitting[0])
    if not found:
        raise Failure("The store has no organization yet: `quotaware apply` makes one from a file", CONFLICT)
    known = ", ".join(f"{node.id} ({node.name})" for node in found[:SHOWN])
    if not fitting:
        raise Failure(f"There is no organization '{named}' in the store; it has {known}", CONFLICT)
    raise Failure(f"Say which organization, with --organization: {known}", USAGE)


class _Always:
    """The door of an API that only this process can knock at."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def authenticate(self, scope: Mapping[str, Any]) -> Actor:
        return self._actor

    async def again(self, scope: Mapping[str, Any], digest: str) -> Actor:
        return self._actor


def _user() -> str | None:
    """As whom the system knows whoever runs this, for the audit log."""
    with suppress(KeyError, OSError):  # a container need not know
        return getpass.getuser()
    return None


def _under(path: str) -> str:
    return path.lstrip("/")


def _said(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None and value != []}


def _parsed(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise refused(answer.status_code, None) from None


def _refusal(answer: httpx.Response) -> Failure:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return refused(answer.status_code, body)
