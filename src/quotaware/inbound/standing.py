"""Why somebody who was found may not act all the same."""

from __future__ import annotations

from ..errors import ApiError, PermissionDenied, StoreUnavailable
from ..tenancy.nodes import Path


def away() -> StoreUnavailable:
    """The answer where only the store would know."""
    return StoreUnavailable("The quota store did not answer; try again", retry_after=1)


def disabled(path: Path) -> ApiError | None:
    """What hangs on something disabled does nothing, so that only those above it can enable it again. A budget that
    ran out is no reason: who may raise it has to be let in.
    """
    for node in path.nodes:
        if not node.enabled:
            return PermissionDenied(
                f"{node.kind.capitalize()} '{node.name or node.id}' is disabled", code="disabled"
            )
    return None
