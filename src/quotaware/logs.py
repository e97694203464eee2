"""What is logged beside a message, so that programs can read it: which event it is, and of what.

All of it goes to the logger `quotaware`; the events are listed in docs/observability.md.
"""

from __future__ import annotations

from .errors import without_keys


def logged(event: str, **about: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log record: under `quotaware`, the event and what it is about, as JSON values; errors as their
    own words, texts without keys, and nothing of what is None.
    """
    told = {name: _value(value) for name, value in about.items() if value is not None}
    return {"quotaware": {"event": event, **told}}


def _value(value: object) -> object:
    return value if isinstance(value, int | float) else without_keys(str(value))
