"""Model names cannot be dressed up: what the upstream will serve is what is checked and priced (S8)."""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import APIStatusError, AsyncAzureOpenAI

from quotaware import Quota
from quotaware.core.prices import PriceBook
from quotaware.testing import FakeProvider
from quotaware.usage import UsageRecord
from tests.dressings import FORMS, NAMES, Form, Sent, dressings
from tests.support import NOON, FakeClock

Send = Callable[[Form, Sent], httpx.Response]
TABLE = [pytest.param(form, how, id=f"{form.id}, {how}") for form in FORMS for how in dressings(form)]
CALLED = [pytest.param(form, how, id=f"{form.id}, {how}") for form in FORMS for how in NAMES]


class App:
    """A quota, the provider behind it, and a key: of a project that allows some models, or has limits."""

    def __init__(
        self,
        form: Form,
        *,
        models: list[str] | None = None,
        limits: tuple[str, ...] = (),
        said: Mapping[str, str] | None = None,
    ) -> None:
        self.form = form
        self.provider = FakeProvider(output=4, deployments=form.deployments)
        self.quota = Quota(deployments=form.deployments if said is None else said, clock=FakeClock())
        tenancy = self.quota.blocking.tenancy
        project = tenancy.create_project(
            tenancy.create_organization("Acme").id, "p", models=models or [], limits=list(limits)
        )
        self.key = tenancy.create_key(project.id).secret

    def send(self, sent: Sent, form: Form | None = None) -> httpx.Response:
        form = form or self.form
        transport = self.quota.transport(httpx.ASGITransport(self.provider))

        async def post() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.post(
                    f"https://{form.host}{sent.path or form.path}",
                    content=sent.content,
                    headers={"content-type": "application/json", **sent.headers},
                )

        with self.quota.acting_as(key=self.key):
            return anyio.run(post)

    @property
    def served(self) -> list[str]:
        """The models that answered."""
        return [seen.served for seen in self.provider.calls if seen.served is not None]

    def records(self) -> list[UsageRecord]:
        return list(self.quota.blocking.usage.records())


Apps = Callable[..., App]


@pytest.fixture(scope="module")
def apps() -> Iterator[Apps]:
    """One app for each form and each thing that is asked of it, its provider's ledger empty."""
    made: dict[object, App] = {}

    def app(form: Form, *, models: tuple[str, ...] = (), limits: tuple[str, ...] = ()) -> App:
        key = (form.id, models, limits)
        if key not in made:
            made[key] = App(form, models=list(models), limits=limits)
        made[key].provider.reset()
        return made[key]

    yield app
    for each in made.values():
        each.quota.close()


def _meant(form: Form, name: str) -> str:
    return (form.deployments or {}).get(name, name)


def test_there_are_sixty_dressings_and_more_for_each_wire_format() -> None:
    assert {form.id: len(dressings(form)) >= 60 for form in FORMS} == dict.fromkeys(
        (form.id for form in FORMS), True
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_the_model_that_is_allowed_is_served(apps: Apps, form: Form, encoding: str | None) -> None:
    """The same bytes go out, encoded or not."""
    app = apps(form, models=(_meant(form, form.allowed),))
    content = form.body(form.allowed)
    headers = {} if encoding is None else {"content-encoding": encoding}
    sent = Sent(content if encoding is None else gzip.compress(content), headers)
    answer = app.send(sent)
    assert answer.status_code == 200
    assert app.served == [_meant(form, form.allowed)]
    assert app.provider.calls[0].raw == sent.content


@pytest.mark.parametrize(("form", "how"), TABLE)
def test_a_dearer_model_is_not_served_under_any_name(apps: Apps, form: Form, how: str) -> None:
    """At a host nobody knows what is no call passes; nothing that a model answers does."""
    app = apps(form, models=(_meant(form, form.allowed),))
    answer = app.send(dressings(form)[how])
    assert app.served == []
    if form.known or "quotaware-denied" in answer.headers:
        assert (answer.status_code, app.provider.requests) in {(403, 0), (422, 0)}
        error = answer.json()["error"]
        bad_number = how in ("body: NaN in it", "body: no number in it")
        assert error["code"] in (
            ["body_unreadable"] if bad_number else ["model_ambiguous", "model_not_allowed"]
        )
        assert error["type"] == ("invalid_request" if bad_number else "permission_denied")
    else:
        assert answer.status_code in {400, 404}


@pytest.mark.parametrize(("form", "how"), CALLED)
def test_a_limit_for_a_model_is_not_slipped_past_under_any_name(apps: Apps, form: Form, how: str) -> None:
    """Nothing is restricted here but the dearer model's own rate, which is nothing."""
    app = apps(form, limits=(f"0 requests/day for {_meant(form, form.dear)}",))
    answer = app.send(Sent(form.body(NAMES[how](form.dear))))
    assert app.served == []
    assert answer.status_code in ({403, 429} if form.known else {400, 403, 429})


@pytest.mark.parametrize(("form", "how"), CALLED)
def test_no_name_makes_a_model_cheaper(apps: Apps, form: Form, how: str) -> None:
    """Under a budget a call is refused, or charged what the dearer model costs at least."""
    app = apps(form, limits=("$1000/day",))
    before = len(app.records())
    app.send(Sent(form.body(NAMES[how](form.dear))))
    price = PriceBook().find(form.provider, _meant(form, form.dear), NOON)
    assert price is not None
    answered = [record for record in app.records()[before:] if record.status == 200]
    assert len(answered) == len(app.served)
    for record in answered:
        assert record.cost >= price.cost(record.usage) > 0


# What is named more than once


OPENROUTER = next(form for form in FORMS if form.id == "openrouter")
MINI, FULL = "openai/gpt-4.1-mini", "openai/gpt-4.1"


def test_models_to_fall_back_to_are_judged_together() -> None:
    app = App(OPENROUTER, models=[MINI, FULL], limits=(f"1 request/day for {FULL}", "$1/day"))
    sent = Sent(OPENROUTER.body(MINI, models=[FULL]))
    assert [app.send(sent).status_code for _ in range(2)] == [200, 429]
    (record,) = app.records()
    assert (record.requested_model, app.provider.calls[0].raw) == (MINI, sent.content)


@pytest.mark.parametrize("served", [MINI, FULL, "openai/gpt-4.1-mini-2025-04-14", "meta-llama/other"])
def test_what_was_reserved_is_the_dearest_and_what_is_charged_is_what_answered(served: str) -> None:
    """Of a model that was not among those asked for nobody knows why it answered: the dearest is charged."""
    book = PriceBook()
    mini, full = (book.find("openrouter", name, NOON) for name in (MINI, FULL))
    assert mini is not None
    assert full is not None
    answer = {"model": served, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 8}}
    quota = Quota(limits=["$1/day"], clock=FakeClock())
    inner = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    with httpx.Client(transport=quota.sync_transport(inner)) as client:
        client.post(
            "https://openrouter.ai/api/v1/chat/completions", content=OPENROUTER.body(MINI, models=[FULL])
        )
    (record,) = quota.blocking.usage.records()
    expected = mini if "mini" in served else full
    assert record.cost == expected.cost(record.usage)
    assert record.reserved >= full.cost(record.usage)
    quota.close()


@pytest.mark.parametrize(
    "model", [None, 5, "", "x" * 1_000_000, "another", ["gpt-4.1"], {"a": 1}, "\u0000", "é\ud800"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_whatever_model_an_answer_names_nothing_breaks(model: object, stream: bool) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    chunk = json.dumps({"model": model, "choices": [], "usage": usage})
    answer = f"data: {chunk}\n\ndata: [DONE]\n\n" if stream else chunk
    kind = {"content-type": "text/event-stream" if stream else "application/json"}
    inner = httpx.MockTransport(lambda request: httpx.Response(200, content=answer.encode(), headers=kind))
    quota = Quota(limits=["$1/day"])
    with httpx.Client(transport=quota.sync_transport(inner)) as client:
        body = {"model": "gpt-4.1", "messages": [], "stream": stream}
        assert client.post("https://api.openai.com/v1/chat/completions", json=body).status_code == 200
    (record,) = quota.blocking.usage.records()
    assert (record.usage.input, record.usage.output, record.quality) == (10, 2, "exact")
    assert record.cost == 10 * 2000 + 2 * 8000
    assert len(record.model or "") <= 512
    assert not quota.stats.get("faults")
    quota.close()


# Aliases


@pytest.mark.parametrize("alias", ["openrouter/auto", "openai/gpt-4.1@preset/cheap"])
def test_a_router_is_allowed_by_its_own_name_and_costs_what_is_said(alias: str) -> None:
    sent = Sent(OPENROUTER.body(alias))
    app = App(OPENROUTER, models=[alias])
    assert app.send(sent).status_code == 200
    dear = App(OPENROUTER, limits=("$1/day",))
    refused = dear.send(sent).json()["error"]
    assert (refused["code"], "chooses the model" in refused["message"]) == ("price_unknown", True)
    for each in (app, dear):
        each.quota.close()
    told = Quota(limits=["$1/day"], prices={alias: {"input": 1, "output": 1}})
    inner = httpx.MockTransport(lambda request: httpx.Response(200, json={"choices": []}))
    with httpx.Client(transport=told.sync_transport(inner)) as client:
        answer = client.post("https://openrouter.ai/api/v1/chat/completions", content=sent.content)
    assert answer.status_code == 200
    told.close()


def test_an_alias_of_the_newest_is_allowed_by_a_pattern_that_takes_it_in() -> None:
    form = next(form for form in FORMS if form.id == "anthropic")
    sent = Sent(form.body("claude-3-5-haiku-latest"))
    for pattern, status in (
        ("claude-3-5-haiku", 403),
        ("claude-3-5-haiku-latest", 200),
        ("claude-3-5*", 200),
    ):
        app = App(form, models=[pattern])
        assert app.send(sent).status_code == status
        app.quota.close()


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("gpt-4.1", 403),
        ("gpt-4.1*", 403),
        ("ft:gpt-4o*", 403),
        ("ft:gpt-4.1*", 200),
        ("openai/*", 200),
        ("anthropic/*", 403),
        ("*", 200),
    ],
)
def test_a_fine_tuned_model_needs_a_grant_of_its_own(pattern: str, status: int) -> None:
    form = FORMS[0]
    app = App(form, models=[pattern])
    assert app.send(Sent(form.body("ft:gpt-4.1-2025-04-14:acme::Ab3"))).status_code == status
    app.quota.close()


# Deployments


AZURE = next(form for form in FORMS if form.id == "azure")
BY_URL = "/openai/deployments/{}/chat/completions"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("mini", "gpt-4.1-mini", 200),
        ("mini", "mini", 200),
        ("MINI", "MINI", 404),
        ("mini", None, 200),
        ("mini", "gpt-4.1", 403),
        ("big", "gpt-4.1-mini", 403),
        ("big", None, 403),
        ("other", "gpt-4.1-mini", 403),
    ],
)
def test_the_deployment_in_the_url_is_what_is_served(name: str, body: str | None, status: int) -> None:
    """And nothing goes by that its body says otherwise: two different answers are none."""
    app = App(AZURE, models=["gpt-4.1-mini"])
    answer = app.send(Sent(AZURE.body(body), path=BY_URL.format(name)))
    assert answer.status_code == status
    assert app.served == (["gpt-4.1-mini"] if status == 200 else [])
    assert [record.requested_model for record in app.records() if record.status == 200] == app.served
    app.quota.close()


def test_a_deployment_that_nobody_named_is_refused_with_the_way_out() -> None:
    for app in (App(AZURE, models=["gpt-4.1*"]), App(AZURE, limits=("$1/day",))):
        error = app.send(Sent(AZURE.body("gpt-4.1"), path=BY_URL.format("other"))).json()["error"]
        assert error["code"] in {"model_ambiguous", "price_unknown"}
        assert "Quota(deployments={'other': '<model>'})" in error["message"]
        app.quota.close()


def test_where_no_model_bears_on_it_an_unnamed_deployment_passes() -> None:
    app = App(AZURE, limits=("9 requests/day", "9 requests/day for gpt-4.1"), said={})
    assert app.send(Sent(AZURE.body("gpt-4.1"), path=BY_URL.format("big"))).status_code == 200
    (record,) = app.records()
    assert (record.requested_model, record.model) == (None, "gpt-4.1")
    app.quota.close()


def test_a_deployment_may_be_named_by_its_host() -> None:
    """Two resources may call different models alike."""
    said = {"acme.openai.azure.com/mini": "gpt-4.1-mini", "Other.OpenAI.Azure.com/Mini": "gpt-4.1"}
    app = App(AZURE, limits=("$5/day",), said=said)
    sent = Sent(AZURE.body("mini"))
    for host in ("acme.openai.azure.com", "other.openai.azure.com", "third.openai.azure.com"):
        app.send(sent, Form("azure", "azure", host, AZURE.path, "", "", {}))
    assert [record.requested_model for record in app.records()] == ["gpt-4.1-mini", "gpt-4.1"]
    app.quota.close()


@pytest.mark.parametrize(
    "host", ["gateway.internal", "acme.cognitiveservices.azure.com", "acme.services.ai.azure.com"]
)
def test_a_deployment_behind_another_host_is_one_too(host: str) -> None:
    """A gateway before Azure, and Azure's newer hosts; there other traffic passes."""
    app = App(AZURE, models=["gpt-4.1-mini"])
    form = Form("azure", "azure", host, BY_URL.format("big"), "", "", {})
    assert app.send(Sent(AZURE.body("gpt-4.1-mini")), form).status_code == 403
    assert app.send(Sent(AZURE.body(None)), form).status_code == 403
    assert app.send(Sent(AZURE.body("gpt-4.1-mini"), path=BY_URL.format("mini")), form).status_code == 200
    other = app.send(Sent(b"{}", path="/vision/v3/analyze"), form)
    assert (other.status_code, "quotaware-denied" in other.headers) == (404, False)
    app.quota.close()


# Encodings


def test_a_body_that_cannot_be_decoded_passes_where_nothing_hangs_on_it() -> None:
    form = FORMS[0]
    sent = Sent(form.body("gpt-4.1"), {"content-encoding": "aes128gcm"})
    for limit, status in (("9 requests/day", 400), ("$1/day", 403), ("9 requests/day for gpt-4.1", 400)):
        app = App(form, limits=(limit,))
        answer = app.send(sent)
        assert answer.status_code == status
        assert app.provider.requests == (status == 400)
        app.quota.close()


def test_an_encoded_stream_is_sent_as_it_reads_once_it_is_changed() -> None:
    """Only where something must be written into it; the encoding is then gone from the head."""
    form = FORMS[0]
    app = App(form, limits=("$1/day",))
    sent = Sent(gzip.compress(form.body("gpt-4.1", stream=True)), {"content-encoding": "gzip"})
    assert app.send(sent).status_code == 200
    (seen,) = app.provider.calls
    assert "content-encoding" not in seen.headers
    assert json.loads(seen.raw)["stream_options"] == {"include_usage": True}
    (record,) = app.records()
    assert (record.quality, record.requested_model) == ("exact", "gpt-4.1")
    app.quota.close()


# Whatever is sent


def _last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _any_case(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.casefold(): value for name, value in pairs}


def _look_alike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {unicodedata.normalize("NFKC", name).casefold(): value for name, value in pairs}


SERVERS = (_last, _first, _any_case, _look_alike)
"""Which of several members a server may read."""

READ_AS: tuple[Callable[[str], str], ...] = (
    lambda name: name.rpartition("/")[2],
    str,
    str.strip,
    lambda name: name.strip().rstrip("."),
    lambda name: unicodedata.normalize("NFKC", name),
    lambda name: unicodedata.normalize("NFKC", name).strip().rstrip("."),
    lambda name: "".join(c for c in name if c.isprintable()),
)
"""What a server may make of a name; the first only one that has none but its own models."""

ALLOWED = {
    "gpt-4.1-mini": r"(openai/)?gpt-4\.1-mini(-2025-04-14)?",
    "gpt-4.1-mini*": r"(openai/)?gpt-4\.1-mini.*",
    "*-mini": r"(?!(.*/)?ft:).*-mini",
}
"""What the patterns allow, said once more in other words."""


keys = st.sampled_from(["model", "model", "Model", "MODEL", "m\\u006fdel", "ｍodel", "mode\\u006C", "x"])
spelled = st.lists(
    st.sampled_from(
        ["gpt-4.1", "-mini", "-mini", " ", ".", "\\u200b", "/", "openai/", "ｇ", "-2025-04-14", "ft:", "M"]
    ),
    min_size=1,
    max_size=4,
).map("".join)
values = st.one_of(
    spelled.map(lambda name: f'"{name}"'),
    st.sampled_from(['"gpt-4.1-mini"', "null", "5", '["gpt-4.1"]', "{}"]),
)
members = st.lists(st.tuples(keys, values), min_size=1, max_size=3)


@given(members=members, allowed=st.sampled_from(sorted(ALLOWED)), form=st.sampled_from([FORMS[0], FORMS[4]]))
@settings(deadline=None, max_examples=500)
def test_what_was_judged_is_what_any_server_would_serve(
    apps: Apps, members: list[tuple[str, str]], allowed: str, form: Form
) -> None:
    """Servers differ in which of two members they read, in letters and in what they make of a name: whichever way it is
    read, what passes is served by a model that is allowed, or by none.
    """
    pairs = [*((f'"{name}"', value) for name, value in members), ('"messages"', "[]"), ('"max_tokens"', "5")]
    content = ("{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}").encode()
    app = apps(form, models=(allowed,))
    app.send(Sent(content))
    for seen in app.provider.calls:
        for server in SERVERS:
            name = json.loads(seen.raw, object_pairs_hook=server).get("model")
            for read_as in READ_AS[form.provider is None :] if isinstance(name, str) else ():
                taken = read_as(name)
                assert not taken or re.fullmatch(ALLOWED[allowed], taken), (name, taken)
    assert all(re.fullmatch(ALLOWED[allowed], name) for name in app.served)


@pytest.mark.parametrize(
    ("client", "model", "status"),
    [
        ({}, "mini", 200),
        ({}, "big", 403),
        ({}, "gpt-4.1-mini", 403),
        ({"azure_deployment": "mini"}, "gpt-4.1-mini", 200),
        ({"azure_deployment": "mini"}, "gpt-4.1", 403),
        ({"azure_deployment": "big"}, "gpt-4.1-mini", 403),
    ],
)
def test_azures_own_client_asks_by_deployment(
    apps: Apps, client: dict[str, str], model: str, status: int
) -> None:
    """It takes the model for the deployment's name, or puts what it calls the model beside it."""
    app = apps(AZURE, models=("gpt-4.1-mini",))

    async def ask() -> int:
        transport = app.quota.transport(httpx.ASGITransport(app.provider))
        async with AsyncAzureOpenAI(
            azure_endpoint="https://acme.openai.azure.com",
            api_version="2025-01-01",
            api_key="any",
            http_client=httpx.AsyncClient(transport=transport),
            **client,
        ) as azure:
            try:
                answer = await azure.chat.completions.create(
                    model=model, max_tokens=5, messages=[{"role": "user", "content": "hi"}]
                )
            except APIStatusError as error:
                return error.status_code
            assert answer.model == "gpt-4.1-mini"
            return 200

    with app.quota.acting_as(key=app.key):
        assert anyio.run(ask) == status
    assert app.served == (["gpt-4.1-mini"] if status == 200 else [])
