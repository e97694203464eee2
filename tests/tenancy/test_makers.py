"""What a limited key makes counts under it: all that it makes comes to no more than it could use itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quotaware import Quota
from quotaware.errors import AlreadyExists, ApiError, RateLimitExceeded
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.credentials import NewKey
from quotaware.testing.clocks import FakeClock

from .people import ORG, House


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(clock: FakeClock) -> House:
    return House(MemoryStore(clock), clock)


@pytest.fixture
def quota(house: House, clock: FakeClock) -> Iterator[Quota]:
    quota = Quota(house.store, clock=clock, settle_wait=0)
    yield quota
    quota.close()


def call(quota: Quota, secret: str) -> ApiError | None:
    """One call with this key; why it does not go."""
    try:
        with (
            quota.acting_as(key=secret),
            quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1) as made,
        ):
            made.used(input=1, output=1)
    except ApiError as error:
        return error
    return None


def admitted(quota: Quota, *secrets: str, rounds: int) -> int:
    return sum(call(quota, secret) is None for _ in range(rounds) for secret in secrets)


def limited(house: House, limits: list[str], node: str = "team_one") -> NewKey:
    return house.host.create_key(node, org=ORG, permissions=["org:manage"], limits=limits)


def test_ten_keys_of_sixty_a_minute_each_come_to_sixty_a_minute(house, quota):
    maker = house.as_key(limited(house, ["60 requests/minute"]).node.id)
    children = [maker.create_key("proj_one").secret for _ in range(10)]
    assert admitted(quota, *children, rounds=12) == 60
    refusal = call(quota, children[0])
    assert isinstance(refusal, RateLimitExceeded)
    assert len(refusal.fields["limits"]) == 1  # the maker's: no child has used up its own
    assert refusal.fields["limits"][0]["on"] == maker._actor.id


def test_the_keys_of_a_limited_keys_keys_count_under_all_of_them(house, quota):
    maker = house.as_key(limited(house, ["20 requests/minute"]).node.id)
    child = house.as_key(
        maker.create_key("team_one", permissions=["org:manage"], limits=["10 requests/minute"]).node.id
    )
    grandchildren = [child.create_key("proj_one").secret for _ in range(3)]
    sibling = maker.create_key("proj_one").secret
    assert admitted(quota, *grandchildren, rounds=10) == 10
    assert admitted(quota, sibling, rounds=30) == 10


def test_a_key_of_a_maker_without_limits_counts_for_itself(house, quota):
    maker = house.as_key(house.host.create_key("team_one", org=ORG, permissions=["org:manage"]).node.id)
    made = maker.create_key("proj_one", limits=["5 requests/minute"])
    assert made.node.makers == ()
    assert admitted(quota, made.secret, rounds=9) == 5


def test_a_makers_limit_that_is_changed_holds_at_once_for_what_it_made(house, quota):
    maker = limited(house, ["2 requests/minute"])
    secret = house.as_key(maker.node.id).create_key("proj_one", limits=["2 requests/minute"]).secret
    house.host.update(ORG, maker.node.id, limits=["1 requests/minute"])
    assert admitted(quota, secret, rounds=3) == 1
    house.host.update(ORG, maker.node.id, limits=["2 requests/minute"])
    assert admitted(quota, secret, rounds=3) == 1
    house.host.update(ORG, maker.node.id, limits=["5 requests/minute"])
    assert admitted(quota, secret, rounds=3) == 0  # its own is still two


def test_a_maker_that_was_rotated_or_revoked_binds_what_it_made(house, quota):
    maker = limited(house, ["3 requests/minute"])
    secret = house.as_key(maker.node.id).create_key("proj_one").secret
    second = house.host.rotate_key(ORG, maker.node.id)
    other = house.as_key(second.node.id).create_key("proj_one")
    assert other.node.makers == (maker.node.id,)
    assert admitted(quota, secret, other.secret, rounds=3) == 3
    house.host.update(ORG, second.node.id, limits=["4 requests/minute"])
    assert house.host.get(ORG, maker.node.id).limits == house.host.get(ORG, second.node.id).limits
    house.host.update(ORG, other.node.id, limits=["9 requests/minute"])
    assert admitted(quota, secret, other.secret, rounds=3) == 1
    house.host.revoke_key(ORG, second.node.id)
    assert admitted(quota, secret, other.secret, rounds=3) == 0


def test_a_rotated_key_and_what_it_was_share_an_override(house, quota):
    maker = limited(house, ["3 requests/day"])
    secret = house.as_key(maker.node.id).create_key("proj_one").secret
    second = house.host.rotate_key(ORG, maker.node.id)
    house.host.override(ORG, second.node.id, "requests/day", 1)
    assert admitted(quota, secret, rounds=3) == 1
    house.host.drop_overrides(ORG, second.node.id, "requests/day")
    assert admitted(quota, secret, rounds=4) == 2


def test_a_maker_whose_limits_bear_on_others_is_not_deleted_before_them(house):
    maker = limited(house, ["3 requests/minute"])
    child = house.as_key(maker.node.id).create_key("proj_one").node
    house.host.revoke_key(ORG, maker.node.id)
    with pytest.raises(AlreadyExists) as caught:
        house.host.delete(ORG, maker.node.id)
    assert caught.value.code == "has_children"
    house.host.move_project(ORG, "proj_one", "team_two")
    with pytest.raises(AlreadyExists):
        house.host.delete(ORG, "team_one")
    house.host.delete(ORG, child.id)
    house.host.delete(ORG, "team_one")


def test_who_made_it_stays_when_it_is_read_changed_and_rotated(house):
    maker = limited(house, ["3 requests/minute"])
    child = house.as_key(maker.node.id).create_key("proj_one").node
    house.host.update_key(ORG, child.id, name="ci")
    rotated = house.host.rotate_key(ORG, child.id).node
    path = house.directory.load(ORG, rotated.id)
    assert [node.id for node in path.makers] == [maker.node.id]
    assert path.ids == (rotated.id, "proj_one", "team_one", ORG)
    assert maker.node.id in path.deps
    assert house.directory.load(ORG, rotated.id).makers == path.makers


def test_a_maker_without_limits_any_more_goes_and_binds_nothing(house, quota):
    maker = limited(house, ["3 requests/minute"])
    child = house.as_key(maker.node.id).create_key("proj_one")
    assert admitted(quota, child.secret, rounds=1) == 1
    house.host.update(ORG, maker.node.id, limits=[])
    house.host.delete(ORG, maker.node.id)
    assert house.directory.load(ORG, child.node.id).makers == ()
    assert admitted(quota, child.secret, rounds=5) == 2  # its own three
