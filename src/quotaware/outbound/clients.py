"""One client that is metered, and no class of it patched: of httpx, httpx2, aiohttp, requests or botocore, or an
SDK's that carries one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..errors import ConfigurationError
from . import aiohttp, botocore, httpx, requests
from .hook import hook
from .meter import Meter
from .patching import Patch


def metered(meter: Meter, client: Any) -> Any:
    """Makes an existing client metered and answers it.

    Raises `ConfigurationError` where there is no client inside that can be, and `NotImplementedError` for an aiohttp
    that is too old.
    """
    if any(httpx.metered(meter, http) for http in (client, getattr(client, "_client", None))):
        return client
    if _is(client, "aiohttp", "ClientSession"):
        return _patched(meter, client, aiohttp.PATCHES, client)
    if _is(client, "requests", "Session"):
        for adapter in client.adapters.values():  # those that it has now
            if _is(adapter, "requests.adapters", "HTTPAdapter"):
                _patched(meter, adapter, requests.PATCHES, client)
        return client
    if _is(endpoint := getattr(client, "_endpoint", None), "botocore.endpoint", "Endpoint"):
        own = (patch for patch in botocore.PATCHES if patch.module == "botocore.endpoint")
        return _patched(meter, endpoint, own, client)
    raise ConfigurationError(
        "client",
        f"{type(client).__name__} neither is nor carries a client of httpx or httpx2 (as the openai and anthropic "
        "clients do), a session of aiohttp or requests, or a client of boto3; give it quota.transport(...) or "
        "quota.sync_transport(...) when you make it, or call quota.instrument()",
    )


class _Ours(partial[Any]):
    """A method of one object that stands in front of the one in `original`."""

    original: Any


def _patched(meter: Meter, owner: Any, patches: Iterable[Patch], client: Any) -> Any:
    for patch in patches:
        original = _below(owner, patch.name)
        ours = _Ours(patch.wrap(original, lambda: meter), owner)
        ours.original = original
        object.__setattr__(owner, patch.name, ours)  # aiohttp warns of attributes that it does not know
    return client


def _below(owner: Any, name: str) -> Any:
    """The method that ours is to stand in front of: never another of ours, so that a call is metered once."""
    own = vars(owner).get(name)
    if isinstance(own, _Ours):
        return own.original
    if own is not None:
        return lambda _, *args, **more: own(*args, **more)
    return hook.unpatched(type(owner), name)


def _is(client: Any, module: str, name: str) -> bool:
    imported = sys.modules.get(module)
    return imported is not None and isinstance(client, getattr(imported, name))
