"""Whoever tries keys learns nothing from the answers, and costs next to nothing (S1, F11)."""

from __future__ import annotations

import gc
import random
import re
import sys
from collections.abc import Iterator

import pytest

from quotaware import ApiError
from quotaware.tenancy import keys
from tests.apps.asgi import bearer, request
from tests.inbound.house import House
from tests.support import NOON

pytestmark = pytest.mark.anyio

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.quota.close()


def bad(chance: random.Random) -> str:
    """A random key that looks right, with a checksum that is not."""
    while True:
        text = f"qw_{chance.choice(['live', 'test', 'admin'])}_{''.join(chance.choices(ALPHABET, k=36))}"
        if not keys.well_formed(text):
            return text


async def tried(house: House, secret: str, request_id: bytes = rb"req_[0-9a-f]{32}") -> bytes:
    """The whole answer as bytes, its request id aside."""
    answer = await request(house.app, "/", headers=[bearer(secret)])
    body, ids = re.subn(request_id, b"req_", answer.body)
    assert ids == 1
    return b"%d %r %s" % (answer.status or 0, sorted(answer.headers), body)


@pytest.mark.parametrize("rounds", [500, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_of_five_kinds_interleaved_only_the_form_can_be_told(house: House, rounds: int) -> None:
    """Unknown, expired, revoked and deleted keys are answered byte for byte alike, malformed ones by their form."""
    chance = random.Random(1)
    expired, revoked, deleted = house.key(expires_at=NOON + 1), house.key(), house.key()
    assert b"204" in await tried_good(house, revoked.secret)
    house.clock.advance(1)
    house.tenancy.revoke_key(house.org, revoked.node.id)
    house.tenancy.delete(house.org, deleted.node.id)
    dead = [expired.secret, revoked.secret, deleted.secret]
    malformed, wrong = set(), set()
    trips = 0
    for _ in range(rounds):
        before = house.store.trips
        malformed.add(await tried(house, bad(chance)))
        trips += house.store.trips - before
        wrong.add(await tried(house, keys.make("live")))
        wrong |= {await tried(house, secret) for secret in dead}
    assert trips == 0
    assert len(malformed) == len(wrong) == 1
    assert b"401" in malformed.pop()
    assert b"authentication_error" in wrong.pop()
    assert house.bindings == [house.bindings[0]]


async def tried_good(house: House, secret: str) -> bytes:
    answer = await request(house.app, "/", headers=[bearer(secret)])
    return b"%d" % (answer.status or 0)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_a_hundred_thousand_bad_keys_leave_nothing(house: House, count: int) -> None:
    """No trip to the store, no memory: on a host's route and under a mount of ours."""
    chance = random.Random(2)
    edge = house.quota.edge
    known = [bad(chance) for _ in range(1000)]

    async def tries(number: int) -> None:
        for turn in range(number):
            secret = known[turn % 1000][:-6] + f"{turn % 10**6:06}"  # another one each time
            scope = {"type": "http", "headers": [bearer(secret)], "client": ("127.0.0.1", 1)}
            if keys.well_formed(secret):
                continue
            outcome = await edge.bind(scope, None)
            assert isinstance(outcome, ApiError)
            assert outcome.code == "invalid_key_format"
            with pytest.raises(ApiError):
                await edge.authenticate(scope)

    await tries(1000)
    gc.collect()
    trips, blocks = house.store.trips, sys.getallocatedblocks()
    await tries(count)
    gc.collect()
    assert house.store.trips == trips
    assert sys.getallocatedblocks() - blocks < 2000


async def test_unknown_keys_are_remembered_within_bounds(house: House) -> None:
    """Each costs one look-up; of as many as there may be, ten thousand are remembered."""
    directory = house.quota.engine.directory
    trips = house.store.trips
    for _ in range(12_000):
        await house.quota.edge.bind({"type": "http", "headers": [bearer(keys.make("live"))]}, None)
    assert house.store.trips - trips == 12_000
    assert len(directory._unknown) == 10_000
    good = house.key()
    assert await house.status(bearer(good.secret)) == 204


async def test_a_known_key_costs_a_host_route_no_trip(house: House) -> None:
    key = house.key(addresses=["127.0.0.1"])
    assert await house.status(bearer(key.secret)) == 204
    trips = house.store.trips
    for _ in range(1000):
        assert await house.status(bearer(key.secret)) == 204
    assert house.store.trips == trips


async def test_a_known_key_costs_a_mount_of_ours_one_trip(house: House) -> None:
    """Its documents and those above it, as they are now."""
    scope = {"type": "http", "headers": [bearer(house.key().secret)], "client": ("127.0.0.1", 1)}
    await house.quota.edge.authenticate(scope)
    trips = house.store.trips
    for _ in range(100):
        await house.quota.edge.authenticate(scope)
    assert house.store.trips - trips == 100
