"""Metrics of LLM calls for Prometheus.

    quota = Quota(..., telemetry=Prometheus(token=os.environ["METRICS_TOKEN"]))
    app.mount("/v1", quota.management())      # GET /v1/metrics

Needs the extra `prometheus`.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ..observing import UNWATCHED, Begun, Ended, Late, Refused
from .series import Series
from .standing import Health, Standing, Stats

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.multiprocess import MultiProcessCollector
except ImportError as error:  # pragma: no cover  # tested in an interpreter of its own
    raise ImportError("prometheus-client is not installed; pip install 'quotaware[prometheus]'") from error

WHOSE = ("organization", "project", "provider", "model")
WHOM = ("provider", "model")
"""Who is asked: how long an answer takes is the provider's doing, and its buckets are many."""
KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")
"""Kinds of tokens; the last three are parts of the first two."""
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
DECISION = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LEAST = 16
"""Characters of the shortest token."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered to a scrape."""

    media: str
    body: bytes


class Prometheus:
    """Counts calls for Prometheus, in a registry of its own.

    token      what a scraper sends as `Authorization: Bearer …` to see the series of all organizations; without one,
               each sees those of its own, with a key that holds `analytics:full`
    registry   where the metrics are registered; None: a new one, `.registry`

    With PROMETHEUS_MULTIPROC_DIR in the environment, one scrape tells of all processes of an app (what is said of the
    store is said by the process that answers). Raises `ConfigurationError`.
    """

    def __init__(self, token: str | None = None, *, registry: CollectorRegistry | None = None) -> None:
        if token is not None and (not isinstance(token, str) or len(token) < LEAST or not token.isascii()):
            raise ConfigurationError("token", f"is at least {LEAST} characters of ASCII")
        self._token = token
        self._series = Series()
        self._standing = Standing()
        self.registry = CollectorRegistry() if registry is None else registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"quotaware_{name}", text, labels, registry=self.registry)

        def seconds(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
            return Histogram(
                f"quotaware_{name}_seconds", text, labels, registry=self.registry, buckets=buckets
            )

        self._calls = counter(
            "calls", "Calls that were let go, by the HTTP status of the answer.", *WHOSE, "status"
        )
        self._refused = counter("calls_refused", "Calls that were kept from going.", *WHOSE, "code")
        self._tokens = counter("tokens", "Tokens that calls are charged for.", *WHOSE, "kind")
        self._cost = counter("cost_usd", "What calls are charged, USD.", *WHOSE)
        self._took = seconds("call", "From letting a call go to the end of its answer.", *WHOM)
        self._first = seconds("first_token", "Until a streamed answer has something in it.", *WHOM)
        self._decision = seconds(
            "decision", "To let a call go or refuse it, waits included.", "outcome", buckets=DECISION
        )
        self.registry.register(_Store(self._standing))

    # as an observer

    def begun(self, begun: Begun) -> _Watch:
        """A call is let go."""
        self._decision.labels("let_go").observe(begun.decided_s)
        return _Watch(self, begun)

    def refused(self, refused: Refused) -> None:
        """A call is kept from going."""
        labels = self._series.of(refused.place, refused.call.provider, refused.model, answered=False)
        self._refused.labels(*labels, refused.code).inc()
        self._decision.labels("refused").observe(refused.decided_s)

    def late(self, late: Late) -> None:
        """A call is charged that had ended before."""
        labels = self._series.of(late.place, late.call.provider, late.model, answered=True)
        self._charge(labels, late)

    def observe(self, health: Health, stats: Stats) -> None:
        """Tells how the store is, too."""
        self._standing.add(health, stats)

    def ended(self, begun: Begun, ended: Ended) -> None:
        """A call that was let go has ended."""
        answered = 200 <= ended.status < 300
        labels = self._series.of(begun.place, begun.call.provider, begun.model, answered=answered)
        whom = (labels.provider, labels.model)
        self._calls.labels(*labels, str(ended.status) if ended.status else "none").inc()
        self._took.labels(*whom).observe(ended.seconds)
        if ended.first_s is not None:
            self._first.labels(*whom).observe(ended.first_s)
        self._charge(labels, ended)

    def _charge(self, labels: Iterable[str], charged: Ended | Late) -> None:
        whose = tuple(labels)
        for kind in KINDS:
            if count := getattr(charged.usage, kind):
                self._tokens.labels(*whose, kind).inc(count)
        if charged.cost:
            self._cost.labels(*whose).inc(charged.cost / 1e9)

    # as a page

    def opens(self, authorization: str) -> bool:
        """Whether a request's header carries the token."""
        scheme, _, token = authorization.partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token.encode())

    def page(self, organization: str | None = None) -> Page:
        """The metrics as text: of all, or of one organization alone."""
        shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        source: Any = self.registry
        if shared:
            source = _Shared(shared, _Store(self._standing))
        if organization is not None:
            source = _Of(source, organization)
        return Page(CONTENT_TYPE_PLAIN_0_0_4, generate_latest(_Plain(source)))


class _Watch:
    """A call under way."""

    __slots__ = ("_begun", "_metrics")

    def __init__(self, metrics: Prometheus, begun: Begun) -> None:
        self._metrics = metrics
        self._begun = begun

    def around(self) -> AbstractContextManager[object]:
        return UNWATCHED

    def ended(self, ended: Ended) -> None:
        self._metrics.ended(self._begun, ended)


class _Store:
    """How the store is and what this process counted, as it is asked for."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        now = self._standing.figures()
        if now.up is None:
            return
        yield GaugeMetricFamily("quotaware_store_up", "1 while the store answers.", value=now.up)
        for name, text, count in (
            ("settles_dropped", "Settles that are lost.", now.dropped),
            ("calls_degraded", "Calls let go without the store.", now.degraded),
            ("faults", "Faults of quotaware's own.", now.faults),
        ):
            yield CounterMetricFamily(f"quotaware_{name}", text, value=count)


class _Shared:
    """The metrics of all processes, without the app's own."""

    def __init__(self, directory: str, store: _Store) -> None:
        self._directory = directory
        self._store = store

    def collect(self) -> Iterator[Metric]:
        shared: Any = MultiProcessCollector
        for metric in shared(CollectorRegistry(), self._directory).collect():
            if metric.name.startswith("quotaware_"):
                yield metric
        yield from self._store.collect()


class _Of:
    """The series of one organization."""

    def __init__(self, source: Any, organization: str) -> None:
        self._source = source
        self._organization = organization

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            yield _with(metric, lambda sample: sample.labels.get("organization") == self._organization)


class _Plain:
    """Without the time that each series was begun at, which is a series more for each and of no use."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            found = _with(metric, lambda sample: not sample.name.endswith("_created"))
            if found.samples:
                yield found


def _with(metric: Metric, wanted: Callable[[Any], bool]) -> Metric:
    found = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    found.samples = [sample for sample in metric.samples if wanted(sample)]
    return found
