"""What a wire format is: it reads a request, an answer, a stream; it says no in the provider's own words.

A format is stateless and does no I/O. A new one is one file with one class, listed in `endpoints.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..core.bounds import Call
from ..core.prices import Service
from ..core.usage import Usage
from ..errors import ApiError


class Report(NamedTuple):
    """What an answer says of itself.

    model   as the answer names it, or None
    usage   what the provider reported; None where it reported nothing (yet)
    seen    output tokens that were seen go by, counted on our side (a lower bound; 0 for a whole answer)
    done    whether the answer is complete: a whole body, or a stream's last event or final usage was seen
    cost    what the provider says that it cost, nano-dollars, if it does
    later   the name under which the provider will tell the usage, where the call goes on without this answer; else ""
    besides what was used beside the answer and is not in `usage`, by models: those of tools, None for the call's own
    service how it says that it served the call, where that bears on the price
    """

    model: str | None = None
    usage: Usage | None = None
    seen: int = 0
    done: bool = False
    later: str = ""
    cost: int | None = None
    service: Service = ()
    besides: tuple[tuple[str | None, Usage], ...] = ()


class Unreadable(ValueError):
    """A request body that a format cannot read; `reason` says what is wrong, for the error's message.

    `code` is `model_ambiguous` where two readings of the model are possible (duplicate keys), else
    `body_unreadable`.
    """

    def __init__(self, reason: str, code: str = "body_unreadable") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class StreamReader(Protocol):
    """Reads one streamed answer as its decoded bytes go by, in any chunking."""

    def feed(self, data: bytes) -> bytes:
        """Takes decoded bytes, answers the bytes that the app may see now.

        Without hiding that is `data` itself. With hiding (the app did not ask for the usage chunk that we asked
        for) an event that is not complete yet is kept back until it is, and the usage chunk is dropped.
        """
        ...

    def flush(self) -> bytes:
        """The end of the stream, whole or cut: bytes still kept back, passed on as they are.

        Only a usage chunk of ours that lacks nothing but its blank line is dropped here too.
        """
        ...

    def report(self) -> Report:
        """What is known so far; may be called at any time, any number of times."""
        ...


class Format(Protocol):
    """One wire format of one operation (`openai.chat`, `anthropic.messages`, …).

    One whose bodies may be forms says `forms = True`; one whose whole answers are no text, `binary = True`; one whose
    answers are read as they come, however long they are, `scans = True`. Where a body need not name a model, `chosen`
    says why; where it may name an agent instead, `agent` is the member that does.
    """

    name: str
    operation: str

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """The call that a parsed request body asks for. Raises `Unreadable`."""
        ...

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """Members to set in the body so that no choice of the answer is longer than `tokens`."""
        ...

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Members to set in the body of a streamed call so that the stream reports its usage; {} if it does."""
        ...

    def answer(self, body: object) -> Report:
        """What a parsed whole answer says."""
        ...

    def stream(self, hide: bool) -> StreamReader:
        """A reader for one streamed answer; `hide`: usage was asked for by us, not by the app."""
        ...

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """The error as this provider's JSON body, with our type, message and figures in it."""
        ...


@runtime_checkable
class HeadReader(Protocol):
    """A format whose answers may tell their usage in their headers."""

    def head(self, headers: Mapping[str, str]) -> Usage | None:
        """What the headers of an answer tell; what its body tells goes before."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: the provider (as genai-prices spells it; None for a host nobody knows) and its format.

    `format` is None for a POST on a known provider host that no format reads.
    `operation` names what it is then. `free` marks listings and the like, which cost nothing.
    `lookup` marks a request that makes nothing, and `answer` is the name of the earlier answer that it asks for.
    `named` is what the URL calls the model, or, where `deployed`, the deployment of one that its owner chose; `host` is
    said where that is the deployment's.
    """

    provider: str | None
    format: Format | None
    operation: str
    free: bool = False
    named: str | None = None
    deployed: bool = False
    host: str = ""
    lookup: bool = False
    answer: str = ""

    @property
    def reads(self) -> bool:
        """Whether what a request asks for is in its body."""
        return self.format is not None and not self.lookup
