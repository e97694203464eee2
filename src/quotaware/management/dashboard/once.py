"""A form that is sent twice is done once: a second click, a reload, a step back and forth.

Each page has a token that its forms carry (`Shell.once`). What is sent with it is done under an Idempotency-Key of that
token and all that was said, so that the same page can send something else; a repeat is led where the first was led.
What the first answer showed once (a secret) nobody keeps: a repeat is told so, and where to go for another.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from ...errors import AlreadyExists
from ..repeats import Claim, Reply, claim
from .view import Html, Redirect, View

WAITS = 50
WAIT_S = 0.1
"""How often and how long a repeat waits for the first."""


def once(view: View, run: Callable[[View], Html | Redirect]) -> Html | Redirect:
    """What a form does, or what it did. Raises what it raises."""
    token = view.form.get("once", "")
    if not token:
        return run(view)
    claimed = _claimed(view, token)
    if isinstance(claimed, Reply):
        return _again(claimed.body)
    try:
        answer = run(view)
    except BaseException:
        claimed.drop()
        raise
    if isinstance(answer, Redirect):
        claimed.keep(Reply(303, {"path": answer.path, "told": answer.told}), ())
    elif answer.made:
        claimed.keep(Reply(answer.status, {"path": answer.made, "told": ""}), ())
    else:
        claimed.drop()
    return answer


def _claimed(view: View, token: str) -> Claim | Reply:
    said = json.dumps([view.path, sorted(view.form.items())]).encode("utf-8", "surrogatepass")
    key = f"form/{token[:64]}/{hashlib.sha256(said).hexdigest()}".encode("ascii", "replace").decode()
    for _ in range(WAITS):
        try:
            return claim(view.parts.store, view.org, view.ask.actor.id, key, said)
        except AlreadyExists:  # it is under way
            time.sleep(WAIT_S)
    return claim(view.parts.store, view.org, view.ask.actor.id, key, said)


def _again(done: Any) -> Html | Redirect:
    if done["told"]:
        return Redirect(done["path"], done["told"])
    return Html("made_already.html", {"path": done["path"]}, 409)
