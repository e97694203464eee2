"""What model a request really asks for: by its URL, its body, and the names that its host gave to deployments.

Where that is more than one, the call is read as each of them, and all are judged; where it cannot be known, the call
says why.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..core.bounds import BATCHES, Call
from ..core.models import ANY, check_pattern, chosen_elsewhere
from ..errors import ConfigurationError
from . import jsontext
from .base import Format, Route, Unreadable
from .google_shape import either

NO_DEPLOYMENTS: Mapping[str, str] = MappingProxyType({})
"""Nobody said which model a deployment is."""

MOST = 16
"""Models that one request may name, those to fall back to included."""

_ELSEWHERE = jsontext.NAMING - {"model"} | {"agent", "agent_id", "requests"}

_GOOGLES = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/(?=.)")
"""What leads a model's name in Google's bodies: the same model, wherever it is."""
_AMAZONS = re.compile(
    r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|inference-profile)/(?=.)"
)
"""What leads one in Amazon's URLs. What any other ARN leads to, only its owner knows."""

_RESOURCES = frozenset({"google", "aws"})
"""Providers that name a model as one of their resources too."""
_OWN_MODELS = frozenset(
    {"openai", "anthropic", "mistral", "deepseek", "moonshotai", "perplexity", "voyageai", "x-ai", "zai"}
)
"""Providers whose own models have no slash in their names: what is led by something may be read without it."""


class _Asked(NamedTuple):
    """The names to judge, the request's own first; none where nobody knows, which is then said."""

    names: tuple[str, ...]
    unknown: str = ""


def check_deployments(deployments: Mapping[str, str]) -> dict[str, str]:
    """Which model each deployment is, as `read` takes them. Raises `ConfigurationError` naming what is none."""
    for name, model in deployments.items():
        field = f"deployments[{name!r}]"
        check_pattern(model, field)
        if "*" in model:
            raise ConfigurationError(field, f"{model!r} is no name of one model")
        if not name.strip("/"):
            raise ConfigurationError(
                "deployments", "name a deployment, such as 'chat' or 'acme.openai.azure.com/chat'"
            )
    return {_deployment(name.lower()): model for name, model in deployments.items()}


def read(
    route: Route, format: Format, body: Mapping[str, Any], deployments: Mapping[str, str] = NO_DEPLOYMENTS
) -> Call:
    """The call that a parsed request body asks for. Raises `Unreadable`."""
    named = body.get("model")
    if route.operation == BATCHES:
        return format.read(route.provider, body)
    if route.named is None and route.provider != "azure" and not body.keys() & _ELSEWHERE:
        asked = _taken_for(route.provider, named) if isinstance(named, str) else _Asked(())
        if named is None:
            asked = _Asked((), _chosen(format, body))
        if asked.names in ((), (named,)) and not asked.unknown:
            return format.read(route.provider, body)
    else:
        asked = _asked(route, format, body, deployments)
    names = asked.names or (ANY,)
    calls = [format.read(route.provider, {**body, "model": name}) for name in names]
    if not asked.names:
        return replace(calls[0], model=None, unknown=asked.unknown)
    return _together(calls, asked.unknown)


def reread(call: Call) -> Call:
    """A call that its host tells of, read as every model that a server may take its name for."""
    asked = _taken_for(call.provider, call.model) if call.model else _Asked(())
    if len(asked.names) < 2 and not asked.unknown:
        return call
    return _together([replace(call, model=name) for name in asked.names], asked.unknown)


def _chosen(format: Format, body: Mapping[str, Any]) -> str:
    """Why a body that names no model may do so; "" where it has to name one."""
    if isinstance(body.get("prompt"), dict):
        return "its stored prompt chooses the model: name a model"
    chosen: str = getattr(format, "chosen", "")
    return chosen


def _together(calls: list[Call], unknown: str) -> Call:
    first, *also = [replace(call, unknown=unknown) for call in calls] if unknown else calls
    return replace(first, also=tuple(also)) if also else first


def _asked(route: Route, format: Format, body: Mapping[str, Any], deployments: Mapping[str, str]) -> _Asked:
    said: list[str] = []
    given = _given(body)
    if body.get("preset") is not None:
        return _Asked((), "its preset may choose another model: leave it out")
    if route.named is not None and "%" in route.named:
        route = replace(route, named=unquote(route.named))
    deployment = route.named if route.deployed or route.provider == "azure" else None
    if route.named is not None and route.named.startswith("arn:") and not _AMAZONS.match(route.named):
        deployment = _deployment(route.named)
    if deployment is None and route.provider == "azure" and given:
        deployment = given[0]
    if deployment is None and isinstance(agent := body.get(getattr(format, "agent", "agent_id")), str):
        deployment = agent or None
    if deployment is not None:
        model = deployments.get(f"{route.host}/{deployment}".lower()) or deployments.get(deployment.lower())
        if model is None:
            return _Asked(
                (),
                f"only its owner knows which model the deployment {deployment[:64]!r} is: say it with "
                f"Quota(deployments={{{deployment[:64]!r}: '<model>'}})",
            )
        own = (deployment.lower(), model.lower())
        said = [model]
        given = [name for name in given if name.lower() not in own]
    elif route.named is not None:
        given = [route.named, *given]
    if not (said or given):
        if chosen := _chosen(format, body):
            return _Asked((), chosen)
        raise Unreadable("model: a name is required, as a string", "model_ambiguous")
    taken = [_taken_for(route.provider, name) for name in given]
    names = _each((*said, *(name for asked in taken for name in asked.names)))
    return _Asked(names, next((asked.unknown for asked in taken if asked.unknown), ""))


def _deployment(name: str) -> str:
    """The name of a deployment: of an ARN, what it ends in."""
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def _given(body: Mapping[str, Any]) -> list[str]:
    """The names in a body, that of its model first. Raises `Unreadable` for what is no name."""
    given = [] if body.get("model") is None else [jsontext.model_name(body)]
    for request in _requests(body):
        named = request.get("params", request.get("request", request)) if isinstance(request, dict) else None
        if isinstance(named, dict) and named.get("model") is not None:
            given.append(jsontext.model_name(named))
    given = list(_each(given))
    for member in jsontext.FALLBACKS:
        others = body.get(member)
        for other in others if isinstance(others, list) else [] if others is None else [others]:
            named = other if isinstance(other, dict) else {"model": other}
            try:
                given.append(jsontext.model_name(named))
            except Unreadable:
                raise Unreadable(f"{member}: names what is no model", "model_ambiguous") from None
    if len(given) > MOST:
        raise Unreadable(f"the body names more than {MOST} models", "model_ambiguous")
    return given


def _requests(body: Mapping[str, Any]) -> list[Any]:
    """The requests of a batch, or of what a batch is made of."""
    source: Any = body.get("batch")
    for name in ("inputConfig", "requests") if isinstance(source, dict) else ():
        source = either(source, name)
    found = either(source, "requests") if isinstance(source, dict) else body.get("requests")
    return found if isinstance(found, list) else []


@lru_cache(4096)
def _taken_for(provider: str | None, name: str) -> _Asked:
    """The names that a server may take a name for: as it stands, without look-alikes and what surrounds it, and, at a
    provider of its own models, without what leads it.
    """
    normal = unicodedata.normalize("NFKC", name).strip().rstrip(". ")
    lead = (_GOOGLES if provider == "google" else _AMAZONS).match(name) if provider in _RESOURCES else None
    if lead is not None:
        return _taken_for(provider, name[lead.end() :])
    names = [name, normal or name]
    if provider in _OWN_MODELS and (bare := normal.rpartition("/")[2]):
        names.append(bare)
    unknown = (
        f"{name!r} names a service that chooses the model: name a model" if chosen_elsewhere(name) else ""
    )
    return _Asked(_each(names), unknown)


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
