"""Every way we know to ask for one model under the name of another: names, bodies, encodings and URLs."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True, eq=False)
class Form:
    """A wire format at a host: a model that is allowed there, and a dearer one that is not."""

    id: str
    provider: str | None
    host: str
    path: str
    allowed: str
    dear: str
    rest: Mapping[str, Any]
    deployments: Mapping[str, str] | None = None
    known: bool = True  # a stranger's requests may be no calls at all

    def body(self, model: object, **more: Any) -> bytes:
        return json.dumps({"model": model, **self.rest, **more}, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )


@dataclass(frozen=True)
class Sent:
    """What goes out, where it is not the form's own."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None


_CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}

FORMS = (
    Form("openai", "openai", "api.openai.com", "/v1/chat/completions", "gpt-4.1-mini", "gpt-4.1", _CHAT),
    Form(
        "anthropic",
        "anthropic",
        "api.anthropic.com",
        "/v1/messages",
        "claude-haiku-4-5",
        "claude-opus-4-1",
        _CHAT,
    ),
    Form(
        "embeddings",
        "openai",
        "api.openai.com",
        "/v1/embeddings",
        "text-embedding-3-small",
        "text-embedding-3-large",
        {"input": "hi"},
    ),
    Form(
        "openrouter",
        "openrouter",
        "openrouter.ai",
        "/api/v1/chat/completions",
        "openai/gpt-4.1-mini",
        "openai/gpt-4.1",
        _CHAT,
    ),
    Form(
        "stranger",
        None,
        "llm.internal",
        "/v1/chat/completions",
        "gpt-4.1-mini",
        "gpt-4.1",
        _CHAT,
        known=False,
    ),
    Form(
        "azure",
        "azure",
        "acme.openai.azure.com",
        "/openai/v1/chat/completions",
        "mini",
        "big",
        _CHAT,
        {"mini": "gpt-4.1-mini", "big": "gpt-4.1"},
    ),
)

NAMES: dict[str, Callable[[str], str]] = {
    "as it is": lambda dear: dear,
    "capitals": str.upper,
    "one capital": str.capitalize,
    "full width": lambda dear: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in dear),
    "one letter of full width": lambda dear: chr(ord(dear[0]) + 0xFEE0) + dear[1:],
    "bold": lambda dear: "".join(chr(0x1D400 + ord(c) - 97) if "a" <= c <= "z" else c for c in dear),
    "script": lambda dear: "".join(chr(0x1D4D0 + ord(c) - 97) if "a" <= c <= "z" else c for c in dear),
    "a full stop of full width": lambda dear: dear.replace(".", "．") + "．",
    "another hyphen": lambda dear: dear.replace("-", "\u2011") + "\u2011",
    "a minus": lambda dear: dear.replace("-", "\u2212") + "\u2212",
    "a Cyrillic letter": lambda dear: dear.translate(str.maketrans("aeopcib", "аеорсіЬ")),
    "a Greek letter": lambda dear: dear.translate(str.maketrans("toaik", "τοαικ")) + "ο",
    "a combining mark": lambda dear: dear + "\u0301",
    "a combining joiner": lambda dear: dear[:2] + "\u034f" + dear[2:],
    "nothing visible": lambda dear: dear[:2] + "\u200b" + dear[2:],
    "a joiner": lambda dear: dear + "\u200d",
    "a word joiner": lambda dear: "\u2060" + dear,
    "a soft hyphen": lambda dear: dear[:1] + "\u00ad" + dear[1:],
    "a byte order mark": lambda dear: "\ufeff" + dear,
    "right to left": lambda dear: "\u202e" + dear[::-1],
    "a variation selector": lambda dear: dear + "\ufe0f",
    "a tag": lambda dear: dear + "\U000e0061",
    "a filler": lambda dear: dear + "\u3164",
    "a space before": lambda dear: " " + dear,
    "a space after": lambda dear: dear + " ",
    "a space of no width to break": lambda dear: dear + "\u00a0",
    "a tab": lambda dear: dear + "\t",
    "a line end": lambda dear: dear + "\n",
    "NUL": lambda dear: dear + "\0",
    "a backspace": lambda dear: dear + "x\b",
    "a dot": lambda dear: dear + ".",
    "an ideographic stop": lambda dear: dear + "。",
    "a slash": lambda dear: dear + "/",
    "a slash before": lambda dear: "/" + dear,
    "a backslash": lambda dear: "openai\\" + dear,
    "a provider's lead": lambda dear: "openai/" + dear,
    "another provider's lead": lambda dear: "anthropic/" + dear,
    "a lead in capitals": lambda dear: "OpenAI/" + dear,
    "two leads": lambda dear: "openrouter/openai/" + dear,
    "models/": lambda dear: "models/" + dear,
    "a publisher": lambda dear: "publishers/openai/models/" + dear,
    "an ARN": lambda dear: "arn:aws:bedrock:us-east-1:1:inference-profile/us." + dear,
    "a region": lambda dear: "us." + dear,
    "a version": lambda dear: dear + "@20250805",
    "at latest": lambda dear: dear + "@latest",
    "latest": lambda dear: dear + "-latest",
    "a snapshot": lambda dear: dear + "-2025-04-14",
    "a short snapshot": lambda dear: dear + "-20250805",
    "a variant": lambda dear: dear + ":free",
    "another variant": lambda dear: dear + ":online",
    "a fragment": lambda dear: dear + "#mini",
    "a query": lambda dear: dear + "?tier=free",
    "percent signs": lambda dear: "%" + f"{ord(dear[0]):x}" + dear[1:],
    "underscores": lambda dear: dear.replace("-", "_") + "_",
    "fine-tuned": lambda dear: f"ft:{dear}:acme::Ab3",
    "fine-tuned in capitals": lambda dear: f"FT:{dear}:acme::Ab3",
    "fine-tuned from a snapshot": lambda dear: f"ft:{dear}-2025-04-14:acme:x:Ab3:ckpt-step-9",
    "a router": lambda dear: "openrouter/auto",
    "a router by itself": lambda dear: "auto",
    "a deployed router": lambda dear: "model-router",
    "a preset": lambda dear: "@preset/cheap",
    "a preset's change": lambda dear: dear + "@preset/cheap",
    "any": lambda dear: "*",
    "nothing": lambda dear: "",
    "only a space": lambda dear: " ",
    "too much": lambda dear: dear + "x" * 600,
    "a lone surrogate": lambda dear: dear + "\ud800",
}
"""Another name for the dearer model."""


def _named(form: Form) -> dict[str, Sent]:
    dressed = {f"name: {how}": Sent(form.body(dress(form.dear))) for how, dress in NAMES.items()}
    dressed |= {
        f"name: {how}": Sent(form.body(name))
        for how, name in {
            "both": f"{form.allowed},{form.dear}",
            "either": f"{form.allowed}|{form.dear}",
            "both in lines": f"{form.allowed}\n{form.dear}",
            "the allowed one fine-tuned": f"ft:{form.allowed}:acme::Ab3",
            "the allowed one and more": f"{form.allowed}-pro",
            "the allowed one led wrongly": f"{form.dear}/{form.allowed}",
        }.items()
    }
    return dressed


def _doubled(form: Form, *pairs: tuple[str, str]) -> bytes:
    rest = [(json.dumps(name), json.dumps(value)) for name, value in form.rest.items()]
    return ("{" + ",".join(f"{name}:{value}" for name, value in (*pairs, *rest)) + "}").encode()


def _bodies(form: Form) -> dict[str, Sent]:
    allowed, dear = json.dumps(form.allowed), json.dumps(form.dear)
    plain = form.body(form.dear)
    bodies = {
        "the allowed one first": _doubled(form, ('"model"', allowed), ('"model"', dear)),
        "the allowed one last": _doubled(form, ('"model"', dear), ('"model"', allowed)),
        "an escaped key": _doubled(form, ('"model"', allowed), ('"m\\u006fdel"', dear)),
        "Model": _doubled(form, ('"model"', allowed), ('"Model"', dear)),
        "MODEL before": _doubled(form, ('"MODEL"', dear), ('"model"', allowed)),
        "Model alone": _doubled(form, ('"Model"', dear)),
        "a key of full width": _doubled(form, ('"model"', allowed), ('"ｍｏｄｅｌ"', dear)),
        "a text and a number": _doubled(form, ('"model"', dear), ('"model"', "5")),
        "null": form.body(None),
        "a number": form.body(4.1),
        "true": form.body(True),
        "a list": form.body([form.dear]),
        "an object": form.body({"name": form.dear}),
        "no model": _doubled(form),
        "other models": form.body(form.allowed, models=[form.dear]),
        "other models twice": _doubled(
            form, ('"model"', allowed), ('"models"', "[]"), ('"models"', f"[{dear}]")
        ),
        "Models": _doubled(form, ('"model"', allowed), ('"Models"', f"[{dear}]")),
        "models alone": _doubled(form, ('"models"', f"[{dear}]")),
        "a model in models": form.body(form.allowed, models=form.dear),
        "an object in models": form.body(form.allowed, models=[{"id": form.dear}]),
        "many models": form.body(form.allowed, models=[form.allowed] * 16 + [form.dear]),
        "a fallback": form.body(form.allowed, fallbacks=[form.dear]),
        "a fallback that is an object": form.body(form.allowed, fallbacks=[{"model": form.dear}]),
        "a preset": form.body(form.allowed, preset="dear"),
        "UTF-16": plain.decode().encode("utf-16"),
        "UTF-16 without a mark": plain.decode().encode("utf-16-le"),
        "UTF-32": plain.decode().encode("utf-32"),
        "a byte order mark": b"\xef\xbb\xbf" + plain,
        "not UTF-8": plain.replace(b'"hi"', b'"\xff"'),
        "two bodies": form.body(form.allowed) + plain,
        "something after it": plain + b"x",
        "half": plain[:-1],
        "a list of it": b"[" + plain + b"]",
        "a text of it": json.dumps(plain.decode()).encode(),
        "NaN in it": plain[:-1] + b',"x":NaN}',
        "no number in it": plain[:-1] + b',"x":1e999}',
        "too deep": plain[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "a comment": b"/**/" + plain,
        "other quotes": plain.replace(b'"', b"'"),
        "nothing": b"",
    }
    sent = {f"body: {how}": Sent(content) for how, content in bodies.items()}
    forms = {
        "a form": (b"model=" + form.dear.encode() + b"&messages=hi", "application/x-www-form-urlencoded"),
        "form data": (
            b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n'
            + form.dear.encode()
            + b"\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
    }
    return sent | {
        f"body: {how}": Sent(content, {"content-type": kind}) for how, (content, kind) in forms.items()
    }


def _encoded(form: Form) -> dict[str, Sent]:
    plain = form.body(form.dear)
    zipped = gzip.compress(plain)
    bomb = gzip.compress(plain[:-1] + b" " * 40_000_000 + b"}", 9)
    encodings = {
        "gzip": (zipped, "gzip"),
        "gzip in capitals": (zipped, "GZIP"),
        "x-gzip": (zipped, "x-gzip"),
        "deflate": (zlib.compress(plain), "deflate"),
        "deflate without a head": (zlib.compress(plain)[2:-4], "deflate"),
        "gzip twice": (gzip.compress(zipped), "gzip, gzip"),
        "one nobody knows": (plain, "aes128gcm"),
        "gzip that is none": (plain, "gzip"),
        "half of gzip": (zipped[: len(zipped) // 2], "gzip"),
        "a bomb": (bomb, "gzip"),
    }
    return {
        f"encoding: {how}": Sent(content, {"content-encoding": encoding})
        for how, (content, encoding) in encodings.items()
    }


def _placed(form: Form) -> dict[str, Sent]:
    end = form.path[form.path.index("/v1/") + 3 :]
    content = form.body(form.allowed)
    places = {
        "a deployment": f"/openai/deployments/{form.dear}{end}",
        "a deployment in capitals": f"/OpenAI/Deployments/{form.dear}{end}",
        "a deployment nobody knows": f"/openai/deployments/other{end}",
        "a deployment in a deployment": f"/openai/deployments/mini/deployments/{form.dear}{end}",
        "a deployment and more slashes": f"/openai//deployments//{form.dear}//{end}",
        "an encoded slash": f"/openai/deployments%2F{form.dear}{end}",
        "a model": f"/models/{form.dear}/v1{end}",
    }
    if form.known:  # elsewhere an engine is the software that runs a model
        places["an engine"] = f"/v1/engines/{form.dear}{end}"
    return {f"URL: {how}": Sent(content, path=path) for how, path in places.items()}


@cache
def dressings(form: Form) -> dict[str, Sent]:
    """All that may not pass where only `form.allowed` may be asked for."""
    return _named(form) | _bodies(form) | _encoded(form) | _placed(form)
