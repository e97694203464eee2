"""One POST to a target: to an address that was looked at, within a time in all, and an answer of which only the status
is used.

`http.client` is what no hook of ours or anybody else's sees, so that an alert is never metered as a call.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..logs import logged
from .addresses import Allowed, Refused, Target, resolve

logger = logging.getLogger("quotaware")

TOTAL_S = 5.0
"""Seconds that one POST may take, from looking up the name to the end of the answer."""
MOST = 65_536
"""Bytes of an answer that are read."""


class Outcome(NamedTuple):
    """How an attempt ended.

    ok     it was taken
    why    in a few words of ours, never the other side's, what went wrong
    again  whether it makes sense to try again; after: not before so many seconds, where the other side said so
    gone   whether the other side wants nothing any more (410)
    rev    the revision of the channel that it went by, 0 for one of the host's own
    """

    ok: bool
    why: str = ""
    again: bool = True
    after: float = 0.0
    gone: bool = False
    rev: int = 0


DONE = Outcome(True)


def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    allowed: Allowed,
    *,
    total: float = TOTAL_S,
    context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> Outcome:
    """Sends it. Raises nothing."""
    opened: list[socket.socket] = []
    answered: list[Outcome] = []

    def work() -> Outcome:
        return _post(target, headers, body, allowed, time.monotonic() + total, context, opened, answered)

    def abort() -> None:
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    return within(total, work, abort, answered)


def within(
    seconds: float,
    work: Callable[[], Outcome],
    abort: Callable[[], None],
    answered: list[Outcome] | None = None,
) -> Outcome:
    """What a piece of blocking work answers, if it does within so many seconds; else it is aborted and left alone. Into
    `answered` it may put its outcome before it is through with all.
    """
    found = [] if answered is None else answered

    def run() -> None:
        found.append(_careful(work))

    thread = threading.Thread(target=run, name="quotaware-alert", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had, or the interpreter is going
        return Outcome(False, "no thread could be had")
    thread.join(seconds)
    outcome = found[0] if found else Outcome(False, f"no answer within {seconds:g} s")
    if thread.is_alive():
        abort()
    return outcome


def _careful(work: Callable[[], Outcome]) -> Outcome:
    try:
        return work()
    except Refused as error:
        return Outcome(False, str(error).partition(": ")[2])
    except ssl.SSLCertVerificationError:
        return Outcome(False, "its certificate is not trusted")
    except ssl.SSLError:
        return Outcome(False, "no TLS connection could be made")
    except socket.gaierror:
        return Outcome(False, "its name was not found")
    except TimeoutError:
        return Outcome(False, "no answer in time")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(False, f"no answer ({type(error).__name__})")
    except Exception as error:
        logger.exception("an alert could not be sent", extra=logged("alert_fault"))
        return Outcome(False, f"a fault ({type(error).__name__})")


def _post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    allowed: Allowed,
    until: float,
    context: Callable[[], ssl.SSLContext],
    opened: list[socket.socket],
    answered: list[Outcome],
) -> Outcome:
    connection = http.client.HTTPConnection(target.host, target.port)
    plain = _connect(target, resolve(target, allowed), until)
    opened.append(plain)
    if target.scheme == "https":
        plain.settimeout(_left(until))
        plain = context().wrap_socket(plain, server_hostname=target.host)
        opened[:] = [plain]
    plain.settimeout(_left(until))
    connection.sock = plain
    try:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        given = {
            "Host": target.authority,
            "User-Agent": "quotaware",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        answered.append(_judged(response.status, response.getheader("Retry-After")))
        with contextlib.suppress(OSError, http.client.HTTPException):  # it has answered; the rest is courtesy
            response.read(MOST)
        return answered[0]
    finally:
        plain.close()
        connection.close()


def _connect(target: Target, addresses: list[str], until: float) -> socket.socket:
    """A connection to the first address that takes one."""
    last: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, target.port), timeout=_left(until))
        except OSError as error:
            last = error
    raise last


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _judged(status: int, retry_after: str | None) -> Outcome:
    if 200 <= status < 300:
        return DONE
    if 300 <= status < 400:
        return Outcome(False, f"answered {status}; redirects are not followed")
    after = float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else 0.0
    return Outcome(False, f"answered {status}", again=status != 410, after=after, gone=status == 410)
