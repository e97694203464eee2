"""E-mail over SMTP: one message to one address, so that none hears of the others and each has its own progress.

Sources: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (TLS from the first byte), RFC 3834 (`Auto-Submitted`).
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime

from ..notices import Notice, one_line
from ..sending import DONE, Outcome, within
from ..settings import Smtp

_ME = "localhost"
"""What the server is greeted as: looking up a name of one's own can take long."""
TOTAL_S = 15.0
"""Seconds that one message may take."""


def message_of(notice: Notice, key: str, sender: str, to: str) -> EmailMessage:
    """The message, whose id is the same however often it is sent."""
    message = EmailMessage(policy=POLICY)
    message["From"] = one_line(sender)
    message["To"] = one_line(to)
    message["Subject"] = one_line(notice.title)[:200]
    message["Date"] = format_datetime(datetime.fromtimestamp(notice.at / 1000, UTC))
    message["Message-ID"] = f"<{key}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.text + "\n")
    return message


def _domain(sender: str) -> str:
    domain = sender.rpartition("@")[2].rstrip("> ")
    return domain if domain.isascii() and domain.replace("-", "").replace(".", "").isalnum() else "quotaware"


def send(smtp: Smtp, to: str, notice: Notice, key: str) -> Outcome:
    """Sends it. Raises nothing."""
    opened: list[smtplib.SMTP] = []
    taken: list[Outcome] = []

    def abort() -> None:
        for each in opened:
            with contextlib.suppress(OSError):
                each.close()

    def work() -> Outcome:
        return _send(smtp, to, message_of(notice, key, smtp.sender, to), opened, taken)

    return within(TOTAL_S, work, abort, taken)


def _send(
    smtp: Smtp, to: str, message: EmailMessage, opened: list[smtplib.SMTP], taken: list[Outcome]
) -> Outcome:
    try:
        return _talk(smtp, to, message, opened, taken)
    except smtplib.SMTPRecipientsRefused as error:
        code = next((code for code, _ in error.recipients.values()), 0)
        return Outcome(False, f"the address was refused ({code})", again=not 500 <= code < 600)
    except smtplib.SMTPResponseException as error:
        return Outcome(False, f"the server answered {error.smtp_code}")
    except smtplib.SMTPNotSupportedError:
        return Outcome(False, "the server does not offer what is needed (STARTTLS, or a log-in)")
    except smtplib.SMTPServerDisconnected:
        return Outcome(False, "the server hung up")


def _talk(
    smtp: Smtp, to: str, message: EmailMessage, opened: list[smtplib.SMTP], taken: list[Outcome]
) -> Outcome:
    host, port = smtp.where
    context = ssl.create_default_context()
    if smtp.ca_file is not None:
        context.load_verify_locations(smtp.ca_file)
    client = (
        smtplib.SMTP_SSL(host, port, _ME, timeout=TOTAL_S, context=context)
        if smtp.security == "tls"
        else smtplib.SMTP(host, port, _ME, timeout=TOTAL_S)
    )
    opened.append(client)
    try:
        client.ehlo()
        if smtp.security == "starttls":
            client.starttls(context=context)
            client.ehlo()
        password = smtp.secret()
        if smtp.user is not None and password is not None:
            client.login(smtp.user, password)
        client.send_message(message, from_addr=_bare(smtp.sender), to_addrs=[to])
        taken.append(DONE)
        with contextlib.suppress(OSError):  # smtplib's own are such
            client.quit()
        return DONE
    finally:
        client.close()


def _bare(sender: str) -> str:
    """The address of `Name <address>`."""
    return sender.rpartition("<")[2].rstrip("> ") if "<" in sender else sender
