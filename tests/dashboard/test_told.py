"""What logs keep in English, on pages in Korean: actions of the audit log, what alerts said, why they did not go."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from quotaware.alerts import due
from quotaware.core.denials import ADJECTIVE
from quotaware.management.dashboard.texts import Texts
from quotaware.management.dashboard.texts_told import TEXTS
from tests.dashboard.conftest import Browser, House, text_of

HOME = Path(str(files("quotaware")))
KINDS = ("organization", "team", "project", "key")
GIVEN = ("member", "group", "role")
"""Things of which the tenancy makes the action's name from their class."""
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{2,}")
KO = {"accept-language": "ko"}


def trees(room: str) -> Iterator[ast.Module]:
    for path in (HOME / room).rglob("*.py"):
        yield ast.parse(path.read_text())


def written(text: ast.expr, filled: str = "7") -> str | None:
    """A text of the code as it is when something stands in it; None where it is none."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return text.value
    if isinstance(text, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else filled for part in text.values)
    return None


def actions() -> set[str]:
    """Every action that the code writes into the audit log, tried to be found where it is written."""
    found: set[str] = set()
    for room in ("tenancy", "organization", "alerts"):
        for tree in trees(room):
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                if name in {"_commit", "Edit", "row_of", "_edit", "_raised", "together"}:
                    for text in filter(None, (written(each, "{}") for each in call.args)):
                        if re.fullmatch(r"(\{\}|[a-z]+)\.(?!refused)(\{\}|[a-z]+)", text):
                            found.add(text)
            for text in re.findall(r"\{type\(thing\)\.__name__\.lower\(\)\}\.([a-z]+)", ast.unparse(tree)):
                found |= {f"{kind}.{text}" for kind in GIVEN}
    return {
        action.replace("{}.", f"{kind}.").replace(".{}", f".{verdict}")
        for action in found
        for kind in (KINDS if action.startswith("{}") else ("",))
        for verdict in ("approved", "rejected")
    }


def test_every_action_has_its_words_in_both_languages() -> None:
    found = actions()
    assert {"key.rotate", "project.stop", "team.allocate", "request.rejected", "organization.apply"} <= found
    assert {"member.create", "node.override", "channel.delete", "project.close"} <= found
    for action in found:
        for told in (action, f"{action}.refused"):
            korean = Texts("ko").action(told)
            assert korean, told
            assert not re.search(r"[a-z]", korean), told
            assert Texts("en").action(told), told
    verbs = {action.partition(".")[2] for action in found}
    assert {key for key in TEXTS if key.startswith("did.")} == {f"did.{verb}" for verb in verbs}


def reasons() -> set[str]:
    """Every reason of ours that the code gives, with something in what it leaves open."""
    found: set[str | None] = set()
    for tree in trees("alerts"):
        names = {
            target.id: written(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "_problem_of":
                given = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
                texts = [part for value in given for part in ast.walk(value)]
                found |= {written(text) for text in texts if isinstance(text, ast.Constant)}
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            at = {"Outcome": 1, "Unreadable": 0, "refused": 0, "Refused": 1, "_tell": 3}.get(name)
            if at is not None and len(node.args) > at:
                text = node.args[at]
                found.add(names.get(text.id) if isinstance(text, ast.Name) else written(text))
            if name == "_replace":
                found |= {written(each.value) for each in node.keywords if each.arg == "why"}
    return {text for text in found if text and text != "7"}


def test_every_reason_of_ours_has_its_words() -> None:
    found = reasons()
    assert {"answered 7", "no answer in time", "the address was refused (7)", "is no URL"} <= found
    assert {"the environment variable 7 is not set", "names a host that is not public"} <= found
    assert len(found) > 30
    for text in found:
        for told in (text, f"url: {text}"):
            korean = Texts("ko").why(told)
            assert not ENGLISH.search(korean), (told, korean)
            assert ("7" in korean) == ("7" in text), (told, korean)
            assert Texts("en").why(told) == told


@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("answered 410; the channel is disabled", "응답 410, 채널 사용 중지됨"),
        ("answered 302; redirects are not followed", "응답 302, 리디렉션은 따르지 않음"),
        ("url: is on port 443 or 8443, not 22", "url: 포트는 22이(가) 아니라 443 or 8443여야 함"),
        ("smtp.password: names the environment variable 'X', not set", "smtp.password: 환경 변수 'X'이(가) 없음"),
        ("Mailbox {full} of %s: come back", "Mailbox {full} of %s: come back"),
        ("{why}; the channel is disabled", "{why}, 채널 사용 중지됨"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_reason_is_said_in_korean_where_it_is_ours(english: str, korean: str) -> None:
    assert Texts("ko").why(english) == korean
    assert Texts("en").why(english) == english


SHAPES = (
    ("cost/month", "월별 예산"),
    ("cost/hour/per:end_user", "최종 사용자별 시간별 예산"),
    ("cost/day/for:gpt-4.1*", "gpt-4.1* 일별 예산"),
    ("cost", "전체 예산"),
    ("requests/minute", "분당 호출 한도"),
    ("tokens", "전체 토큰 한도"),
    ("concurrency", "동시 호출 한도"),
)


@pytest.mark.parametrize(("shape", "korean"), SHAPES)
@pytest.mark.parametrize(("kind", "called"), [("project", "프로젝트"), ("team", "팀"), ("API key", "키")])
def test_what_an_alert_said_is_told_in_korean(shape: str, korean: str, kind: str, called: str) -> None:
    whose = f"{kind} 'all of it'"
    for known, words in due.WORDS.items():
        event = due.Due(known, "email", "n", shape, "8000", 10, 8, until=1)
        english, _ = words(event, whose, due.limit_name(shape))
        told = Texts("ko").title(english)
        assert Texts("en").title(english) == english
        left = told.replace("'all of it'", "").replace("gpt-4.1*", "")
        assert not re.search(r"[a-z]{2,}", left), (english, told)
        assert ("'all of it'" in told) == (known != "store")
        assert (f"{called} 'all of it'" in told) == (known != "store")
        assert (korean in told) == (known in {"used", "stopped", "forecast", "denied"}), told


def test_every_period_of_a_budget_has_its_words() -> None:
    for unit, adjective in ADJECTIVE.items():
        assert TEXTS[f"every.{unit}"][0] == adjective.lower()
        assert unit == "life" or TEXTS[f"unit.{unit}"][0] == unit
    assert Texts("ko").title("80 % of the moon of project 'x' is used") == "프로젝트 'x': moon의 80 % 사용"
    assert Texts("ko").title("It rains") == "It rains"


def test_an_action_that_nobody_knows_stays_as_it_is() -> None:
    texts = Texts("ko")
    assert texts.action("project.paint") == texts.action("<b>") == texts.action("") == ""
    assert texts.action("planet.create") == "planet 생성"
    assert (texts.kind("planet"), texts.kind("team")) == ("planet", "팀")


def test_the_audit_log_names_actions_in_the_viewers_language(house: House, admin: Browser) -> None:
    house.tenancy.update(house.org, house.project, name="ranker 2")
    korean = text_of(admin.get("/audit", headers=KO).text)
    assert "프로젝트 변경 project.update" in korean
    assert "프로젝트 ranker 2" in korean
    assert "키 생성 key.create" in korean
    assert "Change project project.update" in text_of(admin.page("/audit"))


def test_the_log_of_alerts_says_why_in_the_viewers_language(house: House, admin: Browser) -> None:
    channel, _ = house.quota.blocking.alerts.add_channel(
        house.org, house.org, "email", email="finance@example.com"
    )
    house.tenancy.update_channel(house.org, channel.id, enabled=False, why="answered 410")
    english, korean = (text_of(admin.get("/alerts", headers=more).text) for more in ({}, KO))
    assert "answered 410" in english
    assert "응답 410" in korean
