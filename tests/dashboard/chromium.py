"""A real Chromium for tests: one that is installed already, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.dashboard.conftest import BASE

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found() -> str | None:
    """The path of the browser (`CHROMIUM` says another), None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Seen:
    """What a page did beside being shown: nothing of it should be there."""

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@contextmanager
def a_browser() -> Iterator[Any]:
    """The browser, with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def watched(page: Any, url: str) -> Seen:
    """Takes note of what the page does."""
    seen = Seen()
    host = urlsplit(url).netloc

    def said(message: Any) -> None:
        if message.type in {"error", "warning"}:
            seen.errors.append(f"{message.text} ({message.location})")

    def asked(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != host:
            seen.elsewhere.append(request.url)

    def dialog(box: Any) -> None:
        seen.dialogs.append(box.message)
        box.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", asked)
    page.on("dialog", dialog)
    return seen


def sign_in(page: Any, url: str, key: str) -> None:
    """Through the form, to the overview."""
    page.goto(f"{url}{BASE}/sign-in")
    page.fill("input[name=key]", key)
    page.click("button.main")
    page.wait_for_selector("nav")
