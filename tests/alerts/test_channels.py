"""The ways to tell: e-mail, Slack, signed webhooks, Python code."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import inspect
import json
import threading
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest

from quotaware.alerts import sending
from quotaware.alerts.addresses import Allowed
from quotaware.alerts.channels import callback, email, slack, webhook
from quotaware.alerts.channels.callback import Caller
from quotaware.alerts.notices import Notice
from quotaware.alerts.sending import Outcome
from quotaware.alerts.settings import Smtp
from quotaware.errors import ConfigurationError
from tests.alerts.servers import Mailbox, Receiver

HERE = Allowed(["127.0.0.1"])
NOTICE = Notice(
    "alert_1", "used", 1_700_000_000_000, "org_a", "proj_a", "project", "café", ("proj_a", "org_a"),
    "80 % of the monthly budget of project 'café' is used", "$400 of $500 used.", {"used_usd": 400.0},
)  # fmt: skip
KEY = "msg_0123456789abcdef"


def smtp(mailbox: Mailbox, **more: Any) -> Smtp:
    return Smtp("127.0.0.1", "Quota <quota@example.com>", mailbox.port, **{"security": "none", **more})


# e-mail


def test_a_mail_says_the_notice_and_has_the_same_id_each_time(mailbox: Mailbox) -> None:
    for _ in range(2):
        assert email.send(smtp(mailbox), "ann@example.com", NOTICE, KEY) == Outcome(True)
    (to, first), (_, second) = mailbox.got
    assert to == ["ann@example.com"]
    assert first["Message-ID"] == second["Message-ID"] == f"<{KEY}@example.com>"
    assert str(make_header(decode_header(first["Subject"]))) == NOTICE.title
    assert first["From"] == "Quota <quota@example.com>"
    assert first["To"] == "ann@example.com"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first.get_content_type() == "text/plain"
    assert NOTICE.text in first.get_payload(decode=True).decode()
    assert not mailbox.tls


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_encrypted_to_who_is_trusted_only(certificate: Path, security: str) -> None:
    with Mailbox().serve(certificate, security=security, login=security == "starttls") as mailbox:
        login = {"user": "quota", "password": "right"} if security == "starttls" else {}
        trusted = smtp(mailbox, security=security, ca_file=str(certificate), **login)
        assert email.send(trusted, "ann@example.com", NOTICE, KEY) == Outcome(True)
        assert mailbox.tls
        distrusted = smtp(mailbox, security=security, **login)
        assert email.send(distrusted, "ann@example.com", NOTICE, KEY).why == "its certificate is not trusted"
        another = dataclasses.replace(trusted, host="localhost")  # whom the certificate does not name
        assert email.send(another, "ann@example.com", NOTICE, KEY).why == "its certificate is not trusted"
        assert len(mailbox.got) == 1


def test_the_password_comes_from_the_environment(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "right")
    with Mailbox().serve(certificate, security="starttls", login=True) as mailbox:
        given = smtp(
            mailbox, security="starttls", ca_file=str(certificate), user="quota", password="env:MAIL_PASSWORD"
        )
        assert email.send(given, "ann@example.com", NOTICE, KEY).ok
        assert mailbox.logins == [("quota", "right")]
        wrong = dataclasses.replace(given, password="wrong")
        assert email.send(wrong, "ann@example.com", NOTICE, KEY).why == "the server answered 535"
    assert "right" not in repr(given) + repr(wrong)


@pytest.mark.parametrize("evil", ["a\r\nBcc: eve@example.com", "a\nb", "a\u2028b", "a\x00b", "x" * 5000])
def test_no_name_breaks_a_header(mailbox: Mailbox, evil: str) -> None:
    notice = dataclasses.replace(NOTICE, title=f"80 % of {evil}")
    assert email.send(smtp(mailbox), "ann@example.com", notice, KEY).ok
    ((to, message),) = mailbox.got
    assert to == ["ann@example.com"]
    ours = {"from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version"}
    usual = {"content-type", "content-transfer-encoding", "x-peer", "x-mailfrom", "x-rcptto"}
    assert {name.lower() for name, _ in message.items()} - usual == ours


def test_an_address_that_is_refused_for_good_is_not_tried_again(mailbox: Mailbox) -> None:
    mailbox.refuse_rcpt = lambda to: "550 no such user"
    assert email.send(smtp(mailbox), "ann@example.com", NOTICE, KEY) == Outcome(
        False, "the address was refused (550)", again=False
    )
    mailbox.refuse_rcpt = lambda to: "450 later"
    assert email.send(smtp(mailbox), "ann@example.com", NOTICE, KEY).again
    mailbox.refuse_rcpt = lambda to: None
    mailbox.refuse = lambda to: "451 later"
    assert email.send(smtp(mailbox), "ann@example.com", NOTICE, KEY).why == "the server answered 451"


def test_a_server_that_cannot_do_what_is_needed(mailbox: Mailbox) -> None:
    needs = smtp(mailbox, security="starttls")
    assert email.send(needs, "ann@example.com", NOTICE, KEY).why.startswith("the server does not offer")
    assert not mailbox.got


def test_a_message_that_was_taken_is_not_sent_again_since_the_server_says_no_farewell(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt would end so, and each would have been taken."""

    async def never(*session: Any) -> str:
        await asyncio.sleep(30)
        return "221 bye"

    monkeypatch.setattr(email, "TOTAL_S", 1.5)
    mailbox.handle_QUIT = never  # type: ignore[attr-defined]
    assert email.send(smtp(mailbox), "ann@example.com", NOTICE, KEY) == Outcome(True)
    assert len(mailbox.got) == 1


def test_a_server_that_is_not_there() -> None:
    with Mailbox().serve() as mailbox:
        gone = smtp(mailbox)
    assert email.send(gone, "ann@example.com", NOTICE, KEY).why.startswith("no answer")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"host": ""}, "smtp.host"),
        ({"host": "a\nb"}, "smtp.host"),
        ({"sender": "nobody"}, "smtp.sender"),
        ({"sender": "a@b\r\nBcc: c@d"}, "smtp.sender"),
        ({"port": 0}, "smtp.port"),
        ({"port": "25"}, "smtp.port"),
        ({"security": "ssl"}, "smtp.security"),
        ({"user": "a"}, "smtp.password"),
        ({"user": "a", "password": "b", "security": "none"}, "smtp.security"),
        ({"user": "a", "password": "env:NOT_SET_ANYWHERE"}, "smtp.password"),
    ],
)
def test_a_server_is_described_well(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Smtp(**{"host": "mail.example.com", "sender": "quota@example.com", **given})
    assert caught.value.field == field


def test_the_usual_ports() -> None:
    ports = [Smtp("h", "a@b", security=security).where[1] for security in ("starttls", "tls", "none")]  # type: ignore[arg-type]
    assert ports == [587, 465, 25]


# Slack


def test_slack_gets_text_in_which_nothing_is_a_mention(receiver: Receiver) -> None:
    notice = dataclasses.replace(NOTICE, title="80 % of <!channel> & <https://evil.example|x>")
    assert slack.send(receiver.url, notice, KEY, HERE).ok
    (posted,) = receiver.got
    assert posted.json == {
        "text": "*80 % of &lt;!channel&gt; &amp; &lt;https://evil.example|x&gt;*\n$400 of $500 used."
    }
    assert posted.headers["idempotency-key"] == KEY


@pytest.mark.parametrize(
    "url",
    [
        "https://slack.example.com/x",
        "https://hooks.slack.com.evil.example/services/x",
        "https://evilslack.com/services/x",
        "https://files.slack.com/services/x",
    ],
)
def test_slack_is_at_slacks(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"hooks\.slack\.com"):
        slack.check(url, Allowed())
    with pytest.raises(ConfigurationError, match=r"hooks\.slack\.com"):  # also when it is sent
        slack.send(url, NOTICE, KEY, Allowed())
    assert slack.check("https://hooks.slack.com/services/T/B/x", Allowed())


def test_a_post_may_take_five_seconds_and_answer_64_kib(monkeypatch: pytest.MonkeyPatch) -> None:
    """S11, by whichever channel."""
    posted: list[dict[str, Any]] = []
    for channel in (slack, webhook):
        monkeypatch.setattr(channel, "post", lambda *_, **more: posted.append(more) or Outcome(True))
    slack.send("https://hooks.slack.com/services/T/B/x", NOTICE, KEY, Allowed())
    webhook.send("https://h.example.com/", webhook.new_secret(), NOTICE, KEY, Allowed())
    assert posted == [{}, {}]
    assert inspect.signature(sending.post).parameters["total"].default == 5
    assert sending.MOST == 65_536


# webhooks


def test_the_signature_is_that_of_the_specifications_own_libraries() -> None:
    signed = webhook.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        b'{"test": 2432232314}',
    )  # fmt: skip
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_is_signed_and_says_all(receiver: Receiver) -> None:
    secret = webhook.new_secret()
    assert webhook.send(receiver.url, secret, NOTICE, KEY, HERE).ok
    (posted,) = receiver.got
    stamp = int(posted.headers["webhook-timestamp"])
    assert posted.headers["webhook-id"] == KEY
    assert posted.headers["webhook-signature"] == webhook.signature(secret, KEY, stamp, posted.body)
    assert posted.json == {
        "type": "quota.threshold",
        "timestamp": "2023-11-14T22:13:20Z",
        "data": {
            "id": "alert_1",
            "organization_id": "org_a",
            "node": {"id": "proj_a", "kind": "project", "name": "café"},
            "title": NOTICE.title,
            "text": NOTICE.text,
            "used_usd": 400.0,
        },
    }
    assert len(posted.body) < 20_000


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!!!", "whsec_" + base64.b64encode(bytes(23)).decode(),
                                    "whsec_" + base64.b64encode(bytes(65)).decode(), "whsec_é"])  # fmt: skip
def test_a_signing_secret_is_a_good_one(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="whsec_"):
        webhook.key_of(secret)
    assert len(webhook.key_of(webhook.new_secret())) == 32


# Python code


def test_code_is_called_with_the_notice() -> None:
    got: list[Notice] = []
    assert Caller(got.append).send(NOTICE) == Outcome(True)
    assert got == [NOTICE]


def test_async_code_runs_in_a_loop_of_its_own() -> None:
    got: list[Any] = []

    async def tell(notice: Notice) -> None:
        await asyncio.sleep(0)
        got.append((notice, threading.current_thread().name))

    assert Caller(tell).send(NOTICE) == Outcome(True)
    assert got == [(NOTICE, "quotaware-alert")]


def test_what_code_raises_is_a_failure() -> None:
    def fails(notice: Notice) -> None:
        raise LookupError("a secret")

    assert Caller(fails).send(NOTICE) == Outcome(False, "it raised LookupError")


def test_code_that_does_not_end_is_not_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "TOTAL_S", 0.05)
    go, calls = threading.Event(), []

    def hangs(notice: Notice) -> None:
        calls.append(notice)
        go.wait(10)

    caller = Caller(hangs)
    assert caller.send(NOTICE).why == "no answer within 0.05 s"
    assert caller.send(NOTICE).why == "the call before has not ended yet"
    assert len(calls) == 1
    go.set()


def test_a_notice_is_kept_and_read_back() -> None:
    assert Notice.unpacked(json.loads(json.dumps(NOTICE.packed()))) == NOTICE
