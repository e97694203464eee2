"""Texts of what the audit log and the log of alerts keep as they were written: actions, what an alert said, and why it
did not go.

An action is a thing and what was done with it (`project.update`). The others are found by their English text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "kind.organization": ("organization", "조직"),
    "kind.team": ("team", "팀"),
    "kind.project": ("project", "프로젝트"),
    "kind.key": ("key", "키"),
    "kind.node": ("item", "항목"),
    "kind.member": ("member", "구성원"),
    "kind.group": ("group", "그룹"),
    "kind.role": ("role", "역할"),
    "kind.request": ("request for more", "증액 요청"),
    "kind.channel": ("alert channel", "알림 채널"),
    "did.create": ("Create {thing}", "{thing} 생성"),
    "did.update": ("Change {thing}", "{thing} 변경"),
    "did.delete": ("Delete {thing}", "{thing} 삭제"),
    "did.move": ("Move {thing}", "{thing} 이동"),
    "did.rotate": ("Rotate {thing}", "{thing} 교체"),
    "did.revoke": ("Revoke {thing}", "{thing} 폐기"),
    "did.approved": ("Approve {thing}", "{thing} 승인"),
    "did.rejected": ("Reject {thing}", "{thing} 거절"),
    "did.override": ("Change a limit of {thing} for a while", "{thing} 한도 한시 변경"),
    "did.allocate": ("Share out the budget of {thing}", "{thing} 예산 배분"),
    "did.prices": ("Change prices of {thing}", "{thing} 가격 변경"),
    "did.apply": ("Apply a file to {thing}", "{thing} 파일 적용"),
    "did.bootstrap": ("Set up {thing}", "{thing} 초기 설정"),
    "did.simple": ("Set up {thing} with limits of the app", "앱의 한도로 {thing} 설정"),
    "did.stop": ("Stop {thing}, a threshold was crossed", "임계값 초과로 {thing} 중지"),
    "did.close": ("Disable {thing}, its budget is used up", "예산 소진으로 {thing} 사용 중지"),
    "why.closed": ("{why}; the channel is disabled", "{why}, 채널 사용 중지됨"),
    "why.until_anew": (
        "{why}; it is told nothing until the app starts anew",
        "{why}, 앱을 다시 시작할 때까지 보내지 않음",
    ),
    "why.answered_before": (
        "it answered 410 before, and is told nothing until the app starts anew",
        "이전에 410으로 응답하여 앱을 다시 시작할 때까지 보내지 않음",
    ),
    "why.redirect": (
        "answered {status}; redirects are not followed",
        "응답 {status}, 리디렉션은 따르지 않음",
    ),
    "why.answered": ("answered {status}", "응답 {status}"),
    "why.in_time": ("no answer in time", "제시간에 응답 없음"),
    "why.within": ("no answer within {seconds} s", "{seconds}초 안에 응답 없음"),
    "why.no_answer": ("no answer ({error})", "응답 없음 ({error})"),
    "why.thread": ("no thread could be had", "스레드를 만들 수 없음"),
    "why.fault": ("a fault ({error})", "내부 오류 ({error})"),
    "why.certificate": ("its certificate is not trusted", "신뢰할 수 없는 인증서"),
    "why.tls": ("no TLS connection could be made", "TLS 연결 실패"),
    "why.name": ("its name was not found", "호스트 이름을 찾을 수 없음"),
    "why.busy": ("the call before has not ended yet", "이전 호출이 아직 끝나지 않음"),
    "why.raised": ("it raised {error}", "콜백 오류 {error}"),
    "why.recipient": ("the address was refused ({code})", "받는 주소가 거부됨 ({code})"),
    "why.mail": ("the server answered {code}", "메일 서버 응답 {code}"),
    "why.not_offered": (
        "the server does not offer what is needed (STARTTLS, or a log-in)",
        "메일 서버가 필요한 기능(STARTTLS 또는 로그인)을 지원하지 않음",
    ),
    "why.hung_up": ("the server hung up", "메일 서버가 연결을 끊음"),
    "why.no_server": (
        "no server for e-mail is configured: Quota(alerts=Alerts(smtp=Smtp(…)))",
        "메일 서버가 설정되지 않음: Quota(alerts=Alerts(smtp=Smtp(…)))",
    ),
    "why.callback_gone": ("it is not configured any more", "더 이상 설정되어 있지 않음"),
    "why.disabled": ("the channel is disabled", "사용 중지된 채널"),
    "why.channel_gone": ("the channel is not there any more", "삭제된 채널"),
    "why.many": ("{n} deliveries wait already", "이미 {n}건이 대기 중"),
    "why.nobody": ("nobody is there to be told", "알릴 사람이 없음"),
    "why.variable": ("the environment variable {name} is not set", "환경 변수 {name}이(가) 없음"),
    "why.names_variable": (
        "names the environment variable {name}, not set",
        "환경 변수 {name}이(가) 없음",
    ),
    "why.text": ("is text, or env:NAME", "텍스트 또는 env:NAME이어야 함"),
    "why.no_key": ("it is encrypted, and no secret_key was given", "암호화되어 있으나 secret_key가 없음"),
    "why.other_key": (
        "it was encrypted with another secret_key",
        "다른 secret_key로 암호화되어 있음",
    ),
    "why.signing": ("is whsec_ and 24 to 64 bytes in base64", "whsec_와 base64로 된 24~64바이트여야 함"),
    "why.slack": (
        "is an incoming webhook of Slack, https://hooks.slack.com/services/…",
        "Slack 수신 웹훅(https://hooks.slack.com/services/…)이어야 함",
    ),
    "why.long": ("is a URL of at most {n} characters", "{n}자 이하의 URL이어야 함"),
    "why.characters": (
        "has characters that no URL has; a name in other letters is written in its xn-- form",
        "URL에 쓸 수 없는 문자가 있음. 다른 문자로 된 이름은 xn-- 형식으로 써야 함",
    ),
    "why.no_url": ("is no URL", "URL이 아님"),
    "why.https": ("is an https URL", "https URL이어야 함"),
    "why.plain": (
        "is an https URL; Quota(alerts=Alerts(allow=[…])) allows plain http to a host",
        "https URL이어야 함. http는 Quota(alerts=Alerts(allow=[…]))로 호스트를 허용할 때만 가능",
    ),
    "why.user": ("has no user and no password in it", "사용자 이름이나 비밀번호를 넣을 수 없음"),
    "why.port": ("is on port {ports}, not {port}", "포트는 {port}이(가) 아니라 {ports}여야 함"),
    "why.host": (
        "names its host by name, or by an address in its usual form",
        "호스트는 이름이나 일반적인 형식의 주소여야 함",
    ),
    "why.private_host": ("names a host that is not public", "공개되지 않은 호스트"),
    "why.private_address": ("names an address that is not public", "공개되지 않은 주소"),
    "why.private_found": (
        "names a host with an address that is not public",
        "주소가 공개되지 않은 호스트",
    ),
    "said.stopped": (
        "{whose} is stopped: {level} of its {limit} is used",
        "{whose} 중지: {limit}의 {level} 사용",
    ),
    "said.used": ("{level} of the {limit} of {whose} is used", "{whose}: {limit}의 {level} 사용"),
    "said.forecast": (
        "{whose} is going to use {level} of its {limit}",
        "{whose}: {limit}의 {level} 사용 예상",
    ),
    "said.denied": ("The {limit} of {whose} keeps calls out", "{whose}: {limit} 초과로 호출 차단"),
    "said.expires": ("{whose} expires at {when}", "{whose} 만료: {when}"),
    "said.store": (
        "The store of the quotas was away, or lost something",
        "할당량 저장소에 연결되지 않았거나 데이터가 유실됨",
    ),
    "said.test": ("Test: alerts of {whose} arrive here", "시험 메시지: {whose}의 알림이 도착하는 곳"),
    "limit.of_user": ("{limit} of an end user", "최종 사용자별 {limit}"),
    "limit.of_models": ("{limit} for {models}", "{models} {limit}"),
    "limit.of_cost": ("{every} budget", "{every} 예산"),
    "limit.of_concurrency": ("limit on concurrent calls", "동시 호출 한도"),
    "limit.of_all": ("limit on {metric} in all", "전체 {metric} 한도"),
    "limit.of_rate": ("limit on {metric} per {unit}", "{unit}당 {metric} 한도"),
    "metric.requests": ("requests", "호출"),
    "metric.tokens": ("tokens", "토큰"),
    "every.second": ("per-second", "초당"),
    "every.minute": ("per-minute", "분당"),
    "every.hour": ("hourly", "시간별"),
    "every.day": ("daily", "일별"),
    "every.week": ("weekly", "주별"),
    "every.month": ("monthly", "월별"),
    "every.quarter": ("quarterly", "분기별"),
    "every.year": ("yearly", "연별"),
    "every.life": ("total", "전체"),
    "unit.second": ("second", "초"),
    "unit.minute": ("minute", "분"),
    "unit.hour": ("hour", "시간"),
    "unit.day": ("day", "일"),
    "unit.week": ("week", "주"),
    "unit.month": ("month", "월"),
    "unit.quarter": ("quarter", "분기"),
    "unit.year": ("year", "년"),
}
"""Of the texts of one group one that begins as another one does stands before it."""

_GROUPS = ("why", "limit", "metric", "every", "unit")
"""What stands within a text under such a name is told in Korean itself."""
_WHOSE = r"(?P<whose>(?:API key|[Oo]rganization|[Tt]eam|[Pp]roject) '.*')"
_FIELD = re.compile(r"(?:smtp\.)?[a-z_]+: ")


def reason(text: str) -> str:
    """Why an alert did not go, in Korean; what is none of our own reasons stays as it is."""
    field = _FIELD.match(text)
    if field is not None and (told := reason(text[field.end() :])) != text[field.end() :]:
        return field[0] + told
    return _korean("why", text)


def title(text: str) -> str:
    """What an alert said in one line, in Korean; what is none of our own titles stays as it is."""
    return _korean("said", text)


def _korean(group: str, text: str) -> str:
    for pattern, korean in _patterns(group):
        if (found := pattern.fullmatch(text)) is not None:
            values = found.groupdict()
            told = {name: _korean(name, value) for name, value in values.items() if name in _GROUPS}
            if "whose" in values:
                told["whose"] = _whose(values["whose"])
            return korean.format_map(values | told)
    return text


def _whose(text: str) -> str:
    kind, named, name = text.removeprefix("API ").partition(" '")
    return TEXTS[f"kind.{kind.lower()}"][1] + named + name


@cache
def _patterns(group: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    found = []
    for key, (english, korean) in TEXTS.items():
        if key.startswith(f"{group}."):
            text = re.escape(english).replace(re.escape("{whose}"), _WHOSE)
            text = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", text)
            found.append((re.compile(text), korean))
    return tuple(found)
