"""What all of Google's formats share: members in two spellings, content made of parts, usage, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Unreadable
from .media import by_resolution, decoded_size, document, gemini_image, sound
from .text import Tally, member, total

_PAGE, _PAGE_BY_RESOLUTION, _DOCUMENT_LEAST = 300, 2_300, 5_000
"""The most tokens of a page of a PDF ("Document understanding": 258, or its resolution's), and of one of one page."""

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def spelled(value: Mapping[str, Any], name: str) -> str:
    """How a member is written in an object: as given (`maxOutputTokens`) or with underscores; as given where it is
    absent. Google reads both. Raises `Unreadable` where both are there.
    """
    other = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    if other == name or other not in value:
        return name
    if name in value:
        raise Unreadable(f"{name}: stands twice in the body, in two spellings")
    return other


def either(value: object, name: str) -> Any:
    """A member of what should be an object, in either spelling; None where there is none. Raises as `spelled`."""
    return value.get(spelled(value, name)) if isinstance(value, dict) else None


def each(value: object) -> list[Any]:
    """What is repeated, or stands alone: Google reads one value as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def add_contents(tally: Tally, contents: object) -> None:
    """Adds messages: lists of parts, single parts, or bare texts."""
    waiting = [*each(contents)]
    while waiting:
        entry = waiting.pop()
        tally.parts += 1
        if not isinstance(entry, dict):
            tally.add_strings(entry)
        elif "parts" in entry:
            tally.add_strings(entry.get("role"))
            for part in each(entry["parts"]):
                waiting.extend(_add_part(tally, part))
        else:
            waiting.extend(_add_part(tally, entry))


def add_tools(tally: Tally, tools: object) -> None:
    """Adds the functions that the app runs. Any other tool runs at Google, and feeds the model what the body does not
    show.
    """
    for tool in each(tools):
        if not isinstance(tool, dict):
            tally.add_strings(tool)
            continue
        declarations = spelled(tool, "functionDeclarations")
        tally.add_tools(each(tool.get(declarations)))
        if tool.keys() - {declarations}:
            tally.add_json(tool)
            tally.opaque = True


def metadata_usage(usage: object) -> Usage | None:
    """The tokens in a `usageMetadata` object; None where it tells no input. Counts that are 0 are left out of it.

    What tools brought in counts as input, thoughts as output.
    """
    sent = count(member(usage, "promptTokenCount"))
    if sent is None:
        return None
    numbers = (
        "toolUsePromptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
    )
    tools, made, thought, cached = (count(member(usage, name)) or 0 for name in numbers)
    return Usage(
        input=total(sent, tools),
        output=total(made, thought),
        cache_read=cached,
        reasoning=thought,
        audio_input=_among(usage, _SENT, "AUDIO"),
        audio_output=_among(usage, _MADE, "AUDIO"),
        image_input=_among(usage, _SENT, *_IMAGES),
        image_output=_among(usage, _MADE, *_IMAGES),
        cache_read_audio=_among(usage, _CACHED, "AUDIO"),
        cache_read_image=_among(usage, _CACHED, *_IMAGES),
        video_input=_among(usage, _SENT, "VIDEO"),
        video_output=_among(usage, _MADE, "VIDEO"),
    )


def grounding(answer: object) -> frozenset[str]:
    """What an answer was searched for on the web, each query once ("Grounding with Google Search")."""
    told = (member(candidate, "groundingMetadata") for candidate in each(member(answer, "candidates")))
    queries = (query for one in told for query in each(member(one, "webSearchQueries")))
    return frozenset(query for query in queries if isinstance(query, str) and query)


def web_searches(model: str | None, queries: int) -> int:
    """How many of so many queries are billed: each one, but with older models the prompt once."""
    return min(queries, 1) if _BY_PROMPT.match(model or "") else queries


def google_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Google's APIs write it (google.rpc.Status): `code` is the HTTP status, the exact reason stands in
    `details`.
    """
    told = error.body()["error"]
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code, "domain": "quotaware"}
    ]
    if error.retry_after is not None:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after}s"}
        )
    status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    return {"error": {**told, "code": error.status, "status": status, "details": details}}


_BY_PROMPT = re.compile(r"(?:models/)?gemini-[12]\b")
_SENT = ("promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails")
_MADE = ("candidatesTokensDetails",)
_CACHED = ("cacheTokensDetails",)
_IMAGES = ("IMAGE", "DOCUMENT")


def _among(usage: object, names: tuple[str, ...], *modalities: str) -> int:
    """How many tokens are of these modalities, by these details."""
    details = [detail for name in names for detail in each(member(usage, name))]
    return sum(count(member(d, "tokenCount")) or 0 for d in details if member(d, "modality") in modalities)


def _add_part(tally: Tally, part: object) -> list[Any]:
    """Adds a part; answers the parts that it holds itself."""
    tally.parts += 1
    if not isinstance(part, dict):
        tally.add_strings(part)
        return []
    rest = dict(part)
    level = member(rest.pop(spelled(rest, "mediaResolution"), None), "level")
    data = rest.pop(spelled(rest, "inlineData"), None)
    if data is not None:
        add_data(tally, data, level if isinstance(level, str) else "")
    if rest.pop(spelled(rest, "fileData"), None) is not None:
        tally.opaque = True
    call = rest.pop(spelled(rest, "functionCall"), None)
    if call is not None:
        tally.add_json(call)
    answered = rest.pop(spelled(rest, "functionResponse"), None)
    held: list[Any] = []
    if isinstance(answered, dict):
        held = each(answered.get("parts"))
        answered = {name: value for name, value in answered.items() if name != "parts"}
    if answered is not None:
        tally.add_json(answered)
    tally.add_strings(rest)
    return held


def add_data(tally: Tally, blob: object, resolution: str = "") -> None:
    """Adds what is given as it is, in base64; a body does not show what it only names. `resolution`: its own, where it
    has one.
    """
    data, kind = member(blob, "data"), either(blob, "mimeType")
    if not isinstance(data, str) or not isinstance(kind, str):
        tally.opaque = True
        return
    family, _, container = kind.lower().partition(";")[0].strip().partition("/")
    if family == "image":
        tally.add_media(gemini_image(tally.model, data, resolution or tally.resolution))
    elif family == "audio":
        tally.audio = True
        tally.add_media(sound(data, container))
    elif family == "video":  # how long it is, its size does not say
        tally.audio = tally.opaque = True
    elif family == "text":
        tally.media += decoded_size(data)
    else:
        old = tally.model and not by_resolution(tally.model)
        tally.add_media(document(data, _PAGE if old else _PAGE_BY_RESOLUTION, _DOCUMENT_LEAST))


def config(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `generationConfig` of a body, empty where it has none. Raises `Unreadable` where it is no object."""
    found = either(body, "generationConfig")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Unreadable("generationConfig: an object is required")
    return found


def whole(value: Mapping[str, Any], name: str, least: int = 0) -> int | None:
    """As `jsontext.whole`, in either spelling."""
    return jsontext.whole(value, spelled(value, name), least)
