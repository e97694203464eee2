"""Every text of the pages, in English and Korean. What stands in braces is put in.

A test looks that each is there in both, names the same values, and is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from .texts_errors import KOREAN
from .texts_looking import TEXTS as _LOOKING
from .texts_pages import TEXTS as _PAGES
from .texts_people import TEXTS as _PEOPLE
from .texts_told import TEXTS as _TOLD
from .texts_told import reason, title

Language = Literal["en", "ko"]
LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "ko": "한국어"}

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "app.name": ("quotaware", "quotaware"),
    "app.skip": ("Skip to content", "본문으로 건너뛰기"),
    "app.menu": ("Main menu", "주 메뉴"),
    "app.language": ("Language", "언어"),
    "app.theme": ("Theme", "테마"),
    "app.theme.system": ("System", "시스템"),
    "app.theme.light": ("Light", "밝게"),
    "app.theme.dark": ("Dark", "어둡게"),
    "app.apply": ("Apply", "적용"),
    "app.look": ("Appearance", "화면 설정"),
    "app.sign_out": ("Sign out", "로그아웃"),
    "app.signed_in": ("Signed in as {name}", "{name}(으)로 로그인됨"),
    "app.live": ("Live", "실시간"),
    "app.paused": ("Not connected; trying again", "연결이 끊겨 다시 시도하는 중"),
    "app.more": ("Only the first {n} are shown.", "처음 {n}개만 표시됩니다."),
    "app.none": ("None", "없음"),
    "again.title": ("This form was sent before", "이미 보낸 양식입니다"),
    "again.more": (
        "It was done once. Its secret was shown then: if you did not see it, rotate the key or make another channel.",
        "한 번만 처리했습니다. 비밀 값은 그때만 표시되므로, 보지 못했다면 키를 교체하거나 채널을 새로 만드세요.",
    ),
    "again.look": ("See what was made", "만든 항목 보기"),
    "sign_in.title": ("Sign in", "로그인"),
    "sign_in.lead": (
        "Use a quotaware key. It is checked and not kept in your browser.",
        "quotaware 키로 로그인하세요. 키는 확인만 하며 브라우저에 저장하지 않습니다.",
    ),
    "sign_in.key": ("API key", "API 키"),
    "sign_in.submit": ("Sign in", "로그인"),
    "sign_in.malformed": (
        "This is no quotaware key: one begins with qw_ and was copied whole.",
        "quotaware 키가 아닙니다. qw_로 시작하는 키 전체를 복사해 주세요.",
    ),
    "sign_in.wrong": (
        "This key does not work: it may be revoked, expired or mistyped.",
        "사용할 수 없는 키입니다. 폐기되었거나 만료되었거나 잘못 입력되었을 수 있습니다.",
    ),
    "sign_in.stale": (
        "This page was open for too long. Try again.",
        "페이지가 만료되었습니다. 다시 시도해 주세요.",
    ),
    "error.title": ("That did not work", "처리하지 못했습니다"),
    "error.403": ("You may not do this", "권한이 없습니다"),
    "error.404": ("There is nothing here", "찾을 수 없습니다"),
    "error.409": ("It is not as it was", "현재 상태와 맞지 않습니다"),
    "error.422": ("Something in the form is not right", "입력한 내용을 확인해 주세요"),
    "error.503": ("The store does not answer", "저장소가 응답하지 않습니다"),
    "error.back": ("Back to the overview", "개요로 돌아가기"),
    **_PAGES,
    **_PEOPLE,
    **_LOOKING,
    **_TOLD,
}


def text(language: Language, key: str, **values: object) -> str:
    """A text in a language. Raises `KeyError` for one that there is not."""
    english, korean = TEXTS[key]
    found = korean if language == "ko" else english
    return found.format_map(values) if values else found


class Texts:
    """The texts of a language, as templates ask for them."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def __call__(self, key: str, **values: object) -> str:
        return text(self._language, key, **values)

    def error(self, code: str) -> str:
        """What an error of this code is called in the language, "" where its own text says it, or none is known."""
        return KOREAN.get(code, "") if self._language == "ko" else ""

    def why(self, text: str) -> str:
        """Why an alert did not go, as its log has it (English), in the language; what is not ours as it is."""
        return reason(text) if self._language == "ko" else text

    def title(self, text: str) -> str:
        """What an alert said in one line, as its log has it (English), in the language; what is not ours as it is."""
        return title(text) if self._language == "ko" else text

    def code(self, code: str) -> str:
        """The code of an error in a word or two."""
        return self.error(code).rstrip(".") or code.replace("_", " ")

    def channel(self, name: str) -> str:
        """What a way to send alerts is called, itself where it has no name."""
        return self(f"alerts.type.{name}") if f"alerts.type.{name}" in TEXTS else name

    def kind(self, kind: str) -> str:
        """What a kind of thing is called, itself where it has no name."""
        return self(f"kind.{kind}") if f"kind.{kind}" in TEXTS else kind

    def action(self, what: str) -> str:
        """What an action of the audit log (`project.update`) is called, also where it was refused; "" where it has no
        name.
        """
        kind, _, verb = what.removesuffix(".refused").partition(".")
        return self(f"did.{verb}", thing=self.kind(kind)) if f"did.{verb}" in TEXTS else ""


def language_of(chosen: str, accepted: str) -> Language:
    """The language that was chosen, else the first that a browser accepts (`Accept-Language`) and there is."""
    for language in get_args(Language):
        if chosen == language:
            return language  # type: ignore[no-any-return]  # one of them
    wishes: list[tuple[float, str]] = []
    for part in accepted[:500].split(","):
        name, _, weight = part.strip().partition(";")
        try:
            q = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            q = 0.0
        wishes.append((-q, name.strip().lower().partition("-")[0]))
    for _, name in sorted(wishes, key=lambda wish: wish[0]):
        if name in get_args(Language):
            return "ko" if name == "ko" else "en"
    return "en"
