"""The API of a store that is opened here, as commands use it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from quotaware import Quota
from quotaware.cli.client import Client, local, organization_of
from quotaware.cli.failures import AWAY, FAULT, REFUSED, Failure, refused
from quotaware.cli.requests import columns
from quotaware.cli.settings import Settings
from quotaware.errors import StoreError
from quotaware.tenancy.service import Tenancy


@pytest.fixture
def client(tmp_path: Path) -> Client:
    url = f"sqlite:///{tmp_path}/quota.db"
    quota = Quota(url)
    quota.bootstrap("S", id="startup")
    tenancy: Any = quota.blocking.tenancy
    for number in range(23):
        tenancy.create_project("startup", f"p{number}", id=f"p{number}")
    for _ in range(3):
        with (
            quota.acting_as(project="p1"),
            quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1) as call,
        ):
            call.used(input=1, output=1)
    quota.close(10)
    return local(Settings(store=url))


def test_what_an_error_says_already_is_not_said_again() -> None:
    one, other = {"field": "by", "message": "is wrong"}, {"field": "at", "message": "is missing"}
    error = {"message": "by: is wrong", "errors": [one]}
    assert str(refused(422, {"error": error})) == "by: is wrong"
    more = {"message": "by: is wrong", "errors": [one, other]}
    assert str(refused(422, {"error": more})) == "by: is wrong\n  at: is missing"


def test_members_are_called_by_their_names_where_they_are_seen(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = client.post("/members", {"name": "kim"})["id"]
    by = next(column for column in columns(client) if column.title == "by")
    assert [by.of({"requested_by": each}) for each in (id, "key_x", "")] == ["kim", "key_x", "the host"]
    del client._people  # which is asked for once
    monkeypatch.setattr(client, "pages", Mock(side_effect=[Failure("no", AWAY), Failure("no", REFUSED)]))
    with pytest.raises(Failure, match="no"):
        client.person(id)
    assert client.person(id) == id


def test_a_list_is_read_to_its_end_or_as_far_as_is_asked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.cli.client.PAGE", 10)
    assert len([*client.pages("/projects")]) == 23
    assert len([*client.pages("/projects", most=11)]) == 11
    assert len([*client.pages("/projects", most=2)]) == 2
    client.close()


def test_it_tells_how_far_it_is(client: Client) -> None:
    told: list[tuple[int, int | None]] = []
    client.heard = lambda done, total: told.append((done, total))
    found = client.post(
        "/organizations/startup/simulate", {"plan": {"startup": {"limits": ["2 requests/day"]}}}, long=True
    )
    assert found["total"]["denied"] == 1
    assert told
    client.close()


def test_ctrl_c_ends_work_at_its_next_word(client: Client) -> None:
    """The work runs in a thread, which nothing else stops."""
    ended: list[BaseException] = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def heard(done: int, total: int | None) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        while client.heard is heard:
            time.sleep(0.001)
        try:
            client.heard(done, total)
        except BaseException as error:
            ended.append(error)
            raise

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        client.heard = heard
        with pytest.raises(KeyboardInterrupt):
            client.post("/organizations/startup/simulate", {"plan": {}}, long=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    client.close()
    assert [type(error) for error in ended] == [StoreError]


def test_a_fault_inside_is_no_traceback(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Tenancy, "roles", broken)
    with pytest.raises(Failure, match="Something went wrong") as failed:
        client.get("/roles")
    assert failed.value.code == FAULT
    client.close()


def test_the_organization_is_found_among_many() -> None:
    quota = Quota("memory://")
    with pytest.raises(Failure, match="no organization yet"):
        organization_of(quota, None)
    for number in range(15):
        quota.blocking.tenancy.create_organization(f"Org {number}", id=f"org_{number:02}")
    assert organization_of(quota, "Org 14") == "org_14"
    assert organization_of(quota, "org_03") == "org_03"
    with pytest.raises(Failure, match=r"Say which .* org_09 \(Org 9\)$"):
        organization_of(quota, None)
    with pytest.raises(Failure, match="There is no organization 'Org 99'"):
        organization_of(quota, "Org 99")
    quota.close()
