"""What the ASGI edge needs of a Quota: who calls, by key or by the host's own word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..context import Binding, Caller, Identity
from ..engine import Engine
from ..errors import (
    AmbiguousCredentials,
    ApiError,
    AuthenticationError,
    InvalidKeyFormat,
    NotFound,
    PermissionDenied,
    StoreError,
)
from ..stores.tickets import Steps, drive_async
from ..tenancy import keys
from ..tenancy.access import Actor, elsewhere, of_key
from ..tenancy.nodes import Path
from .credentials import carried, only_credential, our_credential, repeated
from .cross_site import cross_site
from .identify import Identify, Scope, asked
from .proxies import Proxies
from .standing import away, disabled


@dataclass(frozen=True, slots=True)
class Edge:
    """The inbound half of a Quota. `meter` is the outbound half that bindings carry, `instrument` installs its hook;
    `proxies` are those whose word is taken for who a client is.
    """

    engine: Engine
    meter: Any
    instrument: Callable[[], None]
    identify: Identify | None
    proxies: Proxies

    # a route of the host

    async def bind(self, scope: Scope, identify: Identify | None) -> Binding | ApiError:
        """The standing of a request, or the error to answer it with. In shadow mode nothing is refused: what would
        have been is counted, and the request is nobody's.
        """
        outcome = await self._standing(scope, identify)
        if isinstance(outcome, ApiError) and self.engine.settings.shadow:
            self.engine.count("would_deny")
            return Binding(self.meter, None, outcome)
        return outcome

    async def _standing(self, scope: Scope, identify: Identify | None) -> Binding | ApiError:
        headers = scope.get("headers", ())
        try:
            credential = our_credential(headers)
        except ApiError as error:
            return error
        identity = await asked(identify or self.identify, scope)
        if credential is None:
            foreign = identity is None and carried(headers)
            return Binding(self.meter, identity, InvalidKeyFormat() if foreign else None)
        try:
            return await drive_async(self._by_key(credential, identity, self.address(scope)))
        except StoreError:
            return away()

    def _by_key(
        self, credential: str, identity: Identity | None, address: str | None
    ) -> Steps[Binding | ApiError]:
        named = identity or Identity()
        caller = yield from self.engine.resolve(
            Identity(None, named.end_user, named.tags, keys.digest(credential))
        )
        if isinstance(caller, ApiError):
            return caller
        try:
            path = yield from self.engine.path(caller.org, caller.node, within=self.engine.settings.key_ms)
            if self._unfit(path, caller, address):
                path = yield from self.engine.reread(caller.org, caller.node)
        except NotFound:
            return AuthenticationError()
        return self._unfit(path, caller, address) or Binding(
            self.meter, replace(caller, address=address or "")
        )

    def _unfit(self, path: Path, caller: Caller, address: str | None) -> ApiError | None:
        """A dead key is answered at once; what is merely disabled or stopped bears on LLM calls only."""
        refusal = self.engine.standing(path, caller)
        return refusal if isinstance(refusal, AuthenticationError) else elsewhere(path, address)

    # a mount of ours

    async def authenticate(self, scope: Scope) -> Actor:
        """Who acts in a request to the management API, the dashboard or the relay, from the store as it is now.

        Every credential is judged there. Without a quotaware key it is the member whom the host's `identify` names, if
        it names one; never is it the host itself, and shadow mode changes nothing here.

        Raises `ApiError`: `AuthenticationError`, `InvalidKeyFormat`, `AmbiguousCredentials`, `PermissionDenied` (an
        address that is not the key's, something disabled, another site behind a member's browser), `StoreUnavailable`;
        and what `identify` raises.
        """
        headers = scope.get("headers", ())
        if repeated(headers):
            raise AmbiguousCredentials
        address = self.address(scope)
        member = await self._named_member(scope) if our_credential(headers) is None else None
        if member is not None and cross_site(scope):
            raise PermissionDenied(
                "This request comes from another site, with the host's own login. From there, send a quotaware key",
                code="cross_site",
            )
        if member is not None:
            return await self._acting(self._member(member), address)
        return await self._acting(self._key(keys.digest(only_credential(headers)), address), address)

    async def again(self, scope: Scope, digest: str) -> Actor:
        """The same for a key that was shown before, and of which only the digest was kept: whoever signed in with it is
        out as soon as the key is.
        """
        address = self.address(scope)
        return await self._acting(self._key(digest, address), address)

    async def _acting(self, steps: Steps[Actor | ApiError], address: str | None) -> Actor:
        try:
            actor = await drive_async(steps)
        except StoreError:
            raise away() from None
        if isinstance(actor, ApiError):
            raise actor
        return actor.seen_from(address)

    async def _named_member(self, scope: Scope) -> Identity | None:
        identity = await asked(self.identify, scope)
        return identity if identity is not None and identity.member is not None else None

    def _key(self, digest: str, address: str | None) -> Steps[Actor | ApiError]:
        caller = yield from self.engine.resolve(Identity(key=digest))
        if isinstance(caller, ApiError):
            return caller
        try:
            path = yield from self.engine.reread(caller.org, caller.node)
        except NotFound:
            return AuthenticationError()
        return self._unfit(path, caller, address) or disabled(path) or of_key(path)

    def _member(self, identity: Identity) -> Steps[Actor | ApiError]:
        yield from self.engine.prepared()
        org = yield from self.engine.home(identity)
        if org is None:
            return PermissionDenied(
                f"Which organization member '{identity.member}' is of is not known: identify says it as `organization`",
                code="unattributed",
            )
        try:
            path = yield from self.engine.reread(org, org)
            actor = yield from self.engine.acting(org, identity.member or "")
        except PermissionDenied as error:
            return error
        except NotFound as error:
            return PermissionDenied(error.message, code="unattributed")
        return disabled(path) or actor

    def address(self, scope: Scope) -> str | None:
        """The client's address in its one form, as far as it can be believed (`Quota(trusted_proxies=…)`); None where
        there is none.
        """
        found = self.proxies.client(scope)
        return None if found is None else str(found)


class HasEdge(Protocol):
    """Anything that carries an `Edge`: a Quota."""

    @property
    def edge(self) -> Edge: ...
