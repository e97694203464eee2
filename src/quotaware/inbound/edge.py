"""What the ASGI edge needs of a Quota: who calls, by key or by the host's own word."""

from __future__ import annotations

import inspect
import ipaddress
import re
import reprlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..context import Binding, Identity
from ..engine import Engine
from ..errors import (
    AmbiguousCredentials,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    InvalidKeyFormat,
    NotFound,
    PermissionDenied,
    StoreError,
    StoreUnavailable,
)
from ..stores.tickets import drive_async
from ..tenancy import keys
from ..tenancy.access import Actor, of_key
from ..tenancy.nodes import Path

Scope = Mapping[str, Any]
Answer = Identity | Mapping[str, Any] | str | None
Identify = Callable[[Any], Answer | Awaitable[Answer]]
"""The host's own word on who calls: takes the ASGI scope, answers an `Identity`, a mapping with its fields, the end
user as text, or None where it does not know. Sync or async; it must not block.
"""

CARRIERS = frozenset({b"authorization", b"x-api-key"})
_BEARER = re.compile(r"bearer[ \t]+(.*)", re.IGNORECASE | re.DOTALL)
_IDENTITY = frozenset({"project", "end_user", "tags"})


@dataclass(frozen=True, slots=True)
class Edge:
    """The inbound half of a Quota. `meter` is the outbound half that bindings carry, `instrument` installs its hook;
    `key_ttl` is how long a host route trusts what it knows of a key, ms.
    """

    engine: Engine
    meter: Any
    instrument: Callable[[], None]
    identify: Identify | None
    key_ttl: int

    async def bind(self, scope: Scope, identify: Identify | None) -> Binding | ApiError:
        """The standing of a request, or the error to answer it with. In shadow mode nothing is refused: what would
        have been is counted, and the request is nobody's.
        """
        outcome = await self._standing(scope, identify)
        if isinstance(outcome, ApiError) and self.engine.settings.shadow:
            self.engine.count("would_deny")
            return Binding(self.meter, None, outcome)
        return outcome

    async def authenticate(self, scope: Scope) -> Actor:
        """Who sends a management request. Raises `ApiError`."""
        credential = our_credential(scope.get("headers", ()))
        if credential is None:
            raise InvalidKeyFormat
        outcome = await drive_async(self._by_key(credential, None, _address(scope)))
        if isinstance(outcome, ApiError):
            raise outcome
        caller = outcome.caller
        return of_key(await drive_async(self.engine.reread(caller.org, caller.node)))

    async def _standing(self, scope: Scope, identify: Identify | None) -> Binding | ApiError:
        headers = scope.get("headers", ())
        try:
            credential = our_credential(headers)
        except ApiError as error:
            return error
        identity = await _asked(identify or self.identify, scope)
        if credential is None:
            foreign = identity is None and any(name.lower() in CARRIERS for name, _ in headers)
            return Binding(self.meter, identity, InvalidKeyFormat() if foreign else None)
        try:
            return await drive_async(self._by_key(credential, identity, _address(scope)))
        except StoreError:
            return StoreUnavailable("The quota store did not answer; try again", retry_after=1)

    def _by_key(self, credential: str, identity: Identity | None, address: str | None) -> Any:
        named = identity or Identity()
        caller = yield from self.engine.resolve(
            Identity(None, named.end_user, named.tags, keys.digest(credential))
        )
        if isinstance(caller, ApiError):
            return caller
        try:
            path = yield from self.engine.path(caller.org, caller.node, within=self.key_ttl)
            if _unfit(self.engine.standing(path, caller)) or _elsewhere(path, address):
                path = yield from self.engine.reread(caller.org, caller.node)
        except NotFound:
            return AuthenticationError()
        refusal = _unfit(self.engine.standing(path, caller)) or _elsewhere(path, address)
        return refusal or Binding(self.meter, caller)


class HasEdge(Protocol):
    """Anything that carries an `Edge`: a Quota."""

    @property
    def edge(self) -> Edge: ...


def our_credential(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The quotaware key among a request's headers, if there is one.

    Credentials that do not begin with `qw_` are the host's own. Raises `InvalidKeyFormat`, `AmbiguousCredentials`.
    """
    ours = [(name, text) for name, text in _credentials(headers) if keys.is_ours(text)]
    if not ours:
        return None
    credential = ours[0][1]
    if any(text != credential for _, text in ours) or len({name for name, _ in ours}) < len(ours):
        raise AmbiguousCredentials
    if not keys.well_formed(credential):
        raise InvalidKeyFormat
    return credential


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, str]]:
    """(header, credential) pairs; surrounding spaces and tabs are no part of them."""
    for name, value in headers:
        carrier = name.lower()
        if carrier not in CARRIERS:
            continue
        text = value.decode("latin-1").strip(" \t")
        if carrier == b"authorization":
            bearer = _BEARER.fullmatch(text)
            if bearer is None:
                continue
            text = bearer[1]
        yield carrier, text


async def _asked(identify: Identify | None, scope: Scope) -> Identity | None:
    if identify is None:
        return None
    answer = identify(scope)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None or isinstance(answer, Identity):
        return answer
    if isinstance(answer, str):
        return Identity(end_user=answer)
    if isinstance(answer, Mapping) and answer.keys() <= _IDENTITY:
        return Identity(**answer)
    raise ConfigurationError(
        "identify",
        f"answered {reprlib.repr(answer)}; it answers an Identity, a mapping of project, end_user and tags, a text "
        "or None",
    )


def _unfit(refusal: ApiError | None) -> ApiError | None:
    """A dead key is answered at once; what is merely disabled or stopped bears on LLM calls only."""
    return refusal if isinstance(refusal, AuthenticationError) else None


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _elsewhere(path: Path, address: str | None) -> ApiError | None:
    """Whether the key may not be used from here. An IPv4-mapped IPv6 address is the IPv4 one."""
    key = path.key
    if key is None or not key.addresses:
        return None
    try:
        here = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        here = None
    if isinstance(here, ipaddress.IPv6Address) and here.ipv4_mapped is not None:
        here = here.ipv4_mapped
    if here is not None and any(here in ipaddress.ip_network(entry, strict=False) for entry in key.addresses):
        return None
    return PermissionDenied("API key may not be used from this address", code="address_not_allowed")
