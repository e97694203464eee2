"""Two organizations with one of everything, whoever may send a request, and a way to undo what a request did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from quotaware import Quota
from quotaware.stores.protocol import Change, Doc
from quotaware.testing.clocks import FakeClock

OWN, RIVAL = "org_own", "org_rival"
KINDS = ("organization", "team", "project", "key", "member", "group", "role", "request", "channel")
ABSENT = "absent"
"""The id of nothing, as good as another's: longer than any, so that no list goes on after it."""


@dataclass(frozen=True)
class Place:
    """One of everything that stands together: `ids` by what they are, and the nodes `above` each, itself first."""

    ids: Mapping[str, str]
    above: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Who:
    """Who sends a request: with a key (`secret`) or by the host's own login (`member`), and the permissions held at
    nodes. `refused`: the status and code of whatever is sent.
    """

    grants: tuple[tuple[str, tuple[str, ...]], ...] = ()
    secret: str | None = None
    member: str | None = None
    refused: tuple[int, str] | None = None


@dataclass
class Answered:
    """The response to a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def error(self) -> Any:
        """The error, without what differs between two requests."""
        return {name: value for name, value in self.json["error"].items() if name != "request_id"}


# Of the contract's table of roles, word for word.
ORG_ADMIN = (
    "org:manage",
    "team:create",
    "team:delete",
    "api_key:create",
    "api_key:delete",
    "quota:manage",
    "quota:override",
    "analytics:full",
)
CALLS = ("chat", "embeddings", "responses", "images", "audio", "moderations", "batches", "files", "rerank")
DEVELOPER = (
    "api_key:read",
    "api_key:create:limited",
    "quota:read",
    "analytics:own",
    *(f"{call}:create" for call in CALLS),
    "models:list",
)
VIEWER = ("quota:read:summary", "analytics:read:aggregate")
SOME_KEYS = ("api_key:create:limited", "chat:create")
CUSTOM = ("quota:manage", "api_key:delete", "team:delete")


class House:
    """The API over an organization with a place of one's own and its sibling, and a rival organization."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.quota = Quota("memory://", clock=self.clock, identify=_login)
        self.app = self.quota.management()
        self.tenancy: Any = self.quota.blocking.tenancy
        self.admins: dict[str, Who] = {}
        for org in (OWN, RIVAL):
            self.tenancy.create_organization(org, id=org, limits=["$1000/month"])
            admin = self.tenancy.create_key(org, org=org, permissions=["org:manage"])
            self.admins[org] = Who(secret=admin.secret)
            self.tenancy.override(org, org, "cost/month", 900 * 10**9)
        self.places = {
            "own": self._furnished(OWN, "own"),
            "sibling": self._furnished(OWN, "sibling"),
            "foreign": self._furnished(RIVAL, "foreign"),
        }
        own = self.places["own"].ids
        ids = dict.fromkeys(own, ABSENT)
        self.places["absent"] = Place(ids, dict.fromkeys(ids, (ABSENT,)))
        self.places["neighbour"] = self._neighbour(self.places["own"])
        self.callers = self._callers(own["team"], own["project"])
        self._documents = self.documents()

    def _furnished(self, org: str, tag: str) -> Place:
        tenancy = self.tenancy
        team = tenancy.create_team(org, f"team {tag}", id=f"team_{tag}", limits=["$200/month"]).id
        other = tenancy.create_team(org, f"other {tag}", id=f"other_{tag}").id
        project = tenancy.create_project(
            team, f"project {tag}", org=org, id=f"proj_{tag}", limits=["$50/month"]
        ).id
        bare = tenancy.create_project(team, f"bare {tag}", org=org, id=f"bare_{tag}").id
        key = tenancy.create_key(
            project,
            org=org,
            name=f"key {tag}",
            permissions=["chat:create"],
            id=f"key_{tag}",
            limits=["$10/month"],
        ).node.id
        member = tenancy.create_member(org, f"member {tag}", id=f"mem_{tag}", roles=[("developer", project)])
        group = tenancy.create_group(org, team, f"group {tag}", id=f"grp_{tag}")
        role = tenancy.create_role(org, f"role {tag}", ["models:list"], id=f"role_{tag}")
        asker = Who(secret=tenancy.create_key(project, org=org, permissions=["quota:read"]).secret)
        more = {"project_id": project, "limit": "cost/month", "amount_usd": 60}
        asked = self.send(asker, "POST", "/quota-requests", more)
        assert asked.status == 201, asked.body
        for id in (team, project, key):
            tenancy.override(org, id, "cost/month", 9 * 10**9)
        rates = {"model": f"model-{tag}", "input": 1, "output": 2}
        price = self.send(self.admins[org], "POST", "/prices", rates)
        assert price.status == 201, price.body
        channel = tenancy.create_channel(org, project, "email", "ops@example.com", hint="ops@example.com").id
        ids = {
            "organization": org,
            "team": team,
            "other_team": other,
            "project": project,
            "bare": bare,
            "key": key,
            "member": member.id,
            "group": group.id,
            "role": role.id,
            "request": asked.json["id"],
            "price": price.json["id"],
            "channel": channel,
        }
        in_project, in_team = (project, team, org), (team, org)
        above = {
            "organization": (org,),
            "team": in_team,
            "other_team": (other, org),
            "project": in_project,
            "bare": (bare, team, org),
            "key": in_project,
            "member": (org,),
            "group": in_team,
            "role": (org,),
            "request": in_project,
            "price": (org,),
            "channel": in_project,
        }
        return Place(ids, above)

    def _neighbour(self, own: Place) -> Place:
        """Another project of one's own team, with a key of its own."""
        org, team = own.ids["organization"], own.ids["team"]
        project = self.tenancy.create_project(
            team, "neighbour", org=org, id="proj_neighbour", limits=["$50/month"]
        ).id
        key = self.tenancy.create_key(
            project, org=org, name="key neighbour", permissions=["chat:create"], limits=["$10/month"]
        ).node.id
        member = self.tenancy.create_member(org, "neighbour", roles=[("developer", project)]).id
        for id in (project, key):
            self.tenancy.override(org, id, "cost/month", 9 * 10**9)
        above = (project, team, org)
        return Place(
            {**own.ids, "project": project, "key": key, "member": member},
            {**own.above, "project": above, "key": above},
        )

    def _callers(self, team: str, project: str) -> dict[str, Who]:
        tenancy = self.tenancy
        custom = tenancy.create_role(OWN, "custom", CUSTOM, id="role_custom").id
        admins = tenancy.create_group(OWN, team, "admins", roles=["admin"], id="grp_admins").id

        def member(name: str, roles: Any = (), groups: Any = ()) -> str:
            tenancy.create_member(OWN, name, roles=roles, groups=groups)
            return name

        def key(node: str, *permissions: str, **more: Any) -> Any:
            return tenancy.create_key(node, org=OWN, permissions=permissions, **more)

        revoked, disabled = key(OWN, "org:manage"), key(OWN, "org:manage")
        tenancy.revoke_key(OWN, revoked.node.id)
        tenancy.disable(OWN, disabled.node.id)
        expired = key(OWN, "org:manage", expires_at=self.clock() + 1000)
        self.clock.advance(2000)
        dead = (401, "invalid_api_key")
        tenancy.create_member(OWN, "gone", roles=[("org_admin", OWN)], id="mem_gone")
        tenancy.update_member(OWN, "mem_gone", enabled=False)
        return {
            "admin of the organization": Who(((OWN, ORG_ADMIN),), member=member("ada", [("org_admin", OWN)])),
            "admin of the team": Who(((team, ORG_ADMIN),), member=member("tom", groups=[admins])),
            "admin of the project": Who(
                ((project, ORG_ADMIN),), member=member("pia", [("org_admin", project)])
            ),
            "developer": Who(((project, DEVELOPER),), member=member("dev", [("developer", project)])),
            "viewer": Who(((team, VIEWER),), member=member("vic", [("viewer", team)])),
            "custom role": Who(((team, CUSTOM),), member=member("cas", [(custom, team)])),
            "nobody's member": Who((), member=member("nil")),
            "admin key": Who(((OWN, ("org:manage",)),), key(OWN, "org:manage").secret),
            "key that sets budgets": Who(((OWN, ("quota:manage",)),), key(OWN, "quota:manage").secret),
            "key that makes keys": Who(
                ((project, ("api_key:create", "chat:create")),),
                key(project, "api_key:create", "chat:create").secret,
            ),
            "key that makes some keys": Who(
                ((team, SOME_KEYS),),
                key(team, *SOME_KEYS).secret,
            ),
            "call-only key": Who(((project, ("chat:create",)),), key(project, "chat:create").secret),
            "disabled key": Who((), disabled.secret, refused=(403, "disabled")),
            "revoked key": Who((), revoked.secret, refused=dead),
            "expired key": Who((), expired.secret, refused=dead),
            "no key of ours": Who((), "sk-somebody-else", refused=(401, "invalid_key_format")),
            "no key": Who((), refused=(401, "missing_api_key")),
        }

    def close(self) -> None:
        self.runner.close()
        self.quota.close()

    # sending

    def send(
        self,
        who: Who,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """One request; `body` is sent as JSON, bytes as they are, and others one after the other."""
        if body is None or isinstance(body, bytes):
            chunks = iter((body or b"",))
        else:
            chunks = body if isinstance(body, Iterator) else iter((json.dumps(body).encode(),))
        return self.runner.run(self._send(who, method, path, chunks, headers or {}))

    async def _send(
        self, who: Who, method: str, path: str, chunks: Iterator[bytes], headers: Mapping[str, str]
    ) -> Answered:
        given = {"content-type": "application/json", **headers}
        if who.secret is not None:
            given["authorization"] = f"Bearer {who.secret}"
        if who.member is not None:
            given["x-user"] = who.member
        answered = Answered()

        async def receive() -> Any:
            chunk = next(chunks, None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            answered.body += message.get("body", b"")

        target, _, query = path.partition("?")
        await self.app(
            {
                "type": "http",
                "method": method,
                "path": target,
                "root_path": "",
                "query_string": query.encode(),
                "headers": [(name.encode(), value.encode()) for name, value in given.items()],
                "client": ("203.0.113.9", 5000),
            },
            receive,
            send,
        )
        return answered

    # what was done

    def documents(self) -> dict[str, tuple[str, Doc]]:
        """Everything in both organizations, by id, without its revision."""
        return {
            doc.id: (org, doc._replace(rev=0))
            for org in (OWN, RIVAL)
            for kind in KINDS
            for doc in self.quota.store.children(org, kind, "", None, "", 1000)
        }

    def revision(self, id: str) -> int:
        """The revision of a document of the own organization."""
        _, (doc,) = self.quota.store.read(OWN, (id,))
        assert doc is not None
        return doc.rev

    def changed(self) -> set[str]:
        """Ids of what is not as it was at first."""
        now = self.documents()
        return {id for id in now.keys() | self._documents.keys() if now.get(id) != self._documents.get(id)}

    def undo(self) -> None:
        """All is again as it was at first."""
        changed = self.changed()
        put = tuple(self._documents[id][1] for id in changed if id in self._documents)
        drop = tuple(id for id in changed if id not in self._documents)
        rev, _ = self.quota.store.read(OWN, ())
        self.quota.store.commit(OWN, Change(rev, put, drop))
        assert not self.changed()


def _login(scope: Any) -> Any:
    """The host's own login: who it is stands in a header."""
    user = dict(scope["headers"]).get(b"x-user")
    return None if user is None else {"member": user.decode(), "organization": OWN}
