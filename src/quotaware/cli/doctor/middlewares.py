"""The order of an app's middlewares: who calls must be known where it is asked, and answers must get out."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Evidence, Finding

_LOGINS = "session|auth(?!or)|login|jwt"
"""What the names of middlewares have in them that find out who is logged in."""


def order(evidence: Evidence) -> Iterator[Finding]:
    """QuotaMiddleware is there once, behind the login that `identify` asks and the CORS headers that browsers want."""
    layers = evidence.app
    ours = [at for at, layer in enumerate(layers) if layer.ours]
    if not ours:
        yield Finding(
            "error",
            "the app has no QuotaMiddleware: nobody is known who calls, and no limit of a key, project or team bears",
            "add it: app.add_middleware(QuotaMiddleware, quota=quota), or QuotaPlugin(quota) on Litestar",
        )
        return
    first, *more = ours
    if more:
        yield Finding(
            "warning",
            f"QuotaMiddleware stands {len(ours)} times in the app: the inner one alone says who makes a call",
            "keep one of them",
        )
    quota, options = evidence.quota, layers[first].options
    inner = [layer for layer in layers[first + 1 :] if not layer.ours]
    identify = options.get("identify") or options.get("_identify") or (quota and quota.edge.identify)
    if identify and (logins := [layer.name for layer in inner if layer.named(_LOGINS)]):
        yield Finding(
            "error",
            f"identify is asked before {', '.join(logins)} has run, so it cannot see who is logged in",
            "on Starlette and FastAPI call add_middleware for QuotaMiddleware before the one for the login (what is "
            "added last runs first); elsewhere let identify read the request's headers itself",
        )
    if cors := [layer.name for layer in inner if layer.named("cors")]:
        yield Finding(
            "warning",
            f"{', '.join(cors)} stands inside QuotaMiddleware: what that refuses has no CORS headers, and a browser on "
            "another site cannot read why",
            "call add_middleware for CORSMiddleware after the one for QuotaMiddleware (what is added last runs first)",
        )
    if options.get("instrument") is False:
        yield Finding(
            "warning",
            "QuotaMiddleware(instrument=False): no call is metered but through clients that were given to "
            "quota.metered, quota.transport or quota.sync_transport",
            "leave instrument out, or see that every client is such a one",
        )
