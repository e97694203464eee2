"""Everything in the tree as a store keeps it: one document each, what differs from the defaults as JSON.

Members that are not known are passed over: a newer version may write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, fields
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar, cast

from ..core.alerts import Alert
from ..core.limits import Limit
from ..core.terms import Override, PriceRule
from ..errors import StoreError
from ..stores.protocol import Doc
from .channels import Channel
from .nodes import KINDS, Node
from .people import Group, Holding, Member, Request, Role

Thing = Node | Member | Role | Group | Request | Channel
T = TypeVar("T", bound=Thing)

_CLASSES: Final[dict[str, type[Thing]]] = {
    **dict.fromkeys(KINDS, Node),
    "member": Member,
    "role": Role,
    "group": Group,
    "request": Request,
    "channel": Channel,
}
DOCUMENTS: Final = tuple(_CLASSES)
"""All kinds of documents."""
_KIND_OF: Final[dict[type[Thing], str]] = {of: kind for kind, of in _CLASSES.items() if of is not Node}
_ELSEWHERE = frozenset({"id", "kind", "parent", "name", "stopped", "rev"})
"""Fields that stand beside the body."""


class _Form(NamedTuple):
    """How one of several values is written, and read back."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


_PLAIN = _Form(lambda value: value, lambda value: value)
_FORMS: Final[dict[tuple[type[Thing], str], _Form]] = {
    (Node, "limits"): _Form(str, Limit.parse),
    (Node, "alerts"): _Form(str, Alert.parse),
    (Node, "carry_since"): _Form(list, tuple),
    (Node, "overrides"): _Form(astuple, lambda value: Override(*value)),
    (Node, "prices"): _Form(
        astuple, lambda value: PriceRule(value[0], tuple(map(tuple, value[1])), *value[2:])
    ),
    (Member, "roles"): _Form(list, lambda value: Holding(*value)),
}


_FIELDS: Final[dict[type[Thing], dict[str, Any]]] = {
    of: {field.name: field.default for field in fields(of) if field.name not in _ELSEWHERE}
    for of in (Node, *_KIND_OF)
}
"""Fields of the body, with their defaults."""


def kind_of(thing: Thing) -> str:
    """Its kind, as documents have it."""
    return thing.kind if isinstance(thing, Node) else _KIND_OF[type(thing)]


def to_doc(thing: Thing) -> Doc:
    """It as a store keeps it. A revoked key's name goes into the body, so that another may have it."""
    of = type(thing)
    body: dict[str, Any] = {}
    for field, default in _FIELDS[of].items():
        value = getattr(thing, field)
        if value != default:
            form = _FORMS.get((of, field), _PLAIN)
            body[field] = [form.write(each) for each in value] if isinstance(value, tuple) else value
    name, stopped = thing.name, None
    if isinstance(thing, Node):
        stopped = thing.stopped
        if thing.revoked and name is not None:
            name, body["name"] = None, name
    text = json.dumps(body, separators=(",", ":"))
    return Doc(thing.id, kind_of(thing), thing.parent, name, thing.rev, text, stopped)


@lru_cache(maxsize=4096)
def read_doc(doc: Doc) -> Thing:
    """What a document says. Raises StoreError where it cannot be read: a limit left out would let calls through."""
    try:
        of = _CLASSES[doc.kind]
        body = json.loads(doc.body)
        if not isinstance(body, dict):
            raise ValueError("it is no JSON object")
        given = {field: _read(of, field, body[field]) for field in _FIELDS[of] if field in body}
        whole = {"id": doc.id, "parent": doc.parent, "name": doc.name, "rev": doc.rev, **given}
        if of is Node:
            name = doc.name if doc.name is not None else body.get("name")
            whole |= {"kind": doc.kind, "name": name, "stopped": doc.stopped}
        return of(**whole)
    except (ValueError, LookupError, TypeError) as error:
        raise StoreError(f"the document of {doc.id} cannot be read: {error}") from error


def _read(of: type[Thing], field: str, value: Any) -> Any:
    return tuple(map(_FORMS.get((of, field), _PLAIN).read, value)) if isinstance(value, list) else value


def from_doc(doc: Doc) -> Node:
    """The node of a document. Raises as `read_doc` does."""
    return as_a(Node, doc)


def as_a(of: type[T], doc: Doc) -> T:
    """What a document of this class says. Raises as `read_doc` does."""
    thing = read_doc(doc)
    if not isinstance(thing, of):
        raise StoreError(f"the document of {doc.id} is a {doc.kind}")
    return cast("T", thing)


def is_a(of: type[object], doc: Doc) -> bool:
    """Whether a document says one of this class."""
    return _CLASSES.get(doc.kind) is of
