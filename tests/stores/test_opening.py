"""Stores by URL: known schemes, registered ones, and those that installed distributions offer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quotaware import Quota, register_store
from quotaware.errors import ConfigurationError
from quotaware.stores import opening
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from tests.support import FakeClock

MODULE = """
from quotaware.stores.memory import MemoryStore

class AtticStore(MemoryStore):
    url = ""

def open_attic(url, clock):
    store = AtticStore(clock)
    store.url = url
    return store

NOT_CALLABLE = "attic"
"""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, opening.StoreFactory]:
    """What is registered in a test is forgotten after it."""
    found = dict(opening._FACTORIES)
    monkeypatch.setattr(opening, "_FACTORIES", found)
    return found


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts distributions on the path as pip does: their modules, and a `.dist-info` directory each."""

    def put(
        offers: str, module: str = "attic_store", code: str = MODULE, name: str = "quotaware-attic"
    ) -> None:
        place = tmp_path / name
        info = place / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (place / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[quotaware.stores]\n{offers}\n")
        monkeypatch.syspath_prepend(str(place))

    yield put
    for module in ("attic_store", "other_store", "broken_store"):
        sys.modules.pop(module, None)


def test_an_installed_distribution_brings_its_scheme_with_it(install):
    install("attic = attic_store:open_attic")
    clock = FakeClock()
    store = open_store("ATTIC://shelf?x=1", clock)
    assert type(store).__name__ == "AtticStore"
    assert store.url == "ATTIC://shelf?x=1"
    assert store.hello() == clock.now
    quota = Quota("attic://", limits=["1 request/day"])
    assert type(quota.store).__name__ == "AtticStore"
    quota.close()


def test_entry_points_are_looked_up_only_for_schemes_that_are_not_known(install, monkeypatch):
    install("memory = attic_store:open_attic")
    monkeypatch.setattr(opening, "entry_points", None)
    assert type(open_store("memory://", FakeClock())) is MemoryStore


def test_a_factory_that_was_found_is_known_from_then_on(install, known):
    install("attic = attic_store:open_attic")
    open_store("attic://", FakeClock())
    assert "attic" in known


@pytest.mark.parametrize(
    ("offers", "why"),
    [
        ("attic = attic_store:missing", "cannot be loaded: AttributeError"),
        ("attic = no_such_module:open_attic", "cannot be loaded: ModuleNotFoundError"),
        ("attic = broken_store:open_attic", "cannot be loaded: RuntimeError: out of order"),
        ("attic = attic_store:NOT_CALLABLE", "is no store factory"),
    ],
)
def test_an_entry_point_that_fails_is_named(install, offers, why):
    install(offers)
    install(
        "other = broken_store:f", "broken_store", "raise RuntimeError('out of order')", "quotaware-broken"
    )
    with pytest.raises(ConfigurationError, match=why) as refused:
        open_store("attic://user:secret@shelf", FakeClock())
    assert f"{offers.partition('= ')[2]} of quotaware-attic for attic://" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_of_two_distributions_that_offer_one_scheme_none_is_taken(install):
    install("attic = attic_store:open_attic")
    install("attic = other_store:open_attic", "other_store", name="quotaware-other")
    with pytest.raises(
        ConfigurationError, match="attic_store:open_attic of quotaware-attic, other_store:open_attic"
    ):
        open_store("attic://", FakeClock())


def test_a_store_is_registered_under_its_scheme(known):
    register_store("My+Attic", lambda url, clock: MemoryStore(clock))
    assert "my+attic" in known
    assert open_store("my+attic://anything", FakeClock()).hello() == FakeClock().now


@pytest.mark.parametrize("scheme", ["", "my attic", "1st", "attic://", "a:b"])
def test_what_is_no_scheme_cannot_be_registered(scheme):
    with pytest.raises(ConfigurationError, match="scheme"):
        register_store(scheme, lambda url, clock: MemoryStore(clock))


def test_a_url_that_nobody_knows_is_refused_with_those_that_are_known(install):
    install("attic = attic_store:open_attic")
    for url in ("nowhere://u:secret@host", "memory", "", None, 7):
        with pytest.raises(ConfigurationError, match=r"attic://, memory://.*, sqlite://") as refused:
            open_store(url, FakeClock())
        assert "secret" not in str(refused.value)
