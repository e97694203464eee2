"""Spans and metrics of LLM calls by OpenTelemetry's conventions for generative AI, v0.1.0
(github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md, client-embeddings.md and
gen-ai-token-metrics.md); what is ours is under `quotaware.`.

    quota = Quota(..., telemetry=OpenTelemetry())

Needs the extra `otel`. Where they go is the SDK's to say, as the app sets it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage
from ..observing import Begun, Ended, Late, Place, Refused, Server
from ..version import __version__
from .series import Labels, Series
from .standing import Figures, Standing

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, Counter, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:  # pragma: no cover  # tested in an interpreter of its own
    raise ImportError("OpenTelemetry is not installed; pip install 'quotaware[otel]'") from error

PROVIDERS = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "x-ai": "x_ai",
}
"""Providers that the conventions call otherwise; all others keep their names."""
UNKNOWN_PROVIDER = "_OTHER"
"""The provider of a host that nobody knows; the conventions require a name."""
OPERATIONS = {"completions": "text_completion", "responses": "chat"}
"""Operations that the conventions call otherwise."""
NO_ANSWER = "no_answer"
"""`error.type` where nothing came back."""
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Buckets of durations, as the conventions have them."""
DECISION = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
USAGE = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read.input_tokens": "cache_read",
    "cache_write.input_tokens": "cache_write",
    "reasoning.output_tokens": "reasoning",
}
"""Kinds of tokens by what the conventions call them."""
_MODES = {
    "input": {"audio": "audio_input", "image": "image_input", "video": "video_input"},
    "output": {"audio": "audio_output", "image": "image_output", "video": "video_output"},
    "cache_read": {"audio": "cache_read_audio", "image": "cache_read_image"},
}

Attributes = dict[str, Any]


class OpenTelemetry:
    """Tells OpenTelemetry of each call: a client span while it is under way, and metrics.

    tracer_provider, meter_provider   None: those that the app has set globally

    Where the call is made inside of a span of another GenAI instrumentation, that span gets our attributes, and there
    is no second one. Neither spans nor metrics say anything of what is asked or answered, of keys, or of end users.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer("quotaware", __version__, tracer_provider)
        self._metrics = _Metrics(meter_provider)

    def begun(self, begun: Begun) -> _Watch:
        """Begins a span."""
        attributes = {
            **_asked(begun.call, begun.model),
            **_where(begun.server),
            **_whose(begun.place),
            "quotaware.call.id": begun.id,
            "quotaware.decision.duration": begun.decided_s,
        }
        if begun.cap is not None:
            attributes["gen_ai.request.max_tokens"] = begun.cap
        if begun.degraded:
            attributes["quotaware.degraded"] = True
        if begun.would_deny:
            attributes["quotaware.would_deny"] = begun.would_deny
        span, own = self._span(attributes)
        return _Watch(self._metrics, begun, span, own)

    def refused(self, refused: Refused) -> None:
        """Tells of a call that never left: a span without duration, in error."""
        attributes = {
            **_asked(refused.call, refused.model),
            **_where(refused.server),
            **_whose(refused.place),
            "quotaware.denied": refused.code,
            "quotaware.decision.duration": refused.decided_s,
            "error.type": refused.code,
        }
        span, own = self._span(attributes)
        if own:
            span.set_status(Status(StatusCode.ERROR))
            span.end()
        self._metrics.refused(refused)

    def late(self, late: Late) -> None:
        """Counts what a call used that ended before that was known."""
        self._metrics.late(late)

    def observe(
        self, health: Callable[[], Mapping[str, object]], stats: Callable[[], Mapping[str, int]]
    ) -> None:
        """Tells how the store is, too."""
        self._metrics.standing.add(health, stats)

    def _span(self, attributes: Attributes) -> tuple[Span, bool]:
        """The span for a call, and whether it is ours to end."""
        current = trace.get_current_span()
        if current.is_recording() and "gen_ai.operation.name" in (getattr(current, "attributes", None) or ()):
            current.set_attributes({k: v for k, v in attributes.items() if k.startswith("quotaware.")})
            return current, False
        name = " ".join(
            attributes[part]
            for part in ("gen_ai.operation.name", "gen_ai.request.model")
            if attributes.get(part)
        )
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes), True


class _Watch:
    """A call under way, and its span."""

    __slots__ = ("_begun", "_metrics", "_own", "_span")

    def __init__(self, metrics: _Metrics, begun: Begun, span: Span, own: bool) -> None:
        self._metrics = metrics
        self._begun = begun
        self._span = span
        self._own = own

    def around(self) -> AbstractContextManager[object]:
        return _within(self._span)

    def ended(self, ended: Ended) -> None:
        span = self._span
        if span.is_recording():
            told: Attributes = {"quotaware.quality": ended.quality}
            if ended.quality != "unsettled":
                told["quotaware.cost.usd"] = ended.cost / 1e9
            if self._own:
                told |= _answered(ended)
            span.set_attributes(told)
        if self._own:
            if _error(ended.status):
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        self._metrics.ended(self._begun, ended)


@contextmanager
def _within(span: Span) -> Iterator[None]:
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


class _Metrics:
    """The instruments, under the meter `quotaware`."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = metrics.get_meter("quotaware", __version__, provider)
        self._series = Series()
        self.standing = Standing()
        self._observe(meter)

        def seconds(name: str, description: str, buckets: tuple[float, ...] = SECONDS) -> metrics.Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

        self._inference = seconds(
            "gen_ai.client.inference.duration", "From letting a call go to the end of its answer."
        )
        self._embeddings = seconds("gen_ai.client.embeddings.duration", "The same of embeddings.")
        self._operation = seconds("gen_ai.client.operation.duration", "The same of all other calls.")
        self._first = seconds("quotaware.time_to_first_token", "Until a streamed answer has something in it.")
        self._decision = seconds(
            "quotaware.decision.duration", "To let a call go or refuse it, waits included.", DECISION
        )
        self._usage: dict[str, Counter] = {
            kind: meter.create_counter(
                f"gen_ai.client.inference.usage.{name}", "{token}", f"{name} as reported."
            )
            for name, kind in USAGE.items()
        }
        self._embedded = meter.create_histogram(
            "gen_ai.client.embeddings.operation.input_tokens",
            "{token}",
            "Tokens of one embeddings call, as reported.",
        )
        self._cost = meter.create_counter("quotaware.cost", "{USD}", "What calls are charged.")
        self._refused = meter.create_counter(
            "quotaware.calls.refused", "{call}", "Calls that were kept from going."
        )

    def ended(self, begun: Begun, ended: Ended) -> None:
        call = begun.call
        labels = self._series.of(begun.place, call.provider, begun.model, answered=200 <= ended.status < 300)
        common = _common(labels, call)
        if ended.model is not None:
            common["gen_ai.response.model"] = self._series.name(call.provider, ended.model)
        timed = {**common, "error.type": error} if (error := _error(ended.status)) else common
        kind = _kind(call)
        {"embeddings": self._embeddings, "inference": self._inference}.get(kind, self._operation).record(
            ended.seconds, timed
        )
        if ended.first_s is not None:
            self._first.record(ended.first_s, common)
        self._decision.record(begun.decided_s, {"quotaware.outcome": "let_go"})
        if ended.cost:
            self._cost.add(ended.cost / 1e9, common)
        self._tokens(call, ended.usage if ended.reported else None, common)

    def refused(self, refused: Refused) -> None:
        labels = self._series.of(refused.place, refused.call.provider, refused.model, answered=False)
        self._refused.add(1, {**_common(labels, refused.call), "error.type": refused.code})
        self._decision.record(refused.decided_s, {"quotaware.outcome": "refused"})

    def late(self, late: Late) -> None:
        labels = self._series.of(late.place, late.call.provider, late.model, answered=True)
        common = _common(labels, late.call)
        self._cost.add(late.cost / 1e9, common)
        self._tokens(late.call, late.usage, common)

    def _tokens(self, call: Call, usage: Usage | None, common: Attributes) -> None:
        kind = _kind(call)
        if kind == "embeddings" and usage is not None:
            self._embedded.record(usage.input, common)
        if kind != "inference":
            return
        for name, counter in self._usage.items():
            if usage is None:
                if name in {"input", "output"}:
                    counter.add(0, {**common, "gen_ai.token.modality": "unknown"})
                continue
            for modality, count in _modalities(call, usage, name):
                counter.add(count, {**common, "gen_ai.token.modality": modality})

    def _observe(self, meter: metrics.Meter) -> None:
        """Tells how the stores are whenever it is asked."""

        def told(
            figure: Callable[[Figures], int | None],
        ) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
            def observed(options: CallbackOptions) -> Iterable[Observation]:
                value = figure(self.standing.figures())
                return () if value is None else (Observation(value),)

            return [observed]

        up, counter = meter.create_observable_gauge, meter.create_observable_counter
        up("quotaware.store.up", told(lambda now: now.up), "1", "1 while the store answers.")
        counter(
            "quotaware.settles.dropped", told(lambda now: now.dropped), "{call}", "Settles that are lost."
        )
        counter(
            "quotaware.calls.degraded", told(lambda now: now.degraded), "{call}", "Let go without the store."
        )
        counter("quotaware.faults", told(lambda now: now.faults), "{fault}", "Faults of quotaware's own.")


def _modalities(call: Call, usage: Usage, name: str) -> Iterator[tuple[str, int]]:
    """Tokens of a kind by what they are of; where nobody told, `text` only if it can be nothing else."""
    total: int = getattr(usage, name)
    parts = {mode: getattr(usage, field) for mode, field in _MODES.get(name, {}).items()}
    for mode, count in parts.items():
        if count:
            yield mode, count
    rest = total - sum(parts.values())
    if rest > 0:
        other = call.media or call.opaque or call.audio or call.images
        yield ("unknown" if other and not any(parts.values()) else "text"), rest


def _kind(call: Call) -> str:
    if call.operation == "embeddings":
        return "embeddings"
    return "inference" if call.generates else "other"


def _operation(call: Call) -> str:
    if call.operation == "chat" and call.provider == "google":
        return "generate_content"
    return OPERATIONS.get(call.operation, call.operation)


def _provider(provider: str | None) -> str:
    return PROVIDERS.get(provider, provider) if provider else UNKNOWN_PROVIDER


def _common(labels: Labels, call: Call) -> Attributes:
    found = {
        "gen_ai.operation.name": _operation(call),
        "gen_ai.provider.name": PROVIDERS.get(labels.provider, labels.provider) or UNKNOWN_PROVIDER,
        "quotaware.organization": labels.organization,
    }
    if labels.model:
        found["gen_ai.request.model"] = labels.model
    if labels.project:
        found["quotaware.project"] = labels.project
    return found


def _asked(call: Call, model: str | None) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": _operation(call),
        "gen_ai.provider.name": _provider(call.provider),
    }
    if model:
        found["gen_ai.request.model"] = model
    if call.stream:
        found["gen_ai.request.stream"] = True
    if call.choices != 1:
        found["gen_ai.request.choice.count"] = call.choices
    return found


def _where(server: Server | None) -> Attributes:
    if server is None:
        return {}
    port = {} if server.port is None else {"server.port": server.port}
    return {"server.address": server.address, **port}


def _whose(place: Place) -> Attributes:
    told = {"organization": place.organization, "team": place.team, "project": place.project}
    return {f"quotaware.{name}": id for name, id in told.items() if id is not None}


def _answered(ended: Ended) -> Attributes:
    found: Attributes = {}
    if ended.model is not None:
        found["gen_ai.response.model"] = ended.model
    if error := _error(ended.status):
        found["error.type"] = error
    if ended.reported:
        for name, kind in USAGE.items():
            count = getattr(ended.usage, kind)
            if count or kind in {"input", "output"}:
                found[f"gen_ai.usage.{name}"] = count
    return found


def _error(status: int) -> str | None:
    if status == 0:
        return NO_ANSWER
    return str(status) if status >= 300 else None
