"""Who is calling now: the binding that travels with a request, in a context variable.

The inbound edge and `quota.acting_as` set it, the outbound edges read it. A context variable is copied into tasks that
a request starts and where it awaits a thread, and never seen by another request; jobs of a thread pool get it from
`outbound.executors`, plain threads from `with_caller`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from . import forks
from .errors import ApiError, ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

DENIED_HEADER = "quotaware-denied"
"""Marks a synthetic answer as ours; its value is the denial's request id."""
DENIALS = 100
"""Denials that one request remembers."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: an organization's node (a key, or a project that the host named), and on whose behalf.

    org, node   the narrowest node whose limits and permissions bear; those above it bear too
    member      name of the member who acts, whose roles bear
    end_user    the host app's own customer, if the host named one
    tags        free text pairs for the record
    digest      SHA-256 of the key that was presented, which the key's document must carry
    address     from where it was presented by a request, "" where that is not known; None: by the app itself
    """

    org: str
    node: str
    end_user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    digest: str | None = None
    member: str = ""
    address: str | None = None


NOBODY = Caller("~unattributed", "")
"""The caller under whom calls of nobody are recorded where they are allowed: in an organization that none can have the
id of, on no node, so that nothing limits it.
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the host says is calling: what its `identify` answers. A plain text answer is the end user.

    project    id of a quotaware project, or None (the simple way, or as `unattributed` says)
    end_user   the host app's own customer
    tags       free text pairs for the record
    key        SHA-256 of a quotaware key instead of a project; set by quotaware itself
    member     the name of the member who the host's user is: his roles decide what he may do
    organization   id of the member's organization, where there are several

    Raises `ConfigurationError` naming the field that is no text.
    """

    project: str | None = None
    end_user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    member: str | None = None
    organization: str | None = None

    def __post_init__(self) -> None:
        for name in ("project", "end_user", "member", "organization"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ConfigurationError(name, f"is text or None, not {type(value).__name__}")
        tags = self.tags
        if not isinstance(tags, Mapping) or not all(isinstance(t, str) for tag in tags.items() for t in tag):
            raise ConfigurationError("tags", "are pairs of texts")


class Binding:
    """One request's (or one `acting_as` block's) standing.

    meter    whose the calls are: the part of a Quota that the outbound edges drive
    caller   who makes them: looked up already, or as named; None: nobody was identified
    refusal  the error that a call of this request is answered with, where credentials were no good
    holding  reservations under way: id → the counters that they hold, so that a request never waits for itself
    cost     nano-dollars settled so far; calls: how many were admitted
    denials  errors that calls of this request were answered with, by the id in the answer's header
    policy   the newest admitted call's policy, for the RateLimit headers
    degraded whether a call was let go while the store was away
    outer    the binding around an `acting_as` block
    """

    __slots__ = (
        "caller",
        "calls",
        "cost",
        "degraded",
        "denials",
        "holding",
        "meter",
        "outer",
        "policy",
        "refusal",
    )

    def __init__(self, meter: Any, caller: Caller | Identity | None, refusal: ApiError | None = None) -> None:
        self.meter = meter
        self.caller = caller
        self.refusal = refusal
        self.holding: dict[str, frozenset[str]] = {}
        self.cost = 0
        self.calls = 0
        self.degraded = False
        self.denials: dict[str, ApiError] = {}
        self.policy: Any = None
        self.outer: Binding | None = None

    def within(self, outer: Binding | None) -> None:
        """A block within a request: its denials and holds are the request's, and so are its calls and their cost."""
        self.outer = outer
        if outer is not None:
            self.denials, self.holding = outer.denials, outer.holding

    def admitted(self, id: str, counters: frozenset[str], policy: Any, *, degraded: bool = False) -> None:
        """A call of this request goes out, and holds these counters."""
        with _counting.lock:
            self.calls += 1
            self.degraded |= degraded
            self.holding[id] = counters
            self.policy = policy
        if self.outer is not None:
            self.outer.admitted(id, counters, policy, degraded=degraded)

    def settled(self, id: str, cost: int) -> None:
        """It has ended, and cost so many nano-dollars."""
        with _counting.lock:
            self.cost += cost
            self.holding.pop(id, None)
        if self.outer is not None:
            self.outer.settled(id, cost)

    def denied(self, request_id: str, error: ApiError) -> None:
        """Remembers (the newest hundred of) what calls of this request were answered with."""
        self.denials[request_id] = error
        while len(self.denials) > DENIALS:
            del self.denials[next(iter(self.denials))]


class _Counting:
    """Calls of one request may run in many threads. A process that it forks is nobody's: a pool's worker, forked while
    one request runs, serves others too.
    """

    def __init__(self) -> None:
        forks.begin(self)

    def begin_again(self) -> None:
        self.lock = Lock()
        _binding.set(None)


_binding: ContextVar[Binding | None] = ContextVar("quotaware_binding", default=None)
_counting = _Counting()


current = _binding.get
"""Answers the binding of the running context, or None. Asked for every request that the process makes."""


@contextmanager
def bound(binding: Binding | None) -> Iterator[None]:
    """Binds it for the block, in this context."""
    token = _binding.set(binding)
    try:
        yield
    finally:
        with suppress(ValueError):  # closed in another context (a generator's end): that one is over anyway
            _binding.reset(token)


class Acting:
    """The block of `Quota.acting_as`."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self._block: AbstractContextManager[None] | None = None

    def __enter__(self) -> Binding:
        if self._block is not None:
            raise RuntimeError("this acting_as block is entered already; make one for each `with`")
        self.binding.within(current())
        self._block = bound(self.binding)
        self._block.__enter__()
        return self.binding

    def __exit__(self, *exc: Any) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(*exc)

    async def __aenter__(self) -> Binding:
        return self.__enter__()

    async def __aexit__(self, *exc: Any) -> None:
        self.__exit__(*exc)


def run_as(binding: Binding | None, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls it bound so, in whatever thread this is."""
    with bound(binding):
        return function(*args, **kwargs)


def with_caller(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, sync or async, that acts for whoever calls now: also in a thread that knows nobody.

        threading.Thread(target=with_caller(work), args=(job,)).start()

    Made where the request is; it may be called any number of times, at the same time too, and after the request's end.
    Made where nobody calls, as a decorator at import is, it acts for nobody. Tasks, `asyncio.to_thread` and jobs of a
    `ThreadPoolExecutor` need none.

    Raises `ConfigurationError` for what is no function, and for a generator, which runs only where it is consumed.
    """
    if (
        not callable(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise ConfigurationError(
            "function",
            f"{function!r} is no function that does its work when it is called; give one that does",
        )
    binding = current()
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acts(*args: P.args, **kwargs: P.kwargs) -> Any:
            with bound(binding):
                return await function(*args, **kwargs)

        return cast("Callable[P, R]", acts)

    @functools.wraps(function)
    def act(*args: P.args, **kwargs: P.kwargs) -> R:
        return run_as(binding, function, *args, **kwargs)

    return act
