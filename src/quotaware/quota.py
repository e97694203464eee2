"""Quota: what a host app makes and holds. It puts the parts together and decides nothing itself."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import anyio.to_thread

from . import arguments
from .alerts.service import Alerting
from .alerts.settings import Alerts
from .archive import Archive
from .context import Acting, Binding, Caller, Identity
from .core.bounds import BoundMode
from .core.explanation import Explanation
from .core.limits import Limit
from .core.prices import Price, PriceBook, UsdPerMillion
from .core.simulation import Simulation
from .core.steps import Answer, Op
from .core.windows import zone
from .engine import Engine
from .errors import ConfigurationError, InvalidKeyFormat, StoreError
from .explaining import described, explain
from .faces import Asked, Awaited, AwaitedUsage, Blocking
from .housekeeping import Housekeeper
from .inbound.edge import Edge
from .inbound.identify import Identify
from .inbound.middleware import App
from .inbound.proxies import Proxies
from .observing import Observer, Observers
from .outbound.clients import metered
from .outbound.hook import hook
from .outbound.httpx import AsyncMeteredTransport, MeteredTransport
from .outbound.manual import ManualCall
from .outbound.meter import Meter
from .refreshing import Refresh
from .rollups import Folder
from .settings import OnStoreError, Settings, milliseconds
from .simulating import Given, Period, Progress
from .stores.guard import Guard, guarded
from .stores.lanes import Lanes
from .stores.memory import system_clock
from .stores.protocol import Clock, Store
from .stores.thread import LeaseTerms, StoreThread
from .stores.tickets import drive_async
from .tenancy import keys
from .tenancy.directory import Directory
from .tenancy.service import Tenancy
from .tenancy.starts import SIMPLE_ORG, SIMPLE_PROJECT, Bootstrap
from .tenancy.tree import organization_id
from .usage import UsageLog

if TYPE_CHECKING:
    from .management.parts import Parts, Scraped

LEAST_S = 0.01
"""The shortest deadline, seconds."""
KEEP_S, KEEP_TURNS = 0.5, 10
"""How often records are folded and old rows taken away, seconds, and how many turns at once."""
FIRST = 100
"""Organizations whose alerts are looked at when a Quota starts."""
STOP_S = 0.1
"""How long an alert that is being sent is waited for when a Quota closes, seconds: the next process sends it again."""
SYNC_S = 1.0
"""How often the journal is made to survive a loss of power, seconds."""
LEAST_LEASE_S = 0.1
"""The shortest lease, seconds: it is extended every third of it, and must outlive a busy moment."""


class Quota:
    """Quotas for the LLM calls of this process.

    store           where counters, keys and records are kept: a URL (`sqlite:///quota.db`, `redis://localhost/0`,
                    `memory://`, …) or a `Store`
    limits          the simple way: limits (`"$50/month"`, `"20 requests/minute per end_user"`) on the one project that
                    every call then belongs to; without it, callers come by keys or `identify`
    records         a second store, by its URL, that keeps usage records for long: `"sqlite:///records.db"` beside a
                    Redis, which keeps them for days
    identify        the host's own word on who calls: takes the ASGI scope, answers the end user as text, an `Identity`
                    (or a mapping of its fields) or None; sync or async. Whom it names as `member` may also manage
    time_zone       IANA zone whose midnight begins a day and a month (with `limits`; else the organization's own)
    unattributed    a call that nobody was identified for: "deny", "allow" or "project:<id>"
    prices          USD per million tokens by model name or pattern, over the maintained list:
                    `{"my-model": {"input": 2, "output": 8}}`
    refresh_prices  True fetches newer prices every hour in the background, for the whole process; or the address of a
                    list of genai-prices' form
    unknown_model   a model without a price, where a cost limit bears on it: "deny", or the price to take
    default_output  output cap (tokens) written into calls that name none
    bound           "calibrated", or "strict": one token a byte, and nothing that the body does not show
    tight           where money is tight: "cap" writes a cap where a call names none, "clamp" also lowers one that it
                    names, "deny" changes no body
    clamp_min       no cap (tokens) is written below this
    settle_wait     seconds that a call waits for what others hold; 0: never
    max_waiters     calls that may wait so at once
    on_expiry       what a reservation whose process died is charged: its bounded "input", "full", "none"
    shadow          decide and record everything, refuse nothing; also QUOTAWARE_SHADOW=1
    deployments     which model a deployment is, where the host of it lets its owner choose the name (Azure):
                    `{"chat": "gpt-4.1", "acme.openai.azure.com/mini": "gpt-4.1-mini"}`; what is not said is unknown,
                    and refused where models are restricted or cost is limited
    hosts           what a host speaks (`{"llm.internal": "openai"}`), or None where its traffic is no call
    key_ttl         seconds that a host route without LLM calls trusts what it knows of a key
    trusted_proxies addresses and CIDR blocks of the proxies before the app, and "unix" for a Unix socket: only their
                    `X-Forwarded-For` or `Forwarded` says from where a client calls
    lease           seconds that a reservation lives at a time; extended while bytes moved within `idle_max`, at most
                    `call_max` in all
    deadline        seconds that one trip to the store may take; None: as the store has it (Redis 0.25, others 1)
    on_store_error  while the store is away calls are refused ("deny") or let through and booked later ("allow");
                    `{"cost": "deny", "rates": "allow"}` says it apart for calls that a hard cost limit bears on
    allow_max       share of each budget that one process lets through in one outage
    journal         directory of what was let through meanwhile, shared by the app's processes, best on a disk that
                    lasts; None: one below the system's temporary files, found again by the store's URL
    alerts          who is told where when limits fill up: `Alerts(smtp=…, slack=…, webhooks=…, callback=…)`
    telemetry       who is told of each call: `OpenTelemetry()` of `quotaware.integrations.opentelemetry`,
                    `Prometheus()` of `quotaware.integrations.prometheus`, your own `Observer`; one or several
    clock           ms since the epoch, for tests

    QUOTAWARE_ADMIN_KEY in the environment is an admin key of the organization that was made first, from the start
    on; where there is none, `default` is made for it. Another value is one key more: the old one works until revoked.

    Raises `ConfigurationError`, which names the argument and the way out.
    """

    def __init__(
        self,
        store: str | Store = "memory://",
        *,
        limits: Iterable[str | Limit] | None = None,
        records: str | Store | None = None,
        identify: Identify | None = None,
        time_zone: str = "UTC",
        unattributed: str = "deny",
        prices: Mapping[str, Price | UsdPerMillion] | None = None,
        refresh_prices: bool | str = False,
        unknown_model: Literal["deny"] | Price | UsdPerMillion = "deny",
        default_output: int | None = None,
        bound: BoundMode = "calibrated",
        tight: Literal["cap", "clamp", "deny"] = "cap",
        clamp_min: int = 256,
        settle_wait: float = 5.0,
        max_waiters: int = 4096,
        on_expiry: Literal["input", "full", "none"] = "input",
        shadow: bool = False,
        hosts: Mapping[str, str | None] | None = None,
        deployments: Mapping[str, str] | None = None,
        key_ttl: float = 5.0,
        trusted_proxies: Iterable[str] = (),
        lease: float = 60.0,
        idle_max: float = 600.0,
        call_max: float = 3600.0,
        deadline: float | None = None,
        on_store_error: Literal["deny", "allow"] | dict[str, Literal["deny", "allow"]] = "deny",
        allow_max: float = 0.05,
        journal: str | None = None,
        alerts: Alerts | None = None,
        telemetry: Observer | Iterable[Observer] = (),
        clock: Clock = system_clock,
    ) -> None:
        arguments.check_names(prices=prices, hosts=hosts, deployments=deployments)
        arguments.check_identify(identify)
        self._refresh = Refresh(refresh_prices)
        zone(time_zone)
        settings = Settings(
            unattributed=unattributed,
            unknown_model=arguments.price(unknown_model),
            default_output=default_output,
            bound=bound,
            tight=tight,
            clamp_min=clamp_min,
            settle_wait=settle_wait,
            max_waiters=max_waiters,
            on_expiry=on_expiry,
            shadow=arguments.shadow() if shadow is False else shadow,
            on_store_error=OnStoreError.read(on_store_error),
            allow_max=allow_max,
            journal=arguments.journal(store) if journal is None else journal,
            key_ttl=key_ttl,
        )
        self._clock = clock
        self._admin_key = arguments.admin_key()
        self._limits = None if limits is None else arguments.limits(limits)
        self._zone = time_zone
        self.store: Store = arguments.store(store, clock)
        self._guard = guarded(self.store, clock)
        terms = LeaseTerms(
            milliseconds("lease", lease, LEAST_LEASE_S),
            milliseconds("idle_max", idle_max),
            milliseconds("call_max", call_max),
        )
        deadline = self.store.deadline if deadline is None else deadline
        milliseconds("deadline", deadline, LEAST_S)
        directory = Directory(self._guard, clock)
        self._lanes = Lanes(self._guard, clock, terms, deadline)
        book = PriceBook(prices)
        book.context_window(None, "gpt-4.1")  # the list loads now, and not on an event loop
        self._observers = arguments.observers(telemetry)
        self.engine = Engine(self._lanes, directory, book, settings, clock, Observers(self._observers))
        self.engine.prepare_with(self._prepare)
        self._lanes.every(SYNC_S, self.engine.outage.sync)
        if isinstance(self._guard, Guard):
            self._guard.adopted = self.engine.adopted
        if self._limits is not None:
            self.engine.simple = Caller(SIMPLE_ORG, SIMPLE_PROJECT)
        self.meter = Meter(self.engine, hosts or {}, deployments)
        self.edge = Edge(
            self.engine,
            self.meter,
            self.instrument,
            identify,
            Proxies(trusted_proxies),
        )
        self._archive = (
            None if records is None else Archive(self._guard, arguments.records(records, store, clock))
        )
        self._keeper = Housekeeper(self._guard, self._archive)
        folder = Folder(self._guard, self._archive)
        self.alerting = Alerting(
            arguments.alerts(alerts),
            self._guard,
            directory,
            Tenancy(self._guard, directory, clock),
            UsageLog(self._guard, folder, clock),
            clock,
            StoreThread(self._guard, self._lanes.timer, terms, deadline),
            self._keeper.organizations,
        )
        self.engine.tell_denials(self.alerting.denied)
        self._lanes.told = self._told
        self._lanes.every(KEEP_S, self._keep_house)
        self._lanes.every(terms.lease / 3000, self._look_around)
        self._rules = arguments.rules(alerts, self._limits)
        self.blocking = Blocking(self, Tenancy(self._guard, directory, clock), folder)
        self.engine.close_with(self.blocking.tenancy.close_used_up)
        self.tenancy: Any = Awaited(self.blocking.tenancy)
        self.usage = AwaitedUsage(self.blocking.usage)
        self.alerts: Any = Awaited(self.blocking.alerts)
        for observer in self._observers:
            observer.observe(*_standing(weakref.ref(self)))
        _open.add(self)

    def _told(self, org: str, answer: Answer, ops: list[Op]) -> None:
        self.engine.told(org, answer, ops)
        self._keeper.heard(org, answer, ops)
        self.alerting.start()
        self.alerting.heard(org, answer)

    def _keep_house(self) -> None:
        self.engine.denied.turn(self.engine.now())
        for _ in range(KEEP_TURNS):
            if not self._keeper.turn():
                break

    def _look_around(self) -> None:
        """Ends what the dead held, also where nobody calls any more, and books what they had let through."""
        self._lanes.look(self._keeper.organizations())
        self.engine.outage.recover()

    def _begin(self) -> None:
        self._prepare()
        self._lanes.attend()
        for org in self.store.orgs("", FIRST):  # others are come upon by and by
            self.alerting.send_soon(org)

    def _prepare(self) -> None:
        self._refresh.start()
        self.store.hello()
        if self._archive is not None:
            with contextlib.suppress(StoreError):  # `health` says so, and it is copied to later
                self._archive.store.hello()
        self.engine.outage.recover()
        if self._limits is not None:
            self.blocking.tenancy.ensure_simple(self._limits, self._zone, self._rules)
        if self._admin_key is not None:
            self.blocking.tenancy.admit(self._admin_key)

    # seeing calls

    def instrument(self) -> None:
        """Meters every client of httpx, httpx2, aiohttp, requests and botocore in this process, whenever it was made;
        the library may be imported later. A WebSocket to a provider, over websockets too, is a call of unknown cost.
        """
        hook.add(self.meter)

    def uninstrument(self) -> None:
        """Undoes `instrument`."""
        hook.remove(self.meter)

    def transport(self, inner: Any) -> Any:
        """A metered async transport over `inner`, for `AsyncClient(transport=…)` of httpx or httpx2."""
        return AsyncMeteredTransport(self.meter, inner)

    def sync_transport(self, inner: Any) -> Any:
        """A metered sync transport over `inner`, for `Client(transport=…)` of httpx or httpx2."""
        return MeteredTransport(self.meter, inner)

    def metered(self, client: Any) -> Any:
        """Makes an existing client metered and answers it: one of httpx or httpx2, an SDK's that carries one, a session
        of aiohttp or requests, a client of boto3. Raises `ConfigurationError` for anything else.
        """
        return metered(self.meter, client)

    # who calls, outside a request

    def acting_as(
        self,
        *,
        key: str | None = None,
        project: str | None = None,
        end_user: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Acting:
        """Calls in the block are made by this key or project; `with` and `async with`.

        Raises `InvalidKeyFormat`, `ConfigurationError`.
        """
        if key is not None and project is not None:
            raise ConfigurationError("project", "a key says its project already; give one of the two")
        if key is not None and not (isinstance(key, str) and keys.well_formed(key)):
            raise InvalidKeyFormat
        digest = None if key is None else keys.digest(key)
        return Acting(Binding(self.meter, Identity(project, end_user, tags or {}, digest)))

    def call(
        self,
        *,
        provider: str | None,
        model: str,
        operation: str = "chat",
        input: int | None = None,
        max_output: int | None = None,
    ) -> ManualCall:
        """A call that is not HTTP: at most `input` tokens in and `max_output` out; `with` and `async with`.

        `input` None: nobody knows yet, and it is allowed for as input is that a body does not show. `max_output`
        None: the model's longest answer, or less where money is tight. The call's `.cap` says what was reserved; there
        is no body to write it into, so it is the app's to keep.
        Raises `ConfigurationError`.
        """
        return ManualCall(self.meter, described(provider, model, operation, input, max_output))

    async def explain(self, **asked: Unpack[Asked]) -> Explanation:
        """May this caller make this call now, and if not, why and until when? Decided by the same steps as the call
        itself, which reserve, record and count nothing; `quota.blocking.explain` is the same for sync code.

        The call: `provider`, `model`, `operation`, at most `input` tokens in and `max_output` out, as for `call`.
        The caller: a `key` (its secret or its id), a `project`, a `member`, an `end_user`, `tags`; `organization` where
        several have one of the id. Nobody named: whoever calls here. `address`: from where a key is used; not judged
        where it is not given.

        Raises `ConfigurationError`, `InvalidKeyFormat` and `NotFound` (a key that there is none of), and `StoreError`
        where the store does not answer.
        """
        return await drive_async(explain(self.engine, self.meter.binding(), **asked))

    async def simulate(
        self,
        plan: Mapping[str, Given],
        period: Period = "30d",
        *,
        organization: str | None = None,
        progress: Progress | None = None,
    ) -> Simulation:
        """What recorded calls would have met under other limits: which of them had been denied, let go with less for
        their answer, or kept waiting, and which alerts had been due. Decided by the ledger itself, off the event loop;
        nothing is changed. `quota.blocking.simulate` is the same for sync code.

        plan      by the name or id of a node what it has instead: limits (`{"app": ["$50/month"]}`), or limits and
                  alerts (`{"app": {"limits": [...], "alerts": ["80% email"]}}`); all else stays as it is now. A
                  name is that of a project, or else of a team, the organization, a key
        period    calls of the last days or hours ("30d", "24h"), or (since, until)
        progress  hears now and then how many records were read, and how many calls were decided, in a thread

        Raises `ConfigurationError` (`LimitSyntaxError`), `NotFound` and `AlreadyExists` (several nodes have the name)
        for what the plan names, `StoreError`.
        """
        run = partial(self.blocking.simulate, plan, period, organization=organization, progress=progress)
        return await anyio.to_thread.run_sync(run)

    # managing

    @property
    def organization(self) -> Any:
        """An organization as one file: `await quota.organization.plan("organization.yaml")`, `apply`, `export`
        (docs/organization-file.md).
        """
        return Awaited(self.blocking.organization)

    def management(self) -> App:
        """The management API, an ASGI app: `app.mount("/v1", quota.management())`."""
        from .management.api import management  # noqa: PLC0415  # an app that does not mount it need not load it

        return management(self.parts, self.edge)

    @property
    def parts(self) -> Parts:
        """What the management API is handed of it."""
        from .management.parts import Parts  # noqa: PLC0415

        return Parts(
            self.blocking.tenancy,
            self.blocking.usage,
            self.blocking.alerts,
            self.engine,
            self.store,
            self.blocking.simulate,
            self.blocking.organization,
            lambda: self.health,
            next((cast("Scraped", each) for each in self._observers if hasattr(each, "page")), None),
        )

    # life

    def bootstrap(self, organization: str = "default", *, id: str | None = None) -> Bootstrap:
        """First start: makes the organization and its admin key, and answers `.organization_id` and `.key`.

        Called again, by a restart or by another worker at the same moment, it answers the same organization and
        `key` None; and so where QUOTAWARE_ADMIN_KEY is this organization's admin key. Without `id`, the organization's
        id follows from its name. Blocks, since it is called at import. Raises `ConfigurationError`, `StoreError`.
        """
        self.store.hello()
        tenancy, admin_key = self.blocking.tenancy, self._admin_key
        if admin_key is not None:
            chosen = organization_id(organization) if id is None else id
            admin_key = admin_key if tenancy.home_of(admin_key) in {None, chosen} else None
        return tenancy.bootstrap(organization, id=id, admin_key=admin_key)

    async def start(self) -> None:
        """Opens the store now instead of at the first use, and sends what alerts wait there. Raises `StoreError`."""
        await anyio.to_thread.run_sync(self._begin)

    def flush(self, timeout: float = 1.0) -> bool:
        """Waits (seconds) until all that was settled so far is in the store; whether it is."""
        self.engine.denied.hand_over(self.engine.now())
        return self._lanes.flush(timeout)

    def close(self, timeout: float = 1.0) -> bool:
        """Uninstruments, flushes and closes the store; whether everything had reached it. `timeout` (seconds) is for
        flushing; an SQLite file that is stuck is waited for a second more, and then left to the process's end.
        """
        self.uninstrument()
        self._refresh.stop()
        _open.discard(self)
        self.engine.denied.hand_over(self.engine.now())
        self.alerting.stop(min(timeout, STOP_S))
        flushed = self._lanes.close(timeout)
        self.engine.outage.close()
        if self._archive is not None:
            self._archive.store.close()
        return flushed

    async def aclose(self) -> None:
        """The same, awaited."""
        await anyio.to_thread.run_sync(self.close)

    async def __aenter__(self) -> Quota:
        await self.start()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.aclose()

    def tend(self) -> None:
        """Extends the leases of calls under way and ends those that are over; runs by itself every third of a lease."""
        self._lanes.tend()

    def adopt(self, organization: str | None = None) -> None:
        """Goes on with an organization that is gone from the store (None: the one of `limits=`) as with an empty one:
        what was spent is forgotten. For an operator, where there is no backup. Blocks; raises `StoreError`.
        """
        org = SIMPLE_ORG if organization is None else organization
        self._guard.adopt(org, empty=True)
        self.engine.adopted(org)
        self.engine.prepare_with(self._prepare)

    @property
    def health(self) -> Mapping[str, object]:
        """How the store is as this process sees it: `store` "ok", "full", "away", "lost" or "unusable" (`why`),
        `away_s`, and how far its clock is `ahead_ms`; the second store for `records`, if there is one, "ok" or "away";
        `degraded` calls were let through without it, `dropped` settles are lost.
        """
        seen = self._guard.health() if isinstance(self._guard, Guard) else {"store": "ok"}
        if self._archive is not None:
            seen = {**seen, "records": self._archive.state}
        if self.engine.unready:
            seen = {**seen, "store": "unusable", "why": self.engine.unready}
        return {**seen, "degraded": self.stats.get("degraded", 0), "dropped": self._lanes.dropped}

    @property
    def stats(self) -> Mapping[str, int]:
        """Counts of this process: admitted, denied, would_deny, unreadable, …"""
        return dict(self.engine.tally)


_open: weakref.WeakSet[Quota] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    for quota in list(_open):
        quota.flush()


def _standing(
    quota: weakref.ref[Quota],
) -> tuple[Callable[[], Mapping[str, object]], Callable[[], Mapping[str, int]]]:
    """Its health and stats, nothing once it is closed or gone."""

    def health() -> Mapping[str, object]:
        found = quota()
        return {} if found is None or found not in _open else found.health

    def stats() -> Mapping[str, int]:
        found = quota()
        return {} if found is None else found.stats

    return health, stats
